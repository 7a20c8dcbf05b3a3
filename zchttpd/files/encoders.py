"""How content codings are made (RFC 9110 section 8.4.1)."""

from __future__ import annotations

import hashlib
import importlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zchttpd.config.names import AUTO, ENCODINGS, missing_encodings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Each does at least 16 MB/s on text; docs/decisions/compression.md has the figures. The next levels cost
# several times as much and save a few per cent.
BROTLI_QUALITY = 7
# Its window stays within the 8 MiB that RFC 9659 allows.
ZSTD_LEVEL = 12
GZIP_LEVEL = 6
# zlib: a gzip wrapper around the largest window; its header has no time, so equal bytes stay equal.
_GZIP_WBITS = 31


@dataclass(frozen=True, slots=True)
class Encoder:
    """How a coding is made, by `bind` of the `module`; that is empty where Python brings it."""

    module: str
    bind: Callable[[Any], Callable[[bytes], bytes]]

    @property
    def edition(self) -> str:
        """Eight digits that stand for the version of the library: another may make other bytes of the same.

        Raises ImportError where it is not installed.
        """
        version = (
            importlib.import_module(self.module).__version__ if self.module else zlib.ZLIB_RUNTIME_VERSION
        )
        return hashlib.sha256(version.encode()).hexdigest()[:8]

    def load(self) -> Callable[[bytes], bytes]:
        """The function that encodes: the same bytes for the same bytes, from any thread, without the GIL.

        Raises ImportError where it is not installed.
        """
        return self.bind(importlib.import_module(self.module) if self.module else None)


def _bind_brotli(brotli: Any) -> Callable[[bytes], bytes]:
    return lambda content: bytes(brotli.compress(content, quality=BROTLI_QUALITY))


def _bind_zstd(zstandard: Any) -> Callable[[bytes], bytes]:
    # A compressor of its own for each: two threads may not share one.
    return lambda content: bytes(zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(content))


def _bind_gzip(_nothing: None) -> Callable[[bytes], bytes]:
    return lambda content: zlib.compress(content, GZIP_LEVEL, _GZIP_WBITS)


ENCODERS = {
    "br": Encoder(ENCODINGS["br"], _bind_brotli),
    "zstd": Encoder(ENCODINGS["zstd"], _bind_zstd),
    "gzip": Encoder(ENCODINGS["gzip"], _bind_gzip),
}


def chosen(asked: Sequence[str]) -> tuple[str, ...]:
    """The codings to make: those that were named and, if `auto` was, all that are installed."""
    missing = missing_encodings()
    return tuple(name for name in ENCODERS if name in asked or (AUTO in asked and name not in missing))

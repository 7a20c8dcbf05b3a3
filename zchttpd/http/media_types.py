"""Media types by file name, the same on every host: by the tables beside this file, not the system's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY, STORED_CODINGS
from zchttpd.http.target import WELL_KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = "application/octet-stream"

# A type that implies its coding: browsers show it only if they are told (SVG 2, section 1.3).
_CODED = {b"svgz": "gzip"}

# Where Apple looked before it was a well-known name.
_LINKS_OF_APPS = (b"apple-app-site-association",)

# Text that is not said to be UTF-8: it says itself what it is.
_BARE_TEXT = frozenset(("text/spdx", "text/x-component", "text/x-opml"))


def read_types(name: str) -> Iterator[tuple[str, list[str]]]:
    """Each type, and the words behind it, of a file in the format of mime.types that is beside this one."""
    for line in Path(__file__).with_name(name).read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            kind, *words = line.split()
            yield kind, words


def _by_word(name: str) -> dict[bytes, str]:
    """The type of each word, text with its charset: UTF-8."""
    return {
        word.encode("ascii"): kind + ("; charset=utf-8" if _is_utf8(kind) else "")
        for kind, words in read_types(name)
        for word in words
    }


def _is_utf8(kind: str) -> bool:
    return kind.startswith("text/") and kind not in _BARE_TEXT


_TABLE = _by_word("mime.types")
_WELL_KNOWN = _by_word("well-known.types")
_COMPRESSIBLE = frozenset(kind for kind, _ in read_types("compressible.types"))


def _extension(name: bytes) -> bytes:
    stem, dot, extension = name.rpartition(b".")
    return extension.lower() if dot and stem else b""


def media_type(name: bytes) -> str:
    """The Content-Type of a file by the extension of its name, in any case; text says that it is UTF-8."""
    return _TABLE.get(_extension(name), DEFAULT)


def media_type_of_path(segments: tuple[bytes, ...]) -> str:
    """As `media_type`, of the file at a path: well-known names (RFC 8615) need no extension."""
    kind = media_type(segments[-1])
    if kind == DEFAULT:
        if segments[0] == WELL_KNOWN and len(segments) > 1:
            return _WELL_KNOWN.get(segments[1], DEFAULT)
        if segments == _LINKS_OF_APPS:
            return _WELL_KNOWN[segments[0]]
    return kind


def stored_coding(name: bytes) -> str:
    """The content coding that the bytes of a file have by its name alone; most often "identity"."""
    return _CODED.get(_extension(name), IDENTITY)


def decoded_name(name: bytes, coding: str) -> bytes:
    """The name that a file would have without its content coding: `x.js` for `x.js.br`."""
    stem = name.rpartition(b".")[0]
    return stem if stem and _extension(name) in STORED_CODINGS[coding] else name


def compressible(media_type: str) -> bool:
    """Whether files of a type, with or without parameters, commonly shrink when they are compressed."""
    essence = media_type.partition(";")[0].strip().lower()
    return essence.startswith("text/") or essence.endswith(("+json", "+xml")) or essence in _COMPRESSIBLE

"""Media types by file name, the same on every host: the table is this one, not the system's."""

from __future__ import annotations

from zchttpd.config.names import IDENTITY, STORED_CODINGS
from zchttpd.http.media_type_table import COMPRESSIBLE, OTHERS, TEXT, WELL_KNOWN_TYPES
from zchttpd.http.target import WELL_KNOWN

DEFAULT = "application/octet-stream"

# A type that implies its coding: browsers show it only if they are told (SVG 2, section 1.3).
_CODED = {b"svgz": "gzip"}

# Where Apple looked before it was a well-known name.
_LINKS_OF_APPS = (b"apple-app-site-association",)


def _by_extension() -> dict[bytes, str]:
    table = {}
    for kinds, charset in ((TEXT, "; charset=utf-8"), (OTHERS, "")):
        for kind, extensions in kinds.items():
            for extension in extensions.split():
                table[extension.encode("ascii")] = kind + charset
    return table


_TABLE = _by_extension()
_WELL_KNOWN = {
    name.encode("ascii"): kind for kind, names in WELL_KNOWN_TYPES.items() for name in names.split()
}


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
    return essence.startswith("text/") or essence.endswith(("+json", "+xml")) or essence in COMPRESSIBLE

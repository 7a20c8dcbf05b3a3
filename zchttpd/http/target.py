"""A request target becomes path segments: decoded once, normalised, never above the root (RFC 3986)."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from zchttpd.http.request import HttpError

_BAD_TRIPLET = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SLASH = re.compile(rb"%2[fF]")
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_PCHAR = _UNRESERVED + b"!$&'()*+,;=:@"
# urljoin of Python, and so its clients, drop a semicolon at the end of a path.
_PCHAR_BUT_SEMICOLON = _PCHAR.replace(b";", b"")
_QUERY_CHAR = _PCHAR + b"/?%"
WELL_KNOWN = b".well-known"
_NO_NAMES = (b"", b".", b"..")


class Target(NamedTuple):
    """`segments`: file names below the root, without empty, `.` and `..`; `directory`: the path ended
    with a slash.

    `path` and `query` are as sent, this one without its question mark; None when there was none.
    """

    segments: tuple[bytes, ...]
    directory: bool
    query: bytes | None
    path: bytes


def parse_target(target: bytes, *, encoded_slash: bool = False) -> Target | HttpError:
    """Parse an origin-form target (RFC 3986 sections 3.3, 5.2.4 and 6.2.2).

    Refusals: 400 for a bad percent triplet, a NUL, or a path above the root; 404 for an encoded slash, which
    no file name can have, unless `encoded_slash` makes it a separator like any other.
    """
    if not target.startswith(b"/"):
        return HttpError(400, "The request target is not a path.")
    path, mark, query = target.partition(b"?")
    if _BAD_TRIPLET.search(path):
        return HttpError(400, "The path has a bad percent encoding.")
    if not encoded_slash and _SLASH.search(path):
        return HttpError(404, "No file name has a slash.")
    decoded = unquote_to_bytes(path) if b"%" in path else path
    if b"\0" in decoded:
        return HttpError(400, "The path has a NUL.")
    # Splitting after decoding: an encoded slash is a separator, where it is let in.
    names = decoded.split(b"/")
    segments: list[bytes] = []
    for name in names:
        if name == b"..":
            if not segments:
                return HttpError(400, "The path leads above the root.")
            segments.pop()
        elif name not in (b"", b"."):
            segments.append(name)
    directory = names[-1] in _NO_NAMES
    return Target(tuple(segments), directory, query if mark else None, path)


def slash_added(target: Target) -> bytes:
    """Where a path that has no slash at its end leads with one, as a reference relative to the path itself
    (RFC 3986 section 4.2): so it holds behind a proxy that takes a prefix away.
    """
    names = unquote_to_bytes(target.path.rpartition(b"/")[2]).split(b"/")
    if b".." in names:
        # How far an encoded slash climbs is known here alone.
        reference = b"%2F".join(_quote(name, _PCHAR) for name in names)
    else:
        reference = b"/".join(_quote(name, _PCHAR) for name in names if name not in _NO_NAMES)
    above = _past_encoded(target.path)
    # A colon in the first segment would end a scheme.
    return (above or (b"./" if b":" in reference.partition(b"/")[0] else b"")) + reference + b"/"


def _past_encoded(path: bytes) -> bytes:
    """Up to above the first directory of a path that has an encoding in it, and down again: `../a%20b/`.

    yarl, and so aiohttp and fsspec, decodes the directories of the request's path when it joins a reference
    to it, and then asks for a space. So none of these may be left. Empty where there is no such directory, or
    one that a client may climb in another way.
    """
    above = path.split(b"/")[1:-1]
    first = next((at for at, name in enumerate(above) if b"%" in name), len(above))
    names = [unquote_to_bytes(name) for name in above[first:]]
    if any(name in _NO_NAMES or b"/" in name for name in names):
        return b""
    return b"../" * len(names) + b"".join(_quote(name, _PCHAR) + b"/" for name in names)


def slash_removed(target: Target) -> bytes | None:
    """Where a path that ends with a slash leads without it, relative to the path itself. None for a path that
    clients resolve in different ways, such as one that ends with two slashes.
    """
    *_, piece, end = target.path.split(b"/")
    names = unquote_to_bytes(piece).split(b"/")
    if end or any(name in _NO_NAMES for name in names):
        return None
    reference = b"/".join(_quote(name, _PCHAR_BUT_SEMICOLON) for name in names)
    return b"../" + _past_encoded(target.path.removesuffix(b"/")) + reference


def hidden(segments: tuple[bytes, ...]) -> bool:
    """Whether a path has a dotfile, other than the first segment `.well-known` (RFC 8615)."""
    checked = segments[1:] if segments[:1] == (WELL_KNOWN,) else segments
    return any(name.startswith(b".") for name in checked)


def quote_query(query: bytes) -> bytes:
    """A query fit for Location (RFC 3986 section 3.4): what a URI may not have is encoded; encodings stay."""
    return _quote(query, _QUERY_CHAR)


def quote_path(path: bytes) -> bytes:
    """Decoded segments, with slashes between them, fit for a URI."""
    return _quote(path, _PCHAR + b"/")


def quote_value(text: bytes) -> bytes:
    """One value in a query: whatever it is, it ends neither the value nor the query."""
    return _quote(text, _UNRESERVED)


def _quote(name: bytes, allowed: bytes) -> bytes:
    if not name.translate(None, allowed):
        return name
    return b"".join(b"%c" % byte if byte in allowed else b"%%%02X" % byte for byte in name)

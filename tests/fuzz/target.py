# A target is refused, or names files below the root and nothing else; it is decoded once; the reference and
# the query that go into Location lead to the same place on this server.
"""Fuzzes `zchttpd.http.target`: the input is a request target."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote_to_bytes

from zchttpd.http.request import HttpError, parse_request
from zchttpd.http.response import ResponseBuilder
from zchttpd.http.target import Target, hidden, parse_target, quote_query, slash_added, slash_removed

LOCATION = re.compile(rb"(?![^/?]*:)[^/?\\\x00-\x20\"<>^`{|}\x7f-\xff][^\\\x00-\x20\"<>^`{|}\x7f-\xff]*")
ASKING = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")


def check(target: bytes) -> None:
    for each in (target, b"/" + target):
        for encoded_slash in (False, True):
            parsed = parse_target(each, encoded_slash=encoded_slash)
            if isinstance(parsed, HttpError):
                assert parsed.status in (400, 404)
            else:
                _stays_below(each, parsed)
                _leads_on(parsed)


def _stays_below(target: bytes, parsed: Target) -> None:
    for name in parsed.segments:
        assert name not in (b"", b".", b"..")
        assert not {*name} & {0, 0x2F}
    path = target.partition(b"?")[0]
    # posixpath.normpath() keeps two leading slashes, as POSIX wants; one decode, by other people's code.
    decoded = unquote_to_bytes(path)
    normal = posixpath.normpath(b"/" + decoded.lstrip(b"/"))
    assert b"/" + b"/".join(parsed.segments) == normal
    assert parsed.directory is decoded.endswith((b"/", b"/.", b"/.."))
    first, rest = parsed.segments[:1], parsed.segments[1:]
    dotted = any(name.startswith(b".") for name in rest) or (
        first not in ((), (b".well-known",)) and first[0].startswith(b".")
    )
    assert hidden(parsed.segments) is dotted


def _leads_on(parsed: Target) -> None:
    """What the client makes of Location is the path with its slash, or without it; the query stays."""
    assert not isinstance(ASKING, HttpError)
    reference = slash_removed(parsed) if parsed.directory else slash_added(parsed)
    if reference is None:
        return
    response = ResponseBuilder(ASKING).redirect(reference, parsed.query)
    location = dict(response.headers)[b"Location"]
    assert LOCATION.fullmatch(location)
    path = parsed.path.rpartition(b"/")[0] + b"/"
    if b"%2f" in path.lower():
        # No separator to a client, which takes all of such a name away for one `..` (RFC 3986 section 5.2.4).
        if any(unquote_to_bytes(name) in (b"", b".", b"..") for name in path.split(b"/")[1:-1]):
            return
        while location.startswith(b"../"):
            path = path[:-1].rpartition(b"/")[0] + b"/"
            location = location[3:]
    again = parse_target(path + location, encoded_slash=True)
    assert isinstance(again, Target)
    assert (again.segments, again.directory) == (parsed.segments, not parsed.directory)
    if parsed.query is None:
        assert again.query is None
    else:
        assert again.query == quote_query(parsed.query)
        assert unquote_to_bytes(again.query) == unquote_to_bytes(parsed.query)

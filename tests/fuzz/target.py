# A target is refused, or names files below the root and nothing else; it is decoded once; the path and the
# query that go into Location lead to the same place on this server.
"""Fuzzes `zchttpd.http.target`: the input is a request target."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote_to_bytes

from zchttpd.http.judge import Refusal, judge
from zchttpd.http.plan import redirect_response
from zchttpd.http.target import Target, hidden, parse_target, quote_query

LOCATION = re.compile(rb"/([^/\\\x00-\x20\"<>^`{|}\x7f-\xff][^\\\x00-\x20\"<>^`{|}\x7f-\xff]*)?")
ASKING = judge(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")


def check(target: bytes) -> None:
    for each in (target, b"/" + target):
        parsed = parse_target(each)
        if isinstance(parsed, Refusal):
            assert parsed.status in (400, 404)
        else:
            _stays_below(each, parsed)
            _leads_back(parsed)


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


def _leads_back(parsed: Target) -> None:
    assert parse_target(parsed.raw_path) == Target(parsed.segments, parsed.directory, None, parsed.raw_path)
    assert not isinstance(ASKING, Refusal)
    for path in (parsed.raw_path, parsed.raw_path.rstrip(b"/") + b"/"):
        response = redirect_response(ASKING, path, parsed.query)
        location = dict(response.headers)[b"Location"]
        assert LOCATION.fullmatch(location)
        again = parse_target(location)
        assert isinstance(again, Target)
        assert again.segments == parsed.segments
        if parsed.query is None:
            assert again.query is None
        else:
            assert again.query == quote_query(parsed.query)
            assert unquote_to_bytes(again.query) == unquote_to_bytes(parsed.query)

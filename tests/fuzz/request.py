# Whatever the bytes, a head is parsed or refused, twice alike; a head that is not refused ends for h11
# exactly where the framer cut it, has one place where its body ends, and can be answered; what stands for it
# in the memory of an engine, and what stands in the parse cache, say the same.
"""Fuzzes `zchttpd.http.request`: the input is what a connection receives."""

from __future__ import annotations

import re

import h11
from zchttpd._core.testing import cache_key_of

from zchttpd.http.cache_key import cache_key
from zchttpd.http.parse_cache import ParseCache
from zchttpd.http.request import ANSWER_FIELDS, FIELDS_MAX, HttpError, Request, parse_request
from zchttpd.http.response import ResponseBuilder
from zchttpd.http.response_head import PHRASES, encode_head

from ..core.framing import Frame, Framer

LINE_MAX = 2048
HEAD_MAX = 4096
CONTROLS = {*range(0x20), 0x7F} - {0x09}
# What follows a head, to see whether h11 takes some of it, or leaves some of the head.
NEXT = b"*NEXT*"
ELSEWHERE = re.compile(rb"\A([A-Z]+) [^ ]+ HTTP")


def check(received: bytes) -> None:
    framer = Framer(LINE_MAX, HEAD_MAX)
    while framer.look(received) is Frame.HEAD:
        head, received = received[: framer.length], received[framer.length :]
        # An empty line before a head is skipped by the engines.
        if head != b"\r\n" and not _parsed_alike(head, framed=True):
            return
    _parsed_alike(received, framed=False)


def _parsed_alike(head: bytes, *, framed: bool) -> bool:
    """Whether another request may follow."""
    if head.startswith(b"GET "):
        # Content is forbidden to the one and foreseen for the other.
        _parsed_alike(b"POST" + head[3:], framed=framed)
    request = parse_request(head)
    assert request == parse_request(head)
    if framed:
        _remembered_alike(head, request)
    if isinstance(request, HttpError):
        assert request.status in PHRASES
        assert request.status >= 400
        response = ResponseBuilder(None, with_content=not request.bodiless).error(
            request.status, reason=request.reason
        )
        assert (response.parts == ()) is request.bodiless is head.startswith(b"HEAD ")
        encode_head(None, response.status, response.headers, keep_alive=False)
        return False
    _well_formed(request, _ends_where_it_was_cut(request, head))
    if request.method not in ("GET", "HEAD"):
        response = ResponseBuilder(request).of_method()
        assert response.status in ((204,) if request.method == "OPTIONS" else (405, 501))
        encode_head(request, response.status, response.headers, keep_alive=response.keep_alive)
    return request.keep_alive


def _well_formed(request: Request, parsed: h11.Request) -> None:
    fields = list(parsed.headers)
    assert request.version in (b"1.0", b"1.1")
    assert request.target == b"*" or request.target.startswith(b"/")
    assert len(fields) <= FIELDS_MAX
    for name, value in fields:
        assert name == name.lower() == name.strip()
        assert not {*name, *value} & CONTROLS
    hosts, codings, lengths = (
        [value for name, value in fields if name == each]
        for each in (b"host", b"transfer-encoding", b"content-length")
    )
    assert len(hosts) == 1 or (request.version == b"1.0" and not hosts)
    assert not (codings and lengths)
    assert not codings or (codings[0].lower() == b"chunked" and request.version == b"1.1")
    assert request.has_body is bool(codings or (lengths and int(lengths[0]) > 0))
    assert not (request.has_body and (request.keep_alive or request.cacheable))
    # What was not parsed is never answered with success.
    assert not codings or request.method not in ("GET", "HEAD", "OPTIONS")


def _ends_where_it_was_cut(request: Request, head: bytes) -> h11.Request:
    """What h11 makes of the head, read apart from `parse_request`."""
    early = h11.Connection(h11.SERVER)
    early.receive_data(head[:-1])
    assert early.next_event() is h11.NEED_DATA
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head + NEXT)
    parsed = connection.next_event()
    assert type(parsed) is h11.Request
    assert parsed.method == request.method.encode()
    assert request.headers == tuple(each for each in parsed.headers if each[0] in ANSWER_FIELDS)
    if not request.has_body:
        assert type(connection.next_event()) is h11.EndOfMessage
        assert connection.trailing_data[0] == NEXT
        return parsed
    length = next((int(value) for name, value in parsed.headers if name == b"content-length"), None)
    if length is not None:
        body = connection.next_event()
        assert type(body) is h11.Data
        assert bytes(body.data) == NEXT[:length]
    return parsed


def _remembered_alike(head: bytes, request: Request | HttpError) -> None:
    """What stands for a head in the engines' memory, and a request on one like it, say what its own does."""
    kept = cache_key(head)
    assert cache_key_of(head) == kept
    assert kept is None or parse_request(kept) == request
    parse_cache = ParseCache()
    elsewhere = ELSEWHERE.sub(rb"\1 /elsewhere HTTP", head)
    for each in (elsewhere, head, elsewhere):
        assert parse_cache.parse(each) == parse_request(each)

# Whatever the bytes, a head is judged or refused, twice alike; a head that is not refused ends for h11
# exactly where the framer cut it, has one place where its body ends, and can be answered; what stands for it
# in the memory of an engine, and a precedent, say the same.
"""Fuzzes `zchttpd.http.judge`: the input is what a connection receives."""

from __future__ import annotations

import re

import h11
from zchttpd._core.testing import cache_key_of

from zchttpd.engines.portable_heads import Frame, Framer
from zchttpd.http.gist import gist
from zchttpd.http.head import PHRASES, encode_head
from zchttpd.http.judge import ANSWER_FIELDS, FIELDS_MAX, Refusal, Verdict, judge
from zchttpd.http.plan import early_response, refusal_response
from zchttpd.http.precedent import Precedents

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
        if head != b"\r\n" and not _judged(head, framed=True):
            return
    _judged(received, framed=False)


def _judged(head: bytes, *, framed: bool) -> bool:
    """Whether another request may follow."""
    if head.startswith(b"GET "):
        # Content is forbidden to the one and foreseen for the other.
        _judged(b"POST" + head[3:], framed=framed)
    verdict = judge(head)
    assert verdict == judge(head)
    if framed:
        _remembered_alike(head, verdict)
    if isinstance(verdict, Refusal):
        assert verdict.status in PHRASES
        assert verdict.status >= 400
        response = refusal_response(verdict)
        assert (response.parts == ()) is verdict.bodiless is head.startswith(b"HEAD ")
        encode_head(None, response.status, response.headers, keep_alive=False)
        return False
    _well_formed(verdict, _ends_where_it_was_cut(verdict, head))
    early = early_response(verdict)
    assert (early is None) is (verdict.method in ("GET", "HEAD"))
    if early is not None:
        assert early.status in ((204,) if verdict.method == "OPTIONS" else (405, 501))
        encode_head(verdict, early.status, early.headers, keep_alive=early.keep_alive)
    return verdict.keep_alive


def _well_formed(verdict: Verdict, request: h11.Request) -> None:
    fields = list(request.headers)
    assert verdict.version in (b"1.0", b"1.1")
    assert verdict.target == b"*" or verdict.target.startswith(b"/")
    assert len(fields) <= FIELDS_MAX
    for name, value in fields:
        assert name == name.lower() == name.strip()
        assert not {*name, *value} & CONTROLS
    hosts, codings, lengths = (
        [value for name, value in fields if name == each]
        for each in (b"host", b"transfer-encoding", b"content-length")
    )
    assert len(hosts) == 1 or (verdict.version == b"1.0" and not hosts)
    assert not (codings and lengths)
    assert not codings or (codings[0].lower() == b"chunked" and verdict.version == b"1.1")
    assert verdict.has_body is bool(codings or (lengths and int(lengths[0]) > 0))
    assert not (verdict.has_body and (verdict.keep_alive or verdict.memo))
    # What was not parsed is never answered with success.
    assert not codings or verdict.method not in ("GET", "HEAD", "OPTIONS")


def _ends_where_it_was_cut(verdict: Verdict, head: bytes) -> h11.Request:
    """What h11 makes of the head, read apart from `judge`."""
    early = h11.Connection(h11.SERVER)
    early.receive_data(head[:-1])
    assert early.next_event() is h11.NEED_DATA
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head + NEXT)
    request = connection.next_event()
    assert type(request) is h11.Request
    assert request.method == verdict.method.encode()
    assert verdict.headers == tuple(each for each in request.headers if each[0] in ANSWER_FIELDS)
    if not verdict.has_body:
        assert type(connection.next_event()) is h11.EndOfMessage
        assert connection.trailing_data[0] == NEXT
        return request
    length = next((int(value) for name, value in request.headers if name == b"content-length"), None)
    if length is not None:
        body = connection.next_event()
        assert type(body) is h11.Data
        assert bytes(body.data) == NEXT[:length]
    return request


def _remembered_alike(head: bytes, verdict: Verdict | Refusal) -> None:
    """What stands for a head in the engines' memory, and a verdict on one like it, say what its own does."""
    kept = gist(head)
    assert cache_key_of(head) == kept
    assert kept is None or judge(kept) == verdict
    precedents = Precedents()
    elsewhere = ELSEWHERE.sub(rb"\1 /elsewhere HTTP", head)
    for each in (elsewhere, head, elsewhere):
        assert precedents.judge(each) == judge(each)

# Whatever the bytes, a head is judged or refused, twice alike; a head that is not refused ends for h11
# exactly where the framer cut it, has one place where its body ends, and can be answered.
"""Fuzzes `zchttpd.http.judge`: the input is what a connection receives."""

from __future__ import annotations

import h11

from zchttpd.engines.portable_heads import Frame, Framer
from zchttpd.http.head import PHRASES, encode_head
from zchttpd.http.judge import FIELDS_MAX, Refusal, Verdict, judge
from zchttpd.http.plan import early_response, refusal_response

LINE_MAX = 2048
HEAD_MAX = 4096
CONTROLS = {*range(0x20), 0x7F} - {0x09}
# What follows a head, to see whether h11 takes some of it, or leaves some of the head.
NEXT = b"*NEXT*"


def check(received: bytes) -> None:
    framer = Framer(LINE_MAX, HEAD_MAX)
    while framer.look(received) is Frame.HEAD:
        head, received = received[: framer.length], received[framer.length :]
        # An empty line before a head is skipped by the engines.
        if head != b"\r\n" and not _judged(head):
            return
    _judged(received)


def _judged(head: bytes) -> bool:
    """Whether another request may follow."""
    if head.startswith(b"GET "):
        # Content is forbidden to the one and foreseen for the other.
        _judged(b"POST" + head[3:])
    verdict = judge(head)
    assert verdict == judge(head)
    if isinstance(verdict, Refusal):
        assert verdict.status in PHRASES
        assert verdict.status >= 400
        response = refusal_response(verdict)
        assert (response.parts == ()) is verdict.bodiless is head.startswith(b"HEAD ")
        encode_head(None, response.status, response.headers, keep_alive=False)
        return False
    _well_formed(verdict)
    _ends_where_it_was_cut(verdict, head)
    early = early_response(verdict)
    assert (early is None) is (verdict.method in ("GET", "HEAD"))
    if early is not None:
        assert early.status in ((204,) if verdict.method == "OPTIONS" else (405, 501))
        encode_head(verdict, early.status, early.headers, keep_alive=early.keep_alive)
    return verdict.keep_alive


def _well_formed(verdict: Verdict) -> None:
    assert verdict.version in (b"1.0", b"1.1")
    assert verdict.target == b"*" or verdict.target.startswith(b"/")
    assert len(verdict.headers) <= FIELDS_MAX
    for name, value in verdict.headers:
        assert name == name.lower() == name.strip()
        assert not {*name, *value} & CONTROLS
    assert len(verdict.fields(b"host")) == 1 or (verdict.version == b"1.0" and not verdict.fields(b"host"))
    coding, length = verdict.field(b"transfer-encoding"), verdict.field(b"content-length")
    assert coding is None or length is None
    assert coding is None or (coding == b"chunked" and verdict.version == b"1.1")
    assert verdict.has_body is (coding is not None or (length is not None and int(length) > 0))
    assert not (verdict.has_body and (verdict.keep_alive or verdict.memo))
    # What was not parsed is never answered with success.
    assert coding is None or verdict.method not in ("GET", "HEAD", "OPTIONS")


def _ends_where_it_was_cut(verdict: Verdict, head: bytes) -> None:
    early = h11.Connection(h11.SERVER)
    early.receive_data(head[:-1])
    assert early.next_event() is h11.NEED_DATA
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head + NEXT)
    request = connection.next_event()
    assert type(request) is h11.Request
    assert (request.method, tuple(request.headers)) == (verdict.method.encode(), verdict.headers)
    if not verdict.has_body:
        assert type(connection.next_event()) is h11.EndOfMessage
        assert connection.trailing_data[0] == NEXT
    elif (length := verdict.field(b"content-length")) is not None:
        body = connection.next_event()
        assert type(body) is h11.Data
        assert bytes(body.data) == NEXT[: int(length)]

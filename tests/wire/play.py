"""Playing a case against a server: in one write, byte by byte, or in the middle of a pipeline."""

from __future__ import annotations

import threading
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from . import rules
from .case import KEPT, SILENT, Case, check
from .client import ProtocolError, request
from .tree import FILES, MTIME_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from .client import Peer, Reply
    from .servers import Server

    Etags: TypeAlias = Mapping[tuple[bytes, bytes], bytes]

PROBE = request("/probe.txt", host="probe.test")


def whole(server: Server, case: Case, etags: Etags) -> Reply | None:
    """The case by itself on a new connection. None stands for an allowed end without an answer."""
    with server.peer() as peer:
        peer.send(case.request(etags))
        return _finish(peer, case)


def bytewise(server: Server, case: Case, etags: Etags) -> Reply | None:
    """Each byte in a write of its own."""
    asked = case.request(etags)
    with server.peer() as peer:
        peer.send(asked[at : at + 1] for at in range(len(asked)))
        # The server may have refused before the last byte, which then meets a closed socket.
        return _finish(peer, case, reset_allowed=True)


def pipelined(server: Server, case: Case, etags: Etags) -> Reply | None:
    """A good request, the case, and another good request, all in one write."""
    with server.peer() as peer:
        after = PROBE if case.kept is KEPT else b""
        peer.send(PROBE + case.request(etags) + after)
        _check_probe(peer)
        return _finish(peer, case, probe_sent=bool(after))


def stream(server: Server, cases: Sequence[Case], etags: Etags, piece: int) -> None:
    """Many cases that keep the connection, on one, in writes of `piece` bytes that know no requests."""
    asked = b"".join(case.request(etags) for case in cases)
    with server.peer() as peer:
        # The server stops reading while nobody takes its answers, so both sides must go on at once.
        writer = threading.Thread(
            target=peer.send, args=([asked[at : at + piece] for at in range(0, len(asked), piece)],)
        )
        writer.start()
        for case in cases:
            reply = peer.reply(case.method)
            try:
                rules.check(reply, case.method)
                check(case, reply)
            except AssertionError as error:
                raise AssertionError(f"{case.name}: {error}") from error
        peer.send(PROBE)
        _check_probe(peer)
        writer.join()


def _finish(peer: Peer, case: Case, *, probe_sent: bool = False, reset_allowed: bool = False) -> Reply | None:
    """Read and check the response, then prove that the connection is in step, or at its end, with nothing
    left over.
    """
    if case.half_close:
        peer.half_close()
    try:
        reply = peer.reply(case.method)
    except ProtocolError:
        if SILENT in case.statuses and peer.ended and not peer.rest:
            return None
        raise
    rules.check(reply, case.method)
    check(case, reply)
    if case.kept is not None:
        said = "says it is the last one" if reply.closes else "does not say that it is the last one"
        assert reply.closes is not case.kept, f"the response ({reply.status}) {said}"
    if reply.closes or case.half_close:
        left = peer.leftover()
        assert left == b"", f"{len(left)} bytes after the last response: {left[:120]!r}"
        assert case.reset or reset_allowed or not peer.reset, "a reset instead of an orderly end"
    else:
        if not probe_sent:
            peer.send(PROBE)
        _check_probe(peer)
    return reply


def _check_probe(peer: Peer) -> None:
    probe = peer.reply()
    rules.check(probe, b"GET")
    assert (probe.status, probe.body) == (200, FILES[b"probe.txt"]), (
        f"out of step: {probe.status} {probe.body[:120]!r}"
    )


def summary(reply: Reply | None) -> object:
    """What must not depend on the engine or the send mode: everything but the time of day and the multipart
    boundary.
    """
    if reply is None:
        return None
    boundary = (reply.field(b"content-type") or b"").partition(b"boundary=")[2].strip(b'"')
    headers = [(key, value) for key, value in reply.headers if not _is_clock(key, value)]
    if not boundary:
        return reply.status, headers, reply.body
    unbound = [(key, value.replace(boundary, b"B")) for key, value in headers]
    return reply.status, unbound, reply.body.replace(boundary, b"B")


def _is_clock(name: bytes, value: bytes) -> bool:
    """Date, or a Last-Modified that was cut down to the time of the look: no file of the tree is that new."""
    if name != b"last-modified":
        return name == b"date"
    return parsedate_to_datetime(value.decode()).timestamp() > MTIME_S

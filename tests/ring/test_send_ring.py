"""The ring for sends of programs, without a loop: what it returns, and what it tells a lease when."""

from __future__ import annotations

import errno
import select
import socket

import pytest

from zchttpd._core.send_ring import SendRing

from ..wire.pairs import LARGE, connected

pytestmark = pytest.mark.uring


class Told:
    """A lease that remembers what it was told."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: list[bool] = []

    def _begin_one(self) -> None:
        self.begun += 1

    def _end_one(self, *, copied: bool) -> None:
        self.ended.append(copied)


def take_all(ring: SendRing) -> None:
    """As a loop does, until nothing is out."""
    while ring.out:
        readable, _, _ = select.select([ring.fd], [], [], 30)
        assert readable, "no notification"
        ring.take()


@pytest.mark.locked
def test_a_send_that_took_nothing_is_not_copied() -> None:
    """It takes what there is room for, and never waits."""
    ring, told, full = SendRing(), Told(), Told()
    with connected() as (sender, receiver):
        sent = 0
        while select.select([], [sender], [], 0)[1]:
            sent += ring.send(sender.fileno(), LARGE, sent, told)
        with pytest.raises(BlockingIOError):
            ring.send(sender.fileno(), LARGE, sent, full)
        receiver.setblocking(True)
        while sent:
            sent -= len(receiver.recv(sent))
        take_all(ring)
    assert told.ended == [True] * told.begun
    assert full.ended == [False] * full.begun


def test_what_it_cannot_do_is_an_error() -> None:
    ring, told = SendRing(), Told()
    with connected() as (sender, _), pytest.raises(ValueError, match="nothing is left"):
        ring.send(sender.fileno(), b"text", 4, told)
    with pytest.raises(OSError, match="Bad file descriptor"):
        ring.send(-1, b"text", 0, told)
    one, other = socket.socketpair()
    with one, other, pytest.raises(OSError, match="not supported") as caught:
        ring.send(one.fileno(), b"text", 0, told)
    assert caught.value.errno == errno.EOPNOTSUPP
    take_all(ring)
    assert told.ended == [False] * told.begun


def test_a_closed_ring_has_no_room() -> None:
    """Which is a copy for whoever sends."""
    ring, told = SendRing(), Told()
    ring.close()
    with connected() as (sender, _), pytest.raises(OSError, match="the ring is closed") as caught:
        ring.send(sender.fileno(), b"text", 0, told)
    assert caught.value.errno == errno.ENOBUFS
    ring.take()
    assert (told.begun, ring.out) == (0, 0)

"""The poller over socket pairs and listeners: each op has its completion, and nothing spins."""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import struct
from typing import TYPE_CHECKING

from zchttpd._core.testing_poller import Done, Driver

from .polling import LONG_US, Pair, fill_up, is_quiet, results, take, turn

if TYPE_CHECKING:
    from pathlib import Path


# ---- receiving ----


def test_a_receive_stays_armed(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    driver.push("recv", ours.fileno(), 7)
    for text in (b"one", b"two"):
        theirs.send(text)
        (done,) = turn(driver)
        assert (done.token, done.res, done.more, done.received) == (7, 3, True, text)
    assert is_quiet(driver)


def test_more_than_a_buffer_comes_in_pieces(pair: Pair) -> None:
    ours, theirs = pair
    driver = Driver(4, 100)
    driver.push("recv", ours.fileno(), 7)
    theirs.send(b"x" * 250)
    assert [turn(driver)[0].res for _ in range(3)] == [100, 100, 50]
    assert is_quiet(driver)


def test_the_end_of_the_peer_ends_the_receive(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    driver.push("recv", ours.fileno(), 7)
    theirs.send(b"last")
    theirs.shutdown(socket.SHUT_WR)
    assert results(driver) == [(7, 4)]
    (done,) = turn(driver)
    assert (done.res, done.more, done.received) == (0, False, None)
    assert is_quiet(driver)
    assert driver.events(ours.fileno()) == 0


def test_a_peer_that_is_gone_wakes_nobody_again(driver: Driver, pair: Pair) -> None:
    """A hang-up is reported whether asked for or not: nothing of this socket may stay in the set."""
    ours, theirs = pair
    driver.push("recv", ours.fileno(), 7)
    theirs.close()
    assert results(driver) == [(7, 0)]
    assert is_quiet(driver)


def test_a_reset_is_an_error(driver: Driver, listener: socket.socket) -> None:
    client = socket.create_connection(listener.getsockname())
    driver.push("accept", listener.fileno(), 1)
    (accepted,) = turn(driver)
    driver.push("recv", accepted.res, 7)
    assert turn(driver, 0) == []
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert results(driver) == [(7, -errno.ECONNRESET)]
    driver.push("close", accepted.res, 8)
    assert results(driver) == [(8, 0)]


def test_without_buffers_bytes_stay_where_they_are() -> None:
    driver = Driver(2, 64)
    pairs = [socket.socketpair() for _ in range(5)]
    for token, (ours, theirs) in enumerate(pairs):
        driver.push("recv", ours.fileno(), 10 + token)
        theirs.send(b"hello")
    seen = []
    for expected in (2, 2, 1):
        driver.wait(LONG_US)
        batch = driver.reap()
        assert len(batch) == expected
        assert driver.reap() == []
        assert all(done.received == b"hello" for done in batch)
        seen += [done.token for done in batch]
        for done in batch:
            driver.give_back(done.buffer)
    assert sorted(seen) == [10, 11, 12, 13, 14]
    assert is_quiet(driver)
    for both in pairs:
        for sock in both:
            sock.close()


def test_a_cancelled_receive(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    driver.push("recv", ours.fileno(), 7)
    driver.push("cancel", ours.fileno(), 8, offset=7)
    assert results(driver) == [(7, -errno.ECANCELED), (8, 0)]
    theirs.send(b"unread")
    assert is_quiet(driver)
    driver.push("cancel", ours.fileno(), 9, offset=7)
    assert results(driver) == [(9, -errno.ENOENT)]
    driver.push("recv", ours.fileno(), 10)
    assert turn(driver)[0].received == b"unread"


# ---- ends ----


def test_everything_of_a_socket_is_cancelled(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    filler = fill_up(ours)
    driver.push("recv", ours.fileno(), 5)
    driver.push("poll", ours.fileno(), 6)
    assert is_quiet(driver)
    driver.push("cancel_all", ours.fileno(), 9)
    assert results(driver) == [(5, -errno.ECANCELED), (6, -errno.ECANCELED), (9, 0)]
    take(theirs, filler)
    theirs.send(b"unheard")
    assert is_quiet(driver)


def test_a_closed_number_is_a_new_one(driver: Driver) -> None:
    """Whoever gets the number next finds nothing of its former owner."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    fill_up(ours)
    number = ours.detach()
    driver.push("recv", number, 5)
    driver.push("poll", number, 6)
    assert is_quiet(driver)
    driver.push("close", number, 7)
    # The number is another's before the poller has been asked anything.
    other, peer = socket.socketpair()
    assert number in (other.fileno(), peer.fileno())
    mine, yours = (other, peer) if other.fileno() == number else (peer, other)
    driver.push("recv", number, 8)
    assert results(driver) == [(5, -errno.ECANCELED), (6, -errno.ECANCELED), (7, 0)]
    yours.send(b"hello")
    assert [(done.token, done.received) for done in turn(driver)] == [(8, b"hello")]
    assert is_quiet(driver)
    assert driver.events(number) == select.EPOLLIN
    for sock in (mine, yours, theirs):
        sock.close()


def test_who_comes_waits_for_no_crowd_that_does_without_waiting(driver: Driver) -> None:
    """Each send is followed by another, as where many pipeline: a receive takes its place among them."""
    crowd = [socket.socketpair() for _ in range(8)]
    ours, theirs = socket.socketpair()
    driver.push("recv", ours.fileno(), 100)
    for token, (one, _) in enumerate(crowd, 1):
        driver.push("send", one.fileno(), token, memory=b"x")
    theirs.send(b"hello")
    driver.wait(0)
    seen = []
    for _ in range(4):
        for done in driver.reap(4):
            seen.append(done.token)
            if done.received is not None:
                driver.give_back(done.buffer)
            else:
                driver.push("send", crowd[done.token - 1][0].fileno(), done.token, memory=b"x")
    assert 100 in seen
    assert len(seen) == 16, "and they go on"
    for one, other in (*crowd, (ours, theirs)):
        one.close()
        other.close()


def test_an_event_of_a_former_owner_is_harmless(driver: Driver) -> None:
    """Both have bytes in one wait; after the first the second is closed, and its number is taken again."""
    pairs = [socket.socketpair() for _ in range(2)]
    for token, (ours, theirs) in enumerate(pairs, 1):
        driver.push("recv", ours.fileno(), token)
        theirs.send(b"hello")
    driver.wait(LONG_US)
    (first,) = driver.reap(1)
    driver.give_back(first.buffer)
    stays, goes = pairs if first.token == 1 else pairs[::-1]
    late = goes[0].detach()
    driver.push("close", late, 10)
    other, peer = socket.socketpair()
    mine, yours = (other, peer) if other.fileno() == late else (peer, other)
    assert mine.fileno() == late
    driver.push("recv", late, 11)
    assert results(driver) == [(3 - first.token, -errno.ECANCELED), (10, 0)]
    assert is_quiet(driver)
    yours.send(b"for me")
    assert [(done.token, done.received) for done in turn(driver)] == [(11, b"for me")]
    for sock in (mine, yours, *stays, goes[1]):
        sock.close()


def test_what_cannot_be_watched_fails(driver: Driver, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        driver.push("watch", file.fileno(), 7)
        assert results(driver) == [(7, -errno.EPERM)]
        assert is_quiet(driver)


# ---- new connections, and who wakes us ----


def test_connections_are_accepted(driver: Driver, listener: socket.socket) -> None:
    driver.push("accept", listener.fileno(), 1)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(70)]
    accepted: list[Done] = []
    while len(accepted) < len(clients):
        accepted += turn(driver)
    assert all(done.token == 1 and done.more for done in accepted)
    assert all(not os.get_blocking(done.res) and not os.get_inheritable(done.res) for done in accepted)
    assert is_quiet(driver)
    driver.push("cancel", listener.fileno(), 2, offset=1)
    assert results(driver) == [(1, -errno.ECANCELED), (2, 0)]
    clients.append(socket.create_connection(listener.getsockname()))
    assert is_quiet(driver)
    for done in accepted:
        os.close(done.res)
    for client in clients:
        client.close()


def test_without_descriptors_accepting_ends(driver: Driver, listener: socket.socket) -> None:
    driver.push("accept", listener.fileno(), 1)
    assert is_quiet(driver)
    with socket.create_connection(listener.getsockname()):
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The lowest number that is free is above the limit.
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            driver.wait(LONG_US)
            (done,) = driver.reap()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert (done.token, done.res, done.more) == (1, -errno.EMFILE, False)
        assert is_quiet(driver)
        driver.push("accept", listener.fileno(), 1)
        (done,) = turn(driver)
        assert done.more
        os.close(done.res)


def test_a_watch_is_for_once(driver: Driver) -> None:
    wake, waker = os.pipe()
    driver.push("watch", wake, 3)
    assert is_quiet(driver)
    os.write(waker, b"!")
    ((token, _),) = results(driver)
    assert token == 3
    assert is_quiet(driver)
    driver.push("watch", wake, 4)
    assert [done.token for done in turn(driver)] == [4]
    os.close(wake)
    os.close(waker)

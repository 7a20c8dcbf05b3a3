"""The poller's zero-copy sends: a result at once, a notification later, and no close before the last one."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from zchttpd._core.testing_poller import LINK, MORE, Done, Driver

from .polling import Pair, is_quiet, results, take, turn

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 64 * 1024
POISON = 0xDB


@pytest.fixture
def tcp(listener: socket.socket) -> Iterator[Pair]:
    """Its peer takes little that it has not read."""
    theirs = socket.socket()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
    theirs.connect(listener.getsockname())
    ours, _ = listener.accept()
    ours.setblocking(False)
    with ours, theirs:
        theirs.settimeout(20)
        yield ours, theirs


def more(driver: Driver) -> list[Done]:
    """What comes next; something must."""
    found = turn(driver)
    assert found, "nothing comes any more"
    return found


def kinds(found: list[Done]) -> list[tuple[int, str]]:
    """Of results and notifications: the token and what it is."""
    return [
        (done.token, "notification" if done.notification else "result" if done.more else "last result")
        for done in found
    ]


def send_until_full(driver: Driver, ours: socket.socket) -> dict[int, bytearray]:
    """Memory of the sends that have been taken, whole or in part, by token; none is notified meanwhile."""
    memory: dict[int, bytearray] = {}
    while True:
        token = len(memory) + 1
        piece = bytearray([token % 200]) * PIECE
        driver.push("send_zc", ours.fileno(), token, memory=piece)
        [done] = driver.reap()
        if done.res == -errno.EAGAIN:
            assert not done.more
            return memory
        assert done.more
        memory[token] = piece[: done.res] if done.res < PIECE else piece


def reset_on_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_result_and_a_notification(driver: Driver, tcp: Pair) -> None:
    ours, theirs = tcp
    driver.push("send_zc", ours.fileno(), 7, memory=b"x" * PIECE)
    [result] = driver.reap()
    assert (result.token, result.res, result.more, result.notification) == (7, PIECE, True, False)
    [notification] = turn(driver)
    # Loopback copies, and says so.
    assert (notification.token, notification.more, notification.notification) == (7, False, True)
    assert notification.res < 0
    assert take(theirs, PIECE) == b"x" * PIECE
    assert is_quiet(driver)
    assert driver.events(ours.fileno()) == 0


def test_a_receive_beside_it_hears_bytes_alone(driver: Driver, tcp: Pair) -> None:
    ours, theirs = tcp
    driver.push("recv", ours.fileno(), 1)
    for token in range(10, 15):
        driver.push("send_zc", ours.fileno(), token, memory=b"x" * 1000)
    found = [done for _ in range(2) for done in turn(driver, 0)]
    while len(found) < 10:
        found += more(driver)
    assert sorted(kinds(found)) == sorted(
        (token, kind) for token in range(10, 15) for kind in ("notification", "result")
    )
    assert is_quiet(driver)
    theirs.send(b"hello")
    assert [(done.token, done.received) for done in turn(driver)] == [(1, b"hello")]
    assert is_quiet(driver)


def test_a_head_and_what_is_linked_behind_it(driver: Driver, tcp: Pair) -> None:
    ours, theirs = tcp
    driver.push("send", ours.fileno(), 7, memory=b"head", flags=LINK | MORE)
    driver.push("send_zc", ours.fileno(), 8, memory=b"body")
    assert kinds(driver.reap()) == [(7, "last result"), (8, "result")]
    assert take(theirs, 8) == b"headbody"
    assert kinds(turn(driver)) == [(8, "notification")]


def test_a_socket_that_has_none_says_so(driver: Driver, pair: Pair) -> None:
    ours, _ = pair
    driver.push("send_zc", ours.fileno(), 7, memory=b"x")
    assert results(driver) == [(7, -errno.EOPNOTSUPP)]
    assert is_quiet(driver)


def test_sends_that_fail_are_not_counted(driver: Driver, tcp: Pair) -> None:
    """A full socket takes none; what it takes later is notified under its own token."""
    ours, theirs = tcp
    memory = send_until_full(driver, ours)
    total = sum(map(len, memory.values()))
    for token in (901, 902):
        driver.push("send_zc", ours.fileno(), token, memory=b"in vain")
        assert results(driver)[-1] == (token, -errno.EAGAIN)
    take(theirs, total)
    driver.push("send_zc", ours.fileno(), 903, memory=b"last")
    ended = {done.token for done in driver.reap() if done.notification}
    while len(ended) < len(memory) + 1:
        ended |= {done.token for done in more(driver) if done.notification}
    assert ended == {*memory, 903}


def test_memory_is_not_read_once_it_has_been_notified(driver: Driver, tcp: Pair) -> None:
    """It is overwritten at once: a byte that was read later would show at the receiver."""
    ours, theirs = tcp
    memory = send_until_full(driver, ours)
    expected = b"".join(memory.values())
    got = bytearray()
    out = set(memory)
    while len(got) < len(expected):
        for done in turn(driver, 0):
            if done.notification:
                out.remove(done.token)
                driver.overwrite(done.token, POISON)
        got += theirs.recv(PIECE)
    assert got == expected
    while out:
        out -= {done.token for done in more(driver) if done.notification}


def test_memory_is_read_until_it_has_been_notified(driver: Driver, tcp: Pair) -> None:
    """So that the test above could fail: what is overwritten too early does show."""
    ours, theirs = tcp
    memory = send_until_full(driver, ours)
    total = sum(map(len, memory.values()))
    notified = {done.token for done in turn(driver, 0) if done.notification}
    assert notified != set(memory)
    for token in set(memory) - notified:
        driver.overwrite(token, POISON)
    assert POISON in take(theirs, total)


@pytest.mark.parametrize("how", ["reads", "resets"])
def test_a_close_waits_for_the_last_notification(driver: Driver, tcp: Pair, how: str) -> None:
    ours, theirs = tcp
    memory = send_until_full(driver, ours)
    total = sum(map(len, memory.values()))
    driver.push("recv", ours.fileno(), 1000)
    fd = ours.detach()
    driver.push("close", fd, 2000)
    found = turn(driver, 0)
    found += turn(driver, 0)
    assert [(done.token, done.res) for done in found if not done.notification] == [(1000, -errno.ECANCELED)]
    # The end of our direction, and hang-ups, wake nobody.
    assert is_quiet(driver)
    os.fstat(fd)
    if how == "reads":
        assert len(take(theirs, total)) == total
        assert theirs.recv(1) == b""
    else:
        reset_on_close(theirs)
        theirs.close()
    while found[-1].token != 2000:
        found += more(driver)
    assert {done.token for done in found if done.notification} == set(memory)
    assert kinds(found)[-1] == (2000, "last result")
    assert found[-1].res == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert is_quiet(driver)


def test_a_reset_ends_all_at_once(driver: Driver, tcp: Pair) -> None:
    ours, theirs = tcp
    memory = send_until_full(driver, ours)
    reset_on_close(ours)
    fd = ours.detach()
    driver.push("cancel_all", fd, 1999)
    driver.push("close", fd, 2000)
    found: list[Done] = []
    while not found or found[-1].token != 2000:
        found += more(driver)
    assert {done.token for done in found if done.notification} == set(memory)
    with pytest.raises(ConnectionResetError):
        take(theirs, 1 << 30)


def test_the_number_of_a_closed_socket_starts_anew(driver: Driver, listener: socket.socket) -> None:
    numbers = set()
    for round_ in range(3):
        with socket.create_connection(listener.getsockname()) as theirs:
            ours, _ = listener.accept()
            ours.setblocking(False)
            fd = ours.detach()
            numbers.add(fd)
            for token in range(round_ + 1):
                driver.push("send_zc", fd, token, memory=b"x" * 100)
            found = driver.reap()
            while len(found) < 2 * (round_ + 1):
                found += more(driver)
            driver.push("close", fd, 99)
            assert results(driver) == [(99, 0)]
            assert take(theirs, 100 * (round_ + 1)) == b"x" * 100 * (round_ + 1)
    assert len(numbers) == 1


def test_the_end_of_the_poller_closes_what_has_waited(driver: Driver, tcp: Pair) -> None:
    ours, theirs = tcp
    send_until_full(driver, ours)
    fd = ours.detach()
    driver.push("close", fd, 2000)
    os.fstat(fd)
    driver.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    poll = select.poll()
    poll.register(theirs, select.POLLIN)
    assert poll.poll(20_000)

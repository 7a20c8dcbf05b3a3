"""Splices: pages of a memory file to a socket, by way of pipes of which there are few."""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from zchttpd._core.testing_poller import LINK, MORE

from .polling import fill_up, is_quiet, results, take, turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zchttpd._core.testing_poller import Done, Driver

    from .polling import Pair

CONTENT = os.urandom(3 << 20)
KEPT_MAX = 16


@pytest.fixture
def file() -> Iterator[int]:
    fd = os.memfd_create("content")
    assert os.pwrite(fd, CONTENT, 0) == len(CONTENT)
    yield fd
    os.close(fd)


def splice(driver: Driver, sock: socket.socket, token: int, file: int, offset: int, length: int) -> None:
    memory = CONTENT[offset : offset + length]
    driver.push("splice", sock.fileno(), token, file=file, offset=offset, memory=memory)


def send_all(driver: Driver, pair: Pair, file: int, size: int) -> tuple[bytes, list[Done]]:
    """What arrives when the bytes up to `size` are asked for, each time from where the last one ended."""
    ours, theirs = pair
    got = bytearray()
    ended: list[Done] = []
    at = 0
    while at < size:
        splice(driver, ours, 7, file, at, min(1 << 20, size - at))
        [done] = turn(driver, 0)
        if done.res == -errno.EAGAIN:
            got += theirs.recv(1 << 20)
            continue
        assert done.res > 0
        ended.append(done)
        at += done.res
    return bytes(got + take(theirs, size - len(got))), ended


@pytest.mark.parametrize("size", [1, 4097, 100_000, 1 << 20, len(CONTENT)])
def test_every_byte_leaves_in_order(driver: Driver, pair: Pair, file: int, size: int) -> None:
    got, ended = send_all(driver, pair, file, size)
    assert got == CONTENT[:size]
    assert not any(done.copied for done in ended)
    assert is_quiet(driver)
    assert driver.pipes == (1, 0)


def test_a_head_and_what_is_linked_behind_it(driver: Driver, pair: Pair, file: int) -> None:
    ours, theirs = pair
    driver.push("send", ours.fileno(), 7, memory=b"head", flags=LINK | MORE)
    splice(driver, ours, 8, file, 10, 100)
    assert results(driver) == [(7, 4), (8, 100)]
    assert theirs.recv(1000) == b"head" + CONTENT[10:110]


def test_what_found_no_room_stays_in_the_pipe(driver: Driver, tcp_pair: Pair, file: int) -> None:
    ours, theirs = tcp_pair
    filler = fill_up(ours)
    splice(driver, ours, 7, file, 0, 5000)
    assert results(driver) == [(7, -errno.EAGAIN)]
    assert is_quiet(driver)
    assert driver.pipes == (0, 1)
    take(theirs, filler)
    splice(driver, ours, 8, file, 0, 5000)
    ((_, sent),) = results(driver)
    assert take(theirs, sent) == CONTENT[:sent]


@pytest.mark.parametrize("how", ["send", "splice", "file"])
def test_what_is_left_is_only_for_those_who_go_on(driver: Driver, pair: Pair, file: int, how: str) -> None:
    """Whoever sends something else finds nothing of it in his way."""
    ours, theirs = pair
    splice(driver, ours, 7, file, 0, 1 << 20)
    ((_, sent),) = results(driver)
    assert sent < 1 << 20
    assert driver.pipes == (0, 1)
    assert take(theirs, sent) == CONTENT[:sent]
    other = os.dup(file)
    if how == "send":
        driver.push("send", ours.fileno(), 8, memory=b"other")
        expected = b"other"
    elif how == "splice":
        splice(driver, ours, 8, file, 2_000_000, 5)
        expected = CONTENT[2_000_000:2_000_005]
    else:
        splice(driver, ours, 8, other, sent, 5)
        expected = CONTENT[sent : sent + 5]
    assert results(driver) == [(8, 5)]
    assert theirs.recv(100) == expected
    assert driver.pipes[1] == 0
    os.close(other)


@pytest.mark.parametrize("end", ["cancel_all", "close"])
def test_a_socket_that_ends_gives_its_pipe_up(driver: Driver, file: int, end: str) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    splice(driver, ours, 7, file, 0, 1 << 20)
    turn(driver)
    assert driver.pipes == (0, 1)
    driver.push(end, ours.fileno(), 9)
    assert results(driver) == [(9, 0)]
    assert driver.pipes == (0, 0)
    if end == "close":
        ours.detach()
    ours.close()
    theirs.close()


def test_the_pages_outlive_the_file(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    fd = os.memfd_create("short-lived")
    os.pwrite(fd, CONTENT[:50_000], 0)
    splice(driver, ours, 7, fd, 0, 50_000)
    assert results(driver) == [(7, 50_000)]
    os.close(fd)
    assert take(theirs, 50_000) == CONTENT[:50_000]


def test_more_sockets_that_do_not_read_than_there_are_pipes(driver: Driver, file: int) -> None:
    """Those that get none have the rest thrown away and taken out of the file again."""
    with ExitStack() as stack:
        pairs = []
        for _ in range(KEPT_MAX + 5):
            ours, theirs = map(stack.enter_context, socket.socketpair())
            ours.setblocking(False)
            pairs.append((ours, theirs))
        sent = [0] * len(pairs)
        for number, (ours, _) in enumerate(pairs):
            # Until there is no room: from then on it has a pipe, or none was left.
            splice(driver, ours, number, file, 0, 1 << 20)
            while (done := turn(driver, 0)[0]).res != -errno.EAGAIN:
                sent[number] += done.res
                splice(driver, ours, number, file, sent[number], 1 << 20)
        assert driver.pipes[1] == KEPT_MAX
        for number, (_, theirs) in enumerate(pairs):
            assert take(theirs, sent[number]) == CONTENT[: sent[number]]
            splice(driver, pairs[number][0], number, file, sent[number], 1 << 20)
            ((token, more),) = results(driver)
            assert token == number
            assert take(theirs, more) == CONTENT[sent[number] : sent[number] + more]


def test_without_descriptors_for_a_pipe_it_is_copied(driver: Driver, pair: Pair, file: int) -> None:
    ours, theirs = pair
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        splice(driver, ours, 7, file, 0, 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    (done,) = turn(driver)
    assert (done.token, done.res, done.copied) == (7, 5000, True)
    assert theirs.recv(10_000) == CONTENT[:5000]


def test_a_peer_that_has_gone(driver: Driver, pair: Pair, file: int) -> None:
    ours, theirs = pair
    theirs.close()
    splice(driver, ours, 7, file, 0, 5000)
    ((_, error),) = results(driver)
    assert error == -errno.EPIPE

"""The poller's sends: at once or not at all, and in linked pairs."""

from __future__ import annotations

import errno
import select
import socket

import pytest
from zchttpd._core.testing_poller import LINK, MORE, Driver

from .polling import MUCH, Pair, fill_up, is_quiet, results, take


def test_a_send_is_done_at_once(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    driver.push("send", ours.fileno(), 7, memory=b"hello")
    assert driver.has_more
    assert [(done.token, done.res, done.more) for done in driver.reap()] == [(7, 5, False)]
    assert theirs.recv(100) == b"hello"
    assert driver.events(ours.fileno()) == 0


def test_a_large_send_comes_back_short(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    driver.push("send", ours.fileno(), 7, memory=MUCH)
    ((_, sent),) = results(driver)
    assert 0 < sent < len(MUCH)
    assert take(theirs, sent) == MUCH[:sent]
    assert is_quiet(driver)


def test_no_send_waits_for_room(driver: Driver, pair: Pair) -> None:
    ours, _ = pair
    fill_up(ours)
    driver.push("send", ours.fileno(), 7, memory=b"now or never")
    assert results(driver) == [(7, -errno.EAGAIN)]
    assert is_quiet(driver)


@pytest.mark.parametrize("flags", [0, MORE])
def test_a_linked_pair_leaves_together(driver: Driver, pair: Pair, flags: int) -> None:
    ours, theirs = pair
    driver.push("send", ours.fileno(), 7, memory=b"head", flags=LINK | MORE)
    driver.push("send", ours.fileno(), 8, memory=b"body", flags=flags)
    assert results(driver) == [(7, 4), (8, 4)]
    assert theirs.recv(100) == b"headbody"


def test_the_second_of_a_pair_may_be_short(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    driver.push("send", ours.fileno(), 7, memory=b"head", flags=LINK | MORE)
    driver.push("send", ours.fileno(), 8, memory=MUCH)
    (first, second) = results(driver)
    assert first == (7, 4)
    assert second[0] == 8
    assert 0 < second[1] < len(MUCH)
    assert take(theirs, 4 + second[1]) == b"head" + MUCH[: second[1]]


def test_the_second_of_a_pair_begins_only_when_the_first_has_gone_whole(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    first = b"a" * (3 << 20)
    driver.push("send", ours.fileno(), 7, memory=first, flags=LINK | MORE)
    driver.push("send", ours.fileno(), 8, memory=b"second")
    ((token, sent), second) = results(driver)
    assert token == 7
    assert 0 < sent < len(first)
    assert second == (8, -errno.ECANCELED)
    assert take(theirs, sent) == first[:sent]
    assert is_quiet(driver)


def test_a_pair_ends_with_its_first(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    driver.push("send", ours.fileno(), 7, memory=b"head", flags=LINK | MORE)
    driver.push("send", ours.fileno(), 8, memory=b"body")
    assert results(driver) == [(7, -errno.EPIPE), (8, -errno.ECANCELED)]


def test_a_poll_hears_that_the_peer_has_gone(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    fill_up(ours)
    driver.push("poll", ours.fileno(), 7)
    assert is_quiet(driver)
    theirs.close()
    ((token, mask),) = results(driver)
    assert token == 7
    assert mask & (select.POLLHUP | select.POLLERR)
    driver.push("send", ours.fileno(), 8, memory=b"head", flags=LINK)
    driver.push("send", ours.fileno(), 9, memory=b"body")
    ((first, error), second) = results(driver)
    assert first == 8
    assert -error in (errno.EPIPE, errno.ECONNRESET)
    assert second == (9, -errno.ECANCELED)
    assert is_quiet(driver)


def test_more_holds_bytes_back_until_the_body(driver: Driver, listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            accepted.setblocking(False)
            client.settimeout(10)
            driver.push("send", accepted.fileno(), 7, memory=b"head", flags=MORE)
            driver.push("send", accepted.fileno(), 8, memory=b"body")
            assert results(driver) == [(7, 4), (8, 4)]
            assert client.recv(100) == b"headbody"


def test_room_is_told_once(driver: Driver, pair: Pair) -> None:
    ours, theirs = pair
    filler = fill_up(ours)
    driver.push("poll", ours.fileno(), 7)
    assert is_quiet(driver)
    take(theirs, filler)
    ((token, mask),) = results(driver)
    assert token == 7
    assert mask & select.POLLOUT
    assert is_quiet(driver)
    assert driver.events(ours.fileno()) == 0

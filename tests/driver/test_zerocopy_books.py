"""Which zero-copy sends a range of numbers ends: several at once, in any order, past the last number."""

from __future__ import annotations

import random

import pytest
from zchttpd._core.testing_poller import Books

LAST = 2**32 - 1


def test_a_range_ends_what_lies_in_it() -> None:
    books = Books()
    assert [books.sent(0, token) for token in (11, 12, 13)] == [0, 1, 2]
    assert books.sent(1, 21) == 0
    assert books.notified(0, 0, 1, True) == [(11, True), (12, True)]
    assert (books.out(0), books.out(1)) == ([13], [21])
    assert books.notified(0, 2, 2, False) == [(13, False)]
    assert books.notified(1, 0, 0, False) == [(21, False)]


def test_numbers_start_again() -> None:
    books = Books(LAST - 1)
    assert [books.sent(0, token) for token in (11, 12, 13, 14)] == [LAST - 1, LAST, 0, 1]
    assert books.notified(0, LAST, 0, False) == [(12, False), (13, False)]
    assert books.out(0) == [11, 14]
    assert books.notified(0, LAST - 1, LAST - 1, False) == [(11, False)]
    assert books.notified(0, 1, 1, False) == [(14, False)]


def test_what_is_out_of_order_stays_in_the_books() -> None:
    books = Books()
    for token in range(5):
        books.sent(0, token)
    assert books.notified(0, 4, 4, False) == [(4, False)]
    books.sent(0, 5)
    assert books.out(0) == [0, 1, 2, 3, 5]
    assert books.notified(0, 1, 2, True) == [(1, True), (2, True)]
    assert books.notified(0, 0, 0, False) == [(0, False)]
    assert books.notified(0, 3, 5, False) == [(3, False), (5, False)]
    assert books.out(0) == []


def test_what_was_never_sent_ends_nothing() -> None:
    books = Books()
    assert books.notified(0, 0, LAST, False) == []
    books.sent(0, 7)
    assert books.notified(0, 1, LAST, False) == []
    assert books.out(0) == [7]


@pytest.mark.parametrize("seed", range(20))
def test_they_follow_a_model(seed: int) -> None:
    rng = random.Random(seed)
    books = Books(rng.choice((0, LAST - 30, LAST)))
    model: list[dict[int, int]] = [{} for _ in range(3)]
    most = 0
    for token in range(1, 2000):
        socket = rng.randrange(3)
        if rng.random() < 0.6:
            model[socket][books.sent(socket, token)] = token
        else:
            first = rng.choice(list(model[socket])) if model[socket] else rng.randrange(LAST)
            last = (first + rng.choice((0, 1, 3, 50))) % (LAST + 1)
            copied = rng.random() < 0.5
            ends = [
                number
                for number in model[socket]
                if (number - first) % (LAST + 1) <= (last - first) % (LAST + 1)
            ]
            expected = [(model[socket].pop(number), copied) for number in ends]
            assert books.notified(socket, first, last, copied) == expected
        assert books.out(socket) == list(model[socket].values())
        most = max(most, sum(map(len, model)))
    assert books.rows <= most + 1, "rows are used again"

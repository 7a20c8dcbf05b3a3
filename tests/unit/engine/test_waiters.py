"""Who waits for a job: it hears when nobody does any more, or perhaps nobody."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from zchttpd.engine.waiters import Waiters
from zchttpd.files.singleflight import Job, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

ANN, BOB, EVE = 1, 2, 3


class Engine:
    """Connections that wait, until they have gone."""

    def __init__(self) -> None:
        self.gone: set[int] = set()
        self.closed: set[int] = set()
        self.asked = 0

    def awaits(self, ticket: int) -> bool:
        self.asked += 1
        return ticket not in self.gone

    def may_have_left(self, ticket: int) -> bool:
        return ticket in self.closed

    def call_again(self) -> None:
        """It is, by the tests."""


class Waiting:
    """A job that heeds who waits for it."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.again: list[Callable[[], None]] = []
        self.waiters = Waiters(self.again.append)
        self.waiters.engine = self.engine  # type: ignore[assignment]
        self.heard: list[Wanted] = []
        self.told: list[tuple[int, OSError | None]] = []
        self.job = self.new_job()

    def new_job(self) -> Job:
        job = Job()
        job.heed = lambda: self.heard.append(job.wanted)
        return job

    def add(self, ticket: int, job: Job | None = None) -> None:
        self.waiters.add(ticket, job or self.job, lambda error: self.told.append((ticket, error)))

    def leave(self, *tickets: int) -> Wanted:
        self.engine.gone.update(tickets)
        self.waiters.sweep()
        return self.heard[-1]

    def close(self, *tickets: int) -> Wanted:
        self.engine.closed.update(tickets)
        self.waiters.sweep()
        return self.heard[-1]

    def end(self, error: OSError | None = None) -> list[tuple[int, OSError | None]]:
        for tell in self.job.waiting:
            tell(error)
        for act in self.again:
            act()
        return self.told


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def test_it_is_wanted_until_the_last_has_left(waiting: Waiting) -> None:
    for ticket in (ANN, BOB, EVE):
        waiting.add(ticket)
    assert waiting.leave(BOB) is Wanted.YES
    assert waiting.leave(ANN) is Wanted.YES
    assert waiting.leave(EVE) is Wanted.NO


def test_who_comes_has_it_wanted_again(waiting: Waiting) -> None:
    waiting.add(ANN)
    assert waiting.leave(ANN) is Wanted.NO
    waiting.add(BOB)
    assert waiting.heard[-1] is Wanted.YES


def test_who_has_closed_may_still_want_it(waiting: Waiting) -> None:
    for ticket in (ANN, BOB):
        waiting.add(ticket)
    assert waiting.close(ANN) is Wanted.YES
    assert waiting.close(BOB) is Wanted.MAYBE
    assert waiting.leave(ANN) is Wanted.MAYBE
    assert waiting.leave(BOB) is Wanted.NO


def test_who_had_closed_when_it_asked_may_want_it(waiting: Waiting) -> None:
    waiting.engine.closed.add(ANN)
    waiting.add(ANN)
    assert waiting.heard == [Wanted.MAYBE]


def test_what_took_too_long_is_wanted_by_who_comes_again(waiting: Waiting) -> None:
    """Or a folder that takes longer than anybody waits would be begun for ever."""
    waiting.add(ANN)
    waiting.waiters.refused(ANN)
    assert waiting.leave(ANN) is Wanted.YES


def test_who_has_closed_and_waits_for_too_long_has_left(waiting: Waiting) -> None:
    waiting.add(ANN)
    waiting.close(ANN)
    waiting.waiters.refused(ANN)
    assert waiting.heard[-1] is Wanted.NO


def test_who_waits_hears_of_the_end(waiting: Waiting) -> None:
    error = OSError(errno.EIO, "broken")
    for ticket in (ANN, BOB):
        waiting.add(ticket)
    assert waiting.end(error) == [(ANN, error), (BOB, error)]
    waiting.heard.clear()
    waiting.waiters.sweep()
    assert waiting.heard == [], "nobody waits for what has ended"


def test_who_has_left_does_not_ask_again(waiting: Waiting) -> None:
    """It would have what was given up begun anew."""
    for ticket in (ANN, BOB):
        waiting.add(ticket)
    waiting.leave(ANN)
    assert waiting.end() == [(BOB, None)]


def test_what_heeds_nobody_tells_all_the_same(waiting: Waiting) -> None:
    waiting.job.heed = None
    waiting.add(ANN)
    waiting.waiters.sweep()
    assert waiting.end() == [(ANN, None)]


def test_a_crowd_is_not_asked_one_by_one(waiting: Waiting) -> None:
    """Somebody who leaves is looked for as far as the first that is there."""
    for ticket in range(1000):
        waiting.add(ticket)
    waiting.engine.asked = 0
    for ticket in range(1, 11):
        assert waiting.leave(ticket) is Wanted.YES
    assert waiting.engine.asked < 1000

"""Looks at folders for clients that leave: what nobody waits for holds up nobody."""

from __future__ import annotations

import errno
import os
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import pytest

from zchttpd.files.archive import Archive
from zchttpd.files.archives import JOBS_MAX, Archives, Looks
from zchttpd.files.singleflight import Wanted

from .test_listing_cache import Loop, pending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zchttpd.files.root import Root
    from zchttpd.files.singleflight import Job

FILES = 3


def heed(job: Job, wanted: Wanted) -> None:
    job.wanted = wanted
    assert job.heed is not None
    job.heed()


class Looking:
    """Folders `00`, `01` and so on, with some files in each. The thread stops at the first name of the first
    until it is told to go on.
    """

    def __init__(self, site: Path, root: Root) -> None:
        self.loop = Loop()
        self.looks = Looks(self.loop.post)
        self.archives = Archives(root, self.looks, 1_000_000)
        self.seen: list[bytes] = []
        self.begun, self.go_on = Event(), Event()
        for number in range(JOBS_MAX + 1):
            (site / f"{number:02}").mkdir()
            for file in range(FILES):
                (site / f"{number:02}" / f"{file}").touch()

    def gives(self, segments: tuple[bytes, ...], folder: bool) -> bool:
        self.seen.append(segments[0])
        self.begun.set()
        assert self.go_on.wait(60)
        return True

    def find(self, number: int) -> object:
        return self.archives.find((b"%02d" % number,), self.gives)

    def ask(self, number: int) -> Job:
        return pending(partial(self.find, number))

    def begin(self) -> Job:
        """The first is being looked at."""
        job = self.ask(0)
        assert self.begun.wait(60)
        return job

    def end(self, job: Job) -> OSError | None:
        self.go_on.set()
        return self.loop.wait(job)

    @property
    def order(self) -> list[int]:
        """What was looked at, and not only begun."""
        names = sorted({*self.seen}, key=self.seen.index)
        return [int(name) for name in names if self.seen.count(name) >= FILES]


@pytest.fixture
def looking(site: Path, root: Root) -> Iterator[Looking]:
    made = Looking(site, root)
    yield made
    made.go_on.set()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_look_ends_at_the_next_name_when_nobody_waits(looking: Looking) -> None:
    job = looking.begin()
    heed(job, Wanted.NO)
    assert looking.end(job) is None, "who has come too late asks again"
    assert len(looking.seen) == 1
    assert looking.loop.wait(looking.ask(0)) is None
    assert isinstance(looking.find(0), Archive)


def test_a_look_goes_on_for_who_comes_while_it_is_under_way(looking: Looking) -> None:
    job = looking.begin()
    heed(job, Wanted.NO)
    assert looking.ask(0) is job
    heed(job, Wanted.YES)
    assert looking.end(job) is None
    assert isinstance(looking.find(0), Archive)
    assert len(looking.seen) == FILES


def test_what_nobody_waits_for_any_more_has_no_place(looking: Looking) -> None:
    before = descriptors()
    jobs = [looking.begin(), *(looking.ask(number) for number in range(1, JOBS_MAX))]
    with pytest.raises(OSError, match="too many"):
        looking.find(JOBS_MAX)
    for job in jobs[1:-1]:
        heed(job, Wanted.NO)
    late = looking.ask(JOBS_MAX)
    assert looking.end(late) is None
    assert looking.order == [0, JOBS_MAX - 1, JOBS_MAX]
    assert descriptors() == before


def test_who_may_have_left_gives_way_when_there_is_no_room(looking: Looking) -> None:
    jobs = [looking.begin(), *(looking.ask(number) for number in range(1, JOBS_MAX))]
    told: list[OSError | None] = []
    for job in (jobs[0], jobs[5], jobs[7]):
        job.waiting.append(told.append)
        heed(job, Wanted.MAYBE)
    looking.ask(JOBS_MAX)
    [error] = told
    assert error is not None
    assert error.errno == errno.EBUSY
    assert looking.ask(5) is jobs[5]
    assert looking.ask(0) is jobs[0], "what is under way gives no place back"
    looking.looks.close()
    assert looking.end(jobs[0]) is not None


def test_who_may_have_left_is_behind_the_others(looking: Looking) -> None:
    looking.begin()
    doubtful, other = looking.ask(1), looking.ask(2)
    heed(doubtful, Wanted.MAYBE)
    assert looking.end(doubtful) is None
    assert looking.order == [0, 2, 1]
    assert other.heed is None, "it has ended"


def test_who_may_have_left_is_answered_where_nobody_else_waits(looking: Looking) -> None:
    job, another = looking.begin(), looking.ask(1)
    heed(job, Wanted.MAYBE)
    heed(another, Wanted.MAYBE)
    assert looking.end(another) is None
    assert looking.order == [0, 1]


def test_who_may_have_left_does_not_hold_up_who_comes(looking: Looking) -> None:
    job = looking.begin()
    heed(job, Wanted.MAYBE)
    other = looking.ask(1)
    heed(other, Wanted.YES)
    assert looking.end(other) is None
    assert looking.order == [1]


def test_what_waits_has_no_descriptor_when_the_server_has_ended(looking: Looking) -> None:
    before = descriptors()
    job = looking.begin()
    looking.ask(1)
    looking.looks.close()
    error = looking.end(job)
    assert error is not None
    assert error.errno == errno.ECANCELED
    assert descriptors() == before

"""Slow work in threads, each key once: whoever wants what is being made waits for the same job."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from concurrent.futures import Future

LOGGER = logging.getLogger("zchttpd")

# More are refused (EBUSY), and the request is answered 503.
JOBS_MAX = 16
# A sweep of so many objects takes well under a millisecond.
_SWEEP = 1000


class Wanted(Enum):
    """Whether somebody waits for a job; MAYBE: none but clients that have closed their direction, as those
    that have left did.
    """

    YES = "yes"
    MAYBE = "maybe"
    NO = "no"


@dataclass(slots=True, eq=False)
class Job:
    """Something that is being made, since `began_s` (monotonic seconds; None while it waits for a thread).

    `waiting` are called with its error or None, on the loop's thread. `given_up`: nobody waits for it. `heed`
    is called there when it has turned out how much it is `wanted`; None: it is made anyhow.
    """

    began_s: float | None = None
    waiting: list[Callable[[OSError | None], None]] = field(default_factory=list)
    given_up: bool = False
    wanted: Wanted = Wanted.YES
    heed: Callable[[], None] | None = None

    def run(self, make: Callable[[], Any]) -> Any:
        """Make it; in a thread."""
        if self.given_up:
            return None
        self.began_s = time.monotonic()
        return make()


class LoopMailbox:
    """Calls from other threads into the loop, as call_soon_threadsafe makes.

    `waker`: a non-blocking pipe, which it owns: a thread may end, and post, after the loop has.
    """

    def __init__(self, waker: int) -> None:
        self._waker = waker
        self._acts: deque[Callable[[], None]] = deque()

    def post(self, act: Callable[[], None]) -> None:
        """Have it called; from any thread."""
        self._acts.append(act)
        # A full pipe wakes the loop as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"\0")

    def run(self) -> None:
        """Call what has been posted; on the loop's thread."""
        while self._acts:
            self._acts.popleft()()

    def __del__(self) -> None:
        os.close(self._waker)


class Pending(Exception):
    """What was asked for is being made: ask again when `job` has ended."""

    def __init__(self, job: Job) -> None:
        super().__init__("it is being made")
        self.job = job


class SingleFlight:
    """Makes things in the order in which they came, each once at a time. Called on the loop's thread.

    `threads` are under way, and at most `jobs_max` with those that wait. `post` has something called on that
    thread soon, from any other; None: there is no loop that could be held up, and what is asked for is made
    at once.
    """

    def __init__(
        self, post: Callable[[Callable[[], None]], None] | None, *, threads: int = 1, jobs_max: int = JOBS_MAX
    ) -> None:
        self._post = post
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="make")
        self._jobs_max = jobs_max
        self._jobs: dict[Hashable, Job] = {}
        self._ended_s = 0.0
        self._beside: dict[Hashable, SingleFlight] = {}

    @property
    def threaded(self) -> bool:
        """Whether there is a loop that may not be held up."""
        return self._post is not None

    @property
    def full(self) -> bool:
        """Whether nothing more can be started now."""
        return len(self._jobs) >= self._jobs_max

    def beside(self, mount: Hashable) -> SingleFlight:
        """Who makes what lies on a mount that may hang, with threads and jobs of its own; None: this."""
        if mount is None:
            return self
        if mount not in self._beside:
            self._beside[mount] = SingleFlight(self._post, threads=self._threads, jobs_max=self._jobs_max)
        return self._beside[mount]

    def stuck_s(self) -> float:
        """For how long jobs have been under way, and none has ended."""
        age_s = self.age_s()
        return min(age_s, time.monotonic() - self._ended_s) if age_s else 0.0

    def age_s(self) -> float:
        """For how long the oldest job has been under way; 0 where none is."""
        oldest = next(iter(self._jobs.values()), None)
        if oldest is None or oldest.began_s is None:
            return 0.0
        return time.monotonic() - oldest.began_s

    def oldest(self) -> Job:
        """The job that came first, where there is one."""
        return next(iter(self._jobs.values()))

    def find(self, key: Hashable) -> Job | None:
        """The job that makes this, if one does."""
        return self._jobs.get(key)

    def start(self, key: Hashable, make: Callable[[], Any], store: Callable[[Any], object]) -> Job:
        """Have `make` called in a thread and `store`, with what it returns, on the loop.

        Raises OSError: EBUSY when too much waits to be made, EAGAIN when no thread can be started.
        """
        known = self._jobs.get(key)
        if known is not None:
            return known
        if self.full:
            raise OSError(errno.EBUSY, "too many directories or files are being read")
        job = self._jobs[key] = Job()
        post, end = self._post, partial(self._end, key, job, store)
        assert post is not None
        try:
            made = self._executor.submit(job.run, make)
        except RuntimeError as error:
            # The executor has it all the same, for the next thread that it gets.
            job.given_up = True
            del self._jobs[key]
            raise OSError(errno.EAGAIN, "no thread can be started") from error
        made.add_done_callback(lambda made: post(partial(end, made)))
        return job

    def away(self, act: Callable[[], None]) -> None:
        """Have something done that may take long, and that nobody waits for."""
        try:
            Thread(target=act, daemon=True).start()
        except RuntimeError:
            # No thread can be started: better late than never.
            act()

    def sweep(self, objects: list[Any]) -> None:
        """Free many objects, of which the caller keeps no reference, without holding up the loop."""
        if self._post is None or len(objects) <= _SWEEP:
            objects.clear()
        else:
            self.away(partial(_sweep, objects))

    def _end(self, key: Hashable, job: Job, store: Callable[[Any], object], made: Future[Any]) -> None:
        """Store it, and tell those that wait."""
        del self._jobs[key]
        self._ended_s = time.monotonic()
        error = made.exception()
        if error is None:
            try:
                store(made.result())
            except Exception as failed:
                error = failed
        if error is not None and not isinstance(error, OSError):
            LOGGER.error("what a request waits for could not be made", exc_info=error)
            error = OSError(errno.EIO, repr(error))
        waiting, job.waiting = job.waiting, []
        for tell in waiting:
            tell(error)


def _sweep(objects: list[Any]) -> None:
    while objects:
        del objects[-_SWEEP:]

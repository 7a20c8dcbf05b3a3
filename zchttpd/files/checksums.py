"""CRC-32 of file versions, as zip files have it: made once a version, off the loop."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from zchttpd.files.digests import give_way, read_pieces, uncounted
from zchttpd.files.lru import Lru
from zchttpd.files.settling import settle
from zchttpd.files.singleflight import Job, Pending, SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.digests import Counts
    from zchttpd.files.version import Representation, Version

# A sixth of a kilobyte for each.
KEPT = 65_536
# Those of more bytes have a thread of their own, so that they do not hold up the others.
LARGE_SIZE = 16 << 20
# Who wants one more waits until another has been made.
JOBS_MAX = 32


class Checksums:
    """Finds checksums. Called on the loop's thread; `post`: see `SingleFlight`.

    One file of each of two sizes is read at a time, in the order in which they were asked for, so that it is
    nobody's turn twice while others wait.
    """

    def __init__(
        self, post: Callable[[Callable[[], None]], None] | None, counts: Counts | None = None
    ) -> None:
        self._small = SingleFlight(post, jobs_max=JOBS_MAX)
        self._large = SingleFlight(post, jobs_max=JOBS_MAX)
        self._known: Lru[Version, int] = Lru(KEPT)
        self._counts = counts or uncounted()
        self._closed = Event()

    def close(self) -> None:
        """Give up what is under way: a process that ends would wait for its threads."""
        self._closed.set()

    def of(self, found: Representation) -> int:
        """That of all bytes of a file. Raises Pending while it is made, or something else that is before it;
        OSError as `Representation.open` and `SingleFlight.start` do, and ESTALE where there are other bytes.
        """
        known = self._known.use(found.version)
        if known is not None:
            return known
        if not self._small.threaded:
            self._known.put(found.version, _read(found, self._closed))
            return self._known[found.version]
        job = self._start(found)
        if job is None:
            job = Job()
            self._jobs(found).oldest().waiting.append(partial(_try_again, job))
        raise Pending(job)

    def prepare(self, found: Representation) -> None:
        """It will be asked for soon: begin, if there is room."""
        if self._known.use(found.version) is None:
            with contextlib.suppress(OSError):
                self._start(found)

    def check(self, found: Representation, content: bytes) -> bool:
        """Whether these are the bytes that the file has had, as far as that is known; now it is."""
        crc = zlib.crc32(content)
        known = self._known.use(found.version)
        if known is None:
            self._known.put(found.version, crc)
            self._counts.add("made", len(content))
        return known in (None, crc)

    def _jobs(self, found: Representation) -> SingleFlight:
        return self._small if found.size <= LARGE_SIZE else self._large

    def _start(self, found: Representation) -> Job | None:
        jobs = self._jobs(found)
        job = jobs.find(found.version)
        if job is None and not jobs.full:
            store = partial(self._known.put, found.version)
            job = jobs.start(found.version, partial(_crc_of, found, self._closed), store)
            job.waiting.append(partial(self._ended, found.size))
        return job

    def _ended(self, size: int, error: OSError | None) -> None:
        if error is None:
            self._counts.add("made", size)
        else:
            self._counts.add("stale" if error.errno == errno.ESTALE else "failed")


def _try_again(job: Job, _error: OSError | None) -> None:
    """There is room by now, whatever became of what had it."""
    for tell in job.waiting:
        tell(None)


def _crc_of(found: Representation, closed: Event) -> int:
    """In a thread that gives way to the loops."""
    give_way()
    return _read(found, closed)


def _read(found: Representation, closed: Event) -> int:
    crc = 0
    fd = found.open()
    try:
        settle(fd, found.mtime_ns)
        for piece in read_pieces(fd, found, 0, found.size, closed):
            crc = zlib.crc32(piece, crc)
    finally:
        os.close(fd)
    return crc

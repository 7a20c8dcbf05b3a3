"""CRC-32 of file versions, as zip files have it: made once a version, off the loop."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

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
# Files that were read in part when those that wanted it had gone.
BEGUN_KEPT = 1024


class _Part(NamedTuple):
    """The CRC-32 of so many bytes from the first."""

    crc: int
    size: int


_NONE = _Part(0, 0)


@dataclass(slots=True, eq=False)
class _Reading:
    """A file that is being read, or waits for that, for as long as anybody wants it."""

    closed: Event
    wanting: set[object] = field(default_factory=set)

    def is_set(self) -> bool:
        """Whether it is to stop; asked in the thread."""
        return not self.wanting or self.closed.is_set()


class Checksums:
    """Finds checksums. Called on the loop's thread; `post`: see `SingleFlight`.

    One file of each of two sizes is read at a time, in the order in which they were asked for, so that it is
    nobody's turn twice while others wait. Reading stops when all who asked have left, and goes on from there
    when somebody asks again: so one who is told to come later finds more done each time.
    """

    def __init__(
        self, post: Callable[[Callable[[], None]], None] | None, counts: Counts | None = None
    ) -> None:
        self._small = SingleFlight(post, jobs_max=JOBS_MAX)
        self._large = SingleFlight(post, jobs_max=JOBS_MAX)
        self._known: Lru[Version, int] = Lru(KEPT)
        self._begun: Lru[Version, _Part] = Lru(BEGUN_KEPT)
        self._readings: dict[Version, _Reading] = {}
        self._counts = counts or uncounted()
        self._closed = Event()

    def close(self) -> None:
        """Give up what is under way: a process that ends would wait for its threads."""
        self._closed.set()

    def of(self, found: Representation, who: object) -> int:
        """That of all bytes of a file, for `who`. Raises Pending while it is made, or something else that is
        before it: ask again then; OSError as `Representation.open` and `SingleFlight.start` do, and ESTALE
        where there are other bytes.
        """
        known = self._known.use(found.version)
        if known is not None:
            return known
        if not self._small.threaded:
            self._known.put(found.version, _read(found, _NONE, _Reading(self._closed, {who})).crc)
            return self._known[found.version]
        job = self._start(found, who)
        if job is None:
            job = Job()
            self._jobs(found).oldest().waiting.append(partial(_try_again, job))
        raise Pending(job)

    def prepare(self, found: Representation, who: object) -> None:
        """It will be asked for soon: begin, if there is room."""
        if self._known.use(found.version) is None:
            with contextlib.suppress(OSError):
                self._start(found, who)

    def leave(self, who: object) -> None:
        """All that `who` asked for is made for the others alone."""
        for reading in self._readings.values():
            reading.wanting.discard(who)

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

    def _start(self, found: Representation, who: object) -> Job | None:
        jobs, version = self._jobs(found), found.version
        job = jobs.find(version)
        if job is not None:
            # Where it has stopped already, it ends without a checksum, and begins anew.
            self._readings[version].wanting.add(who)
        elif not jobs.full:
            begun, reading = self._begun.get(version, _NONE), _Reading(self._closed, {who})
            read = partial(_read_aside, found, begun, reading)
            job = jobs.start(version, read, partial(self._store, found, begun))
            self._readings[version] = reading
            job.waiting.append(partial(self._ended, version))
        return job

    def _store(self, found: Representation, begun: _Part, part: _Part) -> None:
        if part.size == found.size:
            self._known.put(found.version, part.crc)
            self._begun.pop(found.version, None)
            self._counts.add("made", part.size - begun.size)
        else:
            self._begun.put(found.version, part)
            self._counts.add_part(part.size - begun.size)

    def _ended(self, version: Version, error: OSError | None) -> None:
        del self._readings[version]
        if error is not None:
            self._counts.add("stale" if error.errno == errno.ESTALE else "failed")


def _try_again(job: Job, _error: OSError | None) -> None:
    """There is room by now, whatever became of what had it."""
    for tell in job.waiting:
        tell(None)


def _read_aside(found: Representation, begun: _Part, reading: _Reading) -> _Part:
    """In a thread that gives way to the loops."""
    give_way()
    return _read(found, begun, reading) if reading.wanting else begun


def _read(found: Representation, begun: _Part, reading: _Reading) -> _Part:
    """What is known when all has been read, or nobody wants it any more."""
    crc, size = begun
    fd = found.open()
    try:
        settle(fd, found.mtime_ns)
        for piece in read_pieces(fd, found, size, found.size - size, reading):
            crc, size = zlib.crc32(piece, crc), size + len(piece)
    except OSError as error:
        if error.errno != errno.ECANCELED or reading.closed.is_set():
            raise
    finally:
        os.close(fd)
    return _Part(crc, size)

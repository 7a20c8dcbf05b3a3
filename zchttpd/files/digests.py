"""Digests of file versions: SHA-256, made once, off the loop. Of them are entity tags of content too."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import time
from enum import Enum
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from zchttpd.files.lru import Lru
from zchttpd.files.settling import is_young, settle
from zchttpd.files.singleflight import Pending, SingleFlight
from zchttpd.files.version import content_tag, read_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from zchttpd.files.version import Representation, Version

LOGGER = logging.getLogger("zchttpd")

# Up to here, and if it is in the page cache, it is read and hashed on the spot: that is a tenth of a
# millisecond.
AT_ONCE_SIZE_MAX = 64 << 10
# Up to here a request waits for the digest, 10 to 45 ms; for more it is answered without one meanwhile. No
# larger part of a file is hashed by itself.
WAITED_SIZE_MAX = 16 << 20
# For tags of small files, without which nothing is remembered. One more thread is for large files, and one
# for what clients want, so that they never hold up each other; these two give way to the loops.
SMALL_THREADS = 2
SMALL_MAX = 1024
LARGE_MAX = 64
WANTED_MAX = 16
# Digests of parts, which take half a kilobyte each.
PARTS_KEPT = 4096
# What is being hashed for longer is on a disk that does not answer: no more requests wait. And a file that
# has changed while it was hashed is left alone for so long.
PATIENCE_S = 1.0
CHANGING_MAX = 256

# How hashing ends, in the order of its cells. Stale: the file changed; failed: it could not be read;
# postponed: too many were waiting.
RESULTS = ("made", "stale", "failed", "postponed")

_PIECE_SIZE = 1 << 20
_TAG_DIGITS = 32
_NICE = 10
# Of what cannot be read, or is too large: there will never be one.
NO_DIGEST: Final = b""

_Part: TypeAlias = "tuple[Version, str, int, int]"


class Stop(Protocol):
    """What tells a thread that it need not go on; an Event is one."""

    def is_set(self) -> bool:
        """Whether it is so."""


class Wait(Enum):
    """What is worth waiting for: nothing, what takes milliseconds, or all."""

    NEVER = "never"
    BRIEFLY = "briefly"
    ALWAYS = "always"


class Counts:
    """Counts hashing by `results` (cells as RESULTS), and its `size` in bytes. On the loop's thread alone."""

    def __init__(self, results: memoryview, size: memoryview) -> None:
        self._results = results
        self._size = size

    def add(self, result: str, size: int = 0) -> None:
        """So many bytes were hashed, or not."""
        self._results[RESULTS.index(result)] += 1
        self.add_part(size)

    def add_part(self, size: int) -> None:
        """So many were, of something that goes on later, or not."""
        self._size[0] += size


def uncounted() -> Counts:
    """For who has no cells."""
    cells = memoryview(bytearray(8 * (len(RESULTS) + 1))).cast("Q")
    return Counts(cells[:-1], cells[-1:])


class Digests:
    """Finds digests of representations. Called on the loop's thread; `post`: see `SingleFlight`.

    It keeps at most `digests_max` (400 bytes each); what was not asked for longest goes, and is made anew.
    Of files of more than `size_max` bytes there are none but for their tags.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None] | None,
        digests_max: int,
        size_max: int = 1 << 62,
        counts: Counts | None = None,
    ) -> None:
        self._small = SingleFlight(post, threads=SMALL_THREADS, jobs_max=SMALL_MAX)
        self._large = SingleFlight(post, jobs_max=LARGE_MAX)
        self._wanted = SingleFlight(post, jobs_max=WANTED_MAX)
        self._size_max = size_max
        self._known: Lru[Version, bytes] = Lru(digests_max)
        self._known_parts: Lru[_Part, bytes] = Lru(min(PARTS_KEPT, digests_max))
        # By device and inode, until when they are left alone.
        self._changing: Lru[tuple[int, int], float] = Lru(CHANGING_MAX)
        self._counts = counts or uncounted()
        self._closed = Event()

    def close(self) -> None:
        """Give up what is under way: a process that ends would wait for its threads."""
        self._closed.set()

    def tag_of(self, found: Representation, *, wait: bool = False) -> str | None:
        """The entity tag of a representation, with its quotes. None: there is none, or not yet.

        Raises Pending when it is worth waiting for, which with `wait` it always is; then also OSError (EBUSY)
        where too many are being made.
        """
        if found.etag is not None:
            return found.etag
        jobs = self._wanted if self._wanted.beside(found.mount).find(found.version) else self._small
        digest = self._whole(found, Wait.ALWAYS if wait else Wait.BRIEFLY, jobs)
        return content_tag(found.version, found.encoding, digest.hex()[:_TAG_DIGITS]) if digest else None

    def whole(self, found: Representation, wait: Wait, content: bytes | None = None) -> bytes | None:
        """The digest of all bytes of a representation, which are `content` if they have been read.

        None: not yet, NO_DIGEST: never. Raises Pending, but never with NEVER.
        """
        if found.digest is not None:
            return found.digest
        if found.size > self._size_max:
            return NO_DIGEST
        if self._changes(found):
            return self._known.use(found.version)
        few = found.size <= AT_ONCE_SIZE_MAX or self._small.beside(found.mount).find(found.version)
        return self._whole(found, wait, self._small if few else self._wanted, content)

    def part(self, found: Representation, offset: int, length: int) -> bytes | None:
        """The digest of `length` bytes from `offset`: as `whole` has it, waiting briefly.

        NO_DIGEST for a part of more than WAITED_SIZE_MAX bytes.
        """
        if length > WAITED_SIZE_MAX or found.size > self._size_max:
            return NO_DIGEST
        key = (found.version, found.encoding, offset, length)
        digest = self._known_parts.use(key)
        if digest is not None or self._changes(found):
            return digest
        if length <= AT_ONCE_SIZE_MAX and not found.in_memory:
            digest = _digest_at_once(found, offset, length)
        if digest is None and not self._wanted.threaded:
            digest = _digest(found, offset, length, self._closed)
        store = partial(self._known_parts.put, key)
        if digest is not None:
            self._counts.add("made", length)
            store(digest)
            return digest
        make = partial(_digest_aside, found, offset, length, self._closed)
        self._await(self._wanted, key, make, store, found, length, Wait.BRIEFLY)
        return None

    def _whole(
        self, found: Representation, wait: Wait, jobs: SingleFlight, content: bytes | None = None
    ) -> bytes | None:
        """`jobs`: which makes it, unless it is large."""
        digest = self._known.use(found.version)
        if digest is not None:
            return digest
        size = found.size
        if content is not None and not is_young(found.mtime_ns):
            digest = hashlib.sha256(content).digest()
        elif size <= AT_ONCE_SIZE_MAX:
            digest = _digest_at_once(found, 0, size)
        large = size > WAITED_SIZE_MAX
        if large:
            jobs = self._large
        if digest is None and not jobs.threaded:
            digest = _digest(found, 0, size, self._closed)
        store = partial(self._known.put, found.version)
        if digest is not None:
            self._counts.add("made", size)
            store(digest)
            return digest
        if wait is Wait.BRIEFLY and large:
            wait = Wait.NEVER
        make = partial(_digest if jobs is self._small else _digest_aside, found, 0, size, self._closed)
        self._await(jobs, found.version, make, store, found, size, wait)
        return None

    def _await(
        self,
        jobs: SingleFlight,
        key: Hashable,
        make: Callable[[], bytes],
        store: Callable[[bytes], object],
        found: Representation,
        size: int,
        wait: Wait,
    ) -> None:
        """Have it made. Raises Pending if it is waited for, and OSError (`exhausted`) where it must be."""
        jobs = jobs.beside(found.mount)
        late = jobs.age_s() > PATIENCE_S
        job = jobs.find(key)
        if job is None:
            try:
                job = jobs.start(key, make, store)
            except OSError:
                if wait is Wait.ALWAYS:
                    raise
                self._counts.add("postponed")
                return
            job.waiting.append(partial(self._ended, found, size))
        if wait is Wait.ALWAYS or (wait is Wait.BRIEFLY and not late):
            raise Pending(job)

    def _ended(self, found: Representation, size: int, error: OSError | None) -> None:
        if error is None:
            self._counts.add("made", size)
            return
        changed = error.errno in (errno.ESTALE, errno.ENOENT)
        self._counts.add("stale" if changed else "failed")
        if changed:
            self._changing.put(_inode(found), time.monotonic() + PATIENCE_S)

    def _changes(self, found: Representation) -> bool:
        """Whether it changed while it was hashed, a moment ago: hashing it again would be in vain."""
        until_s = self._changing.get(_inode(found))
        return until_s is not None and time.monotonic() < until_s


def _inode(found: Representation) -> tuple[int, int]:
    return found.version.dev, found.version.ino


def _digest_at_once(found: Representation, offset: int, length: int) -> bytes | None:
    """The digest of a few bytes in the page cache. None where they must be waited for, or were replaced."""
    if is_young(found.mtime_ns) or found.may_hang:
        # Somebody may still be writing them; or nobody may wait for them here.
        return None
    try:
        fd = found.open()
    except OSError:
        return None
    try:
        content = read_at_once(fd, found, offset, length)
    finally:
        os.close(fd)
    return None if content is None else hashlib.sha256(content).digest()


def _digest_aside(found: Representation, offset: int, length: int, closed: Event) -> bytes:
    """As `_digest`, in a thread that gives way."""
    give_way()
    return _digest(found, offset, length, closed)


def give_way() -> None:
    """Lower the priority of this thread, and of no other, below that of the loops (setpriority(2))."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


def _digest(found: Representation, offset: int, length: int, closed: Event) -> bytes:
    """The digest of these bytes, waiting for the disk; NO_DIGEST where that fails.

    Raises OSError as `Representation.open` does; ESTALE too when the file changes meanwhile: a digest is of
    this version, and not of half of the next.
    """
    fd = found.open()
    try:
        settle(fd, found.mtime_ns)
        return hash_through(fd, found, offset, length, closed)
    except OSError as error:
        if error.errno in (errno.ESTALE, errno.ECANCELED):
            raise
        LOGGER.warning("no digest of /%s: %s", os.fsdecode(b"/".join(found.segments)), error.strerror)
        return NO_DIGEST
    finally:
        os.close(fd)


def hash_through(fd: int, found: Representation, offset: int, length: int, closed: Event) -> bytes:
    """Hash bytes of a file version that is open as `fd`.

    Raises OSError: ESTALE as soon as it is another, ECANCELED once nobody wants it any more.
    """
    digest = hashlib.sha256()
    for piece in read_pieces(fd, found, offset, length, closed):
        digest.update(piece)
    return digest.digest()


def read_pieces(
    fd: int, found: Representation, offset: int, length: int, closed: Stop
) -> Iterator[memoryview]:
    """The same bytes, piece by piece, each good until the next. Raises as that does."""
    piece = memoryview(bytearray(min(_PIECE_SIZE, length)))
    at, end = offset, offset + length
    while at < end:
        if closed.is_set():
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        count = os.preadv(fd, [piece[: end - at]], at)
        at += count
        if not count or not found.same_as(os.fstat(fd)):
            raise OSError(errno.ESTALE, "the file was replaced", os.fsdecode(b"/".join(found.segments)))
        yield piece[:count]

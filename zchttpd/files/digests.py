"""Entity tags of content: a digest of each file version that needs one, made once, off the loop."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from zchttpd.files.lru import Lru
from zchttpd.files.singleflight import Pending, SingleFlight
from zchttpd.files.version import content_tag, read_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.version import Representation, Version

LOGGER = logging.getLogger("zchttpd")

# Up to here, and if it is in the page cache, a file is read and hashed on the spot: that is a tenth of a
# millisecond.
AT_ONCE_SIZE_MAX = 64 << 10
# Up to here a request waits for the digest, about 30 ms; for more it is answered without a tag meanwhile.
WAITED_SIZE_MAX = 16 << 20
# For small files; one more is for large ones, so that they never hold up each other.
SMALL_THREADS = 2
SMALL_MAX = 1024
LARGE_MAX = 64
# A small file that is being hashed for longer is on a disk that does not answer: no more requests wait.
PATIENCE_S = 1.0

_PIECE_SIZE = 1 << 20
# blake2b: 600 MiB/s, where SHA-256 does 370 without instructions of its own.
_DIGEST_SIZE = 16
_NICE = 10
_UNREADABLE: Final = ""


class Digests:
    """Finds the tags of representations. Called on the loop's thread; `post`: see `SingleFlight`.

    It keeps at most `digests_max` (400 bytes each); what was not asked for longest goes, and is made anew.
    """

    def __init__(self, post: Callable[[Callable[[], None]], None] | None, digests_max: int) -> None:
        self._small = SingleFlight(post, threads=SMALL_THREADS, jobs_max=SMALL_MAX)
        self._large = SingleFlight(post, jobs_max=LARGE_MAX)
        self._known: Lru[Version, str] = Lru(digests_max)

    def tag_of(self, found: Representation, *, wait: bool = False) -> str | None:
        """The entity tag of a representation, with its quotes. None: there is none, or not yet.

        Raises Pending when it is worth waiting for, which with `wait` it always is; then also OSError (EBUSY)
        where too many are being made.
        """
        if found.etag is not None:
            return found.etag
        digest = self._known.use(found.version)
        if digest is None:
            digest = self._make(found, wait=wait)
        return content_tag(found.version, found.encoding, digest) if digest else None

    def _make(self, found: Representation, *, wait: bool) -> str | None:
        digest = _digest_at_once(found) if found.size <= AT_ONCE_SIZE_MAX else None
        small = found.size <= WAITED_SIZE_MAX
        jobs = self._small if small else self._large
        if digest is None and not jobs.threaded:
            digest = _digest(found)
        if digest is not None:
            self._known.put(found.version, digest)
            return digest
        late = jobs.age_s() > PATIENCE_S
        job = jobs.find(found.version)
        if job is None:
            if jobs.full and not wait:
                return None
            make = partial(_digest if small else _digest_aside, found)
            job = jobs.start(found.version, make, partial(self._known.put, found.version))
        if wait or (small and not late):
            raise Pending(job)
        return None


def _digest_at_once(found: Representation) -> str | None:
    """The digest of a small file in the page cache. None where it must be waited for, or was replaced."""
    try:
        fd = found.open()
    except OSError:
        return None
    try:
        content = read_at_once(fd, found)
    finally:
        os.close(fd)
    return None if content is None else hashlib.blake2b(content, digest_size=_DIGEST_SIZE).hexdigest()


def _digest_aside(found: Representation) -> str:
    """As `_digest`, at a lower priority (setpriority(2)) than the loops; in a thread of its own."""
    with contextlib.suppress(OSError):
        # Of this thread alone, setpriority(2).
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    return _digest(found)


def _digest(found: Representation) -> str:
    """The digest of all bytes, waiting for the disk; _UNREADABLE where it fails.

    Raises OSError as `Representation.open` does; ESTALE too when the file changes meanwhile: a digest is of
    this version, and not of half of the next.
    """
    fd = found.open()
    try:
        return hash_through(fd, found)
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise
        LOGGER.warning("no entity tag for /%s: %s", os.fsdecode(b"/".join(found.segments)), error.strerror)
        return _UNREADABLE
    finally:
        os.close(fd)


def hash_through(fd: int, found: Representation) -> str:
    """Hash a file version that is open as `fd`. Raises OSError: ESTALE as soon as it is another."""
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    piece = memoryview(bytearray(min(_PIECE_SIZE, found.size)))
    at = 0
    while at < found.size:
        count = os.preadv(fd, [piece], at)
        digest.update(piece[:count])
        at += count
        if not count or not found.same_as(os.fstat(fd)):
            raise OSError(errno.ESTALE, "the file was replaced", os.fsdecode(b"/".join(found.segments)))
    return digest.hexdigest()

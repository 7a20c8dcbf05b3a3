"""Checks that an open file still has the bytes that a response announced; it may have grown.

A file that is appended to keeps what it had: an answer that was begun goes on to its announced length. What
shrinks, or has another time at the same size, was written to in place. A file that was emptied and written
anew beyond its old length, or written to in place and then appended to, has grown too: so a few bytes of it,
spread over what was announced, must be found again. What changes only between those is not seen, nor what
changes where no bytes could be taken without waiting for a disk.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE_COUNT = 8
SAMPLE_SIZE = 64
# write(2) sets the time before the size, so that an append looks for a moment like a write in place.
DOUBT_LOOKS = 10
DOUBT_S = 0.0002
YOUNG_NS = 100_000_000


def places(size: int) -> list[tuple[int, int]]:
    """(offset, length) of each sample of so many bytes: the first at the start, the last at the end."""
    if size <= SAMPLE_COUNT * SAMPLE_SIZE:
        return [(at, min(SAMPLE_SIZE, size - at)) for at in range(0, size, SAMPLE_SIZE)]
    last = size - SAMPLE_SIZE
    return [(number * last // (SAMPLE_COUNT - 1), SAMPLE_SIZE) for number in range(SAMPLE_COUNT)]


class Announced:
    """The first `size` bytes of the open file `fd`, whose modification time was `mtime_ns` when announced.

    With `grown` the file may be longer by now.
    """

    __slots__ = ("_lost", "_samples", "_seen", "fd", "size")

    def __init__(self, fd: int, size: int, mtime_ns: int, *, grown: bool = False) -> None:
        self.fd = fd
        self.size = size
        self._seen = (size, mtime_ns)
        self._samples: dict[int, bytes] = {}
        for offset, length in places(size):
            sample = _at_hand(fd, length, offset)
            if sample is not None:
                self._samples[offset] = sample
        # Else it may have been written anew before the samples were taken.
        self._lost = not grown and os.fstat(fd).st_size != size

    def hold(self, copy: Callable[[int, int], bytes] | None = None) -> bool:
        """Whether they are still there (fstat(2)); False for good once they are not. Raises OSError.

        `copy` reads (length, offset) of a copy that has been made of all of them, and must be of them too.
        """
        self._lost = self._lost or (copy is not None and not self._match(copy)) or not self._look()
        return not self._lost

    def _match(self, copy: Callable[[int, int], bytes]) -> bool:
        for offset, length in places(self.size):
            read = copy(length, offset)
            if self._samples.setdefault(offset, read) != read:
                return False
        return True

    def _look(self) -> bool:
        for looks in range(DOUBT_LOOKS + 1):
            facts = os.fstat(self.fd)
            if facts.st_size != self._seen[0]:
                break
            if facts.st_mtime_ns == self._seen[1]:
                return True
            if looks == DOUBT_LOOKS or time.time_ns() - facts.st_mtime_ns > YOUNG_NS:
                return False
            time.sleep(DOUBT_S)
        if facts.st_size < self.size:
            return False
        for offset, sample in self._samples.items():
            now = _at_hand(self.fd, len(sample), offset)
            if now is not None and now != sample:
                return False
        self._seen = (facts.st_size, facts.st_mtime_ns)
        return True


def _at_hand(fd: int, length: int, offset: int) -> bytes | None:
    """Bytes that the page cache has, else None. Where the file system cannot tell it is waited for, as it is
    when such a file is sent.
    """
    buffer = bytearray(length)
    try:
        got = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return os.pread(fd, length, offset)
    return bytes(buffer[:got])

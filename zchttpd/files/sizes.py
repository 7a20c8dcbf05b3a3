"""Files whose size says nothing: in sysfs, procfs and the like the content is made when it is read."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from zchttpd.files.lru import Lru

if TYPE_CHECKING:
    from zchttpd.files.root import Root
    from zchttpd.files.version import Representation, Version

LOGGER = logging.getLogger("zchttpd")

EXAMINED_MAX = 4096


class Unsized(Exception):
    """A file cannot be served: how long it is can only be known by reading it."""


class Sizes:
    """Looks whether files are as long as their file systems tell; complains once of each file system.

    A file system that counts blocks (statvfs(3)) tells: only files of the others are opened, and of a device
    that is not known yet.
    """

    def __init__(self, root: Root) -> None:
        self._counts_blocks = dict([root.counts_blocks()])
        self._told: set[int] = set()
        # By version, of what was examined in a thread.
        self._examined: Lru[Version, bool] = Lru(EXAMINED_MAX)

    def holds(self, device: int) -> bool:
        """Whether it is known that all files of a device are as long as it tells."""
        return self._counts_blocks.get(device, False)

    def check(self, found: Representation) -> None:
        """Raises Unsized, and OSError as `Representation.open` does."""
        dev = found.version.dev
        if self._counts_blocks.get(dev):
            return
        told = self._examined.get(found.version)
        if told is None:
            told = self._look(found)
        if told:
            return
        if dev not in self._told:
            self._told.add(dev)
            name = os.fsdecode(b"/".join(found.segments))
            LOGGER.warning(
                "answering 404: /%s has %d bytes, says its file system, and others when it is read (as in"
                " /proc and /sys). Copy it to a file and serve that: cat FILE >COPY",
                name,
                found.size,
            )
        raise Unsized

    def examine(self, found: Representation) -> None:
        """Look now, in a thread, so that `check` need not. Raises nothing: the error comes later."""
        if not self._counts_blocks.get(found.version.dev):
            with contextlib.suppress(OSError):
                self._examined.put(found.version, self._look(found))

    def _look(self, found: Representation) -> bool:
        fd = found.open(grown=True)
        try:
            self._counts_blocks[found.version.dev] = os.fstatvfs(fd).f_blocks > 0
            return tells_its_size(fd, found.size)
        finally:
            os.close(fd)


def tells_its_size(fd: int, size: int) -> bool:
    """Whether a file that is open for reading ends where fstat(2) says, at `size` bytes.

    Only file systems that have no blocks to count are in doubt, statvfs(3): the others are not read.
    """
    if os.fstatvfs(fd).f_blocks:
        return True
    before = max(0, size - 1)
    try:
        ends_there = len(os.pread(fd, 2, before)) == size - before
    except OSError:
        ends_there = False
    # What is another size by now says nothing of the one before.
    return ends_there or os.fstat(fd).st_size != size

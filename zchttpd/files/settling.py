"""Versions so young that somebody may still be in the write(2) that made them.

A write sets the modification time when it begins. Who looks while it goes on sees the time that will stay,
and reads bytes of before and of after: no later look at the file tells. So the bytes of a young version are
read only when that write has ended. It holds a lock of the inode that read(2) takes too on XFS, ZFS and NFS,
and lseek(2) for the next data on ext4, btrfs, f2fs, tmpfs and FUSE. Elsewhere, time alone must do.

Not seen: writes past the page cache (O_DIRECT), and those through a writable mapping.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from zchttpd.files.lru import Lru
from zchttpd.files.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.singleflight import Job
    from zchttpd.files.version import Representation, Version

# No write that began longer ago is still going on.
YOUNG_NS = 1_000_000_000
# Before Linux 6.13 (multigrain timestamps) times are those of the last tick: two writes within one look like
# one.
TICK_NS = 20_000_000
# Those that wait for a lock have one each.
THREADS = 32
JOBS_MAX = 4096
KNOWN_MAX = 1024

# statfs(2)
_EXT4, _XFS, _BTRFS, _TMPFS, _OVERLAY = 0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630
_F2FS, _FUSE, _NFS, _ZFS = 0xF2F52010, 0x65735546, 0x6969, 0x2FC12FC1
_FINE_TIMES = frozenset((_EXT4, _XFS, _BTRFS, _TMPFS, _OVERLAY))
_LOCKING = _FINE_TIMES | {_F2FS, _FUSE, _NFS, _ZFS}
_STATFS_SIZE = 256


class Settling:
    """Waits, in threads, until young versions may be read. `post`: as `SingleFlight` has it."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._jobs = SingleFlight(post, threads=THREADS, jobs_max=JOBS_MAX)
        # The oldest of them are old enough by the time they go, or will be waited for once more.
        self._settled: Lru[Version, bool] = Lru(KNOWN_MAX)

    def job(self, found: Representation) -> Job | None:
        """What must end before its bytes are read; None: nothing must. Raises OSError (EBUSY)."""
        version = found.version
        if not is_young(version.mtime_ns) or version in self._settled:
            return None
        jobs = self._jobs.beside(found.mount)
        return jobs.start(version, partial(_wait, found), lambda _none: self._settled.put(version, True))


def is_young(mtime_ns: int) -> bool:
    """Whether somebody may be in the write that set this time. A clock that was set back counts too."""
    return abs(time.time_ns() - mtime_ns) < YOUNG_NS


def settle(fd: int, mtime_ns: int) -> None:
    """Wait until nobody is in the write that set this time on the open file."""
    if not is_young(mtime_ns):
        return
    kind = _file_system(fd)
    wait_ns = TICK_NS if kind in _LOCKING else YOUNG_NS
    if kind not in _FINE_TIMES or not _times_are_fine():
        time.sleep(max(0, mtime_ns + wait_ns - time.time_ns()) / 1e9)
    with suppress(OSError):
        os.pread(fd, 1, 0)
    with suppress(OSError):  # ENXIO: the file is empty
        os.lseek(fd, 0, os.SEEK_DATA)


def _wait(found: Representation) -> None:
    try:
        fd = found.open(grown=True)
    except OSError:
        # Whoever reads it is told why.
        return
    try:
        settle(fd, found.mtime_ns)
    finally:
        os.close(fd)


def _file_system(fd: int) -> int:
    status = ctypes.create_string_buffer(_STATFS_SIZE)
    if ctypes.CDLL(None).fstatfs(fd, status):
        return 0
    return int.from_bytes(status.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)


def _times_are_fine() -> bool:
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    return release is not None and tuple(map(int, release.groups())) >= (6, 13)

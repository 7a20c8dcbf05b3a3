"""Files that nobody writes to, for as long as somebody has them open: they may be sent by reference."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING

from zchttpd.config.rules import matcher, path_of

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings
    from zchttpd.files.version import Representation

# ioctl_iflags(2): _IOR('f', 1, long).
_GETFLAGS = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_IMMUTABLE, _VERITY = 0x10, 0x00100000
# Of these nobody else has the blocks. What is read-only here and comes from elsewhere is written to there.
_LOCAL = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs")
)


class Frozen:
    """Tells of an open file whether it is one: the operator says so, its attributes, or its file system."""

    def __init__(self, settings: Settings) -> None:
        self._all = settings.frozen
        self._patterns = tuple(map(matcher, settings.immutable))

    def holds(self, fd: int, found: Representation) -> bool:
        """Whether nobody writes to the file of this representation, which is open as `fd`."""
        return (
            self._all
            or any(matches(path_of(found.segments)) for matches in self._patterns)
            or (not found.may_hang and (_is_immutable(fd) or _is_read_only(fd)))
        )


def _is_immutable(fd: int) -> bool:
    """By its attributes, chattr +i or fs-verity, which hold for those too that have it open for writing."""
    try:
        (flags,) = struct.unpack("=i", fcntl.ioctl(fd, _GETFLAGS, bytes(struct.calcsize("l")))[:4])
    except OSError:
        return False
    return bool(flags & (_IMMUTABLE | _VERITY))


def _is_read_only(fd: int, mounts: str = "/proc/self/mountinfo") -> bool:
    """Whether its file system is mounted read-only everywhere, and not here alone (proc_pid_mountinfo(5))."""
    if not os.fstatvfs(fd).f_flag & os.ST_RDONLY:
        return False
    device = os.fstat(fd).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open(mounts, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            mount, _, system = line.partition(" - ")
            kind, _, options = system.split(" ", 2)
            if mount.split(" ")[2] == number:
                return kind in _LOCAL and "ro" in options.strip().split(",")
    return False

"""Mounts that may hang: what lies there is asked for in threads of its mount, and never on the loop's thread.

Which these are is read from the table of mounts (proc_pid_mountinfo(5)), as nothing can be asked of a mount
that hangs. The one that the root lies on is not among them: whoever asks for anything asks for that.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import select
import threading
from typing import TYPE_CHECKING

from zchttpd.files.walk import Names, names_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# Their blocks are this machine's, or they are made by its kernel: they wait for no network and no process.
_OWN = frozenset(
    (
        *("bcachefs", "btrfs", "cramfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfs", "hfsplus"),
        *("iso9660", "jfs", "minix", "msdos", "nilfs2", "ntfs3", "reiserfs", "romfs", "squashfs", "udf"),
        *("vfat", "xfs", "zfs", "devtmpfs", "overlay", "proc", "ramfs", "sysfs", "tmpfs"),
    )
)
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_READ_SIZE = 1 << 16


class Away(Exception):
    """What is asked for lies on a mount that may hang, and this is the loop's thread."""

    def __init__(self, mount: Names) -> None:
        super().__init__("it lies on a mount that may hang")
        self.mount = mount


class Mounts:
    """Knows which paths lead to mounts that may hang, and keeps the loop's thread from them."""

    def __init__(self, table: str = "/proc/self/mountinfo") -> None:
        self._path = table
        self._table = -1
        self._changes = select.poll()
        self._thread = 0
        self._root: Names = ()
        self._hanging: tuple[Names, ...] = ()
        self._devices: dict[int, Names] = {}

    def guard(self, root: bytes) -> None:
        """From now on this thread, which has a loop, is kept from them. `root`: the real path of the root."""
        self._thread = threading.get_ident()
        # Without a table nothing is known of any mount.
        with contextlib.suppress(OSError):
            self._table = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._changes.register(self._table, select.POLLPRI)
            self.turn_to(root)

    def turn_to(self, root: bytes) -> None:
        """The root is another directory."""
        self._root = names_of(root)
        self._read()

    def refresh(self) -> None:
        """See whether there are other mounts by now."""
        if self._table >= 0 and self._changes.poll(0):
            self._read()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._table >= 0:
            os.close(self._table)
            self._table = -1

    def here(self) -> Mounts:
        """The same, that keeps this thread from them instead of the loop's."""
        kept = copy.copy(self)
        kept._thread = threading.get_ident()
        return kept

    @property
    def guarded(self) -> bool:
        """Whether there are such mounts, and this thread is kept from them."""
        return bool(self._hanging) and threading.get_ident() == self._thread

    def check(self, names: Sequence[bytes]) -> None:
        """Raises Away for a path, as its components, that leads there, on the loop's thread."""
        if self.guarded:
            path = tuple(names)
            for mount in self._hanging:
                if path[: len(mount)] == mount:
                    raise Away(mount)

    def hangs(self, segments: Sequence[bytes]) -> bool:
        """Whether one of them is mounted at this path beneath the root."""
        return bool(self._hanging) and (*self._root, *segments) in self._hanging

    def found(self, device: int, mount: Names) -> None:
        """Files of this device lie on that mount."""
        self._devices[device] = mount

    def of(self, device: int) -> Names | None:
        """The mount that files of a device lie on, if it may hang."""
        return self._devices.get(device)

    def _read(self) -> None:
        if self._table < 0:
            return
        places: dict[Names, bool] = {}
        for line in self._lines():
            mount, _, system = line.partition(b" - ")
            kind = system.split(b" ", 1)[0].decode("ascii", "replace")
            place = _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), mount.split(b" ")[4])
            # The last that was mounted there is what is seen.
            places[names_of(place)] = kind not in _OWN
        self._hanging = tuple(
            place for place in sorted(places, key=len) if places[place] and place != self._root[: len(place)]
        )

    def _lines(self) -> list[bytes]:
        text = b""
        # One read gives a page of it at most, however much is asked for.
        while piece := os.pread(self._table, _READ_SIZE, len(text)):
            text += piece
        return text.splitlines()

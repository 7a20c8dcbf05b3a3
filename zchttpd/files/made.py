"""Bytes that were made here and not found in the root, in sealed memory files: as good as files."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY
from zchttpd.files.entry import Representation, Version
from zchttpd.files.memory import seal

if TYPE_CHECKING:
    from zchttpd.files.root import Root


class MemoryFile:
    """Owns a sealed memory file until it is closed, or nobody knows of it any more."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def open(self) -> int:
        """A new descriptor, for the caller to close; its position is shared, so read as pread(2) does.

        Raises OSError: ESTALE when the file has been closed.
        """
        if self._fd < 0:
            raise OSError(errno.ESTALE, "what was made has been given up")
        return os.dup(self._fd)

    def close(self) -> None:
        """Give the descriptor back. Bytes that somebody still sends stay."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Made(Representation):
    """A representation whose bytes were made here and are in `file`."""

    file: MemoryFile = field(compare=False, repr=False)

    @property
    def in_memory(self) -> bool:
        """They were."""
        return True

    def open(self, *, grown: bool = False) -> int:
        """A new descriptor for reading, for the caller to close. Raises OSError as `MemoryFile.open` does."""
        del grown  # It cannot.
        return self.file.open()


def made(fd: int, etag: str, root: Root) -> Made:
    """The representation of a filled memory file, which it takes over and seals.

    It is the same version as any other that was made with this entity tag, so that an engine that still holds
    those bytes need not read them again.
    """
    os.utime(fd, ns=(0, 0))
    seal(fd)
    number = int.from_bytes(hashlib.blake2b(etag.encode("ascii"), digest_size=16).digest(), "big")
    version = Version(dev=0, ino=number, size=os.fstat(fd).st_size, mtime_ns=0, ctime_ns=0)
    return Made(version, IDENTITY, etag, None, (), root, MemoryFile(fd))

"""Sealed memory files (memfd_create(2)), and representations whose bytes are in them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY
from zchttpd.files.version import Representation, Version

if TYPE_CHECKING:
    from zchttpd.files.announced import Announced
    from zchttpd.files.root import Root

# memfd_create(2): not executable, sealable. Kernels before 6.3 do not know the flag.
_MFD_NOEXEC_SEAL = 0x0008
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NO_MEMFD = (errno.ENOSYS, errno.EPERM, errno.EACCES)


def read_through(file: Announced) -> bytes:
    """All bytes that were announced, waiting for the disk. Raises OSError: ESTALE when others are there."""
    pieces: list[bytes] = []
    at = 0
    while at < file.size:
        piece = os.pread(file.fd, file.size - at, at)
        if not piece:
            raise _stale()
        pieces.append(piece)
        at += len(piece)
    content = b"".join(pieces)
    if not file.hold(lambda length, offset: content[offset : offset + length]):
        raise _stale()
    return content


def new_memory_file() -> int:
    """A descriptor of an empty memory file, to be filled and sealed; -1 where that is forbidden.

    Raises OSError (EMFILE, ENFILE, ENOMEM).
    """
    for flags in (os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING):
        try:
            return os.memfd_create("zchttpd", flags)
        except OSError as error:
            if error.errno in _NO_MEMFD:
                return -1
            if error.errno != errno.EINVAL:
                raise
    return -1


def fill(memory_fd: int, content: bytes) -> None:
    """Write a snapshot and seal it. Raises OSError."""
    append(memory_fd, content)
    seal(memory_fd)


def append(memory_fd: int, content: bytes) -> None:
    """Write at the end. Raises OSError (ENOSPC, ENOMEM)."""
    view = memoryview(content)
    while view:
        view = view[os.write(memory_fd, view) :]


def seal(memory_fd: int) -> None:
    """From now on nothing can change these bytes."""
    fcntl.fcntl(memory_fd, fcntl.F_ADD_SEALS, _SEALS)


def _stale() -> OSError:
    return OSError(errno.ESTALE, "the file changed while it was read")


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
class MemoryRepresentation(Representation):
    """A representation whose bytes were made here, in `file`."""

    file: MemoryFile = field(compare=False, repr=False)

    @property
    def in_memory(self) -> bool:
        """Always."""
        return True

    def open(self, *, grown: bool = False) -> int:
        """A new descriptor for reading, for the caller to close. Raises OSError as `MemoryFile.open` does."""
        del grown  # It cannot.
        return self.file.open()


def memory_representation(fd: int, etag: str, root: Root) -> MemoryRepresentation:
    """The representation of a filled memory file, which it takes over and seals.

    It is the same version as any other that was made with this entity tag, so that an engine that still holds
    those bytes need not read them again.
    """
    os.utime(fd, ns=(0, 0))
    seal(fd)
    number = int.from_bytes(hashlib.blake2b(etag.encode("ascii"), digest_size=16).digest(), "big")
    version = Version(dev=0, ino=number, size=os.fstat(fd).st_size, mtime_ns=0, ctime_ns=0)
    return MemoryRepresentation(version, IDENTITY, etag, None, (), root, MemoryFile(fd))

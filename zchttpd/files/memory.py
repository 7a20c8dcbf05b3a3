"""Bytes of file versions taken into memory: read whole, or put into sealed memory files."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zchttpd.files.announced import Announced

# memfd_create(2): not executable, sealable. Kernels before 6.3 do not know the flag.
_MFD_NOEXEC_SEAL = 0x0008
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_PIECE_SIZE = 1 << 20
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


def fill_through(memory_fd: int, file: Announced) -> None:
    """Copy all bytes that were announced into a snapshot, waiting for the disk, and seal it.

    Raises OSError: ESTALE when there are others now.
    """
    at = 0
    while at < file.size:
        # Both ends are files here: the kernel copies without a detour (sendfile(2)).
        copied = os.sendfile(memory_fd, file.fd, at, min(_PIECE_SIZE, file.size - at))
        if not copied:
            raise _stale()
        at += copied
    if not file.hold(lambda length, offset: os.pread(memory_fd, length, offset)):
        raise _stale()
    seal(memory_fd)


def _stale() -> OSError:
    return OSError(errno.ESTALE, "the file changed while it was read")

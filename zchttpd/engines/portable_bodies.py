"""Bytes of file versions in the portable engine: held here, in a sealed memory file, or in their file."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.entry import Representation

# memfd_create(2): not executable, sealable. Kernels before 6.3 do not know the flag.
_MFD_NOEXEC_SEAL = 0x0008
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
# Beyond this, writing even what the page cache has takes long enough to hold up other connections.
_AT_ONCE_MAX = 1 << 20
_PIECE_SIZE = 1 << 20
_NO_MEMFD = (errno.ENOSYS, errno.EPERM, errno.EACCES)


class State(Enum):
    """Where the bytes of a representation are."""

    FILLING = "filling"
    INLINE = "inline"
    SNAPSHOT = "snapshot"
    FILE = "file"


@dataclass(slots=True, eq=False)
class Body:
    """The bytes of one representation: `small` here, or behind `fd`, which is owned.

    `source` is the file while it is being read. `owners` are the entries that lead to it, `active` the
    responses (and reads) under way; without either it is closed. `waiting` are told how reading it ended.
    """

    representation: Representation
    state: State
    small: bytes = b""
    fd: int = -1
    source: int = -1
    owners: int = 0
    active: int = 0
    waiting: list[Callable[[OSError | None], None]] = field(default_factory=list)

    def read(self) -> bytes:
        """Read it all, waiting for the disk: what `settle` wants. For a thread. Raises OSError."""
        if self.fd < 0:
            return read_through(self.source, self.representation)
        fill_through(self.fd, self.source, self.representation)
        return b""

    def settle(self, small: bytes) -> None:
        """It has been read: into `fd`, or else here."""
        self.state = State.INLINE if self.fd < 0 else State.SNAPSHOT
        self.small = small
        os.close(self.source)
        self.source = -1

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self.fd, self.source):
            if fd >= 0:
                os.close(fd)
        self.fd = self.source = -1

    def resident(self, offset: int) -> bool:
        """Whether the byte at `offset` can be had without waiting for the disk."""
        try:
            os.preadv(self.fd, [bytearray(1)], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:
            # EOPNOTSUPP: this file system cannot tell. Sending it waits, as it does in other servers.
            return True
        return True

    def populate(self, offset: int, length: int) -> None:
        """Read into the page cache, off the loop. Errors show when the bytes are sent."""
        try:
            os.posix_fadvise(self.fd, offset, length, os.POSIX_FADV_WILLNEED)
            buffer = bytearray(min(_PIECE_SIZE, length))
            end = offset + length
            while offset < end and (got := os.preadv(self.fd, [buffer], offset)):
                offset += got
        except OSError:
            pass


def open_body(representation: Representation, wanted: State) -> Body:
    """The body of a representation: INLINE, SNAPSHOT or FILE as `wanted`.

    FILLING when the bytes are not in the page cache: then `read` and `settle` are to follow. FILE instead of
    SNAPSHOT where memory files are forbidden. Raises OSError as `Representation.open` does.
    """
    fd = representation.open()
    if wanted is State.FILE:
        return Body(representation, wanted, fd=fd)
    body = Body(representation, State.FILLING, source=fd)
    try:
        if wanted is State.SNAPSHOT:
            body.fd = new_memory_file()
            if body.fd < 0:
                return Body(representation, State.FILE, fd=fd)
        content = read_at_once(fd, representation)
        if content is not None and wanted is State.SNAPSHOT:
            fill(body.fd, content)
            body.settle(b"")
        elif content is not None:
            body.settle(content)
    except OSError:
        body.close()
        raise
    return body


def is_version(fd: int, representation: Representation) -> bool:
    """Whether an open file still is this version (fstat(2)).

    Size and mtime alone: ctime also moves when a file is renamed or deleted, which harms no reader.
    """
    facts = os.fstat(fd)
    return facts.st_size == representation.size and facts.st_mtime_ns == representation.mtime_ns


def read_at_once(fd: int, representation: Representation) -> bytes | None:
    """All bytes of a file that is not large, if the page cache has them; None if reading would wait or the
    file is another by now.
    """
    size = representation.size
    if size > _AT_ONCE_MAX:
        return None
    buffer = bytearray(size)
    try:
        if size and os.preadv(fd, [buffer], 0, os.RWF_NOWAIT) != size:
            return None
    except OSError:
        # EAGAIN: not in the page cache; EOPNOTSUPP: this file system cannot tell.
        return None
    return bytes(buffer) if is_version(fd, representation) else None


def read_through(fd: int, representation: Representation) -> bytes:
    """All bytes, waiting for the disk. Raises OSError: ESTALE when the file is another by now."""
    pieces: list[bytes] = []
    at = 0
    while at < representation.size:
        piece = os.pread(fd, representation.size - at, at)
        if not piece:
            raise _stale()
        pieces.append(piece)
        at += len(piece)
    _check(fd, representation)
    return b"".join(pieces)


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
    """Write a snapshot and seal it: from now on nothing can change these bytes. Raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(memory_fd, view) :]
    fcntl.fcntl(memory_fd, fcntl.F_ADD_SEALS, _SEALS)


def fill_through(memory_fd: int, fd: int, representation: Representation) -> None:
    """Copy a whole file into a snapshot, waiting for the disk, and seal it.

    Raises OSError: ESTALE when the file is another by now.
    """
    at = 0
    while at < representation.size:
        # Both ends are files here: the kernel copies without a detour (sendfile(2)).
        copied = os.sendfile(memory_fd, fd, at, min(_PIECE_SIZE, representation.size - at))
        if not copied:
            raise _stale()
        at += copied
    _check(fd, representation)
    fcntl.fcntl(memory_fd, fcntl.F_ADD_SEALS, _SEALS)


def _check(fd: int, representation: Representation) -> None:
    if not is_version(fd, representation):
        raise _stale()


def _stale() -> OSError:
    return OSError(errno.ESTALE, "the file changed while it was read")

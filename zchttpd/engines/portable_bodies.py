"""Bytes of file versions in the portable engine: held here, in a sealed memory file, or in their file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from zchttpd.files.announced import Announced
from zchttpd.files.memfd import fill, fill_through, new_memory_file, read_through

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.version import Representation

# Beyond this, writing even what the page cache has takes long enough to hold up other connections.
_AT_ONCE_MAX = 1 << 20
_PIECE_SIZE = 1 << 20


class State(Enum):
    """Where the bytes of a representation are."""

    FILLING = "filling"
    INLINE = "inline"
    SNAPSHOT = "snapshot"
    FILE = "file"


@dataclass(slots=True, eq=False)
class Body:
    """The bytes of one representation: `small` here, or behind `fd`, which is owned.

    `source` is the file while it is being read; `announced` is what must still be in it, or in one that is
    sent from where it is. `owners` are the entries that lead to it, `active` the responses (and reads) under
    way; without either it is closed. `waiting` are told how reading it ended; it was begun at `since_ms`.
    `part`: it is for those that want a part of a file that is not in memory.
    """

    representation: Representation
    state: State
    small: bytes = b""
    fd: int = -1
    source: int = -1
    announced: Announced | None = None
    owners: int = 0
    active: int = 0
    since_ms: int = 0
    part: bool = False
    waiting: list[Callable[[OSError | None], None]] = field(default_factory=list)

    def read(self) -> bytes:
        """Read it all, waiting for the disk: what `settle` wants. For a thread. Raises OSError."""
        assert self.announced is not None
        if self.fd < 0:
            return read_through(self.announced)
        fill_through(self.fd, self.announced)
        return b""

    def settle(self, small: bytes) -> None:
        """It has been read: into `fd`, or else here."""
        self.state = State.INLINE if self.fd < 0 else State.SNAPSHOT
        self.small = small
        self.announced = None
        os.close(self.source)
        self.source = -1

    @property
    def cached(self) -> bool:
        """Whether all its bytes are in memory."""
        return self.state in (State.INLINE, State.SNAPSHOT)

    @property
    def lost(self) -> bool:
        """Whether it is sent from a file that has other bytes by now."""
        return self.state is State.FILE and self.announced is not None and not self.announced.hold()

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


def open_body(representation: Representation, wanted: State, *, grown: bool = False) -> Body:
    """The body of a representation: INLINE, SNAPSHOT or FILE as `wanted`.

    FILLING when the bytes are not in the page cache: then `read` and `settle` are to follow. FILE instead of
    SNAPSHOT where memory files are forbidden. `grown`, and OSError, as `Representation.open` has them.
    """
    fd = representation.open(grown=grown)
    body = Body(representation, State.FILLING, source=fd)
    body.announced = Announced(fd, representation.size, representation.mtime_ns, grown=grown)
    try:
        if wanted is State.SNAPSHOT:
            body.fd = new_memory_file()
        if body.fd < 0 and wanted is not State.INLINE:
            body.state, body.fd, body.source = State.FILE, fd, -1
            return body
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
    facts = os.fstat(fd)
    return bytes(buffer) if (facts.st_size, facts.st_mtime_ns) == (size, representation.mtime_ns) else None

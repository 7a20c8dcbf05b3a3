"""Bytes of file versions, and the entries that lead to them, as the io_uring engine knows them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zchttpd.files.entry import Entry, Representation


class State(Enum):
    """Where the bytes of a representation are."""

    FILLING = "filling"
    INLINE = "inline"
    MAPPED = "mapped"
    STREAMED = "streamed"


@dataclass(slots=True, eq=False)
class Body:
    """The bytes of one representation: a few of them here, more in a mapping, or too many and so streamed.

    `number` is the engine's mapping or source; `waiting` are requests that came while it was being filled.
    `makeshift`: it streams only because there was no room to cache it. `since_ms`: when it was opened.
    """

    representation: Representation
    state: State
    small: bytes = b""
    number: int = -1
    owners: int = 0
    makeshift: bool = False
    since_ms: int = 0
    waiting: list[tuple[int, bytes, int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Holding:
    """An entry of the cache as the engine knows it."""

    entry: Entry
    number: int
    bodies: set[Body] = field(default_factory=set)
    plans: dict[tuple[bytes, tuple[object, ...]], int] = field(default_factory=dict)


def read_at_once(fd: int, representation: Representation) -> bytes | None:
    """All bytes of a small file if the page cache has them; None if reading would wait."""
    size = representation.size
    buffer = bytearray(size)
    try:
        if size and os.preadv(fd, [buffer], 0, os.RWF_NOWAIT) != size:
            return None
    except OSError:
        # EAGAIN: not in the page cache; EOPNOTSUPP: this file system cannot tell. The ring reads it.
        return None
    return bytes(buffer) if representation.same_as(os.fstat(fd)) else None

"""Answers that want but a part of a file: they never have the whole of it read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zchttpd.engine.limits import LIVE_SIZE_MIN
from zchttpd.http.response import Slice

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings
    from zchttpd.handler.answer import Answer

# Copying so much takes no time that others would notice.
INLINED_SIZE_MAX = 64 * 1024
# Files that are sent from where they are, and that nobody asks for, are closed after so many looks at them.
IDLE_LOOKS = 5
IDLE_MS_MAX = 5_000


def idle_ms(settings: Settings) -> int:
    """How long a file stays open that nobody asks for: it keeps its blocks, and its file system busy."""
    return min(IDLE_MS_MAX, IDLE_LOOKS * settings.revalidate_ms)


def wants_part(answer: Answer) -> bool:
    """Whether it wants less than the whole of a file, and one that is too large to be read for that."""
    found = answer.representation
    return (
        found is not None
        and not found.in_memory
        and found.size >= LIVE_SIZE_MIN
        and _wanted(answer) < found.size
    )


def inlined(answer: Answer, size_max: int, *, grown: bool) -> Answer | None:
    """The answer with the bytes of its windows in it; None if they are `size_max` or more, or not at hand.

    `grown`, and OSError, as `Representation.open` has them.
    """
    found = answer.representation
    if found is None or found.may_hang or _wanted(answer) >= min(size_max, INLINED_SIZE_MAX):
        return None
    fd = found.open(grown=grown)
    try:
        parts = [part if isinstance(part, bytes) else _read(fd, part) for part in answer.parts]
        facts = os.fstat(fd)
    except OSError:
        # EAGAIN: not in the page cache; EOPNOTSUPP: this file system cannot tell.
        return None
    finally:
        os.close(fd)
    if facts.st_size <= found.size and facts.st_mtime_ns != found.mtime_ns:
        return None
    return answer._replace(parts=tuple(parts), representation=None)


def _wanted(answer: Answer) -> int:
    """Bytes of its windows."""
    return sum(part.length for part in answer.parts if isinstance(part, Slice))


def _read(fd: int, window: Slice) -> bytes:
    buffer = bytearray(window.length)
    if os.preadv(fd, [buffer], window.offset, os.RWF_NOWAIT) != window.length:
        raise BlockingIOError
    return bytes(buffer)

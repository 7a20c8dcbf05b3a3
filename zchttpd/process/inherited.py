"""Descriptors that whoever started the server left open: none is for a worker, or for another version."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_FDS = "/proc/self/fd"
# Without /proc, so many are looked at.
_LOOKED_AT = 1024
_NAMED = re.compile(r"/(?:dev/fd|proc/self/fd)/([0-9]+)")


def inherited(paths: Iterable[str]) -> list[int]:
    """Descriptors that came through execve(2), less the standard ones, and those that `paths` name as
    /dev/fd/N. Not those that were meant for this process, as who takes them over has them close on exec, as
    is all that Python opens.
    """
    named = {int(found[1]) for found in map(_NAMED.fullmatch, paths) if found}
    return [fd for fd in _open() if fd > 2 and fd not in named and _is_inheritable(fd)]


def _open() -> list[int]:
    try:
        return [int(name) for name in os.listdir(_FDS)]
    except OSError:
        return list(range(_LOOKED_AT))


def _is_inheritable(fd: int) -> bool:
    # The listing itself had one, which is closed.
    with suppress(OSError):
        return os.get_inheritable(fd)
    return False

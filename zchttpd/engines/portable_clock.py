"""When a connection of the portable engine must have got on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from zchttpd.engines.portable_send import unacknowledged

if TYPE_CHECKING:
    from zchttpd.engines.portable import Portable


class Clocked(ABC):
    """A socket with a deadline, which the engine looks at; times in milliseconds of the engine's clock."""

    __slots__ = ("_deadline_ms", "_engine", "_fd", "_queued_last", "_settings", "filed_ms", "idle_since_ms")

    def __init__(self, engine: Portable, fd: int) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._fd = fd
        self._queued_last = -1
        self._deadline_ms = 0
        self.filed_ms: float = math.inf  # when the engine will look at the deadline
        self.idle_since_ms = 0
        self._restart_idle_clock(engine.now_ms())

    def _set_deadline(self, now_ms: int, ms: int) -> None:
        self._deadline_ms = now_ms + ms
        if self._deadline_ms < self.filed_ms:
            self._engine.file(self, self._deadline_ms)

    def _restart_idle_clock(self, now_ms: int) -> None:
        self.idle_since_ms = now_ms
        self._set_deadline(now_ms, self._settings.idle_ms_max)

    def _restart_stall_clock(self, now_ms: int) -> None:
        self._queued_last = -1
        self._set_deadline(now_ms, self._settings.stall_ms_max)

    def _stands_still(self, now_ms: int) -> bool:
        """A slow reader still shrinks what is queued; one that has stopped reading does not.

        Where nothing is queued the file has not come.
        """
        queued = unacknowledged(self._fd)
        if 0 <= self._queued_last <= queued:
            return True
        self._queued_last = queued
        self._set_deadline(now_ms, self._settings.stall_ms_max // 2 + 1)
        return False

    @abstractmethod
    def expire(self, now_ms: int) -> int:
        """Act if the deadline has passed. When to look again."""

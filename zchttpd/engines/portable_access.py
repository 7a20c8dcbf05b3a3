"""What the portable engine tells the access log."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from zchttpd.telemetry.access_log import AccessRecord, logged_fields

if TYPE_CHECKING:
    import asyncio
    import socket

    from zchttpd.engines.portable_tally import Tally
    from zchttpd.telemetry.access_log import AccessLog

# Visits that wait to be written, and how long the first of them waits.
WAITING_MAX = 8192
WAIT_S = 0.1


class Visits:
    """Collects what is over and hands it to the thread of the log now and then, not one by one."""

    def __init__(self, log: AccessLog, stats: Tally, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._stats = stats
        self._loop = loop
        self._waiting: deque[AccessRecord] = deque()
        self._told = False
        log.start(self._take, self._lost)

    def add(self, visit: AccessRecord) -> None:
        """A response is over."""
        if len(self._waiting) >= WAITING_MAX:
            self._drop(1)
            return
        self._waiting.append(visit)
        if not self._told:
            self._told = True
            self._loop.call_later(WAIT_S, self._tell)
        elif len(self._waiting) == WAITING_MAX // 4:
            self._log.wake()

    def _tell(self) -> None:
        self._told = False
        self._log.wake()

    def _take(self) -> list[AccessRecord]:
        """For the thread of the log: append and popleft are atomic."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _lost(self, count: int) -> None:
        """For the thread of the log: the loop alone writes its counters."""
        self._loop.call_soon_threadsafe(self._drop, count)

    def _drop(self, count: int) -> None:
        self._stats.cells[self._stats.access_dropped] += count


class Guest:
    """One connection as the log sees it: not at all, where there is none."""

    __slots__ = ()

    def heard(self) -> None:
        """Bytes of a request have come."""

    def note(self, head: bytes) -> None:
        """The request, or what has come of it."""

    def left(self, status: int, sent: int, head_size: int, *, more: bool) -> None:
        """Its response is over, after `sent` bytes. With `more` another request has come already."""


class KnownGuest(Guest):
    """One connection of a server that keeps a log."""

    __slots__ = ("_address", "_began", "_noted", "_visits")

    def __init__(self, visits: Visits, accepted: socket.socket) -> None:
        self._visits = visits
        self._began = 0.0
        self._noted = (b"", b"", b"")
        self._address = ""
        try:
            peer = accepted.getpeername()
        except OSError:
            # It has gone already.
            return
        # That of a unix socket is a text, and mostly an empty one.
        host = peer[0] if isinstance(peer, tuple) else ""
        self._address = host.removeprefix("::ffff:") if "." in host else host.partition("%")[0]

    def heard(self) -> None:
        if not self._began:
            self._began = time.monotonic()

    def note(self, head: bytes) -> None:
        self._noted = logged_fields(head)

    def left(self, status: int, sent: int, head_size: int, *, more: bool) -> None:
        now = time.monotonic()
        line, referer, agent = self._noted
        duration_us = int((now - self._began) * 1_000_000) if self._began else 0
        body_bytes = max(0, sent - head_size)
        visit = AccessRecord(
            self._address, int(time.time()), line, status, body_bytes, referer, agent, duration_us, False
        )
        self._visits.add(visit)
        self._noted = (b"", b"", b"")
        self._began = now if more else 0.0

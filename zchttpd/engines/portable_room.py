"""Who is let in by the portable engine, by the rules of `_core.admission`.

Above the limit an idle connection makes room for a new one; where none may go, the new one is told 503.
Those that are told so do not count against the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zchttpd.engines.portable_conn import Connection

# A connection that is in use, or has just come, may wait so long for its request.
IDLE_MS_MIN = 1000
# What has not been acknowledged yet keeps a connection: so many are looked at.
TRIES = 64


class Room:
    """Counts connections, and knows who waits for a request, the longest first."""

    def __init__(self, connections_max: int, refusals_max: int) -> None:
        self._connections_max = connections_max
        self._refusals_max = refusals_max
        self._admitted = 0
        self._turned_away = 0
        # By how many answers they have had: none, a single one, several.
        self._new: dict[Connection, None] = {}
        self._once: dict[Connection, None] = {}
        self._in_use: dict[Connection, None] = {}
        self._told: dict[Connection, None] = {}

    def make(self, now_ms: int) -> bool:
        """Whether one more may be let in; an idle one is closed for it if need be."""
        return self._admitted < self._connections_max or self.shed(now_ms)

    def shed(self, now_ms: int) -> bool:
        """Close an idle connection to make room; False when none may go."""
        oldest = self._oldest_idle(now_ms)
        if oldest is not None:
            oldest.close()
        return oldest is not None

    def may_refuse(self) -> bool:
        """Whether one more can be told 503; who was told so first makes room."""
        if self._turned_away < self._refusals_max:
            return True
        told = next(iter(self._told), None)
        if told is not None:
            told.close()
        return told is not None

    def take(self, connection: Connection) -> None:
        """A new connection is there, within the limit or above it."""
        if connection.turned_away:
            self._turned_away += 1
        else:
            self._admitted += 1

    def give(self, connection: Connection) -> None:
        """A connection is closed."""
        self.leave(connection)
        if connection.turned_away:
            self._turned_away -= 1
        else:
            self._admitted -= 1

    def stand_by(self, connection: Connection) -> None:
        """It waits for a request or, if it has been turned away, for the peer to go."""
        if connection.turned_away:
            line = self._told
        else:
            line = (self._new, self._once, self._in_use)[min(2, connection.answers)]
        line[connection] = None

    def leave(self, connection: Connection) -> None:
        """It waits no more."""
        for line in (self._new, self._once, self._in_use, self._told):
            line.pop(connection, None)

    def _oldest_idle(self, now_ms: int) -> Connection | None:
        """The connection that has waited longest for a request and may be shed.

        One that has had a single answer may go at once; a new one, and one that has come back for more, has a
        grace first. Where there is none such the oldest new one goes, but never one in use within its grace.
        """
        new, once, in_use = map(_first_quiet, (self._new, self._once, self._in_use))
        idle = [
            each
            for each in (new, once, in_use)
            if each is not None and (each is once or each.idle_since_ms <= now_ms - IDLE_MS_MIN)
        ]
        return min(idle, key=lambda each: each.idle_since_ms) if idle else new


def _first_quiet(line: dict[Connection, None]) -> Connection | None:
    """The first to whom nothing is on its way any more."""
    for _, connection in zip(range(TRIES), line, strict=False):
        if connection.quiet:
            return connection
    return None

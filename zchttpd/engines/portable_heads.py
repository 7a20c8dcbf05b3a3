"""Request heads in the portable engine: where one ends, and which answer it had before."""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

from zchttpd.http.request import can_begin

T = TypeVar("T")

# A cell remembers one head that was seen once: enough that a busy site's heads meet again in theirs.
_DOORKEEPER_CELLS = 1 << 16


class Frame(Enum):
    """What `Framer.look` found."""

    MORE = "more bytes are needed"
    HEAD = "a head, or an empty line before one"
    BROKEN = "a line that ends with LF alone, or a first line that cannot become a request line"
    LINE_LONG = "a request line that is too long"
    HEAD_LONG = "a head that is too long"


class Framer:
    """Finds the end of a head (RFC 9112 section 2.1: the first empty line), as `_core.recv_buffer` does.

    What the head says is h11's to judge, but for a first line that cannot become a request line. `line_max`
    and `head_max` in bytes, line ends included. After HEAD, `length` is how many bytes the head has.
    """

    __slots__ = ("_head_max", "_line", "_line_max", "_lines", "_scanned", "length")

    def __init__(self, line_max: int, head_max: int) -> None:
        self._line_max = line_max
        self._head_max = head_max
        self.length = 0
        self._reset()

    def _reset(self) -> None:
        self._scanned = 0
        self._line = 0
        self._lines = False

    def look(self, received: bytearray | bytes) -> Frame:
        """Look at what was received since the last head, going on where the last call stopped."""
        found = self._scan(received)
        if found is not Frame.MORE:
            self._reset()
        return found

    def _scan(self, received: bytearray | bytes) -> Frame:
        while (at := received.find(b"\n", self._scanned)) >= 0:
            size = at + 1
            self._scanned = size
            if not self._lines and not can_begin(received[: min(size, self._line_max)]):
                return Frame.BROKEN
            # The bounds come first: chopped input exceeds them before its LF is there.
            if not self._lines and size > self._line_max:
                return Frame.LINE_LONG
            if size > self._head_max:
                return Frame.HEAD_LONG
            if at == self._line or received[at - 1] != 0x0D:
                return Frame.BROKEN
            if at == self._line + 1:
                self.length = size
                return Frame.HEAD
            self._lines = True
            self._line = size
        self._scanned = len(received)
        if not self._lines:
            if not can_begin(received[: self._line_max]):
                return Frame.BROKEN
            if len(received) > self._line_max:
                return Frame.LINE_LONG
        return Frame.HEAD_LONG if len(received) > self._head_max else Frame.MORE


class _Row(Generic[T]):
    __slots__ = ("plan", "used")

    def __init__(self, plan: T) -> None:
        self.plan = plan
        self.used = True


class Memo(Generic[T]):
    """At most `size_max` cache_keys of heads with what they lead to; a dict finds them, so that all bytes are
    compared.

    To push another out, one must be offered for the second time, so that those that never come back push out
    none that do; then the oldest goes that was not used since it was last passed over.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._rows: dict[bytes, _Row[T]] = {}
        self._doorkeeper: list[int] = [0] * _DOORKEEPER_CELLS

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, head: bytes) -> T | None:
        """What this very head leads to."""
        row = self._rows.get(head)
        if row is None:
            return None
        row.used = True
        return row.plan

    def admit(self, head: bytes, plan: T, *, eager: bool = False) -> list[tuple[bytes, T]] | None:
        """Remember that `head` leads to `plan`, if it was offered before; if `eager`, also if that pushes
        nothing out. None: not admitted.

        Otherwise the heads that were forgotten for it, with what they led to.
        """
        hashed = hash(head)
        cell = hashed % _DOORKEEPER_CELLS
        if self._doorkeeper[cell] != hashed and not (eager and len(self._rows) < self._size_max):
            self._doorkeeper[cell] = hashed
            return None
        forgotten = []
        known = self._rows.pop(head, None)
        if known is not None:
            forgotten.append((head, known.plan))
        while len(self._rows) >= self._size_max:
            oldest = next(iter(self._rows))
            row = self._rows.pop(oldest)
            if row.used:
                row.used = False
                self._rows[oldest] = row
            else:
                forgotten.append((oldest, row.plan))
        self._rows[head] = _Row(plan)
        return forgotten

    def forget(self, head: bytes) -> T:
        """Drop a head; what it led to. Raises KeyError when it is not there."""
        return self._rows.pop(head).plan

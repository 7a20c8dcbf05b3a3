"""Where a request head ends: the reference in Python, which the compiled framer is compared with."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from zchttpd.http.request import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zchttpd._core.testing import Heads

# What can become a request line, or is the empty line that may come before it (RFC 9112 section 2.2).
_VERSION = (b"H", b"T", b"T", b"P", b"/", b"[0-9]", rb"\.", b"[0-9]", rb"\r", rb"\n")
_REQUEST_LINE_BEGUN = re.compile(
    rb"(?:\r\n?|%b(?: (?:[\x21-\x7e]+(?: %b%b)?)?)?)?"
    % (TOKEN, b"".join(b"(?:" + each for each in _VERSION), b")?" * len(_VERSION))
)


def can_begin(line: bytes | bytearray) -> bool:
    """Whether these first bytes, at most a line, are or can become a request line, or the empty line before
    one.
    """
    return _REQUEST_LINE_BEGUN.fullmatch(line) is not None


class Frame(Enum):
    """What `Framer.look` found."""

    MORE = "more bytes are needed"
    HEAD = "a head, or an empty line before one"
    BROKEN = "a line that ends with LF alone, or a first line that cannot become a request line"
    LINE_LONG = "a request line that is too long"
    HEAD_LONG = "a head that is too long"


class Framer:
    """Finds the end of a head (RFC 9112 section 2.1: the first empty line), as `_core.recv_buffer` does.

    What the head says is for h11 to check, but for a first line that cannot become one. `line_max`
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


def heads_in(pieces: Iterable[bytes], heads: Heads) -> list[tuple[str, bytes]]:
    """(what, its bytes) of each head that the compiled framer finds when bytes arrive in these pieces.

    What ends it comes last: without bytes, or "more" with those that wait.
    """
    found: list[tuple[str, bytes]] = []
    received = b""
    for piece in pieces:
        received += piece
        heads.append(piece)
        while heads.holds_memory:
            what, length = heads.look()
            if what == "more":
                break
            found.append((what, heads.waiting[: length or 0]))
            if length is None:
                return found
            heads.consume(length)
    assert heads.waiting == received[len(received) - len(heads.waiting) :]
    return [*found, ("more", heads.waiting)]

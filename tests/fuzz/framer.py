# The compiled framer says the same of bytes that arrive at once, one by one, or in pieces, and the same as
# the reference, which was written apart from it.
"""Fuzzes the head framers: the input is what a connection receives."""

from __future__ import annotations

from zchttpd._core.testing import Heads

from ..core.framing import Frame, Framer, heads_in

# Small, so that the fuzzer meets them.
LINE_MAX = 40
HEAD_MAX = 100
NAMES = {
    Frame.MORE: "more",
    Frame.HEAD: "head",
    Frame.BROKEN: "broken",
    Frame.LINE_LONG: "line_long",
    Frame.HEAD_LONG: "head_long",
}


def check(received: bytes) -> None:
    _agree(received, LINE_MAX, HEAD_MAX)
    line, head = received.find(b"\n") + 1, received.find(b"\n\r\n") + 3
    if 1 < line < head:
        # At the very edge of what was received. The bound of a line is never above that of a head.
        for less in (0, 1):
            _agree(received, line - less, head)
            _agree(received, line, head - less)


def _agree(received: bytes, line_max: int, head_max: int) -> None:
    whole, piece = len(received) or 1, 1 + received[0] % 16 if received else 1
    expected = _reference(received, whole, Framer(line_max, head_max))
    for size in (whole, piece, 1):
        pieces = (received[at : at + size] for at in range(0, len(received), size))
        assert heads_in(pieces, Heads(line_max, head_max)) == expected
        assert _reference(received, size, Framer(line_max, head_max)) == expected


def _reference(received: bytes, piece: int, framer: Framer) -> list[tuple[str, bytes]]:
    waiting = bytearray()
    found: list[tuple[str, bytes]] = []
    for at in range(0, len(received), piece):
        waiting += received[at : at + piece]
        while waiting and (frame := framer.look(waiting)) is not Frame.MORE:
            length = framer.length if frame is Frame.HEAD else 0
            found.append((NAMES[frame], bytes(waiting[:length])))
            if not length:
                return found
            del waiting[:length]
    return [*found, ("more", bytes(waiting))]

"""Answers of the handler, made ready to be replayed by the portable engine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zchttpd.engines.portable_bodies import Body, State
from zchttpd.http.dates import DATE_SIZE

if TYPE_CHECKING:
    from zchttpd.files.lookup import Entry
    from zchttpd.handler.answer import Answer
    from zchttpd.http.response import Slice


@dataclass(slots=True, eq=False)
class Plan:
    """An answer, ready to be replayed.

    `head` and the literal `tail` behind it leave in one write; then `rest`, literals and windows of `body`.
    `holding` is what must be fresh for the next replay. `own_bytes` is memory that is this plan's alone, held
    while there are `users`: cache_keys that lead to it, and its holding.
    """

    status: int
    head: bytes
    date_at: int
    tail: bytes
    rest: tuple[bytes | Slice, ...]
    body: Body | None
    keep_alive: bool
    holding: Holding | None
    own_bytes: int
    users: int = 0
    second: int = -1

    def stamp(self, second: int, date: bytes) -> None:
        """Put the Date of `second` (Unix time) into the head."""
        self.head = b"%b%b%b" % (self.head[: self.date_at], date, self.head[self.date_at + DATE_SIZE :])
        self.second = second


@dataclass(slots=True, eq=False)
class Holding:
    """An entry of the cache with everything that hangs on it.

    `cache_keys`: those that the cacheable knows. `used_ms`: when it was last asked for.
    """

    entry: Entry
    bodies: set[Body] = field(default_factory=set)
    plans: dict[tuple[bytes, tuple[object, ...]], Plan] = field(default_factory=dict)
    cache_keys: set[bytes] = field(default_factory=set)
    retired: bool = False
    used_ms: int = 0

    @property
    def filling(self) -> bool:
        """Whether requests wait for one of its files."""
        return any(body.state is State.FILLING for body in self.bodies)

    @property
    def files(self) -> list[Body]:
        """Those that are sent from where they are."""
        return [body for body in self.bodies if body.state is State.FILE]


def make_plan(answer: Answer, holding: Holding | None, body: Body | None, *, literal_max: int) -> Plan:
    """Neighbouring literals become one; windows below `literal_max` bytes that are in memory are literals.

    `body` has the bytes of the answer's representation and is not FILLING.
    """
    pieces: list[bytes | Slice] = []
    literals: list[bytes] = []
    for part in answer.parts:
        literal = part if isinstance(part, bytes) else _literal(body, part, literal_max)
        if literal is None:
            pieces += (b"".join(literals), part)
            literals = []
        else:
            literals.append(literal)
    if literals or not pieces:
        # A single one is not copied: whoever asks for the whole of a small file shares its bytes.
        pieces.append(literals[0] if len(literals) == 1 else b"".join(literals))
    tail, *rest = pieces
    assert isinstance(tail, bytes)
    shared = body is not None and tail is body.small
    own_bytes = len(answer.head) + (0 if shared else len(tail))
    return Plan(
        status=answer.status,
        head=answer.head,
        date_at=answer.date_at,
        tail=tail,
        rest=tuple(rest),
        body=body if rest else None,
        keep_alive=answer.keep_alive,
        holding=holding,
        own_bytes=own_bytes + sum(len(piece) for piece in rest if isinstance(piece, bytes)),
    )


def _literal(body: Body | None, window: Slice, literal_max: int) -> bytes | None:
    """The bytes of a window if it is cheaper to join them to the head than to send them on their own."""
    assert body is not None
    if body.state is State.INLINE:
        whole = window.length == len(body.small)
        return body.small if whole else body.small[window.offset : window.offset + window.length]
    if body.state is State.SNAPSHOT and window.length < literal_max:
        return os.pread(body.fd, window.length, window.offset)
    return None

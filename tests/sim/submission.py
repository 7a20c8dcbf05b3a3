"""The simulated submission queue: room for a few ops a batch. The rest comes later, in order, links whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zchttpd._core import testing

from .parts import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from .kernel import Kernel
    from .parts import Socket

SENDS = ("send", "splice", "send_zc")


class SubmissionQueue:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.entries: list[tuple[testing.ExecutedOp, bytes, Callable[[], None]]] = []

    def push(self, op: testing.ExecutedOp, snapshot: bytes, begin: Callable[[], None]) -> None:
        """`begin` is what the kernel does once it has taken the op."""
        self.entries.append((op, snapshot, begin))
        if self.kernel.calm or not self.kernel.habits.sq_room:
            self.submit(len(self.entries))

    def submit(self, room: int = 0) -> None:
        """The kernel takes as many as fit."""
        room = room or self.kernel.habits.sq_room
        self.kernel.events["sq_full"] += len(self.entries) > room
        linked = False
        while self.entries and (room > 0 or linked):
            op, snapshot, begin = self.entries.pop(0)
            if snapshot:
                self.kernel.must_be(op, snapshot)
            begin()
            linked = bool(op.flags & testing.LINK)
            room -= 1

    def sends(self, socket: Socket) -> list[testing.ExecutedOp]:
        """Those of a socket that have not been taken yet."""
        return [op for op, _, _ in self.entries if op.fd == socket.fd and op.kind in SENDS]

    def must_not_read(self, fd: int) -> None:
        for op, _, _ in self.entries:
            if op.fd == fd and op.kind in ("read", "fill"):
                raise Violation(f"closed before it is read: {op}")

    def must_not_send_from(self, base: int, size: int) -> None:
        for op, _, _ in self.entries:
            if op.kind in SENDS and base <= op.address < base + size:
                raise Violation(f"cleared before a send reads it: {op}")

"""The simulated kernel's buffer table: registering may fail, and what is cleared is let go of later."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .parts import Cqe, Violation

if TYPE_CHECKING:
    from zchttpd._core import testing

    from .kernel import Kernel


class Buffers:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.table: dict[int, tuple[int, int]] = {}  # address and size, by index
        self.cleared: dict[int, int] = {}  # tokens of those that have not been let go of, by index

    def register(self, op: testing.ExecutedOp) -> int:
        if self.kernel.habits.by_socket:
            raise Violation(f"registered for nothing: {op}")
        if self.kernel.habits.memlock or self.kernel.chance("register_fails"):
            self.kernel.events["unregistered"] += 1
            return -self.kernel.rng.choice((errno.ENOMEM, errno.EFAULT))
        if op.slot in self.table or op.slot in self.cleared:
            raise Violation(f"registered twice: {op}")
        self.table[op.slot] = (op.address, op.length)
        return 0

    def must_hold(self, op: testing.ExecutedOp) -> None:
        """A zero-copy send may read this."""
        if op.buffer not in self.table:
            raise Violation(f"not a registered buffer: {op}")
        base, size = self.table[op.buffer]
        if not base <= op.address <= op.address + op.length <= base + size:
            raise Violation(f"outside its registered buffer: {op}")

    def clear(self, op: testing.ExecutedOp) -> int:
        if op.slot not in self.table:
            raise Violation(f"cleared, and was not registered: {op}")
        base, size = self.table.pop(op.slot)
        for held in self.kernel.held:
            if held.op.buffer == op.slot:
                raise Violation(f"cleared while the kernel reads it: {held.op}")
        for socket in self.kernel.sockets.values():
            for send in socket.chain:
                if base <= send.address < base + size:
                    raise Violation(f"cleared while a send reads it: {send}")
            for send, _ in socket.in_worker:
                if base <= send.address < base + size:
                    raise Violation(f"cleared while a thread sends it: {send}")
        self.kernel.sq.must_not_send_from(base, size)
        self.cleared[op.slot] = op.token
        return 0

    def go_on(self, slot: int) -> None:
        """The tag of a cleared buffer comes back."""
        self.kernel.cq.append(Cqe(self.cleared.pop(slot), 0))

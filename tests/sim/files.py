"""What the simulated kernel does with files: reads that are short, fail, hang, or find another version."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from zchttpd._core import testing

from .parts import Cqe

if TYPE_CHECKING:
    from collections.abc import Callable

    from .kernel import Kernel


class Files:
    """Windows of streamed files and pieces of snapshots, read when the kernel gets there."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.reads: list[testing.ExecutedOp] = []
        self.hung: list[testing.ExecutedOp] = []  # of a disk that does not answer
        self.read_file: Callable[[int, int, int], tuple[bytes, bool]]

    def submit(self, op: testing.ExecutedOp) -> None:
        self.kernel.must_be_memory(op)
        self.reads.append(op)

    def wake(self) -> None:
        """What hung goes on."""
        self.kernel.events["read_hangs"] += len(self.hung)
        self.reads += self.hung
        self.hung.clear()

    def go_on(self, op: testing.ExecutedOp) -> None:
        """A read comes to its end, or hangs."""
        self.reads.remove(op)
        if self.kernel.chance("fill_hangs" if op.kind == "fill" else "read_hangs"):
            self.hung.append(op)
            self.kernel.events["fill_hangs"] += op.kind == "fill"
            return
        self.kernel.cq.append(Cqe(op.token, self._fill(op) if op.kind == "fill" else self._read(op)))

    def _read(self, op: testing.ExecutedOp) -> int:
        kernel = self.kernel
        socket = kernel.sockets[kernel.machine.conn(testing.unpack(op.token)[1])["fd"]]
        wanted, right = self.read_file(op.fd, op.offset, op.length)
        res = self._result(op, "read_error", "file_shrinks", "short_read")
        if res > 0:
            kernel.machine.poke(op.address, wanted[:res])
        if res <= 0 or not right:
            socket.doomed = socket.doomed or "read failed"
        return res

    def _fill(self, op: testing.ExecutedOp) -> int:
        """A piece of a snapshot, of whatever version is there: the machine must find out."""
        res = self._result(op, "fill_error", "fill_shrinks", "short_fill")
        if res > 0:
            self.kernel.machine.poke(op.address, os.pread(op.fd, res, op.offset))
        return res

    def _result(self, op: testing.ExecutedOp, fails: str, ends: str, short: str) -> int:
        if self.kernel.chance(fails):
            return -errno.EIO
        if self.kernel.chance(ends):
            return 0
        self.kernel.must_be_memory(op)
        return self.kernel.rng.randint(1, op.length) if self.kernel.chance(short) else op.length

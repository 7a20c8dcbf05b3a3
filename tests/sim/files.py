"""What the simulated kernel does with files: reads that are short, fail or hang; what it says of versions."""

from __future__ import annotations

import errno
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from zchttpd._core import testing

from .parts import Cqe, Violation

if TYPE_CHECKING:
    from .kernel import Kernel

FIRST_FD = 1_000_000
DEVICES = 3
# Snapshots of a device that may wait for it at a time.
FILLS_MAX = 2
# And reads, of windows and of these.
READS_MAX = (1, 2, 4)


def device_of(name: str) -> int:
    """Where a file lies."""
    return zlib.crc32(name.encode()) % DEVICES


class Disk(Protocol):
    """Where the files are."""

    def read(self, name: str, version: int | None = None) -> bytes:
        """What is in it now, or was in an older version."""

    def frozen(self, name: str) -> bool:
        """Whether other versions are put in its place, and none is written to it."""

    def state(self, name: str) -> tuple[int, int]:
        """(version, how often it has grown)."""

    def change(self, name: str) -> None: ...


@dataclass(slots=True)
class OpenFile:
    name: str
    version: int  # that is announced to the machine
    growths: int  # when it was last looked at
    taken: bool = False
    lost: bool = False  # it has been said that its bytes are gone
    base: int = 0  # where it is mapped
    size: int = 0  # bytes of that
    cut: int = 0  # and how many of them the file still has


class Files:
    """Windows of streamed files and pieces of snapshots, read when the kernel gets there."""

    disk: Disk

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.open: dict[int, OpenFile] = {}
        self.reads_max = kernel.rng.choice(READS_MAX)
        self.aside = kernel.rng.choice((0, 0, 1, DEVICES))  # devices that may hang where nothing should
        self.next_fd = FIRST_FD
        self.reads: list[testing.ExecutedOp] = []
        self.hung: list[testing.ExecutedOp] = []  # of a disk that does not answer
        self.sent: Counter[tuple[int, int]] = (
            Counter()
        )  # what of mapped files sends have read: address and length

    def place_of(self, name: str) -> tuple[int, bool]:
        """The device of a file, and whether the machine is told that it may hang."""
        device = device_of(name)
        return device, device < self.aside

    def open_file(self, name: str) -> int:
        """A descriptor of the file as it is now."""
        self.next_fd += 1
        self.open[self.next_fd] = OpenFile(name, *self.disk.state(name))
        return self.next_fd

    # ---- what is done on the spot ----

    def must_be_open(self, op: testing.ExecutedOp) -> OpenFile:
        if op.fd not in self.open:
            raise Violation(f"op on a file that is not open: {op}")
        return self.open[op.fd]

    def take_version(self, op: testing.ExecutedOp) -> int:
        opened = self.must_be_open(op)
        if opened.taken:
            raise Violation(f"taken twice: {op}")
        opened.taken = True
        # Somebody may have emptied it before that.
        return self._lose(op.fd, "changed_at_once") if self.kernel.chance("changes_at_once") else 0

    def check_version(self, op: testing.ExecutedOp) -> int:
        opened = self.must_be_open(op)
        if not opened.taken or opened.lost:
            raise Violation(f"a version that was not taken, or is known to be gone: {op}")
        version, growths = self.disk.state(opened.name)
        if version != opened.version and not self.disk.frozen(opened.name):
            return self._lose(op.fd, "check_changed")
        if self.kernel.chance("check_error"):
            return self._lose(op.fd, "check_error", errno.EIO)
        self.kernel.events["check_grown" if growths != opened.growths else "check_same"] += 1
        opened.growths = growths
        return 0

    def map_file(self, op: testing.ExecutedOp) -> int:
        opened = self.must_be_open(op)
        if self.kernel.chance("map_fails"):
            self.kernel.events["map_fails"] += 1
            return -errno.ENOMEM
        now = self._content(opened)
        opened.base, opened.size, opened.cut = self.kernel.machine.map_file(op), len(now), len(now)
        self.kernel.machine.poke(opened.base, now)
        return 0

    def unmap_file(self, op: testing.ExecutedOp) -> None:
        opened = self.mapped(op.address)
        if opened is None or (opened.base, opened.size) != (op.address, op.offset):
            raise Violation(f"not a mapping: {op}")
        self.kernel.must_not_send_from(op.address, op.offset)
        self.kernel.machine.unmap_file(op)
        opened.base = 0

    def resident(self, op: testing.ExecutedOp) -> int:
        opened = self.must_be_open(op)
        if device_of(opened.name) < self.aside:
            raise Violation(f"asked on the spot, where it may hang: {op}")
        if op.offset + op.length > opened.size:
            raise Violation(f"outside the mapping: {op} {opened}")
        if self.kernel.chance("not_resident"):
            self.kernel.events["not_resident"] += 1
            return self.kernel.rng.choice((0, self.kernel.rng.randint(0, op.length)))
        return op.length

    def drop_pages(self, op: testing.ExecutedOp) -> None:
        if not self.sent[op.address, op.length]:
            raise Violation(f"not what a send has read, or it still reads it: {op}")
        self.sent[op.address, op.length] -= 1
        self.kernel.events["drop_pages"] += 1

    def send_is_over(self, op: testing.ExecutedOp, sent: int) -> None:
        """The kernel reads this no more."""
        if self.mapped(op.address) is not None:
            self.sent[op.address, sent] += 1

    def on_the_wire(self, op: testing.ExecutedOp, known: bytes, at: int) -> bytes:
        """What leaves of a zero-copy send, of which `known` was at byte `at`. A mapped file may have been
        written to since.
        """
        if self.mapped(op.address) is None or self.kernel.rng.random() < 0.5:
            return known
        self.kernel.events["live_zerocopy"] += 1
        return self.kernel.machine.peek(op.address + at, len(known)) or known

    def mapped(self, address: int) -> OpenFile | None:
        """The file that is mapped there."""
        return next(
            (each for each in self.open.values() if each.base <= address < each.base + each.size), None
        )

    def _content(self, opened: OpenFile) -> bytes:
        """What is in it now."""
        frozen = self.disk.frozen(opened.name)
        return self.disk.read(opened.name, opened.version if frozen else None)

    def must_be_frozen(self, op: testing.ExecutedOp) -> None:
        """What leaves by reference is memory of the machine's own, or nobody writes to it."""
        opened = self.mapped(op.address)
        if opened is not None and not self.disk.frozen(opened.name):
            raise Violation(f"sent by reference, and others may write to it: {op}")
        self.kernel.events["frozen"] += opened is not None

    def changed(self, name: str) -> None:
        """Somebody has written to it in place: all see that who have it mapped. Or it has been cut."""
        now = self.disk.read(name)
        cut = self.kernel.chance("cut")
        for opened in self.open.values():
            if opened.name == name and opened.base:
                self.kernel.machine.poke(opened.base, now[: opened.size])
                opened.cut = self.kernel.rng.choice((0, opened.size // 2)) if cut else opened.size

    def copied(self, op: testing.ExecutedOp) -> int:
        """How many bytes a send copies before it gets to where there are none any more; -EFAULT for none."""
        opened = self.mapped(op.address)
        if opened is None:
            return op.length
        left = min(op.length, opened.base + opened.cut - op.address)
        self.kernel.events["live"] += 1
        return left if left > 0 else -errno.EFAULT

    def _lose(self, fd: int, event: str, error: int = errno.ESTALE) -> int:
        """Its bytes are gone, for good."""
        self.open[fd].lost = True
        for socket in self.kernel.sockets.values():
            if socket.fd in self.kernel.ledger.keys and self.kernel.conn_at(socket)["source_fd"] == fd:
                socket.doomed = socket.doomed or "its file has changed"
        self.kernel.events[event] += 1
        return -error

    def close_file(self, op: testing.ExecutedOp) -> None:
        if self.kernel.looks.close(op.fd):
            return
        self.must_be_open(op)
        if any(read.fd == op.fd for read in self.reads + self.hung):
            raise Violation(f"closed while it is read: {op}")
        self.kernel.sq.must_not_read(op.fd)
        del self.open[op.fd]

    # ---- reads ----

    def submit(self, op: testing.ExecutedOp) -> None:
        self.must_be_open(op)
        self.kernel.must_be_memory(op)
        self.reads.append(op)
        device = device_of(self.open[op.fd].name)
        if op.flags & testing.NOWAIT and device < self.aside:
            raise Violation(f"tried on the spot, where it may hang: {op}")
        if not op.flags & testing.NOWAIT:
            self._must_be_few(device)

    def _must_be_few(self, device: int) -> None:
        waiting = [
            op
            for op in self.reads + self.hung
            if not op.flags & testing.NOWAIT
            if device_of(self.open[op.fd].name) == device
        ]
        fills = sum(op.kind == "fill" for op in waiting)
        self.kernel.events["device_full"] += self.reads_max > 1 and len(waiting) == self.reads_max
        if len(waiting) > self.reads_max or fills > FILLS_MAX:
            raise Violation(f"{len(waiting)} reads of a device at a time, {fills} of snapshots: {waiting}")

    def wake(self) -> None:
        """What hung goes on."""
        for op in self.hung:
            self.kernel.events[f"{op.kind}_woken"] += 1
        self.reads += self.hung
        self.hung.clear()

    def go_on(self, op: testing.ExecutedOp) -> None:
        """A read comes to its end, or hangs."""
        self.reads.remove(op)
        if op.flags & testing.NOWAIT and self.kernel.chance("not_at_hand"):
            self.kernel.events["not_at_hand"] += 1
            self.kernel.cq.append(Cqe(op.token, -self.kernel.rng.choice((errno.EAGAIN, errno.EOPNOTSUPP))))
            return
        if not op.flags & testing.NOWAIT and self.kernel.chance(f"{op.kind}_hangs"):
            self.hung.append(op)
            self.kernel.events[f"{op.kind}_hangs"] += 1
            return
        torn = self.kernel.chance("tears")
        res = self._result(op, torn)
        if res > 0:
            self._fetch(op, res, torn)
        if op.kind == "read" and (res <= 0 or self.open[op.fd].lost):
            socket = self.kernel.sockets[self.kernel.conn_of(op)["fd"]]
            socket.doomed = socket.doomed or "read failed"
        self.kernel.cq.append(Cqe(op.token, res))

    def _fetch(self, op: testing.ExecutedOp, size: int, torn: bool) -> None:
        """Bytes of whatever version is there, and perhaps another for the next piece."""
        opened = self.must_be_open(op)
        name, now = opened.name, self._content(opened)
        self.kernel.machine.poke(op.address, now[op.offset : op.offset + size])
        self.kernel.events[f"short_{op.kind}"] += size < op.length
        if torn and op.offset + size < len(now):
            self.disk.change(name)
            self.kernel.events[f"torn_{op.kind}"] += 1

    def _result(self, op: testing.ExecutedOp, torn: bool) -> int:
        self.kernel.must_be_memory(op)
        for fault, res in ((f"{op.kind}_error", -errno.EIO), (f"{op.kind}_shrinks", 0)):
            if self.kernel.chance(fault):
                self.kernel.events[fault] += 1
                return res
        short = self.kernel.chance(f"short_{op.kind}") or torn
        return self.kernel.rng.randint(1, op.length) if short else op.length

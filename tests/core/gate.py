"""A worker with rates, and a kernel that takes what it is sent, by the clock of the machine."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .bench import HEAD, WINDOW, Bench

if TYPE_CHECKING:
    from zchttpd._core import testing

KEEPS, OF_HEAD = 2000, 1000
HERE = bytes([127, 0, 0, 1])
PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-Other: 1\r\n\r\n"
TICK_MS = 50
# In which bodies leave.
WAYS = ["plain", "zerocopy", "splice", "windows", "live", "frozen", "literal"]


class Gate(Bench):
    """A worker whose connections come from somewhere, and whose kernel takes what it is sent at once."""

    def __init__(self, send_mode: str = "plain", **limits: int) -> None:
        more = {name: limits.pop(name) for name in ("maps", "memfd_size_min") if name in limits}
        super().__init__(send_mode, connections_max=200, **more, **limits)  # type: ignore[arg-type]
        self.sent: list[tuple[int, int, int]] = []  # now_ms, descriptor, bytes
        self.deaf: set[int] = set()  # who takes nothing
        self.polls: dict[int, int] = {}

    def come(self, address: bytes = HERE) -> testing.ExecutedOp:
        self.fds += 1
        assert self.accept(self.fds, 0, address=address)
        [recv] = self.ops()
        return recv

    def refusal(self, status: int) -> int:
        keeps = status >= KEEPS
        return self.small(status=status % OF_HEAD, keep_alive=keeps, linger=not keeps)

    def asked(self, recv: testing.ExecutedOp, head: bytes = PLAIN) -> int:
        """What the handler is to do with one head: 0 to answer it, which it does, else the status."""
        self.hear(recv, head)
        [(kind, ticket, subject)] = self.take_work()
        status = subject if kind == "refuse" else 0
        assert isinstance(status, int)
        self.machine.answer(ticket, self.refusal(status) if status else self.small(), False)
        self.serve()
        return status

    def serve(self) -> None:
        """Whatever is under way, as far as it goes without time."""
        ops = deque(self.ops())
        while ops:
            self.carry_out(ops.popleft())
            ops += self.ops()

    def carry_out(self, op: testing.ExecutedOp) -> None:
        if op.kind == "read":
            self.step(op.token, op.length)
        elif op.kind == "poll":
            self.polls[op.fd] = op.token
        elif op.kind not in ("send", "send_zc", "splice"):
            return
        elif op.fd in self.deaf:
            self.step(op.token, -11)
        else:
            self.sent.append((self.now_ms, op.fd, op.length))
            self.step(op.token, op.length, op.kind == "send_zc")
            if op.kind == "send_zc":
                self.step(op.token, 0, False, True)

    def takes_again(self, fd: int) -> bool:
        """Who took nothing does from now on. Whether somebody waited for that, who has been told."""
        self.deaf.discard(fd)
        if fd not in self.polls:
            return False
        self.step(self.polls.pop(fd), 4)
        return True

    def run(self, ms: int) -> None:
        for _ in range(ms // TICK_MS):
            self.wait(TICK_MS)
            self.serve()

    def large(self, recv: testing.ExecutedOp, plan: int) -> None:
        self.hear(recv, HEAD)
        for _, ticket, _ in self.take_work():
            self.machine.answer(ticket, plan, False)
        self.serve()

    def bytes_of(self, fds: set[int]) -> list[tuple[int, int]]:
        return [(at, length) for at, fd, length in self.sent if fd in fds]


def most(sent: list[tuple[int, int]], rate: int) -> float:
    """How many seconds' worth were sent in any interval, beyond what its length is worth."""
    beyond, before = 0.0, 0
    found = 0.0
    for at, length in sent:
        beyond = max(0.0, beyond - (at - before) * rate / 1000) + length
        before = at
        found = max(found, beyond)
    return found / rate


def prepared(way: str, rate: int, size: int = 64 * WINDOW, **limits: int) -> tuple[Gate, int]:
    """A worker that sends in one way, and a plan of `size` bytes."""
    options: dict[str, int] = {"bytes_per_second": rate, "held_bytes_max": 1 << 30, **limits}
    if way in ("live", "frozen"):
        options["maps"] = 1
    if way in ("splice", "frozen"):
        options["memfd_size_min"] = 1
    mode = {"zerocopy": "zerocopy", "splice": "plain", "frozen": "plain"}.get(way, "plain")
    gate = Gate(mode, **options)
    if way == "literal":
        plan = gate.plan([("literal", 0, size)], image=b"Date: " + bytes(29) + bytes(size))
    elif way in ("windows", "live", "frozen"):
        source = gate.source(size, frozen=way == "frozen")
        plan = gate.plan([("literal", 0, 39), ("streamed", 0, size)], source=source)
    else:
        mapping = gate.mapping(bytes(size), way == "zerocopy")
        plan = gate.plan([("literal", 0, 39), ("mapped", 0, size)], mapping=mapping)
    return gate, plan

"""A gate behind proxies that name the client of each request in its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .gate import KEEPS, PLAIN, Gate

if TYPE_CHECKING:
    from zchttpd._core import testing

FRONT, OTHER_FRONT = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
PROXIES = [(bytes([10, 0, 0, 0]), 8)]
ONE, OTHER = "192.0.2.7", "198.51.100.9"
REFUSED = KEEPS + 429
RESET, CANCELLED = -104, -125
# Nobody is closed for being slow.
PATIENT = {"idle_ms_max": 10_000_000, "stall_ms_max": 10_000_000}


def asking(client: str = "", head: bytes = PLAIN) -> bytes:
    """A head that names a client, or nobody."""
    return head.replace(b"X-Other: 1", b"X-Forwarded-For: %b" % client.encode()) if client else head


class Fronted(Gate):
    """A gate that believes some proxies."""

    def __init__(self, proxies: list[tuple[bytes, int]] = PROXIES, **limits: int) -> None:
        super().__init__(**limits)
        self.machine.believe(proxies, False)

    def begin(self, recv: testing.ExecutedOp, client: str = "") -> tuple[str, int, int]:
        """One head: what is to be done, the ticket, and its status if it is refused, which is told."""
        self.hear(recv, asking(client))
        [(kind, ticket, subject)] = self.take_work()
        if kind == "head":
            return kind, ticket, 0
        assert isinstance(subject, int)
        self.end(ticket, subject)
        return kind, ticket, subject

    def end(self, ticket: int, status: int = 0) -> None:
        """Its response, as far as it goes."""
        self.machine.answer(ticket, self.refusal(status) if status else self.small(), False)
        self.serve()

    def go(self, recv: testing.ExecutedOp, res: int = RESET) -> None:
        """The peer resets, or closes; and the kernel is done with the connection."""
        self.step(recv.token, res)
        if recv.fd in self.polls:
            self.step(self.polls.pop(recv.fd), CANCELLED)
        for op in self.ops():
            if op.kind in ("cancel_all", "close"):
                self.step(op.token, 0)

    def addresses(self) -> int:
        there: int = self.machine.live()["addresses"]
        return there

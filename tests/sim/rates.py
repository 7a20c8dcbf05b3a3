"""What the addresses of the simulated clients have been sent, against what they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .parts import NO_RATE, Socket, Violation

if TYPE_CHECKING:
    from .kernel import Kernel


class Bucket:
    """Fills with what is taken, and empties at its rate: never above `depth` says that no interval, wherever
    it begins and however long it is, has more in it than `depth` and what its length is worth.
    """

    def __init__(self, per_second: int, depth: float) -> None:
        self.per_second = per_second
        self.depth = depth
        self.level = 0.0
        self.at_us = 0

    def takes(self, amount: int, now_us: int) -> None:
        self.level = max(0.0, self.level - (now_us - self.at_us) * self.per_second / 1e6) + amount
        self.at_us = now_us
        # Times of the machine are whole milliseconds.
        if self.level > self.depth + self.per_second / 1000 + 1:
            raise Violation(f"{self.level:.0f} taken of {self.depth:.0f}, {self.per_second} a second")

    def gives_back(self, amount: int) -> None:
        self.level = max(0.0, self.level - amount)


class Rates:
    """Of a kernel, by the network of whose each response is."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.bytes: dict[bytes, Bucket] = {}
        self.under_way: dict[Socket, Bucket] = {}  # that the send of a socket was taken from

    def sends(self, socket: Socket, length: int) -> None:
        """The machine has a send of so many bytes under way."""
        rate = self.kernel.limits["bytes_per_second"]
        if rate == NO_RATE:
            return
        pays, whose = self.kernel.pays(socket), self.kernel.fronts.whose(socket, self.kernel.conn_at(socket))
        if pays not in whose:
            raise Violation(f"{pays!r} pays for {whose}: {self.kernel.conn_at(socket)}")
        self.under_way.pop(socket, None)
        if pays:
            # At least a byte, however slow.
            bucket = self.bytes.setdefault(pays, Bucket(rate, max(rate, 1)))
            bucket.takes(length, self.kernel.machine.now_us)
            self.under_way[socket] = bucket

    def sent(self, socket: Socket, left: int) -> None:
        """And so many of them have not left."""
        if socket in self.under_way:
            self.under_way[socket].gives_back(left)

    def pause(self, conns: list[dict[str, int]]) -> bool:
        """Whether somebody sends nothing until time has passed."""
        paced = any(conn["paced"] for conn in conns)
        self.kernel.events["paced"] += paced
        return paced

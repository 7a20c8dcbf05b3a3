"""What a proxy says first, in the simulation: who its client is, that there is none, or nonsense."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from zchttpd._core import testing

from .audit import REJECTED
from .parts import Violation

if TYPE_CHECKING:
    import random

    from .kernel import Kernel
    from .parts import Cqe, Socket

PROXY = bytes(15) + b"\1"  # whose connections all of them are
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Greeting(NamedTuple):
    """`kind`: "client", "own" or "wrong"."""

    kind: str
    binary: bool
    added: int  # bytes behind the addresses

    def header(self, address: bytes) -> bytes:
        """The header, for a client of this address of IPv6."""
        if self.kind == "wrong":
            return SIGNATURE + b"\x22" if self.binary else b"PROXY TCP6 nowhere"
        text = str(ipaddress.IPv6Address(address))
        if not self.binary:
            line = f"PROXY TCP6 {text} fd00::1 40000 80\r\n" if self.kind == "client" else "PROXY UNKNOWN\r\n"
            return line.encode()
        added = b"\x04" + self.added.to_bytes(2, "big") + bytes(self.added)
        body = address + bytes(20) + added
        command = 0x21 if self.kind == "client" else 0x20
        return SIGNATURE + bytes((command, 0x21)) + len(body).to_bytes(2, "big") + body


def random_greeting(rng: random.Random) -> Greeting:
    """Most name a client."""
    kind = rng.choices(("client", "own", "wrong"), (8, 1, 1))[0]
    return Greeting(kind, rng.random() < 0.5, rng.choice((0, 0, 40, 1900)))


class Greetings:
    """What the machine must make of them. `expected`: its listener is for proxies."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.expected = False
        self._greeting: Socket | None = None  # of which the machine is about to see more
        self._aborts = 0  # until then

    def before(self, cqe: Cqe) -> None:
        """The machine is about to see a completion."""
        kind, slot, _ = testing.unpack(cqe.token)
        conn = self.kernel.machine.conn(slot)
        waits = kind == testing.TOKENS["recv"] and cqe.res > 0
        waits = waits and testing.STATES.get(conn["state"]) == "greeting"
        self._greeting = self.kernel.sockets[conn["fd"]] if waits else None
        self._aborts = self.kernel.machine.gauge("aborts")

    def after(self, cqe: Cqe) -> None:
        """It has seen it: maybe the end of what a proxy says first. Then the address of the client counts,
        and may have all that it may have.
        """
        socket = self._greeting
        if socket is None:
            return
        conn = self.kernel.machine.conn(testing.unpack(cqe.token)[1])
        state = testing.STATES.get(conn["state"], "closing")
        socket.greeted = state not in ("greeting", "closing")
        self.kernel.events["greeted"] += socket.greeted
        if socket.greeting == "wrong" and socket.greeted:
            raise Violation(f"taken for a header: {conn}")
        if self.kernel.machine.gauge("aborts") > self._aborts or socket.greeting != "client":
            return
        if conn["flags"] & REJECTED or state == "closing":
            self._turned_away(socket, told=bool(conn["flags"] & REJECTED))

    def _turned_away(self, socket: Socket, *, told: bool) -> None:
        """Its address must have all that it may have, and if it is not told so, no more can be told."""
        self.kernel.events["turned_away"] += 1
        socket.client.rejected, socket.client.lost = told, not told
        limits = self.kernel.limits
        slots = range(limits["connections_max"] + limits["refusals_max"] + 100)
        conns = [self.kernel.machine.conn(slot) for slot in slots]
        if self.kernel.fronts.counted().count(socket.network) < limits["connections_per_address"]:
            raise Violation(f"rejected without need: {socket.fd}")
        rejected = sum(bool(conn["state"] and conn["flags"] & REJECTED) for conn in conns)
        if not told and rejected < limits["refusals_max"]:
            raise Violation(f"closed where there was room to say why: {socket.fd}")

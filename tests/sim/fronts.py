"""Proxies of the simulation that name the client of each request in its head, and whose each request is."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from zchttpd._core import testing

from .parts import NETWORKS, NO_LIMIT, Violation

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from .exchange import Ask
    from .kernel import Kernel
    from .parts import Socket

# The networks of those that are believed, as one; the proxies of `greeting` are of it too.
FRONTS = ipaddress.IPv6Network("::/63")
WHOLE = (0, 429)  # the refusals of heads that are whole


def network_of(number: int) -> bytes:
    """As the machine has it in memory."""
    return number.to_bytes(8, "little")


class Fronts:
    """Of a kernel. `believed`: the machine reads whom they name."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.believed = False
        self._refused = 0  # until then

    def begin(self, rng: random.Random) -> None:
        """The machine believes them, or not; for the whole run."""
        self.believed = rng.random() < 0.3
        fronts = (FRONTS.network_address.packed, FRONTS.prefixlen)
        self.kernel.machine.believe([fronts] if self.believed else [], False)

    def name(self, asks: Sequence[Ask], rng: random.Random) -> list[Ask]:
        """The same for somebody: of the networks that there are or another one, or nobody."""
        clients = ["", *(str(ipaddress.IPv6Address(number << 64 | 7)) for number in range(NETWORKS + 1))]
        return [replace(ask, client=rng.choice(clients)) for ask in asks] if self.believed else list(asks)

    def has_address(self, socket: Socket) -> bool:
        """Whether anybody knows it: where a proxy connects, when that has named a client."""
        return not self.kernel.greetings.expected or (socket.greeting == "client" and socket.greeted)

    def brings(self, socket: Socket) -> bool:
        """Whether its requests are of others."""
        if not self.has_address(socket):
            return self.believed and socket.greeted and socket.greeting == "own"
        return self.believed and ipaddress.IPv6Address(socket.address) in FRONTS

    def whose(self, socket: Socket, conn: dict[str, int]) -> set[bytes]:
        """The network that the request under way is of; empty bytes are nobody's. Of what never became a head
        it may be the one or the other.
        """
        own = socket.network if self.has_address(socket) else b""
        place = socket.responses.whole
        if not self.brings(socket) or socket.client.rejected or place >= len(socket.client.asks):
            return {own}
        named = self._named(socket.client.asks[place]) or own
        return {named} if conn["refused"] % 1000 in WHOLE else {named, own}

    def _named(self, ask: Ask) -> bytes:
        return ipaddress.IPv6Address(ask.client).packed[:8] if ask.client else b""

    def counted(self) -> list[bytes]:
        """The network of each connection, or request, that counts."""
        slots = range(self.kernel.limits["connections_max"] + self.kernel.limits["refusals_max"] + 100)
        conns = map(self.kernel.machine.conn, slots)
        return [network_of(conn["network"]) for conn in conns if conn["of_address"]]

    def brought(self, network: bytes) -> int:
        """Requests under way of a network that proxies have brought."""
        fronts = [fd for fd in self.kernel.ledger.keys if self.brings(self.kernel.sockets[fd])]
        conns = [self.kernel.conn_at(self.kernel.sockets[fd]) for fd in fronts]
        return sum(bool(conn["of_address"]) and network_of(conn["network"]) == network for conn in conns)

    def before(self) -> None:
        """The machine is about to see a completion."""
        self._refused = self.kernel.machine.gauge("refused_address")

    def after(self) -> None:
        """It has seen it: maybe a request is one too many."""
        if self.kernel.machine.gauge("refused_address") == self._refused:
            return
        counted = self.counted()
        for fd, (slot, _) in self.kernel.ledger.keys.items():
            conn = self.kernel.machine.conn(slot)
            if conn["fd"] != fd or conn["refused"] % 1000 != 429:
                continue
            [network] = self.whose(self.kernel.sockets[fd], conn)
            if counted.count(network) >= self.kernel.limits["connections_per_address"]:
                self.kernel.events["client_full"] += 1
                return
        # Whom a header of the PROXY protocol names is looked at elsewhere.
        if not self.kernel.greetings.expected:
            raise Violation("a request was refused without need")

    def check(self, socket: Socket, conn: dict[str, int]) -> bytes:
        """The network that a request of a proxy counts for; empty where none does."""
        state = testing.STATES.get(conn["state"], "closing")
        whose = self.whose(socket, conn)
        if conn["of_address"]:
            network = network_of(conn["network"])
            if network not in whose or (state not in ("parked", "sending") and not conn["stays"]):
                raise Violation(f"counted for {network!r}, and not for {whose}: {conn}")
            self.kernel.events["named"] += network != socket.network
            return network
        limit = self.kernel.limits["connections_per_address"]
        if state in ("parked", "sending") and not conn["refused"] and limit != NO_LIMIT and b"" not in whose:
            raise Violation(f"a request of {whose} does not count: {conn}")
        return b""

"""Clients that ask and do not read: how much memory does the machine lose to each?"""

from __future__ import annotations

import select
import socket
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchlib import CannotMeasure, say
from benchlib.fetch import request_bytes
from benchlib.proc import Memory, read_memory, resident_bytes
from benchlib.server import HOST

if TYPE_CHECKING:
    from benchlib.server import Server

ANSWER_S_MAX = 30.0
SETTLE_S_MAX = 20.0
LOOK_S = 0.25
STILL_LOOKS = 6
STILL_BYTES = 2**20
HEADINGS = ("server", "KiB/connection", "rounds", "tcp", "slab", "server Pss", "left", "marks")


@dataclass(frozen=True, slots=True)
class Taken:
    """Memory of one server for one round, bytes: what `clients` silent clients took, and what was not
    given back.
    """

    server: str
    round: int
    clients: int
    available: int
    tcp: int
    slab: int
    resident: int
    left: int
    steady: bool

    @property
    def per_connection(self) -> float:
        return self.available / self.clients

    @property
    def clear(self) -> bool:
        """Whether it is more than what the machine's memory moved by itself meanwhile."""
        return self.available > abs(self.left)


def swing(values: list[int]) -> int:
    """Return how far `values` lie apart."""
    return max(values) - min(values)


def settled() -> tuple[Memory, bool]:
    """Return the machine's memory and True once it keeps still; after SETTLE_S_MAX as it is, and False."""
    until = time.monotonic() + SETTLE_S_MAX
    looks = [read_memory()]
    while time.monotonic() < until:
        time.sleep(LOOK_S)
        looks = [*looks[-STILL_LOOKS + 1 :], read_memory()]
        moved = max(swing([look.available for look in looks]), swing([look.tcp for look in looks]))
        if len(looks) == STILL_LOOKS and moved <= STILL_BYTES:
            return looks[-1], True
    return looks[-1], False


def ask(port: int, target: str, receive_buffer: int) -> socket.socket:
    """Connect with a fixed receive buffer (before connecting, see tcp(7)), ask for `target`, read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect((HOST, port))
    client.sendall(request_bytes(HOST, port, target))
    return client


def await_answers(clients: list[socket.socket], server: Server) -> None:
    """Wait until each client has the beginning of a 200, without taking it. Raises CannotMeasure."""
    poll = select.epoll()
    waiting = {client.fileno(): client for client in clients}
    for fd in waiting:
        poll.register(fd, select.EPOLLIN)
    until = time.monotonic() + ANSWER_S_MAX
    while waiting:
        for fd, _ in poll.poll(max(0.0, until - time.monotonic())):
            head = waiting.pop(fd).recv(12, socket.MSG_PEEK)
            poll.unregister(fd)
            if head != b"HTTP/1.1 200":
                raise CannotMeasure(f"{server.name} answered {head!r}; log:\n{server.log_tail()}")
        if waiting and time.monotonic() > until:
            raise CannotMeasure(
                f"{server.name} did not answer {len(waiting)} clients; log:\n{server.log_tail()}"
            )
    poll.close()


def take(server: Server, target: str, count: int, receive_buffer: int, number: int) -> Taken:
    """Measure one server once. Raises CannotMeasure."""
    say(f"{server.name}: waiting until the machine's memory keeps still (at most {SETTLE_S_MAX:.0f} s)")
    before, steady_before = settled()
    tree = server.tree()
    resident = resident_bytes(tree)
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            clients.append(ask(server.port, target, receive_buffer))
        await_answers(clients, server)
        say(f"{server.name}: {count} clients have an answer and do not read it")
        during, steady_during = settled()
        resident = resident_bytes(tree) - resident
    finally:
        for client in clients:
            client.close()
    say(f"{server.name}: the clients are gone")
    after, steady_after = settled()
    return Taken(
        server.name,
        number,
        count,
        available=before.available - during.available,
        tcp=during.tcp - before.tcp,
        slab=during.slab - before.slab,
        resident=resident,
        left=before.available - after.available,
        steady=steady_before and steady_during and steady_after,
    )


def per_server(takings: list[Taken]) -> list[tuple[str, ...]]:
    """One line of a table (HEADINGS) for each server: medians, KiB per connection."""
    lines = []
    for server in dict.fromkeys(taken.server for taken in takings):
        group = [taken for taken in takings if taken.server == server]
        figures = sorted(taken.per_connection / 1024 for taken in group)
        pockets = [
            f"{statistics.median(getattr(taken, pocket) / taken.clients for taken in group) / 1024:,.0f}"
            for pocket in ("tcp", "slab", "resident", "left")
        ]
        spread = f"{figures[0]:,.0f} to {figures[-1]:,.0f}"
        disturbed = sum(not taken.steady for taken in group)
        mark = f"{disturbed} rounds disturbed" if disturbed else ""
        lines.append((server, f"{statistics.median(figures):,.0f}", spread, *pockets, mark))
    return lines

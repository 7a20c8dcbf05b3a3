"""Clients that do nothing: connections that never ask, and silent ones that ask and do not read.

How much memory does the machine lose to each silent client? memory.py says how that is measured.
"""

from __future__ import annotations

import resource
import socket
import struct
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.stats import make_rows
from benchlib import CannotMeasure, say
from benchlib.fetch import BadAnswer, fetch, request_bytes
from benchlib.proc import Memory, read_memory, resident_bytes
from benchlib.report import Table
from benchlib.server import HOST, NONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.workloads import Workload
    from benchlib.server import Server

SPARE_FILES = 256
CONNECT_S_MAX = 20.0
# A reset instead of TIME_WAIT: so many ports would be missing in the next round.
RESET = struct.pack("ii", 1, 0)
ANSWER_S_MAX = 30.0
SETTLE_S_MAX = 20.0
LOOK_S = 0.25
STILL_LOOKS = 6
STILL_BYTES = 2**20
HEADINGS = ("server", "KiB/connection", "rounds", "tcp", "slab", "server Pss", "left", "marks")


def allow_files(count: int) -> None:
    """Raise the limit of open files for `count` sockets, for this program and what it starts. Raises
    CannotMeasure.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_FILES
    if wanted > hard != resource.RLIM_INFINITY:
        raise CannotMeasure(
            f"{count} clients need {wanted} open files, the limit is {hard}; type: ulimit -Hn {wanted}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


@contextmanager
def idle_connections(server: Server, count: int) -> Iterator[None]:
    """Hold `count` accepted connections to `server` that never ask. Raises CannotMeasure."""
    held: list[socket.socket] = []
    try:
        try:
            for _ in range(count):
                held.append(socket.create_connection((HOST, server.port), CONNECT_S_MAX))
            # Connections are accepted in their order: once this one has its answer, all others are.
            fetch(HOST, server.port, f"{server.kind.prefix}/{NONCE}")
        except (OSError, BadAnswer) as error:
            raise CannotMeasure(f"{len(held)} of {count} idle connections, then: {error}") from error
        yield
    finally:
        for connection in held:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()


# Silent clients


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
    workload: ClassVar[str] = "silent"

    @property
    def per_connection(self) -> float:
        return self.available / self.clients

    @property
    def clear(self) -> bool:
        """Whether it is more than what the machine's memory moved by itself meanwhile."""
        return self.available > abs(self.left)


def settled() -> tuple[Memory, bool]:
    """Return the machine's memory and True once it keeps still; after SETTLE_S_MAX as it is, and False."""
    until = time.monotonic() + SETTLE_S_MAX
    looks = [read_memory()]
    while time.monotonic() < until:
        time.sleep(LOOK_S)
        looks = [*looks[-STILL_LOOKS + 1 :], read_memory()]
        pockets = ([look.available for look in looks], [look.tcp for look in looks])
        if len(looks) == STILL_LOOKS and all(max(seen) - min(seen) <= STILL_BYTES for seen in pockets):
            return looks[-1], True
    return looks[-1], False


def ask(port: int, target: str, receive_buffer: int) -> socket.socket:
    """Connect with a fixed receive buffer (before connecting, see tcp(7)), ask for `target`, read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect((HOST, port))
    client.sendall(request_bytes(HOST, port, target))
    return client


def await_answers(clients: Iterable[socket.socket], server: Server) -> None:
    """Wait until each client has the beginning of a 200, without taking it. Raises CannotMeasure."""
    until = time.monotonic() + ANSWER_S_MAX
    for number, client in enumerate(clients):
        client.settimeout(max(0.1, until - time.monotonic()))
        try:
            head = client.recv(12, socket.MSG_PEEK)
        except TimeoutError:
            words = f"{server.name} answered {number} clients and then none"
            raise CannotMeasure(f"{words}; log:\n{server.log_tail()}") from None
        if head != b"HTTP/1.1 200":
            raise CannotMeasure(f"{server.name} answered {head!r}; log:\n{server.log_tail()}")


def take(server: Server, target: str, workload: Workload, number: int) -> Taken:
    """Measure one server once. Raises CannotMeasure."""
    say(f"{server.name}: waiting until the machine's memory keeps still (at most {SETTLE_S_MAX:.0f} s)")
    before, steady_before = settled()
    tree, count = server.tree(), workload.connections or 1
    resident = resident_bytes(tree)
    clients: list[socket.socket] = []
    try:
        clients += (ask(server.port, target, workload.receive_buffer) for _ in range(count))
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


def silent_table(takings: Sequence[Taken], title: str = "", absent: Iterable[tuple[str, ...]] = ()) -> Table:
    """Medians of each server, KiB per connection; the spread of the rounds beside the figure that counts."""
    lines = []
    for row in make_rows(takings):
        each, kib = row.spread("per_connection"), row.samples[0].clients * 1024
        pockets = [f"{row.median(pocket) / kib:,.0f}" for pocket in ("tcp", "slab", "resident", "left")]
        rounds = f"{each.low / 1024:,.0f} to {each.high / 1024:,.0f}"
        disturbed = sum(not taken.steady for taken in row.samples)
        mark = f"{disturbed} rounds disturbed" if disturbed else ""
        lines.append((row.server, f"{each.median / 1024:,.0f}", rounds, *pockets, mark))
    return Table(title, HEADINGS, [*lines, *absent], (0, len(HEADINGS) - 1))

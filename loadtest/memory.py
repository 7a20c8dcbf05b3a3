"""How much memory does a client that asks and does not read cost? zchttpd's send modes beside nginx.

For each server in turn, alone on the machine's memory: start it, let it serve the file once, note the
machine's memory, let N clients with a small fixed SO_RCVBUF ask for the file and read nothing, wait until
nothing moves any more, note the memory again. The figure is the drop of MemAvailable / N: what the machine
has lost, in whatever pocket. The pockets are shown beside it, but do not add up: "tcp" (/proc/net/sockstat)
counts pages that a send queue only refers to (sendfile, zero copy) as if it owned them. "left" is what had
not come back after the clients were gone.

The receive buffer is small but not tiny: below 64 KiB the sender must cut its queue into ever smaller
packets, and what is measured then is the kernel's bookkeeping of packets (slab), the same for every server.

Exit status: 0 measured (whatever the verdict), 1 cannot measure, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import select
import socket
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure.fetch import fetch, request_bytes
from measure.kinds import KINDS
from measure.load import default_cores
from measure.options import (
    add_programs,
    at_least_one,
    chosen_programs,
    prepare_outputs,
    say,
    server_names,
    size,
)
from measure.payload import Payload, size_label, write_payload
from measure.report import align
from measure.servers import HOST, CannotMeasure, Server, ends_on_signal, running, temporary_site
from measure.usage import Memory, machine, read_memory, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER_S_MAX = 30.0
SETTLE_S_MAX = 20.0
LOOK_S = 0.25
STILL_LOOKS = 6
STILL_BYTES = 2**20
GOAL = 0.1


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


def take(server: Server, payload: Payload, count: int, receive_buffer: int, number: int) -> Taken:
    """Measure one server once."""
    if fetch(HOST, server.port, payload.target).sha256 != payload.sha256:
        raise CannotMeasure(f"{server.name} serves other bytes than the file's")
    say(f"{server.name}: waiting until the machine's memory keeps still (at most {SETTLE_S_MAX:.0f} s)")
    before, steady_before = settled()
    tree = server.tree()
    resident = resident_bytes(tree)
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            clients.append(ask(server.port, payload.target, receive_buffer))
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


def verdict(takings: list[Taken]) -> str:
    """Say whether zero copy takes at most GOAL of what plain takes."""
    medians = {
        server: statistics.median(taken.per_connection for taken in takings if taken.server == server)
        for server in {taken.server for taken in takings}
    }
    if not {"zerocopy", "plain"} <= medians.keys():
        return "no verdict: needs zerocopy and plain"
    if not all(taken.steady for taken in takings if taken.server in ("zerocopy", "plain")):
        return (
            "no verdict: memory never kept still, so something else runs on this machine; run it again alone"
        )
    zerocopy, plain = medians["zerocopy"], medians["plain"]
    if plain <= 0:
        return f"no verdict: plain took {plain / 1024:.0f} KiB; something else gave memory back, run it again"
    state = "met" if zerocopy <= GOAL * plain else "missed"
    return (
        f"wanted: zerocopy takes at most {GOAL:g}x plain's memory per connection: {state} "
        f"({zerocopy / 1024:,.0f} KiB against {plain / 1024:,.0f} KiB, {zerocopy / plain:.3f}x)"
    )


def table(takings: list[Taken]) -> str:
    """Medians per server, KiB per connection; the spread of the rounds beside the figure that counts."""
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
    headings = ("server", "KiB/connection", "rounds", "tcp", "slab", "server Pss", "left", "marks")
    return align(headings, lines, (0, 7))


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--servers",
        type=server_names,
        default=server_names("zerocopy,plain,nginx"),
        metavar="LIST",
        help=f"of {', '.join(KINDS)} (default: zerocopy,plain,nginx)",
    )
    add("--clients", type=at_least_one, default=300, metavar="N", help="silent clients (default: 300)")
    add("--size", type=size, default=10 * 2**20, help="size of the file (default: 10M)")
    add(
        "--rcvbuf",
        type=size,
        default=64 * 2**10,
        metavar="SIZE",
        help="SO_RCVBUF of each client (default: 64K)",
    )
    add("--rounds", type=at_least_one, default=3, metavar="N", help="how often each is measured (default: 3)")
    add_programs(parser)
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser.parse_args(arguments)


def allow_files(count: int) -> None:
    """Raise the limit of open files for `count` clients. Raises CannotMeasure."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if wanted > hard != resource.RLIM_INFINITY:
        raise CannotMeasure(
            f"{count} clients need {wanted} open files, the limit is {hard}; type: ulimit -Hn {wanted}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def run(chosen: argparse.Namespace) -> Iterator[Taken]:
    """Measure every server in every round (ABAB...), each started afresh and alone."""
    programs = chosen_programs(chosen.servers, chosen)
    server_core, _ = default_cores()
    allow_files(chosen.clients)
    total = chosen.rounds * len(chosen.servers)
    with ends_on_signal(), temporary_site() as site:
        payload = write_payload(site.root, chosen.size)
        for index in range(total):
            number, name = index // len(chosen.servers) + 1, chosen.servers[index % len(chosen.servers)]
            with running(KINDS[name], programs[name], site, server_core) as server:
                taken = take(server, payload, chosen.clients, chosen.rcvbuf, number)
            disturbed = "" if taken.steady else ", disturbed: something else changes the machine's memory"
            cost = f"{taken.per_connection / 1024:,.0f} KiB per connection{disturbed}"
            say(f"[{index + 1}/{total}] round {number} {name}: {cost}")
            yield taken


def main() -> int:
    chosen = parse_arguments()
    takings: list[Taken] = []
    status = 0
    try:
        prepare_outputs(chosen.json)
        for taken in run(chosen):
            takings.append(taken)
    except (CannotMeasure, OSError) as error:
        say(f"memory: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        status = 130
    if takings and chosen.json:
        fields = {"machine": machine(), "takings": [dataclasses.asdict(taken) for taken in takings]}
        chosen.json.write_text(json.dumps(fields, indent=1) + "\n")
    if takings:
        asked = f"{chosen.clients} clients ask for {size_label(chosen.size)} and read nothing"
        print(f"{asked}, SO_RCVBUF {size_label(chosen.rcvbuf)}; KiB per connection, {chosen.rounds} rounds:")
        print(f"{table(takings)}\n{verdict(takings)}")
    return status


if __name__ == "__main__":
    sys.exit(main())

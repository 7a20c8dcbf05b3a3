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

import json
import statistics
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from bench.check import Unfit, check
from bench.idle import allow_files
from bench.idle_readers import HEADINGS, Taken, per_server, take
from bench.options import add_programs, at_least_one, chosen_program, prepare_outputs, server_names
from bench.peers import KINDS
from bench.workloads import Scale, sized
from benchlib import CannotMeasure, say
from benchlib.payload import KIB, MIB, parse_size, size_label
from benchlib.proc import default_cores, machine
from benchlib.report import Table
from benchlib.server import ends_on_signal, running, temporary_site

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

SERVERS = "zerocopy,plain,nginx"
GOAL = 0.1


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
    """Medians per server; the spread of the rounds beside the figure that counts."""
    return Table("", HEADINGS, per_server(takings), (0, len(HEADINGS) - 1)).plain()


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    words = f"of {', '.join(KINDS)} (default: {SERVERS})"
    add("--servers", type=server_names, default=server_names(SERVERS), metavar="LIST", help=words)
    add("--clients", type=at_least_one, default=300, metavar="N", help="silent clients (default: 300)")
    add("--size", type=parse_size, default=10 * MIB, help="size of the file (default: 10M)")
    words = "SO_RCVBUF of each client (default: 64K)"
    add("--rcvbuf", type=parse_size, default=64 * KIB, metavar="SIZE", help=words)
    add("--rounds", type=at_least_one, default=3, metavar="N", help="how often each is measured (default: 3)")
    add_programs(parser)


def run(chosen: argparse.Namespace) -> Iterator[Taken]:
    """Measure every server in every round (ABAB...), each started afresh and alone."""
    programs = {name: chosen_program(name, chosen) for name in chosen.servers}
    server_core, _ = default_cores()
    allow_files(chosen.clients)
    total = chosen.rounds * len(chosen.servers)
    with ends_on_signal(), temporary_site() as site:
        workload = sized(chosen.size).make(site.root, "", Scale())
        for index in range(total):
            number, name = index // len(chosen.servers) + 1, chosen.servers[index % len(chosen.servers)]
            with ExitStack() as stack:
                server = stack.enter_context(running(KINDS[name], programs[name], site, server_core))
                target = check(server, workload).requests[0].target
                taken = take(server, target, chosen.clients, chosen.rcvbuf, number)
            disturbed = "" if taken.steady else ", disturbed: something else changes the machine's memory"
            cost = f"{taken.per_connection / 1024:,.0f} KiB per connection{disturbed}"
            say(f"[{index + 1}/{total}] round {number} {name}: {cost}")
            yield taken


def main(chosen: argparse.Namespace) -> int:
    prepare_outputs(chosen.json)
    takings: list[Taken] = []
    status = 0
    try:
        for taken in run(chosen):
            takings.append(taken)
    except Unfit as error:
        raise CannotMeasure(str(error)) from error
    except KeyboardInterrupt:
        say("interrupted")
        status = 130
    if takings and chosen.json:
        fields = {"machine": machine(), "takings": [asdict(taken) for taken in takings]}
        chosen.json.write_text(json.dumps(fields, indent=1) + "\n")
    if takings:
        asked = f"{chosen.clients} clients ask for {size_label(chosen.size)} and read nothing"
        print(f"{asked}, SO_RCVBUF {size_label(chosen.rcvbuf)}; KiB per connection, {chosen.rounds} rounds:")
        print(f"{table(takings)}\n{verdict(takings)}")
    return status

"""How much memory does a client that asks and does not read cost? Each engine and send mode beside nginx.

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

from typing import TYPE_CHECKING

from bench.idle import Taken, allow_files, silent_table
from bench.options import add_cores, add_programs, at_least_one, chosen_program, prepare_outputs, server_names
from bench.peers import KINDS
from bench.results import Results, save
from bench.rounds import Progress, Run, exit_status, measuring, perform_all, planned_s
from bench.stats import make_rows
from bench.workloads import Scale, workloads
from benchlib import CannotMeasure, say
from benchlib.payload import KIB, MIB, parse_size, size_label
from benchlib.proc import machine

if TYPE_CHECKING:
    import argparse

SERVERS = "zerocopy,plain,auto,portable,nginx"
GOAL = 0.1


def verdict(takings: list[Taken]) -> str:
    """Say whether zero copy takes at most GOAL of what plain takes."""
    medians = {row.server: row.median("per_connection") for row in make_rows(takings)}
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


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    words = f"of {', '.join(KINDS)} (default: {SERVERS})"
    add("--servers", type=server_names, default=server_names(SERVERS), metavar="LIST", help=words)
    add("--clients", type=at_least_one, default=300, metavar="N", help="silent clients (default: 300)")
    add("--size", type=parse_size, default=10 * MIB, help="size of the file (default: 10M)")
    words = "SO_RCVBUF of each client (default: 64K)"
    add("--rcvbuf", type=parse_size, default=64 * KIB, metavar="SIZE", help=words)
    add("--rounds", type=at_least_one, default=3, metavar="N", help="how often each is measured (default: 3)")
    add_cores(parser)
    add_programs(parser)
    # What the other clients of the bench are told.
    parser.set_defaults(connections=0, seconds=0)


def main(chosen: argparse.Namespace) -> int:
    prepare_outputs(chosen.json)
    programs = {name: chosen_program(name, chosen) for name in chosen.servers}
    allow_files(chosen.clients)
    results = Results(machine(), {"clients": chosen.clients, "size": chosen.size, "rcvbuf": chosen.rcvbuf})
    scale = Scale(silent_bytes=chosen.size, silent_clients=chosen.clients, receive_buffer=chosen.rcvbuf)
    silent = workloads(scale)["silent"]
    progress = Progress(planned_s(silent, len(programs), 0, chosen.rounds))
    with measuring(chosen) as (bench, site):
        kinds = [KINDS[name] for name in programs]
        run = Run(bench, site, kinds, programs, chosen.rounds, results, progress)
        perform_all(run, [silent])
    if results.cut_short:
        say(f"memory: {results.cut_short}")
    if results.takings and chosen.json:
        save(results, chosen.json)
    if results.takings:
        asked = f"{chosen.clients} clients ask for {size_label(chosen.size)} and read nothing"
        print(f"{asked}, SO_RCVBUF {size_label(chosen.rcvbuf)}; KiB per connection, {chosen.rounds} rounds:")
        print(f"{silent_table(results.takings).plain()}\n{verdict(results.takings)}")
    elif not results.cut_short:
        raise CannotMeasure("not one server could be measured")
    return exit_status(results)

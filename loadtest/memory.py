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
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure.check import Unfit, check
from measure.idle import allow_files
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
from measure.payload import size_label
from measure.report import align
from measure.servers import CannotMeasure, ends_on_signal, running, temporary_site
from measure.silent import HEADINGS, Taken, per_server, take
from measure.usage import machine
from measure.workloads import Scale, sized

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    return align(HEADINGS, per_server(takings), (0, len(HEADINGS) - 1))


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


def run(chosen: argparse.Namespace) -> Iterator[Taken]:
    """Measure every server in every round (ABAB...), each started afresh and alone."""
    programs = chosen_programs(chosen.servers, chosen)
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


def main() -> int:
    chosen = parse_arguments()
    takings: list[Taken] = []
    status = 0
    try:
        prepare_outputs(chosen.json)
        for taken in run(chosen):
            takings.append(taken)
    except (CannotMeasure, Unfit, OSError) as error:
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

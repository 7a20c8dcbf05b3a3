"""Compare zchttpd with its peers in one alternating run: throughput, CPU per request, and an honest
verdict.

`make bench` calls this. It needs Linux, two cores, wrk and nginx (Debian: apt-get install wrk nginx-light);
lighttpd and h2o are compared too when asked for with --servers. Exit status: 0 measured (whatever the
verdict), 1 cannot measure or errors under load, 2 wrong arguments, 130 interrupted (what was measured until
then is reported).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure.alternate import INTERRUPTED, alternate, collect, compare_answers, exit_status, make_bench
from measure.kinds import KINDS
from measure.load import CLIENTS, Bench
from measure.options import (
    add_programs,
    at_least_one,
    chosen_programs,
    prepare_outputs,
    say,
    server_names,
    size,
    sizes,
)
from measure.payload import write_payload
from measure.report import Peer, Results, from_json, markdown, terminal, to_json
from measure.servers import CannotMeasure, all_running, ends_on_signal, find_tool, temporary_site
from measure.usage import machine, siblings


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--sizes",
        type=sizes,
        default=sizes("1K,10K,100K,1M,10M"),
        metavar="LIST",
        help="default: 1K,10K,100K,1M,10M",
    )
    add(
        "--servers",
        type=server_names,
        default=server_names("zerocopy,plain,auto,nginx"),
        metavar="LIST",
        help=f"of {', '.join(KINDS)} (default: zerocopy,plain,auto,nginx)",
    )
    add(
        "--seconds",
        type=at_least_one,
        default=4,
        metavar="N",
        help="seconds of each measurement (default: 4)",
    )
    add("--rounds", type=at_least_one, default=3, metavar="N", help="how often each is measured (default: 3)")
    add(
        "--connections",
        type=at_least_one,
        default=64,
        metavar="N",
        help="keep-alive connections (default: 64)",
    )
    add(
        "--discard-min",
        type=size,
        default=2**20,
        metavar="SIZE",
        help="from this size on measure again with a client that does not copy the bytes (default: 1M)",
    )
    add("--server-core", type=int, metavar="N", help="core of the servers (default: the first)")
    add("--client-cores", metavar="N,N", help="cores of the load client (default: the second)")
    add_programs(parser)
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--markdown", type=Path, metavar="FILE", help="write a fragment for a README")
    add("--from-json", type=Path, metavar="FILE", help="measure nothing, report what FILE holds")
    return parser.parse_args(arguments)


def clients_for(size: int, discard_min: int) -> tuple[str, ...]:
    """wrk always; from `discard_min` on the discarding client too."""
    return CLIENTS if size >= discard_min else CLIENTS[:1]


def describe(chosen: argparse.Namespace, bench: Bench) -> dict[str, str | int | float]:
    """What the figures depend on, for the report."""
    return {
        "connections": bench.connections,
        "seconds": bench.seconds,
        "rounds": chosen.rounds,
        "server_core": f"{bench.server_core} (hardware threads {siblings(bench.server_core)})",
        "client_cores": ", ".join(
            f"{core} (hardware threads {siblings(core)})" for core in bench.client_cores
        ),
    }


def run(chosen: argparse.Namespace) -> Results:
    """Start everything, compare, measure. What was measured before an interruption or a failure is kept."""
    programs = chosen_programs(chosen.servers, chosen)
    find_tool("wrk", "wrk")
    with ends_on_signal(), temporary_site() as site:
        bench = make_bench(chosen, site)
        say(f"writing {len(chosen.sizes)} files")
        payloads = [write_payload(site.root, size) for size in chosen.sizes]
        kinds = [KINDS[name] for name in chosen.servers]
        with all_running(kinds, programs, site, bench.server_core, say) as servers:
            heads = compare_answers(servers, payloads)
            peers = [
                Peer(
                    server.name,
                    server.kind.ours,
                    server.version,
                    server.command,
                    server.config,
                    heads[server.name],
                )
                for server in servers
            ]
            samples, cut_short = collect(
                alternate(
                    bench,
                    servers,
                    payloads,
                    chosen.rounds,
                    lambda size: clients_for(size, chosen.discard_min),
                )
            )
    return Results(machine(), describe(chosen, bench), peers, samples, cut_short)


def main() -> int:
    chosen = parse_arguments()
    try:
        prepare_outputs(chosen.json, chosen.markdown)
        results = from_json(chosen.from_json.read_text()) if chosen.from_json else run(chosen)
    except (CannotMeasure, OSError, ValueError) as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"bench: {INTERRUPTED}")
        return 130
    if results.samples:
        if chosen.json:
            chosen.json.write_text(to_json(results))
        if chosen.markdown:
            chosen.markdown.write_text(markdown(results))
        print(terminal(results))
    if results.cut_short:
        say(f"bench: {results.cut_short}")
    return exit_status(results.samples, results.cut_short)


if __name__ == "__main__":
    sys.exit(main())

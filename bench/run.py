"""Compare zchttpd with its peers in one alternating run: throughput, CPU per request, latency at a fixed
rate, memory, and an honest verdict.

`make bench` installs the peers and calls this. It needs Linux, two cores that nobody else uses, and wrk. A
peer that is not installed, or fails, is reported as absent with the reason. The JSON file is written after
each workload; with --resume what it holds is kept and only the rest is measured. Exit status: 0 measured
(whatever the verdict), 1 cannot measure or errors under load, 2 wrong arguments, 130 interrupted (what was
measured until then is reported).
"""

from __future__ import annotations

import argparse
import resource
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.idle import allow_files
from bench.namespaces import begin_network, enter_namespace
from bench.options import (
    add_load,
    add_programs,
    chosen_program,
    prepare_outputs,
    server_names,
    workload_names,
)
from bench.peers import KINDS
from bench.results import Absent, Results, from_json, save
from bench.rounds import Progress, Run, exit_status, measuring, perform_all, planned_s
from bench.summary import document, write_chart, write_pictures
from bench.workloads import QUICK, WORKLOADS
from benchlib import CannotMeasure, say
from benchlib.proc import machine, siblings
from benchlib.server import find_tool

if TYPE_CHECKING:
    from bench.load import Bench

SERVERS = "zerocopy,plain,auto,portable,nginx,lighttpd,h2o,caddy,granian,starlette,aiohttp,http.server"
QUICK_WORKLOADS = "1K,10M,mix,rate"
SECONDS, QUICK_SECONDS = 2, 1


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "workloads:\n" + "\n".join(f"  {name:9}{each.about}" for name, each in WORKLOADS.items())
    add = parser.add_argument
    add("--workloads", type=workload_names, metavar="LIST", help=f"of {', '.join(WORKLOADS)} (default: all)")
    words = f"of {', '.join(KINDS)} (default: {SERVERS})"
    add("--servers", type=server_names, default=server_names(SERVERS), metavar="LIST", help=words)
    add("--quick", action="store_true", help=f"one second, one round, and only {QUICK_WORKLOADS}")
    add_load(parser, None, None)
    words = "measure in a network namespace of its own, with Reno, where this machine has BBR; wants root"
    add("--own-network", action="store_true", help=words)
    add("--in-namespace", action="store_true", help=argparse.SUPPRESS)
    add_programs(parser)
    add("--resume", action="store_true", help="keep the workloads that the JSON file already has")
    add("--readme", type=Path, metavar="FILE", help="write a short Markdown fragment")
    add("--page", type=Path, metavar="FILE", help="write all tables as Markdown")
    add("--chart", type=Path, metavar="FILE", help="write an SVG of CPU per request beside the closest peers")
    add("--plots", type=Path, metavar="FOLDER", help="write bench.html and bench.png")
    add("--from-json", type=Path, metavar="FILE", help="measure nothing, report what FILE holds")


def complete(chosen: argparse.Namespace) -> None:
    """Fill in what --quick decides. Exits with 2 for what does not go together."""
    if chosen.resume and not chosen.json:
        chosen.parser.error("--resume needs --json FILE")
    if chosen.workloads is None:
        chosen.workloads = workload_names(QUICK_WORKLOADS) if chosen.quick else tuple(WORKLOADS)
    chosen.seconds = chosen.seconds or (QUICK_SECONDS if chosen.quick else SECONDS)
    chosen.rounds = chosen.rounds or (1 if chosen.quick else None)


def describe(chosen: argparse.Namespace, bench: Bench) -> dict[str, str | int | float]:
    """What the figures depend on, for the report."""
    return {
        "connections": bench.connections,
        "seconds": bench.seconds,
        "rounds": chosen.rounds or ", ".join(f"{name} {WORKLOADS[name].rounds}" for name in chosen.workloads),
        "server_core": f"{bench.server_core} (hardware threads {siblings(bench.server_core)})",
        "client_cores": ", ".join(
            f"{core} (hardware threads {siblings(core)})" for core in bench.client_cores
        ),
        "command": f"python -m bench {' '.join(sys.argv[1:])}",
    }


def begin(chosen: argparse.Namespace, bench: Bench) -> Results:
    """New results, or those of the file that is resumed, without what will be measured again."""
    if not (chosen.resume and chosen.json.exists() and chosen.json.stat().st_size):
        return Results(machine(), describe(chosen, bench))
    results = from_json(chosen.json.read_text())
    for name, mine in (("seconds", bench.seconds), ("connections", bench.connections)):
        if results.settings.get(name) != mine:
            raise CannotMeasure(
                f"{chosen.json} was measured with --{name} {results.settings.get(name):g}; "
                "give the same, or begin anew without --resume"
            )
    results.cut_short = ""
    done = [name for name in chosen.workloads if name in results.workloads]
    say(f"resuming: {', '.join(done) or 'nothing'} is kept from {chosen.json}")
    for name in chosen.workloads:
        if name not in done:
            results.forget(name)
    results.absent = [each for each in results.absent if each.workload]
    return results


def find_programs(chosen: argparse.Namespace, results: Results) -> dict[str, str]:
    """The program of each server that has one; the others are noted as absent."""
    programs = {}
    for name in chosen.servers:
        try:
            programs[name] = chosen_program(name, chosen)
        except CannotMeasure as error:
            results.absent.append(Absent(name, "", str(error)))
            say(f"{name} is absent: {error}")
    if not programs:
        raise CannotMeasure("not one of the servers is installed")
    return programs


def measure_everything(chosen: argparse.Namespace) -> Results:
    """Measure. What was there before an interruption or a failure is kept. Raises CannotMeasure, OSError or
    ValueError before anything was measured.
    """
    find_tool("wrk", "wrk")
    workloads = QUICK if chosen.quick else WORKLOADS
    open_files = max(workloads["idle"].idle, workloads["active"].connections or 0)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allow_files(open_files if hard == resource.RLIM_INFINITY else min(open_files, hard - 1024))
    with ExitStack() as stack:
        bench, site = stack.enter_context(measuring(chosen))
        results = begin(chosen, bench)
        programs = find_programs(chosen, results)
        todo = [workloads[name] for name in chosen.workloads if name not in results.workloads]
        kinds = [KINDS[name] for name in programs]
        plan_s = sum(planned_s(each, len(kinds), bench.seconds, chosen.rounds) for each in todo)
        say(f"{len(todo)} workloads, {len(kinds)} servers, about {plan_s / 60:.0f} min")
        run = Run(bench, site, kinds, programs, chosen.rounds, results, Progress(plan_s))
        perform_all(run, todo, lambda: save(results, chosen.json) if chosen.json else None)
    return results


def report(chosen: argparse.Namespace, results: Results) -> None:
    """Write what was asked for. Raises OSError."""
    if chosen.json:
        save(results, chosen.json)
    if chosen.readme:
        chosen.readme.write_text(document("readme.md.j2", results) + "\n")
    if chosen.page:
        chosen.page.write_text(document("figures.md.j2", results))
    if chosen.chart:
        write_chart(results, chosen.chart)
    if chosen.plots:
        write_pictures(results, chosen.plots)
        say(f"wrote bench.html and bench.png into {chosen.plots}")
    print(document("terminal.txt.j2", results).rstrip("\n"))


def main(chosen: argparse.Namespace) -> int:
    complete(chosen)
    if chosen.own_network:
        if not chosen.in_namespace:
            enter_namespace(user=False)
        begin_network()
    prepare_outputs(chosen.json, chosen.readme, chosen.page, chosen.chart)
    results = from_json(chosen.from_json.read_text()) if chosen.from_json else measure_everything(chosen)
    if results.samples or results.paced or results.takings:
        report(chosen, results)
    if results.cut_short:
        say(f"bench: {results.cut_short}")
    # What a file holds was judged when it was measured.
    return 0 if chosen.from_json else exit_status(results)

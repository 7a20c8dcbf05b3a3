"""Find good values for options whose best value only measuring tells: each value in turn, alternating, beside
plain sends.

On loopback the kernel copies zero-copy sends, so here a sweep finds what zero copy costs least, not what it
saves. `make sweep` calls this for all options, `make sweep SWEEP_ARGS=window-size` for one. Exit status as
for run.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass

from bench.options import add_load, add_programs, chosen_program, prepare_outputs
from bench.peers import KINDS
from bench.results import Results
from bench.rounds import INTERRUPTED, Progress, Run, exit_status, measuring, perform_all, planned_s
from bench.stats import Row, make_rows
from bench.workloads import sized
from benchlib import say
from benchlib.payload import parse_size, size_label
from benchlib.proc import machine
from benchlib.report import Table
from benchlib.server import Kind, with_arguments
from benchlib.spread import ratio_words

YARDSTICK = "plain"


@dataclass(frozen=True, slots=True)
class Sweep:
    """Values to try for one option, and the sizes of the files that show a difference. `also`: what makes
    files of that size take the way that the option is about.
    """

    values: tuple[str, ...]
    sizes: tuple[str, ...]
    also: tuple[str, ...] = ()


# Larger than a quarter of --memory, so that it streams through windows.
STREAMED = ("--memory", "64M")
SWEEPS = {
    "zc-size-min": Sweep(("4K", "16K", "64K", "256K"), ("8K", "32K", "128K", "1M")),
    "window-size": Sweep(("128K", "256K", "512K", "1M", "2M"), ("32M",), STREAMED),
    "windows-per-connection": Sweep(("1", "2", "4", "8"), ("32M",), STREAMED),
    "recv-buffers": Sweep(("64", "256", "512", "2048"), ("1K",)),
}


def option_name(text: str) -> str:
    """argparse type for an option to sweep."""
    if text not in SWEEPS:
        raise argparse.ArgumentTypeError(f"no sweep of {text!r}; choose from {', '.join(SWEEPS)}")
    return text


def add_options(parser: argparse.ArgumentParser) -> None:
    words = f"of {', '.join(SWEEPS)} (default: all)"
    parser.add_argument("options", nargs="*", type=option_name, metavar="OPTION", help=words)
    add_load(parser, 2, 3)
    add_programs(parser)


def variants(option: str) -> list[Kind]:
    """The yardstick and one zerocopy server for each value of `option`."""
    sweep = SWEEPS[option]
    return [
        with_arguments(KINDS[YARDSTICK], YARDSTICK, *sweep.also),
        *(
            with_arguments(KINDS["zerocopy"], f"{option}={value}", *sweep.also, f"--{option}", value)
            for value in sweep.values
        ),
    ]


def table(rows: list[Row]) -> str:
    """One line per variant and size, the cheapest variant of each size marked."""
    lines = []
    for workload in dict.fromkeys(row.workload for row in rows):
        group = [row for row in rows if row.workload == workload]
        cheapest = min(row.median("cpu_us_per_request") for row in group if row.server != YARDSTICK)
        for row in group:
            cost = row.median("cpu_us_per_request")
            best = ["cheapest"] if row.server != YARDSTICK and cost == cheapest else []
            lines.append(
                (
                    *(workload, row.server, f"{cost:,.2f}", f"{2**30 / row.median('bytes_per_cpu_s'):.3f}"),
                    f"{row.median('bytes_per_s') / 1e6:,.0f}",
                    f"{row.spread('resident_bytes').high / 1e6:.1f}",
                    ratio_words(row.ratio("cpu_us_per_request")),
                    f"{row.total('zero_copied')}/{row.total('copied')}",
                    ", ".join([*best, *row.marks]),
                )
            )
    headings = (
        *("size", "variant", "CPU us/req", "CPU s/GiB", "MB/s", "RSS MB", f"CPU vs {YARDSTICK}"),
        *("zc/copied", "marks"),
    )
    return Table("", headings, lines, (0, 1, 8)).plain()


def sweep(chosen: argparse.Namespace, found: dict[str, Results]) -> None:
    """Measure every option that was asked for into `found`; what was measured before a failure is kept.
    Raises CannotMeasure, OSError or ValueError before anything was.
    """
    program = chosen_program("zerocopy", chosen)
    todo = {
        option: [sized(parse_size(label)) for label in SWEEPS[option].sizes]
        for option in chosen.options or SWEEPS
    }
    with measuring(chosen) as (bench, site):
        plan_s = sum(
            planned_s(workload, len(variants(option)), bench.seconds, chosen.rounds)
            for option, workloads in todo.items()
            for workload in workloads
        )
        say(f"{', '.join(todo)}: about {plan_s / 60:.0f} min")
        progress = Progress(plan_s)
        for option, workloads in todo.items():
            kinds = variants(option)
            found[option] = Results(machine(), {"connections": bench.connections, "seconds": bench.seconds})
            programs = {kind.name: program for kind in kinds}
            run = Run(bench, site, kinds, programs, chosen.rounds, found[option], progress)
            perform_all(run, workloads)
            if found[option].cut_short == INTERRUPTED:
                break


def main(chosen: argparse.Namespace) -> int:
    prepare_outputs(chosen.json)
    found: dict[str, Results] = {}
    sweep(chosen, found)
    for option, results in found.items():
        if results.samples:
            print(f"--{option}, sizes {', '.join(map(size_label, map(parse_size, SWEEPS[option].sizes)))}")
            print(f"{table(make_rows(results.samples, YARDSTICK))}\n")
        if results.cut_short:
            say(f"sweep: {results.cut_short}")
    if chosen.json:
        chosen.json.write_text(
            json.dumps({name: asdict(each) for name, each in found.items()}, indent=1) + "\n"
        )
    return max((exit_status(results) for results in found.values()), default=1)

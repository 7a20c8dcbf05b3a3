"""Find good values for options whose best value only measuring tells: each value in turn, alternating, beside
plain sends.

On loopback the kernel copies zero-copy sends, so here a sweep finds what zero copy costs least, not what it
saves. `make sweep` calls this for all options, `make sweep SWEEP_ARGS=window-size` for one. Exit status as
for bench.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure.kinds import KINDS, Kind, with_arguments
from measure.options import add_programs, at_least_one, chosen_programs, prepare_outputs, say
from measure.payload import parse_size, size_label
from measure.ratios import Row, make_rows
from measure.report import align, ratio_words
from measure.results import Results, to_json
from measure.runner import (
    INTERRUPTED,
    Progress,
    Run,
    claim_cores,
    exit_status,
    make_bench,
    perform,
    planned_s,
)
from measure.servers import CannotMeasure, ends_on_signal, temporary_site
from measure.usage import machine
from measure.workloads import Scale, sized

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


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("options", nargs="*", metavar="OPTION", help=f"of {', '.join(SWEEPS)} (default: all)")
    add("--seconds", type=at_least_one, default=2, metavar="N")
    add("--rounds", type=at_least_one, default=3, metavar="N")
    add("--connections", type=at_least_one, default=64, metavar="N")
    add("--server-core", type=int, metavar="N")
    add("--client-cores", metavar="N,N")
    add_programs(parser)
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    chosen = parser.parse_args(arguments)
    for option in chosen.options:
        if option not in SWEEPS:
            parser.error(f"no sweep of {option!r}; choose from {', '.join(SWEEPS)}")
    chosen.options = chosen.options or list(SWEEPS)
    return chosen


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
        costs = [row.cpu_us_per_request.median for row in group if row.server != YARDSTICK]
        for row in group:
            cost = row.cpu_us_per_request.median
            best = ["cheapest"] if row.server != YARDSTICK and cost == min(costs) else []
            lines.append(
                (
                    workload,
                    row.server,
                    f"{cost:,.2f}",
                    f"{2**30 / row.bytes_per_cpu_s.median:.3f}",
                    f"{row.bytes_per_s.median / 1e6:,.0f}",
                    f"{row.resident_bytes / 1e6:.1f}",
                    ratio_words(row.cpu_ratio),
                    f"{row.zero_copied}/{row.copied}",
                    ", ".join([*best, *row.marks]),
                )
            )
    headings = (
        *("size", "variant", "CPU us/req", "CPU s/GiB", "MB/s", "RSS MB", f"CPU vs {YARDSTICK}"),
        *("zc/copied", "marks"),
    )
    return align(headings, lines, (0, 1, 8))


def sweep_all(chosen: argparse.Namespace) -> dict[str, Results]:
    """Measure every option that was asked for; what was measured before a failure is kept. Raises
    CannotMeasure, OSError or ValueError before anything was.
    """
    program = chosen_programs(("zerocopy",), chosen)["zerocopy"]
    found: dict[str, Results] = {}
    with ExitStack() as stack:
        stack.enter_context(ends_on_signal())
        site = stack.enter_context(temporary_site())
        bench = make_bench(chosen, site)
        claim_cores(stack, (bench.server_core, *bench.client_cores))
        todo = {
            option: [sized(parse_size(label)) for label in SWEEPS[option].sizes] for option in chosen.options
        }
        plan_s = sum(
            planned_s(recipe, len(variants(option)), bench.seconds, chosen.rounds)
            for option, recipes in todo.items()
            for recipe in recipes
        )
        say(f"{', '.join(todo)}: about {plan_s / 60:.0f} min")
        progress = Progress(plan_s)
        for option, recipes in todo.items():
            kinds = variants(option)
            found[option] = Results(machine(), {"connections": bench.connections, "seconds": bench.seconds})
            programs = {kind.name: program for kind in kinds}
            run = Run(bench, site, kinds, programs, chosen.rounds, Scale(), found[option], progress)
            try:
                for recipe in recipes:
                    perform(run, recipe)
            except (KeyboardInterrupt, CannotMeasure, OSError) as error:
                interrupted = isinstance(error, KeyboardInterrupt)
                found[option].cut_short = INTERRUPTED if interrupted else str(error)
                break
    return found


def main() -> int:
    chosen = parse_arguments()
    try:
        prepare_outputs(chosen.json)
        found = sweep_all(chosen)
    except (CannotMeasure, OSError, ValueError) as error:
        say(f"sweep: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"sweep: {INTERRUPTED}")
        return 130
    for option, results in found.items():
        if results.samples:
            print(f"--{option}, sizes {', '.join(map(size_label, map(parse_size, SWEEPS[option].sizes)))}")
            print(f"{table(make_rows(results.samples, YARDSTICK))}\n")
        if results.cut_short:
            say(f"sweep: {results.cut_short}")
    if chosen.json:
        texts = {option: json.loads(to_json(results)) for option, results in found.items()}
        chosen.json.write_text(json.dumps(texts, indent=1) + "\n")
    return max((exit_status(results) for results in found.values()), default=1)


if __name__ == "__main__":
    sys.exit(main())

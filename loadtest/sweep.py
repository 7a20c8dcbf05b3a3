"""Find good values for --zc-size-min and --window-size: zchttpd in zerocopy mode, every pair in turn,
alternating.

`plain` runs along as the yardstick. On loopback the kernel copies zero-copy sends, so here the sweep finds
what zero copy costs least, not what it saves. Exit status as for bench.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure.alternate import INTERRUPTED, alternate, collect, compare_answers, exit_status, make_bench
from measure.kinds import KINDS, Kind, with_arguments
from measure.options import add_programs, at_least_one, chosen_programs, prepare_outputs, say, sizes
from measure.payload import size_label, write_payload
from measure.ratios import Row, make_rows
from measure.report import align
from measure.servers import CannotMeasure, all_running, ends_on_signal, temporary_site
from measure.usage import machine

YARDSTICK = "plain"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--sizes",
        type=sizes,
        default=sizes("16K,64K,256K,1M,10M"),
        metavar="LIST",
        help="sizes of the served files",
    )
    add("--zc-size-min", type=sizes, default=sizes("4K,16K,64K"), metavar="LIST", help="values to try")
    add("--window-size", type=sizes, default=sizes("128K,512K,1M"), metavar="LIST", help="values to try")
    add(
        "--client",
        choices=("wrk", "discard"),
        default="discard",
        help="load client, see bench.py (default: discard)",
    )
    add("--seconds", type=at_least_one, default=2, metavar="N")
    add("--rounds", type=at_least_one, default=3, metavar="N")
    add("--connections", type=at_least_one, default=64, metavar="N")
    add("--server-core", type=int, metavar="N")
    add("--client-cores", metavar="N,N")
    add_programs(parser)
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser.parse_args(arguments)


def variants(zc_size_mins: tuple[int, ...], window_sizes: tuple[int, ...]) -> list[Kind]:
    """The yardstick and one zerocopy server for each pair of values."""
    return [
        KINDS[YARDSTICK],
        *(
            with_arguments(
                KINDS["zerocopy"],
                f"zc{size_label(zc_size_min)}-w{size_label(window_size)}",
                "--zc-size-min",
                str(zc_size_min),
                "--window-size",
                str(window_size),
            )
            for zc_size_min in zc_size_mins
            for window_size in window_sizes
        ),
    ]


def table(rows: list[Row]) -> str:
    """One line per variant and size, the cheapest variant of each size marked."""
    lines = []
    for size in dict.fromkeys(row.size for row in rows):
        group = [row for row in rows if row.size == size]
        cheapest = min(row.cpu_us_per_request.median for row in group if row.server != YARDSTICK)
        for row in group:
            ratio = (
                ""
                if row.cpu_ratio is None
                else f"{row.cpu_ratio.median:.2f} [{row.cpu_ratio.low:.2f} to {row.cpu_ratio.high:.2f}]"
            )
            best = (
                ["cheapest"] if row.server != YARDSTICK and row.cpu_us_per_request.median == cheapest else []
            )
            lines.append(
                (
                    size_label(size),
                    row.server,
                    f"{row.cpu_us_per_request.median:,.2f}",
                    f"{row.bytes_per_s.median / 1e6:,.0f}",
                    ratio,
                    f"{row.zero_copied}/{row.copied}",
                    ", ".join([*best, *row.marks]),
                )
            )
    headings = ("size", "variant", "CPU us/req", "MB/s", f"CPU vs {YARDSTICK}", "zc/copied", "marks")
    return align(headings, lines, (0, 1, 6))


def main() -> int:
    chosen = parse_arguments()
    kinds = variants(chosen.zc_size_min, chosen.window_size)
    try:
        prepare_outputs(chosen.json)
        programs = chosen_programs(("zerocopy",), chosen)
        with ends_on_signal(), temporary_site() as site:
            bench = make_bench(chosen, site)
            payloads = [write_payload(site.root, size) for size in chosen.sizes]
            with all_running(
                kinds, {kind.name: programs["zerocopy"] for kind in kinds}, site, bench.server_core, say
            ) as servers:
                compare_answers(servers, payloads)
                samples, cut_short = collect(
                    alternate(bench, servers, payloads, chosen.rounds, lambda size: (chosen.client,))
                )
    except (CannotMeasure, OSError, ValueError) as error:
        say(f"sweep: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"sweep: {INTERRUPTED}")
        return 130
    if samples:
        if chosen.json:
            fields = {"machine": machine(), "samples": [dataclasses.asdict(sample) for sample in samples]}
            chosen.json.write_text(json.dumps(fields, indent=1) + "\n")
        print(table(make_rows(samples, YARDSTICK)))
    if cut_short:
        say(f"sweep: {cut_short}")
    return exit_status(samples, cut_short)


if __name__ == "__main__":
    sys.exit(main())

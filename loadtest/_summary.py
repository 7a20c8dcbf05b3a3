"""Where a run's results go: a folder of its own below results/, and a summary in the terminal."""

from __future__ import annotations

import csv
import json
import math
import os
import textwrap
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchlib.picture import write_picture
from loadtest._page import render
from loadtest._plots import plots_of
from loadtest._verdict import findings
from loadtest._words import minutes, server_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from loadtest._results import Results
    from loadtest._verdict import Finding

WIDTH = 118
MARKS = {"good": "+", "bad": "!", "note": "-"}
REPORT, PICTURE, SCENES, SERIES, EVERYTHING = (
    "report.html",
    "plots.png",
    "requests.csv",
    "series.csv",
    "results.json",
)


def make_folder(results: Path, moment: float | None = None, pid: int | None = None) -> Path:
    """A new folder below `results`, named by time and process, so that two runs at once do not collide."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(moment))
    name = f"loadtest-{stamp}-{os.getpid() if pid is None else pid}"
    for number in range(1000):
        folder = results / (f"{name}-{number}" if number else name)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{results / name} and 999 more exist; remove some")


def terminal(results: Results, found: Sequence[Finding]) -> str:
    """The summary: the servers' side as a table, then the verdict."""
    lines = []
    if results.sides:
        rows = [("", *(side.mode for side in results.sides))]
        rows += [(row.name, *row.cells) for row in server_rows(results.sides)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            lines.append("  ".join(cells).rstrip())
        lines.append("")
    for each in found:
        lines += textwrap.wrap(
            each.words, WIDTH, initial_indent=f"{MARKS[each.tone]} ", subsequent_indent="  "
        )
    return "\n".join(lines)


def _finite(value: Any) -> Any:
    """The same with null for infinity (a lease beyond the last bucket), which JSON has no word for."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_scenes(results: Results, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("scene", "mode", "requests", "failures", "p50_ms", "p95_ms", "p99_ms", "bytes"))
        for each in results.scenes:
            times = (each.p50_ms, each.p95_ms, each.p99_ms)
            writer.writerow((each.name, each.mode, each.requests, each.failures, *times, each.bytes))


def _write_series(results: Results, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = (
            "at_s",
            "seconds",
            "requests_per_s",
            "bytes_per_s",
            "cpu_share",
            "cpu_s_per_gib",
            "leases_open",
        )
        writer.writerow(("mode", *names, "resident", "connections"))
        for mode, parts in results.slices.items():
            for part in parts:
                writer.writerow((mode, *asdict(part).values()))


def write_all(
    results: Results,
    folder: Path,
    say: Callable[[str], None],
    ready: Callable[[Path, Sequence[Finding]], None] = lambda _report, _found: None,
) -> tuple[Path, str]:
    """Write everything into a new folder below `folder`; return the report's path and the summary for the
    terminal. `ready` is told of the report when it is there: the picture takes seconds more.
    """
    say("writing the report")
    found, plots = findings(results), plots_of(results)
    place = make_folder(folder)
    report = place / REPORT
    report.write_text(render(results, found, plots), encoding="utf-8")
    _write_scenes(results, place / SCENES)
    _write_series(results, place / SERIES)
    everything = {"verdict": [asdict(each) for each in found], **asdict(results)}
    (place / EVERYTHING).write_text(json.dumps(_finite(everything), indent=1), encoding="utf-8")
    ready(report, found)
    say(f"drawing {PICTURE}")
    try:
        title = f"zchttpd load test, {results.started}, {results.users} users, {minutes(results.seconds)}"
        write_picture(plots, place / PICTURE, title)
    except ImportError:
        say("loadtest: no plots.png without matplotlib; for it type: pip install matplotlib")
    return report, f"{terminal(results, found)}\n\nreport: {report}"

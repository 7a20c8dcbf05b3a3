"""Where the results of a run go: a folder of its own below results/, and a summary in the terminal."""

from __future__ import annotations

import csv
import json
import math
import os
import textwrap
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from benchlib.plots import write_png
from benchlib.report import TEMPLATES, Table, minutes, render
from benchlib.scrape import duration
from loadtest._plots import plots_of
from loadtest._samples import Slice
from loadtest._verdict import findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from loadtest._samples import Results, Side
    from loadtest._verdict import Finding

WIDTH = 118
MARKS = {"good": "+", "bad": "!", "note": "-"}
REPORT, PICTURE, SCENES, SERIES = "report.html", "plots.png", "requests.csv", "series.csv"
EVERYTHING = "results.json"
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One measure: a cell for each server, and what it means."""

    name: str
    cells: tuple[str, ...]
    why: str


def _counts(named: Mapping[str, float], *, reason_first: bool = False) -> str:
    form = "{0} {1:,.0f}" if reason_first else "{1:,.0f} {0}"
    return ", ".join(form.format(name, count) for name, count in named.items() if count) or NOTHING


TEMPLATES.filters["counts"] = _counts
TEMPLATES.filters["figure"] = lambda value, form: NOTHING if value is None else form.format(value)
TEMPLATES.filters["duration"] = duration


def server_rows(sides: Sequence[Side]) -> list[Row]:
    """Every measure of templates/measures.txt.j2 that at least one server has."""
    columns = [render("measures.txt.j2", side=side).strip("\n").splitlines() for side in sides]
    rows = []
    for lines in zip(*columns, strict=True):
        names, cells, whys = zip(*(line.split(" | ") for line in lines), strict=True)
        rows.append(Row(names[0], cells, whys[0]))
    return [row for row in rows if any(cell != NOTHING for cell in row.cells)]


def make_folder(results: Path, moment: float | None = None, pid: int | None = None) -> Path:
    """A new folder below `results`, named by time and process, so that two runs at once do not collide."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(moment))
    name = f"loadtest-{stamp}-{os.getpid() if pid is None else pid}"
    for number in range(1000):
        folder = results / (f"{name}-{number}" if number else name)
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise FileExistsError(f"{results / name} and 999 more exist; remove some")


def terminal(results: Results, found: Sequence[Finding]) -> str:
    """The summary: the servers' side as a table, then the verdict."""
    lines = []
    if results.sides:
        headings = ("", *(side.mode for side in results.sides))
        cells = [(row.name, *row.cells) for row in server_rows(results.sides)]
        lines += [Table("", headings, cells, (0,)).plain(), ""]
    for each in found:
        mark = f"{MARKS[each.tone]} "
        lines += textwrap.wrap(each.words, WIDTH, initial_indent=mark, subsequent_indent="  ")
    return "\n".join(lines)


def page(results: Results, found: Sequence[Finding]) -> str:
    """The report: one HTML file that needs nothing else and explains itself to somebody who was not there."""
    return render(
        "report.html.j2",
        title=f"zchttpd load test: {', '.join(results.modes)}",
        results=results,
        verdict=found,
        rows=server_rows(results.sides),
        plots=plots_of(results),
    )


def _finite(value: Any) -> Any:
    """The same with null for infinity (a lease beyond the last bucket), which JSON has no word for."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_csv(path: Path, headings: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows((headings, *rows))


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
    found = findings(results)
    place = make_folder(folder)
    report = place / REPORT
    report.write_text(page(results, found), encoding="utf-8")
    figures = ("mode", "requests", "failures", "p50_ms", "p95_ms", "p99_ms", "bytes")
    _write_csv(place / SCENES, ("scene", *figures), map(attrgetter("name", *figures), results.scenes))
    series = ((mode, *asdict(part).values()) for mode, parts in results.slices.items() for part in parts)
    _write_csv(place / SERIES, ("mode", *(field.name for field in fields(Slice))), series)
    everything = {"verdict": [asdict(each) for each in found], **asdict(results)}
    (place / EVERYTHING).write_text(json.dumps(_finite(everything), indent=1), encoding="utf-8")
    ready(report, found)
    say(f"drawing {PICTURE}")
    title = f"zchttpd load test, {results.started}, {results.users} users, {minutes(results.seconds)}"
    write_png(plots_of(results), place / PICTURE, title)
    return report, f"{terminal(results, found)}\n\nreport: {report}"

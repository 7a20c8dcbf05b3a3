"""Where the results of a run go: a folder of its own below results/, and a summary in the terminal."""

from __future__ import annotations

import csv
import json
import math
import os
import textwrap
import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from benchlib.plots import write_png
from benchlib.report import Table, minutes, render
from benchlib.scrape import duration
from loadtest._plots import plots_of
from loadtest._samples import Slice
from loadtest._verdict import findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from loadtest._samples import Results, Side
    from loadtest._verdict import Finding

WIDTH = 118
MARKS = {"good": "+", "bad": "!", "note": "-"}
REPORT, PICTURE, SCENES, SERIES = "report.html", "plots.png", "requests.csv", "series.csv"
EVERYTHING = "results.json"
SCENE_HEADINGS = ("request", "server", "answers", "failures", "median ms", "95% ms", "99% ms", "MiB")
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One measure: a cell for each server, and what it means."""

    name: str
    cells: tuple[str, ...]
    why: str


def _optional(value: float | None, form: str) -> str:
    return NOTHING if value is None else form.format(value)


def _mib(value: float | None) -> str:
    return NOTHING if value is None else f"{value / 2**20:,.1f} MiB"


def _sends(side: Side) -> str:
    return ", ".join(f"{count:,.0f} {name}" for name, count in side.sends.items() if count) or NOTHING


def _fallbacks(side: Side) -> str:
    return ", ".join(f"{reason} {count:,.0f}" for reason, count in side.fallbacks.items()) or NOTHING


def _copied(side: Side) -> str:
    if side.copied_share is None:
        return NOTHING
    return f"{side.delivered.get('copied', 0):,.0f} ({side.copied_share:.1%})"


def _delivered(side: Side) -> str:
    count = sum(side.delivered.values())
    return f"{count:,.0f}" if count else NOTHING


def _ended(side: Side) -> str:
    count = sum(side.notifications.values())
    return f"{count:,.0f}" if count else NOTHING


def _lease(percent: str) -> Callable[[Side], str]:
    return lambda side: duration(side.lease_s.get(percent))


MEASURES: tuple[tuple[str, Callable[[Side], str], str], ...] = (
    ("responses", lambda side: f"{side.requests:,.0f}", "all statuses"),
    ("sent", lambda side: f"{side.sent_bytes / 2**30:.2f} GiB", "heads and bodies given to the kernel"),
    ("CPU time", lambda side: f"{side.cpu_s:.2f} s", "of the workers, user and system"),
    (
        "CPU per GiB",
        lambda side: _optional(side.cpu_s_per_gib, "{:.3f} s"),
        "of bytes given to the kernel, also those that aborting clients never took",
    ),
    (
        "CPU per response",
        lambda side: _optional(side.cpu_us_per_request, "{:.1f} us"),
        "what the verdict compares: the same mix for every server",
    ),
    (
        "io_uring_enter per response",
        lambda side: _optional(side.enters_per_request, "{:.2f}"),
        "below 1: several requests share one system call; the portable engine has none",
    ),
    ("send operations", _sends, "small bodies are copied on purpose (--zc-size-min)"),
    ("zero-copy sends ended", _ended, "notifications: the kernel gave the memory back"),
    ("  of them delivered", _delivered, "the others: of answers that were broken off, or still under way"),
    ("  of those copied after all", _copied, "loopback copies every one; a network card that can, none"),
    ("zero copy not used, by reason", _fallbacks, "bodies that were to go without a copy, but were copied"),
    ("lease time, half within", _lease("50"), "how long the kernel held the memory of one send"),
    ("lease time, 90% within", _lease("90"), "upper bounds of histogram buckets, at most the whole run"),
    ("lease time, 99% within", _lease("99"), "slow readers hold it while they read"),
    ("leases open, most", lambda side: f"{side.leases_open_max:,.0f}", "seen by one look a second"),
    (
        "plan hit rate",
        lambda side: _optional(side.plan_hit_share, "{:.1%}"),
        "request heads whose answer was remembered; a cookie alone makes no new one",
    ),
    ("memory at the start", lambda side: _mib(side.resident_start), "proportional set size, all processes"),
    (
        "memory, most",
        lambda side: _mib(side.resident_max),
        "with the cached files, but for those of the portable engine, which are in memory files",
    ),
    ("cached files, most", lambda side: _mib(side.mapped_max), "file versions held in memory"),
    ("connections open, most", lambda side: f"{side.connections_max:,.0f}", "seen by one look a second"),
    (
        "memory per connection",
        lambda side: _optional(
            None if side.connection_bytes is None else side.connection_bytes / 1024, "{:,.1f} KiB"
        ),
        "at most: what the process grew by beside cached files, for each; the kernel's part: make memory",
    ),
    (
        "ended in mid-response",
        lambda side: f"{side.aborts:,.0f}",
        "by aborting clients, and by the end of the run",
    ),
)


def server_rows(sides: Sequence[Side]) -> list[Row]:
    """Every measure that at least one server has."""
    rows = [Row(name, tuple(figure(side) for side in sides), why) for name, figure, why in MEASURES]
    return [row for row in rows if any(cell != NOTHING for cell in row.cells)]


def scene_rows(results: Results) -> list[tuple[str, ...]]:
    """The cells below SCENE_HEADINGS."""
    return [
        (
            *(scene.name, scene.mode, f"{scene.requests:,}", f"{scene.failures:,}"),
            *(f"{ms:,.0f}" if ms >= 10 else f"{ms:.1f}" for ms in (scene.p50_ms, scene.p95_ms, scene.p99_ms)),
            f"{scene.bytes / 2**20:,.1f}",
        )
        for scene in results.scenes
    ]


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
        scene_headings=SCENE_HEADINGS,
        scene_rows=scene_rows(results),
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
    scenes = (
        (
            each.name,
            each.mode,
            each.requests,
            each.failures,
            each.p50_ms,
            each.p95_ms,
            each.p99_ms,
            each.bytes,
        )
        for each in results.scenes
    )
    headings = ("scene", "mode", "requests", "failures", "p50_ms", "p95_ms", "p99_ms", "bytes")
    _write_csv(place / SCENES, headings, scenes)
    series = ((mode, *asdict(part).values()) for mode, parts in results.slices.items() for part in parts)
    _write_csv(place / SERIES, ("mode", *(field.name for field in fields(Slice))), series)
    everything = {"verdict": [asdict(each) for each in found], **asdict(results)}
    (place / EVERYTHING).write_text(json.dumps(_finite(everything), indent=1), encoding="utf-8")
    ready(report, found)
    say(f"drawing {PICTURE}")
    title = f"zchttpd load test, {results.started}, {results.users} users, {minutes(results.seconds)}"
    write_png(plots_of(results), place / PICTURE, title)
    return report, f"{terminal(results, found)}\n\nreport: {report}"

"""The figures as Markdown: a short fragment for the README, a page with everything for docs/."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.latency import paced_rows
from bench.ratios import BASELINE, make_rows
from bench.tables import Table, behind_words, conclusions, heads_table, method, milliseconds, tables

if TYPE_CHECKING:
    from bench.idle_readers import Taken
    from bench.ratios import Row, Spread
    from bench.results import Results

# What the short table shows, in this order, of what was measured.
SHORT = ("1K", "10K", "100K", "1M", "10M", "mix", "304", "connect", "cookie")
NONE = "-"


def _short_cell(row: Row | None) -> str:
    """ "0.59 / 1.36+": CPU per request and requests/s relative to the baseline; + where the client was the
    limit.
    """
    if row is None:
        return NONE
    if row.cpu_ratio is None or row.throughput_ratio is None:
        return "1 / 1" if row.server == BASELINE else NONE
    bound = "+" if row.client_bound else ""
    return f"{row.cpu_ratio.median:.2f} / {row.throughput_ratio.median:.2f}{bound}"


def _latency_cell(p99_ms: Spread) -> str:
    """The median, and the rounds if there were several: one hiccup of the machine decides about a 99th
    percentile.
    """
    median, low, high = (milliseconds(value) for value in (p99_ms.median, p99_ms.low, p99_ms.high))
    return f"{median} [{low} to {high}]" if low != high else median


def _memory_cell(takings: list[Taken]) -> str:
    """KiB for each client; "< N" where the machine's memory moved by more than that by itself."""
    if not takings:
        return NONE
    if all(taken.clear for taken in takings):
        return f"{statistics.median(taken.per_connection for taken in takings) / 1024:,.0f}"
    noise = max(max(abs(taken.left), taken.available) / taken.clients for taken in takings)
    return f"< {noise / 1024:,.0f}"


def short_table(results: Results) -> Table:
    """One line for each server."""
    rows = {(row.workload, row.server): row for row in make_rows(results.samples)}
    common = {row.server: row for row in paced_rows(results.paced) if row.workload == "common"}
    kept: dict[str, list[Taken]] = {}
    for taken in results.takings:
        kept.setdefault(taken.server, []).append(taken)
    shown = [name for name in SHORT if any(workload == name for workload, _ in rows)]
    headings = ["server", *shown]
    headings += [f"p99 ms at {next(iter(common.values())).rate:,.0f}/s"] if common else []
    headings += ["KiB/silent client"] if kept else []
    lines = []
    for peer in results.peers:
        cells = [peer.name, *(_short_cell(rows.get((workload, peer.name))) for workload in shown)]
        if common:
            row = common.get(peer.name)
            cells.append(_latency_cell(row.p99_ms) if row else NONE)
        if kept:
            cells.append(_memory_cell(kept.get(peer.name, [])))
        lines.append(tuple(cells))
    return Table("", tuple(headings), tuple(lines), (0,))


def _bullets(lines: list[str]) -> list[str]:
    return [f"  - {text.strip()}" if text.startswith(" ") else f"- {text}" for text in lines]


def _where(results: Results) -> str:
    machine = results.machine
    return (
        f"{machine.get('cpu', '?')}, {machine.get('cores', '?')} cores, {machine.get('kernel', '?')}; "
        f"{results.settings.get('connections', '?')} connections over loopback, one core for each server and "
        "one for the client"
    )


def readme(results: Results) -> str:
    """The fragment between the README's markers."""
    lines = [
        f"CPU per request / requests per second, relative to {BASELINE} in the same round (CPU: lower is "
        "better; +: the client was the limit, so the server could do more). The last columns: 99th "
        "percentile at a fixed rate [of the rounds], and memory for each client that asks for 10 MiB and "
        "never reads.",
        "",
        short_table(results).markdown(),
        "",
        f"{_where(results)}.",
        "",
    ]
    if results.cut_short:
        lines += [f"**Incomplete: {results.cut_short}.**", ""]
    lines += _bullets(behind_words(results))
    lines += ["", "All tables, spreads, configurations and the method: [docs/figures.md](docs/figures.md)."]
    return "\n".join(lines) + "\n"


def page(results: Results) -> str:
    """Everything, for docs/figures.md."""
    lines = [f"{_where(results)}.", ""]
    if results.cut_short:
        lines += [f"**Incomplete: {results.cut_short}.**", ""]
    lines += ["## Conclusions", "", *_bullets(conclusions(results)), ""]
    for table in tables(results):
        lines += [f"## {table.title}", "", table.markdown(), ""]
    if everywhere := [each for each in results.absent if not each.workload]:
        lines += ["## Absent", "", *(f"- {each.server}: {each.reason}" for each in everywhere), ""]
    lines += ["## Method", "", "\n\n".join(method(results)), "", "## Machine and run", ""]
    lines += [f"- {name.replace('_', ' ')}: {text}" for name, text in results.machine.items()]
    lines += [f"- {name.replace('_', ' ')}: {text}" for name, text in results.settings.items()]
    lines += ["", "## Servers", "", "```", heads_table(results.peers), "```", ""]
    for peer in results.peers:
        lines += [
            f"{peer.name}: {peer.version}",
            "",
            "```",
            f"$ {peer.command}",
            *peer.config.splitlines(),
            "```",
            "",
        ]
    return "\n".join(lines)

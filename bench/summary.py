"""A run as tables, plots and sentences: in the terminal, in the README and docs/figures.md, as a page."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.behind import behind_lines
from bench.idle import HEADINGS, silent_table
from bench.stats import BASELINE, make_rows, make_verdicts, paced_rows
from benchlib.plots import Group, Plot, write_png, write_svg
from benchlib.report import TEMPLATES, Table, paragraphs, render
from benchlib.spread import ratio_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.idle import Taken
    from bench.results import Absent, Results
    from bench.stats import Row
    from benchlib.spread import Spread

# What the short table shows, in this order, of what was measured.
SHORT = ("1K", "10K", "100K", "1M", "10M", "mix", "304", "connect", "cookie")
# What the chart shows: these sizes of ours, by default, beside the peers that are closest.
CHART, CHART_SERVERS = ("1K", "10K", "100K", "1M", "10M"), ("auto", BASELINE, "h2o", "lighttpd")
NONE = "-"
OURS, PEER = "zchttpd", "peer"
TEMPLATES.filters["bullet"] = lambda line: f"  - {line.strip()}" if line.startswith(" ") else f"- {line}"


def milliseconds(value: float) -> str:
    """A latency; where no answer came there is none."""
    return "none" if math.isinf(value) else f"{value:.2f}"


# Tables


def _cells(row: Row, coding: str) -> tuple[str, ...]:
    zero_copied, copied = row.total("zero_copied"), row.total("copied")
    return (
        row.server,
        f"{row.median('requests_per_s'):,.0f}",
        f"{row.median('bytes_per_s') / 1e6:,.0f}",
        f"{row.median('bytes_per_request'):,.0f}",
        f"{row.median('cpu_us_per_request'):,.2f}",
        f"{row.median('bytes_per_cpu_s') / 1e9:.2f}",
        *(milliseconds(row.median(figure) / 1000 or math.inf) for figure in ("p50_us", "p99_us")),
        f"{row.spread('resident_bytes').high / 1e6:.1f}",
        *(f"{row.median(figure):.0%}" for figure in ("server_share", "client_share")),
        *(ratio_words(row.ratio(figure)) for figure in ("cpu_us_per_request", "requests_per_s")),
        f"{zero_copied}/{copied}" if zero_copied or copied else "",
        ", ".join([*([f"sends {coding}"] if coding else []), *row.marks]),
    )


def _codings(results: Results, workload: str) -> dict[str, str]:
    """What each server sends, by Content-Encoding, where not all send the same."""
    found = {peer.name: peer.codings[workload] for peer in results.peers if workload in peer.codings}
    return found if len(set(found.values())) > 1 else {}


def _absent_cells(each: Absent, columns: int) -> tuple[str, ...]:
    reason = " ".join(each.reason.split())[:140].replace("|", "/")
    return (each.server, *("",) * (columns - 2), f"absent: {reason}")


def closed_tables(results: Results) -> list[Table]:
    """One table for each closed-loop workload, absent servers at its end with the reason."""
    rows = make_rows(results.samples)
    headings = (
        *("server", "req/s", "MB/s", "B/resp", "CPU us/req", "GB/CPU s", "p50 ms", "p99 ms", "RSS MB"),
        *("server CPU", "client CPU", f"CPU vs {BASELINE}", f"req/s vs {BASELINE}", "zc/copied", "marks"),
    )
    tables = []
    for workload in dict.fromkeys(row.workload for row in rows):
        mine = [row for row in rows if row.workload == workload]
        codings = _codings(results, workload)
        lines = [_cells(row, codings.get(row.server, "")) for row in mine]
        lines += [
            _absent_cells(each, len(headings)) for each in results.absent if each.workload in (workload, "")
        ]
        title = results.workloads.get(workload, "not finished")
        title = f"{workload}: {title} (client {mine[0].samples[0].client}, {len(mine[0].samples)} rounds)"
        tables.append(Table(title, headings, lines, (0, len(headings) - 1)))
    return tables


def paced_table(results: Results) -> list[Table]:
    headings = (
        *("rate", "server", "requests/s", "knee", "p50 ms", "p99 ms", "p99 rounds", "p99.9 ms"),
        *("server CPU", "CPU us/req", "marks"),
    )
    lines: list[tuple[str, ...]] = []
    for row in paced_rows(results.paced):
        p99 = row.spread("p99_ms")
        lines.append(
            (
                *(row.workload, row.server, f"{row.median('rate'):,.0f}", f"{row.median('knee'):,.0f}"),
                *(milliseconds(ms) for ms in (row.median("p50_ms"), p99.median)),
                f"{milliseconds(p99.low)} to {milliseconds(p99.high)}",
                milliseconds(row.median("p999_ms")),
                f"{row.median('server_share'):.0%}",
                f"{row.median('cpu_us_per_request'):,.2f}",
                ", ".join(row.marks),
            )
        )
    if not lines:
        return []
    lines += [
        (each.workload.replace("rate", "both"), *_absent_cells(each, len(headings) - 1))
        for each in results.absent
        if each.workload in ("rate", "common")
    ]
    title = f"rate: {results.workloads.get('rate', '10K at a fixed rate')} (open loop)"
    return [Table(title, headings, lines, (0, 1, len(headings) - 1))]


def tables(results: Results) -> list[Table]:
    found = [*closed_tables(results), *paced_table(results)]
    if results.takings:
        absent = (_absent_cells(each, len(HEADINGS)) for each in results.absent if each.workload == "silent")
        title = f"silent: {results.workloads.get('silent', 'clients that never read')}"
        found.append(silent_table(results.takings, title, absent))
    return found


def heads_table(results: Results) -> Table:
    """How many header bytes each server sends, and which fields."""
    lines = []
    for peer in results.peers:
        head = next(iter(peer.heads.values()), "")
        fields = ", ".join(line.partition(":")[0] for line in head.split("\r\n")[1:] if line)
        sizes = sorted({len(text) for text in peer.heads.values()}) or [0]
        lines.append((peer.name, " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1])))), fields))
    return Table("", ("server", "head bytes", "fields"), lines, (0, 2))


def _short_cell(row: Row | None) -> str:
    """ "0.59 / 1.36+": CPU per request and requests/s relative to the baseline; + where the client was the
    limit.
    """
    if row is None or row.server == BASELINE:
        return "1 / 1" if row else NONE
    cpu, rate = row.ratio("cpu_us_per_request"), row.ratio("requests_per_s")
    return f"{cpu.median:.2f} / {rate.median:.2f}{'+' if row.client_bound else ''}" if cpu and rate else NONE


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
    shown = [name for name in SHORT if any(workload == name for workload, _ in rows)]
    headings = ["server", *shown]
    headings += [f"p99 ms at {next(iter(common.values())).median('rate'):,.0f}/s"] if common else []
    headings += ["KiB/silent client"] if results.takings else []
    lines = []
    for peer in results.peers:
        cells = [peer.name, *(_short_cell(rows.get((workload, peer.name))) for workload in shown)]
        if common:
            row = common.get(peer.name)
            cells.append(_latency_cell(row.spread("p99_ms")) if row else NONE)
        if results.takings:
            cells.append(_memory_cell([taken for taken in results.takings if taken.server == peer.name]))
        lines.append(tuple(cells))
    return Table("", tuple(headings), lines, (0,))


# Sentences


def left_out(results: Results) -> list[str]:
    """Which servers' rows are no ground for a comparison, by workload."""
    rows = [(f"rate, {row.workload}", row) for row in paced_rows(results.paced)]
    rows += [(row.workload, row) for row in make_rows(results.samples)]
    found = []
    for workload in dict.fromkeys(name for name, _ in rows):
        group = [row for name, row in rows if name == workload]
        wrong = [row.server for row in group if not row.comparable]
        if wrong:
            found.append(f"{workload} ({'all' if len(wrong) == len(group) else ', '.join(wrong)})")
    return found


def behind(results: Results) -> list[str]:
    """Where zchttpd is behind a peer, and what could not be compared."""
    return render("behind.txt.j2", behind=behind_lines(results), missing=left_out(results)).splitlines()


def conclusions(results: Results) -> list[str]:
    """The verdicts, then where a peer is ahead."""
    verdicts = make_verdicts(make_rows(results.samples), results.ours())
    lines = render("verdicts.txt.j2", verdicts=verdicts, baseline=BASELINE).splitlines()
    return [*lines, *behind(results)]


# Plots


def plots_of(results: Results) -> tuple[Plot, ...]:
    """CPU per request of each workload, p99 at the fixed rates, memory per silent client."""
    ours = results.ours()
    plots = []

    def add(title: str, note: str, values: Mapping[str, float]) -> None:
        groups = tuple(
            Group(name, ((OURS if name in ours else PEER, value),))
            for name, value in values.items()
            if math.isfinite(value) and value > 0
        )
        if groups:
            plots.append(Plot(title, note, groups=groups, logarithmic=True, wide=True))

    rows = make_rows(results.samples)
    for workload in dict.fromkeys(row.workload for row in rows):
        add(
            f"{results.workloads.get(workload, workload)}: server CPU us per request",
            "Lower is better. Where a server sends other bytes per response, the table says so.",
            {row.server: row.median("cpu_us_per_request") for row in rows if row.workload == workload},
        )
    for rate, note in (
        ("own", "Each server at 65 % of its own knee, so at another rate; the table has the rates."),
        ("common", "The same rate for all."),
    ):
        found = {
            row.server: row.median("p99_ms") for row in paced_rows(results.paced) if row.workload == rate
        }
        add(f"p99 at a fixed rate ({rate}), ms", note, found)
    lost = {row.server: row.median("per_connection") / 1024 for row in make_rows(results.takings)}
    note = "What the machine lost to each client that asked for 10 MiB and read nothing."
    add("KiB per silent client", note, lost)
    return tuple(plots)


def chart_of(results: Results) -> Plot:
    """The one that says it in one look: CPU per request beside the closest peers, by size."""
    rows = {(row.workload, row.server): row for row in make_rows(results.samples)}
    groups = []
    for workload in CHART:
        bars = []
        for server in CHART_SERVERS:
            row = rows.get((workload, server))
            ratio = row.ratio("cpu_us_per_request") if row else None
            if row and (ratio or server == BASELINE):
                name = OURS if server in results.ours() else server
                bars.append((name, ratio.median if ratio else 1.0))
        if bars:
            groups.append(Group(workload, tuple(bars)))
    title = f"CPU per request, relative to {BASELINE} (lower is better)"
    return Plot(title, "", groups=tuple(groups), wide=True)


# Documents


def document(template: str, results: Results, plots: tuple[Plot, ...] = ()) -> str:
    """`results` as a template of bench/templates/ has them."""
    machine, settings = results.machine, results.settings
    return render(
        template,
        title="zchttpd beside its peers",
        results=results,
        tables=tables(results),
        short=short_table(results),
        heads=heads_table(results),
        baseline=BASELINE,
        everywhere=[each for each in results.absent if not each.workload],
        conclusions=conclusions(results),
        behind=behind(results),
        method=paragraphs("method.txt.j2", settings=settings),
        about={**machine, **settings},
        where=(
            f"{machine.get('cpu', '?')}, {machine.get('cores', '?')} cores, {machine.get('kernel', '?')}; "
            f"{settings.get('connections', '?')} connections over loopback, one core for each server and one "
            "for the client"
        ),
        plots=plots,
    )


def write_pictures(results: Results, folder: Path) -> None:
    """Write bench.html and bench.png into `folder`. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = plots_of(results)
    (folder / "bench.html").write_text(document("bench.html.j2", results, plots))
    write_png(plots, folder / "bench.png")


def write_chart(results: Results, path: Path) -> None:
    """Also a narrow one beside it, `-narrow`. Raises OSError."""
    chart = chart_of(results)
    write_svg(chart, path)
    write_svg(replace(chart, wide=False, narrow=True), path.with_stem(f"{path.stem}-narrow"))

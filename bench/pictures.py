"""The figures as bars: one self-contained HTML page, and one PNG where matplotlib is installed."""

from __future__ import annotations

import math
import statistics
from html import escape
from typing import TYPE_CHECKING

from bench.latency import paced_rows
from bench.ratios import make_rows
from bench.tables import conclusions, method, tables
from benchlib.charts import Group, Plot, bar_chart
from benchlib.picture import write_picture
from benchlib.style import STYLE

if TYPE_CHECKING:
    from pathlib import Path

    from bench.results import Results

OURS, PEER = "zchttpd", "peer"


def _bars(results: Results, values: dict[str, float]) -> tuple[Group, ...]:
    ours = results.ours()
    return tuple(
        Group(name, ((OURS if name in ours else PEER, value),))
        for name, value in values.items()
        if math.isfinite(value) and value > 0
    )


def plots_of(results: Results) -> tuple[Plot, ...]:
    """CPU per request of each workload, p99 at the fixed rates, memory per silent client."""
    plots = []
    rows = make_rows(results.samples)
    for workload in dict.fromkeys(row.workload for row in rows):
        values = {row.server: row.cpu_us_per_request.median for row in rows if row.workload == workload}
        title = f"{results.workloads.get(workload, workload)}: server CPU us per request"
        note = "Lower is better. Where a server sends other bytes per response, the table says so."
        plots.append(Plot(title, note, groups=_bars(results, values), logarithmic=True, wide=True))
    paced = paced_rows(results.paced)
    for rate, note in (
        ("own", "Each server at 65 % of its own knee, so at another rate; the table has the rates."),
        ("common", "The same rate for all."),
    ):
        values = {row.server: row.p99_ms.median for row in paced if row.workload == rate}
        if values:
            title = f"p99 at a fixed rate ({rate}), ms"
            plots.append(Plot(title, note, groups=_bars(results, values), logarithmic=True, wide=True))
    kept: dict[str, list[float]] = {}
    for taken in results.takings:
        kept.setdefault(taken.server, []).append(taken.per_connection / 1024)
    if kept:
        values = {server: statistics.median(figures) for server, figures in kept.items()}
        note = "What the machine lost to each client that asked for 10 MiB and read nothing."
        plots.append(
            Plot("KiB per silent client", note, groups=_bars(results, values), logarithmic=True, wide=True)
        )
    return tuple(plot for plot in plots if plot.groups)


def html(results: Results, plots: tuple[Plot, ...]) -> str:
    """The whole page."""
    figures = "".join(
        '<figure class="across">'
        + bar_chart(plot.title, plot.groups, logarithmic=plot.logarithmic, wide=plot.wide)
        + f"<figcaption>{escape(plot.note)}</figcaption></figure>"
        for plot in plots
    )
    parts = []
    for table in tables(results):
        head = "".join(f"<th>{escape(cell)}</th>" for cell in table.headings)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in table.lines
        )
        parts.append(
            f'<h2>{escape(table.title)}</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>'
        )
    said = "".join(f"<li>{escape(line.strip())}</li>" for line in conclusions(results))
    how = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in method(results))
    facts = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(text))}</dd>"
        for name, text in (*results.machine.items(), *results.settings.items())
    )
    servers = "\n\n".join(
        f"{peer.name}: {peer.version}\n$ {peer.command}\n{peer.config}" for peer in results.peers
    )
    cut = f"<p><b>Incomplete: {escape(results.cut_short)}</b></p>" if results.cut_short else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>zchttpd beside its peers</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>zchttpd beside its peers</h1>{cut}<ul>{said}</ul>"
        f'<h2>Plots</h2><div class="plots">{figures}</div>{"".join(parts)}'
        f"<h2>Method</h2>{how}<h2>Machine and run</h2><dl>{facts}</dl>"
        f"<h2>Servers</h2><pre>{escape(servers)}</pre></body></html>\n"
    )


def write_pictures(results: Results, folder: Path) -> list[Path]:
    """Write bench.html into `folder`, bench.png too where matplotlib is installed; return what was written.
    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = plots_of(results)
    written = [folder / "bench.html"]
    written[0].write_text(html(results, plots))
    try:
        write_picture(plots, folder / "bench.png")
    except ImportError:
        return written
    return [*written, folder / "bench.png"]

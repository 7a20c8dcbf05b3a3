"""The report: one HTML file that needs nothing else and explains itself to somebody who was not there."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rig.charts import bar_chart, line_chart
from rig.words import client_rows, minutes, server_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rig.plots import Plot
    from rig.results import Results
    from rig.verdict import Finding

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 1180px;
  margin: 0 auto;
  padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 38px 0 8px; }
p, li { max-width: 78ch; } .when { color: #57606a; margin: 0 0 18px; }
.verdict { overflow-wrap: anywhere; list-style: none; padding: 0; margin: 0; }
.verdict li { border-left: 5px solid #8c959f; background: #f6f8fa; padding: 8px 14px; margin: 8px 0;
  max-width: none; }
.verdict li.good { border-color: #1a7f37; } .verdict li.bad { border-color: #cf222e; background: #fff1f0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr));
  gap: 26px 34px; }
figure { margin: 0; } figure.across { grid-column: 1 / -1; } figcaption { color: #57606a; font-size: 13px; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg .title { font-weight: 600;
  font-size: 13px; }
svg .tick { fill: #57606a; font-size: 11px; } svg .grid { stroke: #d8dee4; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px; border-bottom: 1px solid #d8dee4; text-align: right; vertical-align: top; }
th { font-weight: 600; background: #f6f8fa; } th:first-child, td:first-child { text-align: left; }
td { white-space: nowrap; }
td.why, th.why { white-space: normal; min-width: 24ch; text-align: left; color: #57606a; font-size: 13px;
  max-width: 46ch; }
td.failed { color: #cf222e; font-weight: 600; } tr.part td { border-top: 2px solid #8c959f; }
pre { background: #f6f8fa; padding: 10px 14px; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; } dt { color: #57606a;
  } dd { margin: 0; }
@media (max-width: 560px) { dl { grid-template-columns: 1fr; } dt { margin-top: 6px; } }
"""
LIMITS = (
    "Every user does the same to each server before it does the next thing, and who is asked first "
    "alternates; so a "
    "disturbance of the machine meets all servers alike. The ratios come from pairs of readings taken at the "
    "same moment.",
    "Users wait for an answer before they ask again (a closed loop). Percentiles of response times are "
    "therefore too "
    "friendly and only good for comparing modes; for the ceiling and for latency at a fixed rate there is "
    "make bench.",
    "Slow readers and aborted downloads are part of the mix on purpose: they hold the kernel's leases for "
    "long, and they "
    "end connections in the middle of an answer.",
)


def _verdict(found: Sequence[Finding]) -> str:
    items = "".join(f'<li class="{each.tone}">{escape(each.words)}</li>' for each in found)
    return f'<h2>Verdict</h2><ul class="verdict">{items}</ul>'


def _what(results: Results) -> str:
    where = "started for this run on loopback" if results.own else "already running elsewhere"
    shape = f", in the shape of a {results.shape}" if results.shape else ""
    modes = ", ".join(results.modes)
    return (
        "<h2>What was done</h2>"
        f"<p>Up to {results.users} users{shape} asked {escape(modes)} ({where}) for {results.files} files of "
        f"{results.file_bytes / 2**20:,.0f} MiB in all, for {minutes(results.seconds)}. Browsing users open "
        f"pages with "
        "all they need, with cookies of their own, and revalidate what they have seen; downloaders fetch "
        "large files "
        "whole; seekers ask for ranges of a video; slow readers take 2 MiB/s; aborting clients leave after "
        "64 KiB. "
        "Status, length and SHA-256 of every answer were checked.</p>"
    )


def _servers(results: Results) -> str:
    if not results.sides:
        return ""
    modes = [side.mode for side in results.sides]
    head = "".join(f"<th>{escape(mode)}</th>" for mode in modes)
    rows = "".join(
        f"<tr><td>{escape(row.name)}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in row.cells)}"
        f'<td class="why">{escape(row.why)}</td></tr>'
        for row in server_rows(results.sides)
    )
    return (
        "<h2>The servers' own side</h2><p>From each server's admin listener and from /proc, between the "
        "first "
        "request and the last.</p>"
        f'<div class="wide"><table><tr><th></th>{head}<th class="why">what it means</th></tr>'
        f"{rows}</table></div>"
    )


def _users(results: Results) -> str:
    rows = []
    before = ""
    for row in client_rows(results):
        part = ' class="part"' if before and row[0] != before else ""
        failed = ' class="failed"' if row[3] != "0" else ""
        cells = [f"<td>{escape(row[0]) if row[0] != before else ''}</td>", f"<td>{escape(row[1])}</td>"]
        cells += [
            f"<td>{row[2]}</td>",
            f"<td{failed}>{row[3]}</td>",
            *(f"<td>{cell}</td>" for cell in row[4:]),
        ]
        rows.append(f"<tr{part}>{''.join(cells)}</tr>")
        before = row[0]
    heads = ("request", "server", "answers", "failures", "median ms", "95% ms", "99% ms", "MiB")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<h2>What users saw</h2><div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _failures(results: Results) -> str:
    if not results.errors:
        return ""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td>{count:,}</td><td class="why">{escape(text)}</td></tr>'
        for name, text, count in results.errors
    )
    return (
        '<h2>Failures</h2><div class="wide"><table><tr><th>request</th><th>times</th>'
        '<th class="why">what</th></tr>'
        f"{rows}</table></div>"
    )


def _plots(plots: Sequence[Plot]) -> str:
    figures = []
    for plot in plots:
        drawn = (
            bar_chart(plot.title, plot.groups, logarithmic=plot.logarithmic, wide=plot.wide)
            if plot.groups
            else line_chart(plot.title, plot.lines)
        )
        if drawn:
            kind = ' class="across"' if plot.wide else ""
            figures.append(f"<figure{kind}>{drawn}<figcaption>{escape(plot.note)}</figcaption></figure>")
    return f'<h2>Plots</h2><div class="plots">{"".join(figures)}</div>'


def _again(results: Results) -> str:
    facts = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>"
        for name, text in results.machine.items()
    )
    servers = "\n".join(
        f"{target.mode} {target.authority}: {target.version or 'version unknown'}"
        + (f"\n  $ {target.command}" if target.command else "")
        for target in results.targets
    )
    limits = "".join(f"<li>{escape(text)}</li>" for text in LIMITS)
    return (
        f"<h2>How far this goes</h2><ul>{limits}</ul><h2>To do it "
        f"again</h2><pre>{escape(results.command)}</pre>"
        f"<pre>{escape(servers)}</pre><dl>{facts}</dl>"
    )


def render(results: Results, found: Sequence[Finding], plots: Sequence[Plot]) -> str:
    """The whole page."""
    title = f"zchttpd load test: {', '.join(results.modes)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="when">{escape(results.started)}, {minutes(results.seconds)}</p>'
        f"{_verdict(found)}{_what(results)}{_servers(results)}{_plots(plots)}{_users(results)}{_failures(results)}"
        f"{_again(results)}</body></html>\n"
    )

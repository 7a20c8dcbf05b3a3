"""The report: one HTML file that needs nothing else and explains itself to somebody who was not there."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from benchlib.charts import bar_chart, line_chart, spread_chart
from benchlib.style import STYLE
from loadtest._words import client_rows, minutes, server_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchlib.charts import Plot
    from loadtest._results import Results
    from loadtest._verdict import Finding

LIMITS = (
    "Every user does the same to each server before it does the next thing, and who is asked first "
    "alternates; so a disturbance of the machine meets all servers alike. The ratios are taken part by "
    "part, between readings made at the same moments, and a difference that is smaller than what the parts "
    "differ by is not called one.",
    "CPU is that of the servers' own processes. What the kernel does for a send while another process runs "
    "is charged to that one; on loopback this includes part of the late copy of a zero-copy send, which "
    "the client then pays for.",
    "Users wait for an answer before they ask again (a closed loop). Percentiles of response times are "
    "therefore too friendly and only good for comparing modes; for the ceiling and for latency at a fixed "
    "rate there is make bench.",
    "Slow readers and aborted downloads are part of the mix on purpose: they hold the kernel's leases for "
    "long, and they end connections in the middle of an answer.",
)
MODES = {
    "zerocopy": "zerocopy asks the kernel to send file bytes out of the server's memory without copying them "
    "(io_uring, SEND_ZC)",
    "plain": "plain is the same server with sends that copy",
    "portable": "portable is its engine for machines without io_uring (sendfile)",
}


def _verdict(found: Sequence[Finding]) -> str:
    items = "".join(f'<li class="{each.tone}">{escape(each.words)}</li>' for each in found)
    return f'<h2>Verdict</h2><ul class="verdict">{items}</ul>'


def _what(results: Results) -> str:
    where = "started for this run on loopback" if results.own else "already running elsewhere"
    shape = f", in the shape of a {results.shape}" if results.shape else ""
    meant = "; ".join(MODES[mode] for mode in results.modes if mode in MODES)
    explained = f"zchttpd is a static file server. {meant[:1].upper()}{meant[1:]}. " if meant else ""
    return (
        f"<h2>What was done</h2><p>{escape(explained)}"
        f"Up to {results.users} users{shape} asked {escape(', '.join(results.modes))} ({where}) for "
        f"{results.files} files of {results.file_bytes / 2**20:,.0f} MiB in all, for "
        f"{minutes(results.seconds)}. "
        "Browsing users open pages with all they need, with cookies of their own, and revalidate what they "
        "have "
        "seen; downloaders fetch large files whole; seekers ask for ranges of a video, at times for several "
        "at "
        "once; slow readers take 2 MiB/s; aborting clients leave after 64 KiB. Status, length and SHA-256 of "
        "every "
        "answer were checked.</p>"
    )


PART_OF = ' class="part"'


def _cell(text: str) -> str:
    """Several figures one below the other."""
    return f"<td>{escape(text).replace(', ', ',<br>')}</td>"


def _servers(results: Results) -> str:
    if not results.sides:
        return ""
    modes = [side.mode for side in results.sides]
    head = "".join(f"<th>{escape(mode)}</th>" for mode in modes)
    rows = "".join(
        f"<tr><td{PART_OF if row.name.startswith(' ') else ''}>{escape(row.name.strip())}</td>"
        f"{''.join(map(_cell, row.cells))}"
        f'<td class="why">{escape(row.why)}</td></tr>'
        for row in server_rows(results.sides)
    )
    return (
        "<h2>The servers' own side</h2><p>From each server's admin listener and from /proc, between the "
        "first "
        "request and the last.</p>"
        f'<div class="wide"><table class="stack" style="--columns: {len(modes)}">'
        f'<tr><th></th>{head}<th class="why">what it means</th></tr>'
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
    return (
        '<h2>What users saw</h2><div class="wide"><table class="second-left stack" style="--columns: 7">'
        f"<tr>{head}</tr>{''.join(rows)}</table></div>"
    )


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


def _drawn(plot: Plot) -> str:
    if plot.spread:
        return spread_chart(plot.title, plot.groups, plot.unit)
    if plot.groups:
        return bar_chart(plot.title, plot.groups, logarithmic=plot.logarithmic, wide=plot.wide)
    return line_chart(plot.title, plot.lines)


def _plots(plots: Sequence[Plot]) -> str:
    figures = []
    for plot in plots:
        drawn = _drawn(plot)
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
        f'<h2>How far this goes</h2><ul class="limits">{limits}</ul><h2>To do it again</h2>'
        f"<pre>{escape(results.command)}</pre>"
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

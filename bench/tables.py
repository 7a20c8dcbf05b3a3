"""Rows and conclusions as tables and sentences, for the terminal and for Markdown alike."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.behind import behind_lines
from bench.idle_readers import HEADINGS, per_server
from bench.latency import paced_rows
from bench.ratios import BASELINE, DISTURBED_SHARE, make_rows, make_verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.ratios import Row, Spread, Verdict
    from bench.results import Peer, Results

WIDTH = 110
METHOD = (
    "One run, alternating: for each workload every server is started afresh and its answers are "
    "compared (status, length, SHA-256 of the bodies); then in each round every server is measured in "
    "turn. Each server has one core, the load client another; {connections} keep-alive connections "
    "unless the workload says otherwise, {seconds:g} s per measurement. Figures are medians of the "
    "rounds; ratios are taken within each round and shown as median [lowest to highest].",
    "CPU is user and system time of the server's whole process tree, from the kernel's per-process "
    "clocks in ns (clock_getcpuclockid(3)), divided by responses. RSS is the proportional set size of "
    "that tree. B/resp counts head and body.",
    "p50 and p99 in the first tables are those of a closed loop: each connection waits for its answer "
    "before it asks again, so they say how long the queue is. The latencies at a fixed rate are those "
    "of an open loop: a request is due at its time whether or not a connection is free, and its latency"
    ' counts from then (no coordinated omission). "own" is 65 % of the server\'s own knee, "common" one '
    "rate for all servers whose knee is at least a tenth of the highest one: 60 % of the lowest knee "
    "among them.",
    "\"client-bound\": the client's core was over 95 % used and the server's was not, so throughput says "
    'nothing about the server. wrk copies every byte, 8 KiB at a time; "discard" is a client that lets '
    "the kernel drop the bytes (MSG_TRUNC).",
    '"others N%": time of the server\'s core used by something else; "client\'s others": of the client\'s '
    'core. "stolen N%": time of a core that the hypervisor gave away.',
    '"zc/copied": notifications of zero-copy sends that really did not copy / that the kernel copied '
    "after all, as it always does on loopback: here zero copy can only cost, and what it saves on a "
    "network card these figures cannot show.",
)


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and lines of cells; the columns numbered in `left` are words, the others figures."""

    title: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    left: tuple[int, ...]

    def plain(self) -> str:
        return align(self.headings, self.lines, self.left)

    def markdown(self) -> str:
        rule = "|".join("---" if column in self.left else "--:" for column in range(len(self.headings)))
        rows = [self.headings, *self.lines]
        texts = ["| " + " | ".join(cells) + " |" for cells in rows]
        return "\n".join([texts[0], f"|{rule}|", *texts[1:]])


def align(headings: tuple[str, ...], lines: Sequence[tuple[str, ...]], left: tuple[int, ...]) -> str:
    """Lay out a table, the columns numbered in `left` to the left, the others to the right."""
    widths = [max(len(line[column]) for line in [headings, *lines]) for column in range(len(headings))]
    texts = []
    for line in [headings, *lines]:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        texts.append("  ".join(cells).rstrip())
    return "\n".join(texts)


def ratio_words(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} [{ratio.low:.2f} to {ratio.high:.2f}]"


def milliseconds(value: float) -> str:
    """A latency; where no answer came there is none."""
    return "none" if math.isinf(value) else f"{value:.2f}"


def _cells(row: Row, coding: str) -> tuple[str, ...]:
    return (
        row.server,
        f"{row.requests_per_s.median:,.0f}",
        f"{row.bytes_per_s.median / 1e6:,.0f}",
        f"{row.bytes_per_request:,.0f}",
        f"{row.cpu_us_per_request.median:,.2f}",
        f"{row.bytes_per_cpu_s.median / 1e9:.2f}",
        milliseconds(row.p50_us / 1000 or math.inf),
        milliseconds(row.p99_us / 1000 or math.inf),
        f"{row.resident_bytes / 1e6:.1f}",
        f"{row.server_share:.0%}",
        f"{row.client_share:.0%}",
        ratio_words(row.cpu_ratio),
        ratio_words(row.throughput_ratio),
        f"{row.zero_copied}/{row.copied}" if row.zero_copied or row.copied else "",
        ", ".join([*([f"sends {coding}"] if coding else []), *row.marks]),
    )


def _codings(results: Results, workload: str) -> dict[str, str]:
    """What each server sends, by Content-Encoding, where not all send the same."""
    found = {peer.name: peer.codings[workload] for peer in results.peers if workload in peer.codings}
    return found if len(set(found.values())) > 1 else {}


def _absent_cells(server: str, reason: str, columns: int) -> tuple[str, ...]:
    return (server, *("",) * (columns - 2), f"absent: {' '.join(reason.split())[:140].replace('|', '/')}")


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
        title = results.workloads.get(workload, "not finished")
        codings = _codings(results, workload)
        absent = [
            _absent_cells(each.server, each.reason, len(headings))
            for each in results.absent
            if each.workload in (workload, "")
        ]
        tables.append(
            Table(
                f"{workload}: {title} (client {mine[0].client}, {mine[0].rounds} rounds)",
                headings,
                (*(_cells(row, codings.get(row.server, "")) for row in mine), *absent),
                (0, len(headings) - 1),
            )
        )
    return tables


def paced_table(results: Results) -> Table | None:
    rows = paced_rows(results.paced)
    if not rows:
        return None
    headings = (
        *("rate", "server", "requests/s", "knee", "p50 ms", "p99 ms", "p99 rounds", "p99.9 ms"),
        *("server CPU", "CPU us/req", "marks"),
    )
    lines = [
        (
            row.workload,
            row.server,
            f"{row.rate:,.0f}",
            f"{row.knee:,.0f}",
            milliseconds(row.p50_ms.median),
            milliseconds(row.p99_ms.median),
            f"{milliseconds(row.p99_ms.low)} to {milliseconds(row.p99_ms.high)}",
            milliseconds(row.p999_ms.median),
            f"{row.server_share:.0%}",
            f"{row.cpu_us_per_request:,.2f}",
            ", ".join(row.marks),
        )
        for row in rows
    ]
    lines += [
        (each.workload.replace("rate", "both"), *_absent_cells(each.server, each.reason, len(headings) - 1))
        for each in results.absent
        if each.workload in ("rate", "common")
    ]
    title = f"rate: {results.workloads.get('rate', '10K at a fixed rate')} (open loop)"
    return Table(title, headings, tuple(lines), (0, 1, len(headings) - 1))


def silent_table(results: Results) -> Table | None:
    if not results.takings:
        return None
    lines = per_server(results.takings)
    lines += [
        _absent_cells(each.server, each.reason, len(HEADINGS))
        for each in results.absent
        if each.workload == "silent"
    ]
    title = f"silent: {results.workloads.get('silent', 'clients that never read')}"
    return Table(title, HEADINGS, tuple(lines), (0, len(HEADINGS) - 1))


def tables(results: Results) -> list[Table]:
    found = [*closed_tables(results), paced_table(results), silent_table(results)]
    return [table for table in found if table is not None]


def verdict_lines(verdicts: list[Verdict]) -> list[str]:
    """Say each goal, and under it each server's verdict."""
    lines: list[str] = []
    goal = None
    for verdict in verdicts:
        if verdict.goal != goal:
            goal = verdict.goal
            lines.append(f"wanted: {goal.words()}")
        lines.append(f"  {verdict.server}: {verdict.state} ({verdict.words})")
    return lines


def left_out(results: Results) -> list[str]:
    """Which servers' rows are no ground for a comparison, by workload."""
    wrong: dict[str, list[str]] = {}
    count: dict[str, int] = {}
    for paced in paced_rows(results.paced):
        name = f"rate, {paced.workload}"
        count[name] = count.get(name, 0) + 1
        if paced.disturbed_share > DISTURBED_SHARE:
            wrong.setdefault(name, []).append(paced.server)
    for row in make_rows(results.samples):
        count[row.workload] = count.get(row.workload, 0) + 1
        if row.disturbed_share > DISTURBED_SHARE or any("errors" in mark for mark in row.marks):
            wrong.setdefault(row.workload, []).append(row.server)
    return [
        f"{workload} ({'all' if len(servers) == count[workload] else ', '.join(servers)})"
        for workload, servers in wrong.items()
    ]


def behind_words(results: Results) -> list[str]:
    """Where zchttpd is behind a peer, and what could not be compared."""
    missing = left_out(results)
    nowhere = "  nowhere among what could be compared" if missing else "  nowhere"
    lines = [f"  {line}" for line in behind_lines(results)] or [nowhere]
    head = (
        "zchttpd (auto, the default) is behind a peer, by more than 2 % in every round, here (throughput "
        "only where the client was not our limit):"
    )
    if missing:
        lines.append(f"  not compared, the core was shared or there were errors: {', '.join(missing)}")
    return [head, *lines]


def conclusions(results: Results) -> list[str]:
    """The verdicts, then where a peer is ahead."""
    lines = verdict_lines(make_verdicts(make_rows(results.samples), results.ours()))
    if not lines:
        lines.append(f"no goal judged: needs {BASELINE} and zchttpd at 1K, 10K, 100K or 10M")
    return [*lines, *behind_words(results)]


def heads_table(peers: list[Peer]) -> str:
    """Show how many header bytes each server sends, and which fields."""
    lines = []
    for peer in peers:
        head = next(iter(peer.heads.values()), "")
        fields = ", ".join(line.partition(":")[0] for line in head.split("\r\n")[1:] if line)
        sizes = sorted({len(text) for text in peer.heads.values()}) or [0]
        lines.append((peer.name, " to ".join(str(size) for size in sorted({sizes[0], sizes[-1]})), fields))
    return align(("server", "head bytes", "fields"), lines, (0, 2))


def method(results: Results) -> list[str]:
    return [paragraph.format(**results.settings) for paragraph in METHOD]


def terminal(results: Results) -> str:
    """The whole report for a terminal."""
    parts = ["Response heads of the first workload:", heads_table(results.peers), ""]
    for table in tables(results):
        parts += [table.title, table.plain(), ""]
    if everywhere := [each for each in results.absent if not each.workload]:
        parts += [*(f"absent: {each.server}: {each.reason}" for each in everywhere), ""]
    parts += [*conclusions(results), "", *(textwrap.fill(line, WIDTH) for line in method(results))]
    if results.cut_short:
        parts.append(f"INCOMPLETE: {results.cut_short}")
    return "\n".join(parts)

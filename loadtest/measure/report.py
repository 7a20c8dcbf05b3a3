"""Rows and verdicts as text: aligned for a terminal, Markdown for the README, JSON to make both again
later.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from measure.load import Sample
from measure.payload import size_label
from measure.ratios import BASELINE, make_rows, make_verdicts, where_behind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from measure.ratios import Row, Spread, Verdict

SCHEMA = 1
WIDTH = 110
LEFT = (0, 1, 2, 15)
HEADINGS = (
    "size",
    "client",
    "server",
    "req/s",
    "MB/s",
    "CPU us/req",
    "GB/CPU s",
    "p50 ms",
    "p99 ms",
    "RSS MB",
    "server CPU",
    "client CPU",
    "CPU vs {base}",
    "MB/s vs {base}",
    "zc/copied",
    "marks",
)
METHOD = (
    "One run, alternating: in each round every server is measured in turn at one size, then the next "
    "round begins. Each server has one core, the load client another; {connections} keep-alive "
    "connections, {seconds:g} s per measurement after a warm-up, {rounds} rounds. Figures are medians of "
    "the rounds; ratios are taken within each round and shown as median [lowest to highest].",
    "CPU is user and system time of the server's whole process tree, from the kernel's per-process clocks "
    "in ns (clock_getcpuclockid(3)), divided by responses; a response cut off at the end counts in part.",
    "p50 and p99 are those of a closed loop: each connection waits for its answer before it asks again, "
    "so they say how long the queue is, not what latency a user sees at a given rate.",
    "\"client-bound\": the client's core was over 95 % used and the server's was not, so throughput says "
    "nothing about the server. wrk copies every byte, 8 KiB at a time, and is the limit for large bodies; "
    '"discard" is a client that lets the kernel drop the bytes (MSG_TRUNC).',
    '"others N%": time of the server\'s core used by something else. "stolen N%": time of a core that the '
    "hypervisor gave away.",
    '"zc/copied": notifications of zero-copy sends that really did not copy / that the kernel copied '
    "after all, as it always does on loopback: here zero copy can only cost, and what it saves on a "
    "network card these figures cannot show.",
)


@dataclass(frozen=True, slots=True)
class Peer:
    """What was measured: name, version, command line, configuration, response heads by size label."""

    name: str
    ours: bool
    version: str
    command: str
    config: str
    heads: dict[str, str]


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run, as it is written to JSON. `cut_short` says why it ended early, if it did."""

    machine: dict[str, str]
    settings: dict[str, str | int | float]
    peers: list[Peer]
    samples: list[Sample]
    cut_short: str

    def rows(self) -> list[Row]:
        return make_rows(self.samples)

    def verdicts(self) -> list[Verdict]:
        return make_verdicts(self.rows(), [peer.name for peer in self.peers if peer.ours])


def to_json(results: Results) -> str:
    """Write samples, and the rows and verdicts that follow from them, as JSON text."""
    fields = dataclasses.asdict(results)
    fields["schema"] = SCHEMA
    fields["rows"] = [dataclasses.asdict(row) for row in results.rows()]
    fields["verdicts"] = [dataclasses.asdict(verdict) for verdict in results.verdicts()]
    return json.dumps(fields, indent=1) + "\n"


def from_json(text: str) -> Results:
    """Read what to_json wrote. Rows and verdicts are computed again. Raises ValueError for another format."""
    fields = json.loads(text)
    if fields.get("schema") != SCHEMA:
        raise ValueError(
            f"this file has schema {fields.get('schema')!r}, this program reads {SCHEMA}; measure again"
        )
    return Results(
        fields["machine"],
        fields["settings"],
        [Peer(**peer) for peer in fields["peers"]],
        [Sample(**sample) for sample in fields["samples"]],
        fields["cut_short"],
    )


def _ratio(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} [{ratio.low:.2f} to {ratio.high:.2f}]"


def _cells(row: Row) -> tuple[str, ...]:
    zero_copy = ""
    if row.zero_copied or row.copied:
        zero_copy = f"{row.zero_copied}/{row.copied}"
    return (
        size_label(row.size),
        row.client,
        row.server,
        f"{row.requests_per_s.median:,.0f}",
        f"{row.bytes_per_s.median / 1e6:,.0f}",
        f"{row.cpu_us_per_request.median:,.2f}",
        f"{row.bytes_per_cpu_s.median / 1e9:.2f}",
        f"{row.p50_us / 1000:.2f}",
        f"{row.p99_us / 1000:.2f}",
        f"{row.resident_bytes / 1e6:.1f}",
        f"{row.server_share:.0%}",
        f"{row.client_share:.0%}",
        _ratio(row.cpu_ratio),
        _ratio(row.throughput_ratio),
        zero_copy,
        ", ".join(row.marks),
    )


def _headings() -> tuple[str, ...]:
    return tuple(heading.format(base=BASELINE) for heading in HEADINGS)


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


def _parted(rows: list[Row]) -> list[tuple[str, ...]]:
    """The rows' cells, with an empty line where size or client changes."""
    lines: list[tuple[str, ...]] = []
    for index, row in enumerate(rows):
        if index and (row.size, row.client) != (rows[index - 1].size, rows[index - 1].client):
            lines.append(("",) * len(HEADINGS))
        lines.append(_cells(row))
    return lines


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


def conclusions(results: Results) -> list[str]:
    """The verdicts, then where a peer is cheaper than the best of ours."""
    ours = [peer.name for peer in results.peers if peer.ours]
    lines = verdict_lines(results.verdicts())
    if not lines:
        lines.append(f"no goal judged: needs {BASELINE} and zchttpd at 1K, 10K, 100K or 10M")
    behind = where_behind(results.rows(), ours)
    if behind:
        lines += ["zchttpd is behind:", *(f"  {line}" for line in behind)]
    return lines


def heads_table(peers: list[Peer]) -> str:
    """Show how many header bytes each server sends, and which fields."""
    lines = []
    for peer in peers:
        head = next(iter(peer.heads.values()), "")
        fields = ", ".join(line.partition(":")[0] for line in head.split("\r\n")[1:] if line)
        sizes = sorted({len(text) for text in peer.heads.values()})
        lines.append((peer.name, " to ".join(str(size) for size in sorted({sizes[0], sizes[-1]})), fields))
    return align(("server", "head bytes", "fields"), lines, (0, 2))


def _method(results: Results) -> list[str]:
    return [paragraph.format(**results.settings) for paragraph in METHOD]


def terminal(results: Results) -> str:
    """The whole report for a terminal."""
    parts = [
        "The same body bytes from every server, checked by SHA-256 before measuring. Response heads:",
        heads_table(results.peers),
        "",
        align(_headings(), _parted(results.rows()), LEFT),
        "",
        *conclusions(results),
        "",
        *(textwrap.fill(line, WIDTH) for line in _method(results)),
    ]
    if results.cut_short:
        parts.append(f"INCOMPLETE: {results.cut_short}")
    return "\n".join(parts)


def markdown(results: Results) -> str:
    """A fragment for the README: table, verdicts, method, and everything needed to run it again."""
    headings = _headings()
    lines = [
        "| " + " | ".join(headings) + " |",
        "|" + "|".join("---" if column in LEFT else "--:" for column in range(len(headings))) + "|",
        *("| " + " | ".join(_cells(row)) + " |" for row in results.rows()),
        "",
    ]
    if results.cut_short:
        lines += ["**Incomplete: the run was cut short.**", ""]
    for text in conclusions(results):
        lines.append(f"  - {text.strip()}" if text.startswith(" ") else f"- {text}")
    lines += [
        "",
        "\n\n".join(_method(results)),
        "",
        "<details><summary>Machine, versions, configurations</summary>",
        "",
    ]
    lines += [f"- {name.replace('_', ' ')}: {text}" for name, text in results.machine.items()]
    lines += [f"- {name}: {text}" for name, text in results.settings.items()]
    lines += ["", "```", heads_table(results.peers), "```", ""]
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
    return "\n".join([*lines, "</details>", ""])

"""Prints the metrics of zchttpd as a Markdown table, for docs/metrics.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zchttpd.telemetry.metrics import StatsCollector, WorkerInfo
from zchttpd.telemetry.shared_stats import SharedStats

if TYPE_CHECKING:
    from zchttpd.telemetry.metrics import Family


def docs_table() -> str:
    """Every metric: its name as in the text format, its kind, its labels and what it says."""
    lines = ["| Metric | Kind | Labels | What it says |", "|---|---|---|---|"]
    for family in StatsCollector(SharedStats(1), lambda: [WorkerInfo(0, 0, 0.0, 0)]).families():
        suffixes = dict.fromkeys(suffix for suffix, _, _ in family.samples)
        names = ", ".join(f"`{family.name}{suffix}`" for suffix in suffixes)
        labels = dict.fromkeys(label for _, labelled, _ in family.samples for label in labelled)
        cells = ", ".join(f"`{label}`{_values(family, label)}" for label in labels)
        lines.append(f"| {names} | {family.kind} | {cells} | {family.text} |")
    return "\n".join(lines)


def _values(family: Family, label: str) -> str:
    """The values of a label where they are a few that are always the same."""
    if label in ("le", "version", "worker", "status", "size"):
        return ""
    values = dict.fromkeys(labelled[label] for _, labelled, _ in family.samples if label in labelled)
    return f": {', '.join(values)}"


if __name__ == "__main__":
    print(docs_table())

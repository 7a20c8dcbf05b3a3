"""Figures as words and table rows, the same for the page, the terminal and the CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchlib.scrape import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtest._readings import Side
    from loadtest._results import Results

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One measure: a cell for each server, and what it means."""

    name: str
    cells: tuple[str, ...]
    why: str


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


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


def client_rows(results: Results) -> list[tuple[str, ...]]:
    """Scene, mode, answers, failures, median, 95 %, 99 % in ms, MiB."""
    return [
        (
            scene.name,
            scene.mode,
            f"{scene.requests:,}",
            f"{scene.failures:,}",
            *(
                f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
                for value in (scene.p50_ms, scene.p95_ms, scene.p99_ms)
            ),
            f"{scene.bytes / 2**20:,.1f}",
        )
        for scene in results.scenes
    ]

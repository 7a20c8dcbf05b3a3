"""Fixed-rate samples as rows. Pure functions, no measuring."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.ratios import QUIET_SHARE, STEAL_SHARE, Spread, spread

if TYPE_CHECKING:
    from bench.load import PacedSample

# Above this the client's own core is the limit, and the latencies are the client's.
BUSY_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class PacedRow:
    """One server at one rate over all rounds; ms, infinite where answers did not come in time. `rate` and
    `knee` in requests/s. `workload`: "own" or "common".
    """

    workload: str
    server: str
    rate: float
    knee: float
    p50_ms: Spread
    p99_ms: Spread
    p999_ms: Spread
    server_share: float
    cpu_us_per_request: float
    by_round: dict[int, float]
    disturbed_share: float
    marks: tuple[str, ...]


def _ms(values_us: list[float | None]) -> Spread:
    return spread(math.inf if value is None else value / 1000 for value in values_us)


def _marks(group: list[PacedSample]) -> tuple[str, ...]:
    marks = []
    if unanswered := sum(sample.pace.unanswered for sample in group):
        marks.append(f"{unanswered} unanswered")
    if statistics.median(sample.pace.busy_share for sample in group) > BUSY_SHARE:
        marks.append("client-bound")
    for words, values, limit in (
        ("others", [sample.others_share for sample in group], QUIET_SHARE),
        ("stolen", [sample.steal_share for sample in group], STEAL_SHARE),
        ("client's others", [sample.client_others_share for sample in group], QUIET_SHARE),
    ):
        share = statistics.median(values)
        if share > limit:
            marks.append(f"{words} {share:.0%}")
    return tuple(marks)


def paced_rows(samples: list[PacedSample]) -> list[PacedRow]:
    """Group `samples` by rate ("own" first) and server."""
    groups: dict[tuple[str, str], list[PacedSample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.workload != "own"):
        groups.setdefault((sample.workload, sample.server), []).append(sample)
    return [
        PacedRow(
            workload,
            server,
            rate=group[0].pace.rate,
            knee=group[0].knee,
            p50_ms=_ms([sample.pace.p50_us for sample in group]),
            p99_ms=_ms([sample.pace.p99_us for sample in group]),
            p999_ms=_ms([sample.pace.p999_us for sample in group]),
            server_share=statistics.median(sample.server_cpu_s / sample.pace.seconds for sample in group),
            cpu_us_per_request=statistics.median(
                sample.server_cpu_s * 1e6 / max(1, sample.pace.answered) for sample in group
            ),
            by_round={
                sample.round: math.inf if sample.pace.p99_us is None else sample.pace.p99_us / 1000
                for sample in group
            },
            disturbed_share=statistics.median(
                max(sample.others_share, sample.client_others_share) + sample.steal_share for sample in group
            ),
            marks=_marks(group),
        )
        for (workload, server), group in groups.items()
    ]

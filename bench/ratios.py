"""From samples to rows, ratios to a baseline and verdicts. Pure functions, no measuring."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.load import Sample

BASELINE = "nginx"
QUIET_SHARE = 0.05
STEAL_SHARE = 0.01
# With more than this taken away from a server, its figures are no longer its own.
DISTURBED_SHARE = 0.2
Metric = Literal["cpu", "throughput"]
State = Literal["met", "missed", "unclear", "not measurable"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, lowest and highest of the rounds."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """Raises statistics.StatisticsError when there are no values."""
    found = list(values)
    return Spread(statistics.median(found), min(found, default=0.0), max(found, default=0.0))


def ratio_words(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} [{ratio.low:.2f} to {ratio.high:.2f}]"


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one workload, over all rounds. Ratios are this server's figure / the
    baseline's, taken within each round, None for the baseline itself and when it was not measured.
    """

    workload: str
    client: str
    server: str
    rounds: int
    requests_per_s: Spread
    bytes_per_s: Spread
    bytes_per_request: float
    cpu_us_per_request: Spread
    bytes_per_cpu_s: Spread
    p50_us: float
    p99_us: float
    resident_bytes: int
    server_share: float
    client_share: float
    cpu_ratio: Spread | None
    throughput_ratio: Spread | None
    zero_copied: int | None
    copied: int | None
    disturbed_share: float
    marks: tuple[str, ...]

    @property
    def client_bound(self) -> bool:
        return "client-bound" in self.marks


def _marks(samples: list[Sample]) -> tuple[str, ...]:
    """Say what is wrong with a row, if anything."""
    marks = []
    if any(sample.errors for sample in samples):
        marks.append(f"{sum(sample.errors for sample in samples)} errors")
    if sum(sample.client_bound for sample in samples) * 2 > len(samples):
        marks.append("client-bound")
    others = statistics.median(sample.others_share for sample in samples)
    if others > QUIET_SHARE:
        marks.append(f"others {others:.0%}")
    steal = statistics.median(sample.steal_share for sample in samples)
    if steal > STEAL_SHARE:
        marks.append(f"stolen {steal:.0%}")
    client_others = statistics.median(sample.client_others_share for sample in samples)
    if client_others > QUIET_SHARE:
        marks.append(f"client's others {client_others:.0%}")
    return tuple(marks)


def _ratio(
    samples: list[Sample], base: dict[int, Sample], figure: Callable[[Sample], float], baseline: str
) -> Spread | None:
    pairs = [(sample, base[sample.round]) for sample in samples if sample.round in base]
    if not pairs or samples[0].server == baseline:
        return None
    return spread(figure(mine) / figure(theirs) for mine, theirs in pairs)


def _sum(values: list[int | None]) -> int | None:
    return None if None in values else sum(value for value in values if value is not None)


def make_rows(samples: list[Sample], baseline: str = BASELINE) -> list[Row]:
    """Group `samples` by workload and server, in the order of their first appearance."""
    groups: dict[str, dict[str, list[Sample]]] = {}
    for sample in samples:
        groups.setdefault(sample.workload, {}).setdefault(sample.server, []).append(sample)
    return [
        _row(group, {sample.round: sample for sample in servers.get(baseline, [])}, baseline)
        for servers in groups.values()
        for group in servers.values()
    ]


def _row(group: list[Sample], base: dict[int, Sample], baseline: str) -> Row:
    return Row(
        group[0].workload,
        group[0].client,
        group[0].server,
        len(group),
        requests_per_s=spread(sample.requests_per_s for sample in group),
        bytes_per_s=spread(sample.bytes_per_s for sample in group),
        bytes_per_request=statistics.median(sample.bytes_per_request for sample in group),
        cpu_us_per_request=spread(sample.cpu_us_per_request for sample in group),
        bytes_per_cpu_s=spread(sample.bytes_per_cpu_s for sample in group),
        p50_us=statistics.median(sample.p50_us for sample in group),
        p99_us=statistics.median(sample.p99_us for sample in group),
        resident_bytes=max(sample.resident_bytes for sample in group),
        server_share=statistics.median(sample.server_share for sample in group),
        client_share=statistics.median(sample.client_share for sample in group),
        cpu_ratio=_ratio(group, base, lambda sample: sample.cpu_us_per_request, baseline),
        throughput_ratio=_ratio(group, base, lambda sample: sample.requests_per_s, baseline),
        zero_copied=_sum([sample.zero_copied for sample in group]),
        copied=_sum([sample.copied for sample in group]),
        disturbed_share=statistics.median(sample.others_share + sample.steal_share for sample in group),
        marks=_marks(group),
    )


@dataclass(frozen=True, slots=True)
class Goal:
    """What zchttpd wants of one workload: its CPU per request or its throughput, as a ratio to the
    baseline.
    """

    workload: str
    metric: Metric
    bound: float

    def words(self, baseline: str = BASELINE) -> str:
        if self.metric == "cpu":
            return f"at most {self.bound:g}x {baseline}'s CPU per request at {self.workload}"
        return f"at least {self.bound:g}x {baseline}'s throughput at {self.workload}"


GOALS = (
    Goal("1K", "cpu", 0.85),
    Goal("10K", "cpu", 0.85),
    Goal("100K", "cpu", 1.1),
    Goal("10M", "throughput", 1.3),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal for one server: a state, and a sentence that says why."""

    goal: Goal
    server: str
    state: State
    words: str


def judge(goal: Goal, mine: Row, base: Row) -> Verdict:
    """Judge one goal from two rows of the same workload.

    Errors and a core shared with others make it "not measurable". A ratio whose rounds lie on both sides of
    the bound is "unclear". A throughput that the client limited is "not measurable", except that a
    client-bound row of ours already above the bound against a baseline that was not is "met".
    """

    def verdict(state: State, words: str) -> Verdict:
        if mine.marks or base.marks:
            noted = [f"{row.server}: {', '.join(row.marks)}" for row in (mine, base) if row.marks]
            words = f"{words} [{'; '.join(noted)}]"
        return Verdict(goal, mine.server, state, words)

    ratio = mine.cpu_ratio if goal.metric == "cpu" else mine.throughput_ratio
    if ratio is None:
        return verdict("not measurable", f"{base.server} and {mine.server} share no round")
    if any("errors" in mark for mark in (*mine.marks, *base.marks)):
        return verdict("not measurable", "there were errors, so the figures mean nothing")
    figures = f"{ratio.median:.2f}x, rounds {ratio.low:.2f} to {ratio.high:.2f}, client {mine.client}"
    if max(mine.disturbed_share, base.disturbed_share) > DISTURBED_SHARE:
        return verdict(
            "not measurable", f"{figures}, but other programs used the server's core; run it alone"
        )
    if goal.metric == "throughput" and (base.client_bound or (mine.client_bound and ratio.low < goal.bound)):
        gain = mine.bytes_per_cpu_s.median / base.bytes_per_cpu_s.median
        return verdict(
            "not measurable",
            f"{figures}, but the client was the limit; {gain:.2f}x the bytes per CPU second of the server",
        )
    if goal.metric == "cpu":
        worst, best = ratio.high <= goal.bound, ratio.low <= goal.bound
    else:
        worst, best = ratio.low >= goal.bound, ratio.high >= goal.bound
    if worst:
        return verdict("met", figures)
    return verdict("unclear" if best else "missed", figures)


def make_verdicts(
    rows: list[Row], ours: list[str], goals: tuple[Goal, ...] = GOALS, baseline: str = BASELINE
) -> list[Verdict]:
    """Judge each goal for each server of `ours` that was measured beside the baseline."""
    by_key = {(row.workload, row.server): row for row in rows}
    verdicts = []
    for goal in goals:
        base = by_key.get((goal.workload, baseline))
        if base is not None:
            mine = [row for server in ours if (row := by_key.get((goal.workload, server)))]
            verdicts += [judge(goal, row, base) for row in mine]
    return verdicts

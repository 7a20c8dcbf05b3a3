"""From samples to rows, ratios to a baseline and verdicts. Pure functions, no measuring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchlib.spread import spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from benchlib.spread import Spread

    # One server under one workload in one round: of load.py, or of another measurement with rounds.
    Sample = Any

BASELINE = "nginx"
QUIET_SHARE = 0.05
STEAL_SHARE = 0.01
# With more than this taken away from a server, its figures are no longer its own.
DISTURBED_SHARE = 0.2
State = Literal["met", "missed", "unclear", "not measurable"]


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one workload, over all rounds. A figure is named as the samples name it. `base`: the
    baseline's samples by round, none for the baseline itself and when it was not measured.
    """

    workload: str
    server: str
    samples: Sequence[Sample]
    base: Mapping[int, Sample]

    def by_round(self, figure: str) -> dict[int, float]:
        return {sample.round: getattr(sample, figure) for sample in self.samples}

    def spread(self, figure: str) -> Spread:
        return spread(self.by_round(figure).values())

    def median(self, figure: str) -> float:
        return self.spread(figure).median

    def ratio(self, figure: str) -> Spread | None:
        """This server's figure / the baseline's, taken within each round that has both."""
        mine = self.by_round(figure)
        base = {number: getattr(sample, figure) for number, sample in self.base.items()}
        found = [mine[number] / base[number] for number in base if number in mine and base[number]]
        return spread(found) if found else None

    def total(self, figure: str) -> int | None:
        """The sum over the rounds, None where a round has none."""
        values = list(self.by_round(figure).values())
        return None if None in values else sum(int(value) for value in values)

    @property
    def client_bound(self) -> bool:
        return bool(sum(sample.client_bound for sample in self.samples) * 2 > len(self.samples))

    @property
    def comparable(self) -> bool:
        """Whether its figures are its own: no errors, and no core shared with others."""
        return not self.total("errors") and self.median("disturbed_share") <= DISTURBED_SHARE

    @property
    def marks(self) -> tuple[str, ...]:
        """What is wrong with the row, if anything."""
        marks = [
            f"{total} {figure}" for figure in ("errors", "unanswered") if (total := self.total(figure) or 0)
        ]
        marks += ["client-bound"] if self.client_bound else []
        for words, figure, limit in (
            ("others", "others_share", QUIET_SHARE),
            ("stolen", "steal_share", STEAL_SHARE),
            ("client's others", "client_others_share", QUIET_SHARE),
        ):
            share = self.median(figure)
            marks += [f"{words} {share:.0%}"] if share > limit else []
        return tuple(marks)


def make_rows(samples: Sequence[Sample], baseline: str = BASELINE) -> list[Row]:
    """Group `samples` by workload and server, in the order of their first appearance."""
    groups: dict[str, dict[str, list[Sample]]] = {}
    for sample in samples:
        groups.setdefault(sample.workload, {}).setdefault(sample.server, []).append(sample)
    rows = []
    for workload, servers in groups.items():
        base = {sample.round: sample for sample in servers.get(baseline, [])}
        rows += [
            Row(workload, server, group, {} if server == baseline else base)
            for server, group in servers.items()
        ]
    return rows


def paced_rows(samples: Sequence[Sample]) -> list[Row]:
    """The same of samples at fixed rates, each server's own rate first."""
    return make_rows(sorted(samples, key=lambda sample: sample.workload != "own"))


# Goals


@dataclass(frozen=True, slots=True)
class Goal:
    """What zchttpd wants of one workload: its CPU per request or its throughput, as a ratio to the
    baseline.
    """

    workload: str
    metric: Literal["cpu", "throughput"]
    bound: float

    @property
    def figure(self) -> str:
        return "cpu_us_per_request" if self.metric == "cpu" else "requests_per_s"


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
    state, words = _judge(goal, mine, base)
    noted = "; ".join(f"{row.server}: {', '.join(row.marks)}" for row in (mine, base) if row.marks)
    return Verdict(goal, mine.server, state, f"{words} [{noted}]" if noted else words)


def _judge(goal: Goal, mine: Row, base: Row) -> tuple[State, str]:
    ratio = mine.ratio(goal.figure)
    if ratio is None:
        return "not measurable", f"{base.server} and {mine.server} share no round"
    if mine.total("errors") or base.total("errors"):
        return "not measurable", "there were errors, so the figures mean nothing"
    client = mine.samples[0].client
    figures = f"{ratio.median:.2f}x, rounds {ratio.low:.2f} to {ratio.high:.2f}, client {client}"
    if not (mine.comparable and base.comparable):
        return "not measurable", f"{figures}, but other programs used the server's core; run it alone"
    if goal.metric == "throughput" and (base.client_bound or (mine.client_bound and ratio.low < goal.bound)):
        gain = mine.median("bytes_per_cpu_s") / base.median("bytes_per_cpu_s")
        words = f"the client was the limit; {gain:.2f}x the bytes per CPU second of the server"
        return "not measurable", f"{figures}, but {words}"
    if goal.metric == "cpu":
        worst, best = ratio.high <= goal.bound, ratio.low <= goal.bound
    else:
        worst, best = ratio.low >= goal.bound, ratio.high >= goal.bound
    return "met" if worst else "unclear" if best else "missed", figures


def make_verdicts(rows: list[Row], ours: list[str], goals: tuple[Goal, ...] = GOALS) -> list[Verdict]:
    """Judge each goal for each server of `ours` that was measured beside the baseline."""
    by_key = {(row.workload, row.server): row for row in rows}
    return [
        judge(goal, mine, base)
        for goal in goals
        if (base := by_key.get((goal.workload, BASELINE)))
        for server in ours
        if (mine := by_key.get((goal.workload, server)))
    ]

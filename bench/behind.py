"""Where zchttpd is behind a peer, by rule. Pure functions, no measuring.

The rule: `auto`, which is what users get, is compared with each peer, workload by workload and figure by
figure. It is behind where the peer is better by more than SAME_SHARE in every round; where rounds disagree,
or the difference is smaller than that, nobody is ahead. Throughput is compared only where the client was not
the limit of ours; a row with errors or a core shared with others is not compared at all.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.stats import make_rows, paced_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.results import Results

    Rounds = Mapping[int, float]

DEFAULT = "auto"
SAME_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Behind:
    """`peer` is ahead of `ours`: `ratio` >= 1 says by how much, median of the rounds."""

    workload: str
    figure: str
    peer: str
    ours: str
    ratio: float


def _times_larger(mine: Rounds, theirs: Rounds) -> float:
    """How many times larger `mine` is than `theirs`, round by round: the median, or 1.0 when it is not larger
    by SAME_SHARE in every round both have.
    """
    both = [(mine[number], theirs[number]) for number in mine.keys() & theirs.keys()]
    if any(math.isinf(our) and math.isinf(their) for our, their in both):
        return 1.0
    ratios = [our / their if their > 0 else 1.0 for our, their in both]
    return statistics.median(ratios) if min(ratios, default=1.0) > 1 + SAME_SHARE else 1.0


def choose_ours(ours: Sequence[str], measured: set[str]) -> str | None:
    """The server that speaks for zchttpd: `auto`, else the first of ours that was measured."""
    return next((name for name in (DEFAULT, *ours) if name in measured and name in ours), None)


def _compare(
    results: Results, workload: str, figure: str, measured: set[str], rounds: Mapping[str, Rounds]
) -> Iterator[Behind]:
    """`rounds`: what each server that may be compared took, by round. No other of ours stands in for ours."""
    ours = results.ours()
    mine = choose_ours(ours, measured)
    if mine is not None and mine in rounds:
        for server in (name for name in rounds if name not in ours):
            ratio = _times_larger(rounds[mine], rounds[server])
            if ratio > 1:
                yield Behind(workload, figure, server, mine, ratio)


def _found(results: Results) -> Iterator[Behind]:
    rows = make_rows(results.samples)
    for workload in dict.fromkeys(row.workload for row in rows):
        group = [row for row in rows if row.workload == workload]
        measured = {row.server for row in group}
        mine = choose_ours(results.ours(), measured)
        bound = any(row.client_bound for row in group if row.server == mine)
        figures = {"CPU per request": "cpu_us_per_request", "time per request": "s_per_request"}
        for words, figure in figures.items():
            if figure == "cpu_us_per_request" or not bound:
                rounds = {row.server: row.by_round(figure) for row in group if row.comparable}
                yield from _compare(results, workload, words, measured, rounds)
    # At its own share of its own knee each server has another load.
    common = [row for row in paced_rows(results.paced) if row.workload == "common"]
    if common:
        words = f"p99 at {common[0].median('rate'):,.0f} requests/s"
        rounds = {row.server: row.by_round("p99_ms") for row in common if row.comparable}
        yield from _compare(results, "rate", words, {each.server for each in results.paced}, rounds)
    kept = make_rows([taken for taken in results.takings if taken.steady and taken.clear])
    rounds = {row.server: row.by_round("per_connection") for row in kept}
    measured = {taken.server for taken in results.takings}
    yield from _compare(results, "silent", "memory per connection", measured, rounds)


def where_behind(results: Results) -> list[Behind]:
    """Everything that the rule finds, worst first within a workload, workloads in their order."""
    found = list(_found(results))
    order = {workload: place for place, workload in enumerate(dict.fromkeys(each.workload for each in found))}
    return sorted(found, key=lambda each: (order[each.workload], each.figure, -each.ratio))


def behind_lines(results: Results) -> list[str]:
    """One line for each workload and figure, all peers that are ahead in it named."""
    groups: dict[tuple[str, str, str], list[Behind]] = {}
    for each in where_behind(results):
        groups.setdefault((each.workload, each.figure, each.ours), []).append(each)
    return [
        f"{workload}: {ours}'s {figure} is " + ", ".join(f"{each.ratio:.2f}x {each.peer}'s" for each in group)
        for (workload, figure, ours), group in groups.items()
    ]

"""Where zchttpd is behind a peer, by rule. Pure functions, no measuring.

The rule: `auto`, which is what users get, is compared with each peer, workload by workload and figure by
figure. It is behind where the peer is better by more than SAME_SHARE in every round; where rounds disagree,
or the difference is smaller than that, nobody is ahead. Throughput is compared only where the client was not
the limit of ours; a row with errors or a core shared with others is not compared at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.latency import paced_rows
from bench.ratios import DISTURBED_SHARE, make_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.load import Sample
    from bench.results import Results

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


def _medians_apart(mine: Mapping[int, float], theirs: Mapping[int, float]) -> float:
    """Return how many times larger `mine` is than `theirs`, round by round: the median, or 1.0 when it is not
    larger by SAME_SHARE in every round both have.
    """
    ratios = []
    for number in mine.keys() & theirs.keys():
        if math.isinf(mine[number]) and math.isinf(theirs[number]):
            return 1.0
        ratios.append(mine[number] / theirs[number] if theirs[number] > 0 else 1.0)
    if not ratios or min(ratios) <= 1 + SAME_SHARE:
        return 1.0
    ratios.sort()
    middle = len(ratios) // 2
    return ratios[middle] if len(ratios) % 2 else (ratios[middle - 1] + ratios[middle]) / 2


def choose_ours(ours: Sequence[str], measured: set[str]) -> str | None:
    """The server that speaks for zchttpd: `auto`, else the first of ours that was measured."""
    return next((name for name in (DEFAULT, *ours) if name in measured and name in ours), None)


def _closed(results: Results) -> list[Behind]:
    found = []
    ours = results.ours()
    clean = {
        (row.workload, row.server): row
        for row in make_rows(results.samples)
        if row.disturbed_share <= DISTURBED_SHARE and not any("errors" in mark for mark in row.marks)
    }
    figures: tuple[tuple[str, Callable[[Sample], float]], ...] = (
        ("CPU per request", lambda sample: sample.cpu_us_per_request),
        ("time per request", lambda sample: 1 / sample.requests_per_s),
    )
    for workload in dict.fromkeys(workload for workload, _ in clean):
        mine = choose_ours(ours, {each.server for each in results.samples if each.workload == workload})
        # Another of ours does not stand in where the row of this one was spoilt.
        if mine is None or (workload, mine) not in clean:
            continue
        for name, server in clean:
            if name != workload or server in ours:
                continue
            for words, figure in figures:
                if words.startswith("time") and clean[workload, mine].client_bound:
                    continue
                ratio = _medians_apart(
                    _by_round(results, workload, mine, figure), _by_round(results, workload, server, figure)
                )
                if ratio > 1:
                    found.append(Behind(workload, words, server, mine, ratio))
    return found


def _by_round(
    results: Results, workload: str, server: str, figure: Callable[[Sample], float]
) -> dict[int, float]:
    return {
        sample.round: figure(sample)
        for sample in results.samples
        if (sample.workload, sample.server) == (workload, server)
    }


def _paced(results: Results) -> list[Behind]:
    """Compared at the common rate only: at its own share of its own knee each server has another load."""
    rows = {
        row.server: row
        for row in paced_rows(results.paced)
        if row.workload == "common" and row.disturbed_share <= DISTURBED_SHARE
    }
    mine = choose_ours(results.ours(), {row.server for row in paced_rows(results.paced)})
    if mine is None or mine not in rows:
        return []
    found = []
    for server, row in rows.items():
        if server in results.ours():
            continue
        ratio = _medians_apart(rows[mine].by_round, row.by_round)
        if ratio > 1:
            words = f"p99 at {row.rate:,.0f} requests/s"
            found.append(Behind("rate", words, server, mine, ratio))
    return found


def _silent(results: Results) -> list[Behind]:
    figures: dict[str, dict[int, float]] = {}
    for taken in results.takings:
        if taken.steady and taken.clear:
            figures.setdefault(taken.server, {})[taken.round] = taken.per_connection
    mine = choose_ours(results.ours(), {taken.server for taken in results.takings})
    if mine is None or mine not in figures:
        return []
    return [
        Behind("silent", "memory per connection", server, mine, ratio)
        for server, by_round in figures.items()
        if server not in results.ours() and (ratio := _medians_apart(figures[mine], by_round)) > 1
    ]


def where_behind(results: Results) -> list[Behind]:
    """Everything that the rule finds, worst first within a workload, workloads in their order."""
    found = [*_closed(results), *_paced(results), *_silent(results)]
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

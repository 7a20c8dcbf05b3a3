"""What crossed the guest's card: samples, their ratios round by round, where zero copy begins to pay."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.stats import Row, make_rows
from bench.vm.modes import MODES, NGINX, PLAIN, ZEROCOPY
from benchlib.payload import GIB, KIB, size_label
from benchlib.plots import Curve, Plot
from benchlib.report import TEMPLATES, Table, paragraphs, render
from benchlib.scrape import FALLBACKS, NOTIFICATIONS, Buckets, duration, growth, percentile_bound
from benchlib.spread import ratio_words, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COUNTS = ("zero_copied", "copied", "unknown")
COST = "emulator_per_gib"
# CPU time of zerocopy beside these, from GOALS_FROM bytes on.
GOALS = {PLAIN: 0.40, NGINX: 0.95}
GOALS_FROM = 256 * KIB
# Linux from 6.10 on calls a send copied whose bytes joined the packet of the one before (io_link_skb): about
# one for each new connection.
CALLED_COPIED_MAX = 0.1
HEADINGS = (
    *("size", "mode", "worker s/GiB", "guest s/GiB", "emulator s/GiB", "vs plain", "vs nginx"),
    *("zero-copied", "copied"),
    *("unknown", "kernel copies", "lease p50", "lease p99"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One mode at one size in one round. `leases`: those that ended, cumulative by the upper bound in s."""

    mode: str
    size: int
    round: int
    responses: int
    bytes: int
    worker_s: float
    guest_s: float
    emulator_s: float
    zero_copied: int
    copied: int
    unknown: int
    fallbacks: int
    copies: dict[str, int] = field(default_factory=dict)
    leases: Buckets = field(default_factory=list)

    # As rows call it.
    server = property(lambda self: self.mode)
    workload = property(lambda self: size_label(self.size))
    worker_per_gib = property(lambda self: self.worker_s * GIB / self.bytes)
    guest_per_gib = property(lambda self: self.guest_s * GIB / self.bytes)
    emulator_per_gib = property(lambda self: self.emulator_s * GIB / self.bytes)


def rows_of(samples: Sequence[Sample], base: str = PLAIN) -> list[Row]:
    """A row for each size and mode; `base`: the mode that their ratios are to."""
    names = list(MODES)
    return make_rows(sorted(samples, key=lambda each: (each.size, names.index(each.mode))), base)


def usage(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, int]:
    """How many zero-copy sends ended meanwhile, by what the kernel said, and how many bodies fell back."""
    ended = growth(before, after, NOTIFICATIONS)
    found = {kind: int(ended.get(kind, 0)) for kind in COUNTS}
    return {**found, "fallbacks": int(sum(growth(before, after, FALLBACKS).values()))}


def added(samples: Sequence[Sample]) -> tuple[Counter[str], Buckets]:
    """The kernel's copies and the leases of all `samples` together."""
    copies: Counter[str] = Counter()
    leases: Counter[float] = Counter()
    for sample in samples:
        copies.update(sample.copies)
        leases.update(dict(sample.leases))
    return copies, sorted(leases.items())


def crossings(samples: Sequence[Sample], mode: str = ZEROCOPY) -> list[float]:
    """For each round the size (bytes) from which on `mode` cost less than plain: between the last size at
    which it did not and the next, by a straight line over the logarithm of the size. 0: at every size, inf:
    at none.
    """
    rounds: dict[int, list[tuple[int, float]]] = {}
    for row in rows_of(samples):
        if row.server == mode:
            mine, base = (
                row.by_round(COST),
                {number: getattr(each, COST) for number, each in row.base.items()},
            )
            for number in mine.keys() & base.keys():
                rounds.setdefault(number, []).append((row.samples[0].size, mine[number] / base[number]))
    return [_crossing(ratios) for ratios in rounds.values()]


def _crossing(ratios: list[tuple[int, float]]) -> float:
    dear = [place for place, (_, ratio) in enumerate(ratios) if ratio >= 1]
    if not dear:
        return 0.0
    if dear[-1] == len(ratios) - 1:
        return math.inf
    (low, above), (high, below) = ratios[dear[-1] : dear[-1] + 2]
    return float(low * (high / low) ** ((above - 1) / (above - below)))


def crossover(samples: Sequence[Sample]) -> str:
    """Say from which of the sizes on zero copy was cheaper than plain in every round."""
    rows = [row for row in rows_of(samples) if row.server == ZEROCOPY]
    pays = {row.samples[0].size: found.high < 1 for row in rows if (found := row.ratio(COST))}
    if not pays:
        return "no crossover: needs zerocopy and plain"
    dear = [size for size, cheaper in pays.items() if not cheaper]
    first = next((size for size in pays if size > max(dear, default=0)), None)
    if first is None:
        return f"zero copy does not clearly pay at {size_label(max(pays))}, the largest size measured"
    if not dear:
        return f"zero copy pays from {size_label(first)} on, the smallest size measured"
    found = spread(crossings(samples))
    about = f"; by interpolation from {_about(found.median)} on, in single rounds from {_about(found.low)} to"
    about += f" {_about(found.high)}"
    words = f"zero copy pays from {size_label(first)} on (not in every round at {size_label(max(dear))})"
    return words + about


def _about(size: float) -> str:
    if size == 0:
        return "below the smallest"
    return "above the largest" if size == math.inf else f"{size / KIB:.3g}K"


def goals(rows: Callable[[str], list[Row]], cost: str) -> list[str]:
    """What was wanted of the sizes from 256 KiB on, and what came of it. `rows`: those beside a mode; `cost`:
    the figure of a sample that counts.
    """
    lines = []
    for base, most in GOALS.items():
        for row in rows(base):
            found = row.ratio(cost)
            if row.server == ZEROCOPY and row.samples[0].size >= GOALS_FROM and found:
                state = "met" if found.high <= most else "missed" if found.low > most else "unclear"
                words = f"wanted: at most {most:.2f}x {base} at {row.workload}: {state}, {ratio_words(found)}"
                lines.append(words)
    return lines


def plot_of(samples: Sequence[Sample]) -> Plot:
    """The cost of each mode beside that of plain, over the size, and where zero copy begins to pay."""
    curves: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in rows_of(samples):
        found = row.ratio(COST)
        if found and not row.server.startswith("streamed"):
            point = (row.samples[0].size, found.low, found.median, found.high)
            curves.setdefault(row.server, []).append(point)
    sizes = [size for size in crossings(samples) if 0 < size < math.inf]
    return Plot(
        "CPU time for each byte, beside plain",
        "Lines are medians of the rounds, bands reach from the lowest to the highest.",
        curves=tuple(Curve(name, tuple(points)) for name, points in curves.items() if len(points) > 1),
        band=(min(sizes), max(sizes)) if sizes else None,
        wide=True,
        unit="x plain",
    )


def calls(copies: Mapping[str, int]) -> str:
    """The counted functions of the kernel that copy, in words."""
    return ", ".join(f"{count} calls of {copier}" for copier, count in copies.items())


TEMPLATES.filters["calls"] = calls


def proven(samples: Sequence[Sample]) -> str:
    """Say whether the kernel sent what it was asked to send without copying: by its own account, and because
    none of its functions that copy was called. That counts where it calls few copied.
    """
    group = [each for each in samples if each.mode == ZEROCOPY]
    sent, copied, unknown = (sum(getattr(each, name) for each in group) for name in COUNTS)
    copies, _ = added(group)
    told = f"{sent} of {sent + copied + unknown} zero-copy sends were not copied by the kernel's own account"
    few = copied <= CALLED_COPIED_MAX * (sent + copied)
    clean = sent and few and not unknown and copies and not any(copies.values())
    return f"{'sent without a copy' if clean else 'NOT PROVEN'}: {told}; {calls(copies) or 'nothing counted'}"


def table(samples: Sequence[Sample]) -> Table:
    """One line for each size and mode."""
    lines = []
    beside_nginx = {(row.workload, row.server): row.ratio(COST) for row in rows_of(samples, NGINX)}
    for row in rows_of(samples):
        copies, leases = added(row.samples)
        held = [percentile_bound(leases, percent) for percent in (50, 99)]
        costs = (row.median(f"{clock}_per_gib") for clock in ("worker", "guest", "emulator"))
        lines.append(
            (
                *(row.workload, row.server, *(f"{cost:.2f}" for cost in costs), ratio_words(row.ratio(COST))),
                ratio_words(beside_nginx.get((row.workload, row.server))),
                *(str(row.total(name)) for name in COUNTS),
                str(copies.total()),
                *(duration(bound).replace("beyond the last bucket", "+Inf").strip("-") for bound in held),
            )
        )
    return Table("", HEADINGS, lines, (0, 1))


@dataclass(slots=True)
class Results:
    """A whole run, as it is written to JSON, filled as it goes.

    `controls`: zero-copy sends over routes that must copy, with the same counts as samples, which shows that
    they can count. `routes`: sends of one server in mode auto, by route and way. `paths`: what the doctor in
    the guest said of each way out. `absent`: modes that did not run, and why. `endings`: exit status and last
    words by mode.
    """

    machine: dict[str, str]
    guest: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    controls: list[dict[str, Any]] = field(default_factory=list)
    routes: dict[str, dict[str, int]] = field(default_factory=dict)
    paths: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    endings: dict[str, Any] = field(default_factory=dict)
    cut_short: str = ""


def to_json(results: Results) -> str:
    found = {"crossover": crossover(results.samples), "verdict": proven(results.samples)}
    # JSON has no infinity.
    samples = [
        {**asdict(each), "leases": {f"{bound:g}": count for bound, count in each.leases}}
        for each in results.samples
    ]
    return json.dumps({**asdict(results), "samples": samples, **found}, indent=1) + "\n"


def conclusions(results: Results) -> list[str]:
    """What the run shows, a line for each."""
    return render(
        "vm_conclusions.txt.j2",
        results=results,
        proven=proven(results.samples),
        crossover=crossover(results.samples),
        goals=goals(partial(rows_of, results.samples), COST),
        rows=rows_of(results.samples),
    ).splitlines()


def document(template: str, results: Results) -> str:
    """`results` as a template of bench/templates/ has them."""
    return render(
        template,
        guest=results.guest,
        table=table(results.samples),
        conclusions=conclusions(results),
        method=paragraphs("vm_method.txt.j2"),
        settings={**results.machine, **results.settings},
    )

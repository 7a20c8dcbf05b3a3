"""What crossed the guest's card: samples, their ratios round by round, where zero copy begins to pay."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.stats import Row, make_rows
from benchlib.payload import GIB, size_label
from benchlib.report import TEMPLATES, Table, paragraphs, render
from benchlib.scrape import FALLBACKS, NOTIFICATIONS, Buckets, duration, growth, percentile_bound
from benchlib.spread import ratio_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODES = ZEROCOPY, PLAIN, AUTO = "zerocopy", "plain", "auto"
COUNTS = ("zero_copied", "copied", "unknown")
COST = "emulator_per_gib"
HEADINGS = (
    *("size", "mode", "worker s/GiB", "guest s/GiB", "emulator s/GiB", "vs plain", "zero-copied", "copied"),
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


def rows_of(samples: Sequence[Sample]) -> list[Row]:
    """A row for each size and mode; the baseline of their ratios is plain."""
    return make_rows(sorted(samples, key=lambda each: (each.size, MODES.index(each.mode))), PLAIN)


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
    return f"zero copy pays from {size_label(first)} on (not in every round at {size_label(max(dear))})"


def calls(copies: Mapping[str, int]) -> str:
    """The counted functions of the kernel that copy, in words."""
    return ", ".join(f"{count} calls of {copier}" for copier, count in copies.items())


TEMPLATES.filters["calls"] = calls


def proven(samples: Sequence[Sample]) -> str:
    """Say whether the kernel sent what it was asked to send without copying: by its own account, and because
    none of its functions that copy was called.
    """
    group = [each for each in samples if each.mode == ZEROCOPY]
    sent, copied, unknown = (sum(getattr(each, name) for each in group) for name in COUNTS)
    copies, _ = added(group)
    told = f"{sent} of {sent + copied + unknown} zero-copy sends were not copied by the kernel's own account"
    clean = sent and not copied and not unknown and copies and not any(copies.values())
    return f"{'sent without a copy' if clean else 'NOT PROVEN'}: {told}; {calls(copies) or 'nothing counted'}"


def table(samples: Sequence[Sample]) -> Table:
    """One line for each size and mode."""
    lines = []
    for row in rows_of(samples):
        copies, leases = added(row.samples)
        held = [percentile_bound(leases, percent) for percent in (50, 99)]
        costs = (row.median(f"{clock}_per_gib") for clock in ("worker", "guest", "emulator"))
        lines.append(
            (
                *(row.workload, row.server, *(f"{cost:.2f}" for cost in costs), ratio_words(row.ratio(COST))),
                *(str(row.total(name)) for name in COUNTS),
                str(copies.total()),
                *(duration(bound).replace("beyond the last bucket", "+Inf").strip("-") for bound in held),
            )
        )
    return Table("", HEADINGS, lines, (0, 1))


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run, as it is written to JSON. `controls`: zero-copy sends over routes that must copy, with the
    same counts as samples, which shows that they can count.
    """

    machine: dict[str, str]
    guest: dict[str, Any]
    settings: dict[str, Any]
    samples: list[Sample]
    controls: list[dict[str, Any]]
    endings: dict[str, Any]
    cut_short: str


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

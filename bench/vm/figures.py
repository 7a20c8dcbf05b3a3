"""What crossed the guest's card: samples, their ratios round by round, where zero copy begins to pay."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.stats import ratio_words, spread
from bench.summary import paragraphs
from benchlib.payload import GIB, size_label
from benchlib.report import Table, render
from benchlib.scrape import FALLBACKS, NOTIFICATIONS, Buckets, duration, growth, percentile_bound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODES = ZEROCOPY, PLAIN, AUTO = "zerocopy", "plain", "auto"
COUNTS = ("zero_copied", "copied", "unknown")
HEADINGS = (
    *(
        "size",
        "mode",
        "worker s/GiB",
        "guest s/GiB",
        "emulator s/GiB",
        "vs plain",
        "zero-copied",
        "copied",
        "unknown",
    ),
    *("kernel copies", "lease p50", "lease p99"),
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

    def per_gib(self, seconds: float) -> float:
        return seconds * GIB / self.bytes


def usage(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, int]:
    """How many zero-copy sends ended meanwhile, by what the kernel said, and how many bodies fell back."""
    ended = growth(before, after, NOTIFICATIONS)
    found = {kind: int(ended.get(kind, 0)) for kind in COUNTS}
    return {**found, "fallbacks": int(sum(growth(before, after, FALLBACKS).values()))}


def added(samples: Sequence[Sample]) -> tuple[dict[str, int], Buckets]:
    """The kernel's copies and the leases of all `samples` together."""
    copies: dict[str, int] = {}
    leases: dict[float, float] = {}
    for sample in samples:
        for copier, count in sample.copies.items():
            copies[copier] = copies.get(copier, 0) + count
        for bound, ended in sample.leases:
            leases[bound] = leases.get(bound, 0) + ended
    return copies, sorted(leases.items())


def ratios(samples: Sequence[Sample], mode: str, size: int) -> list[float]:
    """The emulator's seconds per byte of `mode` to those of plain, in every round that has both and in which
    plain cost anything.
    """
    cost = {(each.mode, each.round): each.per_gib(each.emulator_s) for each in samples if each.size == size}
    return [
        cost[mode, number] / cost[PLAIN, number]
        for number in sorted({each.round for each in samples})
        if (mode, number) in cost and cost.get((PLAIN, number), 0.0) > 0
    ]


def crossover(samples: Sequence[Sample]) -> str:
    """Say from which of the sizes on zero copy was cheaper than plain in every round."""
    pays = {}
    for size in sorted({each.size for each in samples}):
        found = ratios(samples, ZEROCOPY, size)
        if found:
            pays[size] = max(found) < 1
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
    by_size = sorted(samples, key=lambda each: (each.size, MODES.index(each.mode)))
    for size, mode in dict.fromkeys((each.size, each.mode) for each in by_size):
        group = [each for each in samples if (each.size, each.mode) == (size, mode)]
        found = ratios(samples, mode, size) if mode != PLAIN else []
        costs = [
            statistics.median(each.per_gib(getattr(each, clock)) for each in group)
            for clock in ("worker_s", "guest_s", "emulator_s")
        ]
        copies, leases = added(group)
        counts = [sum(getattr(each, name) for each in group) for name in COUNTS]
        held = [percentile_bound(leases, percent) for percent in (50, 99)]
        lines.append(
            (
                *(size_label(size), mode, *(f"{cost:.2f}" for cost in costs)),
                ratio_words(spread(found) if found else None),
                *(str(count) for count in (*counts, sum(copies.values()))),
                *(
                    "" if bound is None else "+Inf" if math.isinf(bound) else duration(bound)
                    for bound in held
                ),
            )
        )
    return Table("", HEADINGS, tuple(lines), (0, 1))


@dataclass(frozen=True, slots=True)
class Control:
    """Zero-copy sends over a route that must copy: the same counts, which show that they can count."""

    route: str
    zero_copied: int
    copied: int
    unknown: int
    copies: dict[str, int]


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run, as it is written to JSON."""

    machine: dict[str, str]
    guest: dict[str, Any]
    settings: dict[str, Any]
    samples: list[Sample]
    controls: list[Control]
    endings: dict[str, Any]
    cut_short: str


def to_json(results: Results) -> str:
    fields = dataclasses.asdict(results)
    fields["crossover"] = crossover(results.samples)
    fields["verdict"] = proven(results.samples)
    return json.dumps(fields, indent=1) + "\n"


def conclusions(results: Results) -> list[str]:
    """What the run shows, a line for each."""
    lines = [proven(results.samples)]
    for control in results.controls:
        lines.append(
            f"control, {control.route}: {control.zero_copied} not copied, {control.copied} copied, "
            f"{control.unknown} unknown; {calls(control.copies)}"
        )
    lines.append(crossover(results.samples))
    for size in sorted({each.size for each in results.samples}):
        found = ratios(results.samples, ZEROCOPY, size)
        if found:
            lines.append(f"zero copy costs {statistics.median(found):.2f}x plain at {size_label(size)}")
    for name, last in results.endings.items():
        if last["status"] != 0:
            lines.append(f"{name} ended with status {last['status']} on SIGTERM; its log:\n{last['log']}")
    if results.cut_short:
        lines.append(f"INCOMPLETE: {results.cut_short}")
    return lines


def _about(results: Results) -> list[str]:
    cards = ", ".join(
        f"{card['driver']} at {card['address']} ({'gathers' if card['gathers'] else 'does not gather'}, "
        f"{'segments' if card['segments'] else 'does not segment'})"
        for card in results.guest["cards"]
    )
    copy_by = ", ".join(results.guest["copy_by"]) or "a loop"
    return [f"guest: Linux {results.guest['kernel']}, copies by {copy_by}", f"cards: {cards}"]


def document(template: str, results: Results) -> str:
    """`results` as a template of bench/templates/ has them."""
    return render(
        template,
        table=table(results.samples),
        conclusions=conclusions(results),
        about=_about(results),
        method=paragraphs("vm_method.txt.j2"),
        settings={**results.machine, **results.settings},
    )

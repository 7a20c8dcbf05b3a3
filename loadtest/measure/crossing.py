"""What crossed the guest's card: samples, their ratios round by round, where zero copy begins to pay."""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from measure.payload import size_label
from measure.report import align

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GIB = 2**30
ZEROCOPY, PLAIN = "zerocopy", "plain"
MODES = (ZEROCOPY, PLAIN, "auto")
COUNTS = ("zero_copied", "copied", "unknown")
NOTIFICATIONS = 'zchttpd_zerocopy_notifications_total{{usage="{}"}}'
FALLBACKS = "zchttpd_zerocopy_fallbacks_total"
BUCKET = re.compile(r'zchttpd_lease_seconds_bucket\{le="([^"]+)"\}')
HEADINGS = (
    "size",
    "mode",
    "worker s/GiB",
    "guest s/GiB",
    "emulator s/GiB",
    "vs plain",
    "zero-copied",
    "copied",
    "unknown",
    "kernel copies",
    "lease p50",
    "lease p99",
)
LEFT = (0, 1)
METHOD = (
    "A guest with a virtio card, emulated by QEMU without KVM; the client is this machine. Every body was "
    "checked by SHA-256. Figures are medians of the rounds; in each round the modes follow one another.",
    '"worker": CPU time of the server\'s worker by the guest\'s clock. "guest": everything the guest\'s '
    'processors did but idle (/proc/stat). "emulator": CPU time that this machine spent on emulating them, '
    'which others on this machine distort least; "vs plain" is its ratio to plain in the same round, median '
    "[lowest to highest]. An emulated processor's seconds say nothing; the ratio does, and only roughly: "
    "emulated copying goes 8 bytes at a time (--copy-by words: next to all else it looks cheaper than on a "
    "processor) or byte by byte (--copy-by bytes: it looks far dearer).",
    '"zero-copied", "copied", "unknown": what the kernel said at the end of each zero-copy send '
    "(IORING_SEND_ZC_REPORT_USAGE); it does not tell of the copy made for a card that does not gather. So "
    '"kernel copies" is how often kprobes saw one of the functions that copy called in the guest\'s kernel, '
    "by anybody.",
    '"lease": how long the kernel held the memory, upper bounds of the histogram\'s buckets.',
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One mode at one size in one round. `leases`: upper bound in s ("+Inf" last) -> not cumulative."""

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
    leases: dict[str, int] = field(default_factory=dict)

    def per_gib(self, seconds: float) -> float:
        return seconds * GIB / self.bytes


def usage(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, int]:
    """How many zero-copy sends ended meanwhile, by what the kernel said, and how many bodies fell back."""

    def grown(name: str) -> int:
        return int(after.get(name, 0) - before.get(name, 0))

    found = {kind: grown(NOTIFICATIONS.format(kind)) for kind in ("zero_copied", "copied", "unknown")}
    found["fallbacks"] = sum(grown(name) for name in after if name.startswith(FALLBACKS))
    return found


def leases(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, int]:
    """The lease histogram of what happened meanwhile, bucket by bucket, from cumulative buckets."""
    found: dict[str, int] = {}
    below = 0
    for name, count in after.items():
        match = BUCKET.fullmatch(name)
        if match:
            grown = int(count - before.get(name, 0))
            found[match[1]] = grown - below
            below = grown
    return found


def quantile(histogram: Mapping[str, int], share: float) -> str:
    """The upper bound in s of the bucket in which `share` of the leases is reached; "" without leases."""
    wanted, seen = sum(histogram.values()) * share, 0
    for bound, count in histogram.items():
        seen += count
        if count and seen >= wanted:
            return bound
    return ""


def added(histograms: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Histograms of the same buckets as one."""
    total: dict[str, int] = {}
    for histogram in histograms:
        for bound, count in histogram.items():
            total[bound] = total.get(bound, 0) + count
    return total


def ratios(samples: Sequence[Sample], mode: str, size: int, cost: Callable[[Sample], float]) -> list[float]:
    """`mode` to plain, per byte, in every round that has both and in which plain cost anything."""
    of = {(each.mode, each.round): each.per_gib(cost(each)) for each in samples if each.size == size}
    rounds = sorted({each.round for each in samples})
    return [
        of[mode, number] / of[PLAIN, number]
        for number in rounds
        if (mode, number) in of and of.get((PLAIN, number), 0.0) > 0
    ]


def emulator_s(sample: Sample) -> float:
    return sample.emulator_s


def crossover(samples: Sequence[Sample]) -> str:
    """Say from which of the sizes on zero copy was cheaper than plain in every round."""
    pays = {}
    for size in sorted({each.size for each in samples}):
        found = ratios(samples, ZEROCOPY, size, emulator_s)
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
    copies = added([each.copies for each in group])
    told = f"{sent} of {sent + copied + unknown} zero-copy sends were not copied by the kernel's own account"
    clean = sent and not copied and not unknown and copies and not any(copies.values())
    return f"{'sent without a copy' if clean else 'NOT PROVEN'}: {told}; {calls(copies) or 'nothing counted'}"


def _time(bound: str) -> str:
    if bound in ("", "+Inf"):
        return bound
    seconds = float(bound)
    return f"{seconds * 1e3:g} ms" if seconds >= 0.001 else f"{seconds * 1e6:g} us"


def rows(samples: Sequence[Sample]) -> list[tuple[str, ...]]:
    """One line for each size and mode, as text."""
    lines = []
    by_size = sorted(samples, key=lambda each: (each.size, MODES.index(each.mode)))
    for size, mode in dict.fromkeys((each.size, each.mode) for each in by_size):
        group = [each for each in samples if (each.size, each.mode) == (size, mode)]
        found = ratios(samples, mode, size, emulator_s) if mode != PLAIN else []
        ratio = f"{statistics.median(found):.2f} [{min(found):.2f} to {max(found):.2f}]" if found else ""
        costs = [
            statistics.median(each.per_gib(getattr(each, clock)) for each in group)
            for clock in ("worker_s", "guest_s", "emulator_s")
        ]
        held = added([each.leases for each in group])
        counts = [str(sum(getattr(each, name) for each in group)) for name in COUNTS]
        counts.append(str(sum(added([each.copies for each in group]).values())))
        lines.append(
            (
                size_label(size),
                mode,
                *(f"{cost:.2f}" for cost in costs),
                ratio,
                *counts,
                _time(quantile(held, 0.5)),
                _time(quantile(held, 0.99)),
            )
        )
    return lines


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
        found = ratios(results.samples, ZEROCOPY, size, emulator_s)
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


def terminal(results: Results) -> str:
    """The report for a terminal."""
    table = align(HEADINGS, rows(results.samples), LEFT)
    return "\n".join([*_about(results), "", table, "", *conclusions(results), "", *METHOD])


def markdown(results: Results) -> str:
    """The report for a document."""
    marks = "|".join("---" if column in LEFT else "--:" for column in range(len(HEADINGS)))
    table = ["| " + " | ".join(line) + " |" for line in rows(results.samples)]
    lines = ["| " + " | ".join(HEADINGS) + " |", f"|{marks}|", *table, ""]
    lines += [f"- {line}" for line in [*conclusions(results), *_about(results)]]
    lines += ["", "\n\n".join(METHOD), ""]
    lines += ["<details><summary>Machine and settings</summary>", ""]
    lines += [f"- {name}: {text}" for name, text in [*results.machine.items(), *results.settings.items()]]
    return "\n".join([*lines, "", "</details>", ""])

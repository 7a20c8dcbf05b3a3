"""What it cost to send, beside plain sends and nginx: samples, a table, and what follows from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bench.stats import QUIET_SHARE, make_rows
from bench.vm.figures import COUNTS, goals
from bench.vm.modes import NGINX, PLAIN
from benchlib.payload import GIB, size_label
from benchlib.report import Table, paragraphs, render
from benchlib.spread import ratio_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.stats import Row

COST = "core_per_gib"
# See CALLED_COPIED_MAX; nothing else tells here.
COPIED_PART_MAX = 0.01
HEADINGS = (
    *("size", "files", "mode", "worker ms/GiB", "core ms/GiB", "vs plain", "vs nginx"),
    *("zero-copied", "copied", "unknown"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One mode at one size in one round. `files`: "one", or "many" that a processor's caches do not hold.

    `worker_s`: CPU time of the server; `core_s`: for how long its core was not idle, packets that came and
    went, and whatever else ran there, with it; `others_s`: of that what neither the server nor the kernel's
    thread for packets used.
    """

    server: str
    size: int
    files: str
    round: int
    answers: int
    bytes: int
    packets: int
    worker_s: float
    core_s: float
    others_s: float
    zero_copied: int
    copied: int
    unknown: int

    # As rows call it.
    workload = property(lambda self: f"{size_label(self.size)} {self.files}")
    worker_per_gib = property(lambda self: self.worker_s * 1000 * GIB / self.bytes)
    core_per_gib = property(lambda self: self.core_s * 1000 * GIB / self.bytes)
    disturbed_share = property(lambda self: self.others_s / self.core_s)


def table(samples: Sequence[Sample]) -> Table:
    """One line for each size, files and mode."""
    beside_nginx = {(row.workload, row.server): row.ratio(COST) for row in make_rows(samples, NGINX)}
    lines = [
        (
            *(*row.workload.split(), row.server),
            *(f"{row.median('worker_per_gib'):.0f}", f"{row.median(COST):.0f}"),
            ratio_words(row.ratio(COST)),
            ratio_words(beside_nginx.get((row.workload, row.server))),
            *(str(row.total(name)) for name in COUNTS),
        )
        for row in make_rows(samples, PLAIN)
    ]
    return Table("", HEADINGS, lines, (0, 1, 2))


@dataclass(slots=True)
class Results:
    """A whole run, as it is written to JSON, filled as it goes. `absent`: modes that did not run, and why."""

    machine: dict[str, str]
    settings: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    cut_short: str = ""

    @property
    def sent(self) -> int:
        """How many zero-copy sends were not copied."""
        return sum(sample.zero_copied for sample in self.samples)

    @property
    def copied(self) -> int:
        """How many were, or are not known not to be."""
        return sum(sample.copied + sample.unknown for sample in self.samples)

    @property
    def clean(self) -> bool:
        """Whether there is something to tell, and next to nothing was copied."""
        return bool(self.samples) and self.copied <= COPIED_PART_MAX * (self.sent + self.copied)

    def json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def _disturbed(row: Row) -> str:
    share = row.median("disturbed_share")
    words = f"{row.server} at {row.workload}: {share:.0%} of the core's time was others'"
    return words if share > QUIET_SHARE else ""


def conclusions(results: Results) -> list[str]:
    """What the run shows, a line for each."""
    samples, every = results.samples, results.sent + results.copied
    lines = [f"{results.sent} of {every} zero-copy sends were not copied by the kernel's own account"]
    lines += goals(lambda base: make_rows(samples, base), COST)
    lines += filter(None, map(_disturbed, make_rows(samples, PLAIN)))
    lines += [f"without {name}: {words}" for name, words in results.absent.items()]
    return [*lines, f"INCOMPLETE: {results.cut_short}"] if results.cut_short else lines


def document(template: str, results: Results) -> str:
    """`results` as a template of bench/templates/ has them."""
    return render(
        template,
        table=table(results.samples),
        conclusions=conclusions(results),
        method=paragraphs("sink_method.txt.j2"),
        settings={**results.machine, **results.settings},
    )

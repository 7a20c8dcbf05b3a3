"""What a run shows: what the kernel did, and whether a mode costs less than plain. Pure; the words are in
templates/verdict.txt.j2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from benchlib.report import paragraphs
from benchlib.spread import Spread, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtest._samples import Results, Side

# The server's own rule for giving zero copy up, and its mirror image.
COPIES_SHARE_MIN, ZERO_COPY_SHARE_MAX = 0.9, 0.1
# Parts that are all nearer to 1 than this are the same.
SAME = 0.03
# That all of six parts lie on one side of 1 by chance happens once in 32 runs; of five, once in 16.
PARTS_MIN = 6
# So long must a run be for six parts of two seconds, with servers that are read once a second.
SECONDS_MIN = 15
ZEROCOPY, PLAIN = "zerocopy", "plain"
Tone = Literal["good", "bad", "note"]
Path = Literal["copies", "zero copy", "mixed", "unknown"]
Judgement = Literal["less", "more", "same", "unclear", "too short"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence or two, and whether it is good news, bad news or neither."""

    tone: Tone
    words: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """CPU per response (us) of a mode and of plain, and their `ratio` in the parts of the run."""

    mode: str
    judged: Judgement
    ours_us: float
    plain_us: float
    parts: int
    ratio: Spread


def path_of(side: Side) -> Path:
    """What the kernel did with the zero-copy sends of one server."""
    if side.copied_share is None:
        return "unknown"
    if side.copied_share >= COPIES_SHARE_MIN:
        return "copies"
    return "zero copy" if side.copied_share <= ZERO_COPY_SHARE_MAX else "mixed"


def judge(ratios: Sequence[float], whole: float) -> Judgement:
    """Judge CPU per response against plain: `ratios` of the parts of a run, `whole` of all of it.

    A difference must be larger than the spread: every part on the same side of 1, the whole run too, and the
    median further from 1 than half of the range of the parts (what one writes behind a plus-minus sign).
    """
    if len(ratios) < PARTS_MIN:
        return "too short"
    found = spread(ratios)
    if max(abs(found.low - 1), abs(found.high - 1), abs(whole - 1)) <= SAME:
        return "same"
    if abs(found.median - 1) <= (found.high - found.low) / 2:
        return "unclear"
    if found.low > 1 and whole > 1:
        return "more"
    return "less" if found.high < 1 and whole < 1 else "unclear"


def compare(results: Results, mode: str) -> Comparison | None:
    """None where one of the two servers could not be read or answered nothing."""
    ours, base = results.side(mode), results.side(PLAIN)
    if ours is None or base is None or ours.cpu_us_per_request is None or not base.cpu_us_per_request:
        return None
    ratios = results.ratios.get(mode, ())
    costs = ours.cpu_us_per_request, base.cpu_us_per_request
    return Comparison(mode, judge(ratios, costs[0] / costs[1]), *costs, len(ratios), spread(ratios or (1.0,)))


def findings(results: Results) -> tuple[Finding, ...]:
    """The verdict, most important first."""
    asking = next((side for side in results.sides if side.mode == ZEROCOPY or side.sends.get(ZEROCOPY)), None)
    comparison = compare(results, asking.mode) if asking else None
    modes = (side.mode for side in results.sides if side.mode != PLAIN)
    found = paragraphs(
        "verdict.txt.j2",
        results=results,
        asking=asking,
        path=path_of(asking) if asking else None,
        comparisons=[each for mode in modes if (each := compare(results, mode))],
        judged=comparison and comparison.judged,
        unread=[mode for mode in results.modes if results.side(mode) is None],
        parts_min=PARTS_MIN,
        seconds_min=SECONDS_MIN,
    )
    return tuple(
        Finding(cast("Tone", tone), words) for tone, _, words in (each.partition(": ") for each in found)
    )

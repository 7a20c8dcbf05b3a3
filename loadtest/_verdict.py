"""What a run shows, in words. Pure: every sentence follows from the figures it quotes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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
REAL_NETWORK = (
    "To learn whether zero copy pays, ask over a network card, from a second machine. On the one that "
    "serves: locust -f loadtest/ --write-tree DIR, then zchttpd twice with --root DIR, once --send-mode "
    "zerocopy and once --send-mode plain, each with --host, --port and --admin. On the other: locust -f "
    "loadtest/ --targets zerocopy=HOST:PORT/HOST:ADMINPORT,plain=HOST:PORT/HOST:ADMINPORT"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence or two, and whether it is good news, bad news or neither."""

    tone: Tone
    words: str


def path_of(side: Side) -> Path:
    """What the kernel did with the zero-copy sends of one server."""
    if side.copied_share is None:
        return "unknown"
    if side.copied_share >= COPIES_SHARE_MIN:
        return "copies"
    return "zero copy" if side.copied_share <= ZERO_COPY_SHARE_MAX else "mixed"


def compare(ratios: Sequence[float], whole: float) -> Judgement:
    """Judge CPU per response against plain: `ratios` of the parts of a run, `whole` of all of it.

    A difference must be larger than the spread: every part on the same side of 1, the whole run too, and the
    median further from 1 than half of the range of the parts (what one writes behind a plus-minus sign).
    """
    if len(ratios) < PARTS_MIN:
        return "too short"
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    if max(abs(low - 1), abs(high - 1), abs(whole - 1)) <= SAME:
        return "same"
    if abs(median - 1) <= (high - low) / 2:
        return "unclear"
    if low > 1 and whole > 1:
        return "more"
    return "less" if high < 1 and whole < 1 else "unclear"


def judge(results: Results, mode: str) -> Judgement | None:
    """`compare` for one mode of a run; None where one of the two servers could not be read or answered
    nothing.
    """
    ours, base = results.side(mode), results.side(PLAIN)
    if ours is None or base is None or ours.cpu_us_per_request is None or not base.cpu_us_per_request:
        return None
    return compare(results.ratios.get(mode, ()), ours.cpu_us_per_request / base.cpu_us_per_request)


def _correctness(results: Results) -> Finding:
    gib = results.body_bytes / 2**30
    if not results.requests:
        return Finding(
            "bad", "No response was checked: the run ended before any user had asked for anything."
        )
    if results.failures:
        return Finding(
            "bad",
            f"{results.failures:,} of {results.requests:,} responses were wrong or failed; the list is "
            "below. Nothing else in this report counts before that is explained.",
        )
    return Finding(
        "good",
        f"All {results.requests:,} responses ({gib:.2f} GiB) had the right status, length and SHA-256.",
    )


def _missing(results: Results, why: str) -> Finding:
    modes = " and ".join(mode for mode, said in results.missing.items() if said == why)
    return Finding("bad", f"Not compared, because it cannot run here: {modes}. The server says: {why}")


def _path(side: Side) -> Finding:
    copied, arrived = side.delivered.get("copied", 0), sum(side.delivered.values())
    if path_of(side) == "copies":
        return Finding(
            "note",
            f"This path copies: the kernel reported {copied:,.0f} of {arrived:,.0f} zero-copy sends that "
            "were delivered as copied after all, as it does on loopback. Zero copy can only cost here.",
        )
    if path_of(side) == "zero copy":
        return Finding(
            "good",
            f"This path is really zero copy: the kernel copied {copied:,.0f} of {arrived:,.0f} zero-copy "
            "sends that were delivered.",
        )
    if path_of(side) == "mixed":
        return Finding(
            "note",
            f"The kernel copied {side.copied_share or 0:.0%} of {arrived:,.0f} zero-copy sends that were "
            "delivered: clients came by paths of different kinds, so the cost below is of a mixture.",
        )
    sent = side.sends.get("zerocopy", 0)
    reasons = ", ".join(f"{reason} {count:,.0f}" for reason, count in side.fallbacks.items())
    why = f" Bodies that were copied instead, by reason: {reasons}." if reasons else ""
    unsaid = side.notifications.get("unknown", 0)
    if sent and unsaid:
        return Finding(
            "note",
            f"{sent:,.0f} zero-copy sends, but this kernel does not say whether it copied them: the cost "
            f"below is measured, its cause is not.{why}",
        )
    return Finding(
        "note", f"No zero-copy send ended in this run ({sent:,.0f} were made), so none is judged.{why}"
    )


def _short_of(results: Results, parts: int) -> str:
    """What a run lacked to be judged."""
    needed = f"telling a difference from noise takes {PARTS_MIN} parts of the run, and this one has {parts}"
    if results.seconds < SECONDS_MIN:
        return f"{needed}, as it took {results.seconds:.0f} s. Run for {SECONDS_MIN} s or more."
    return (
        f"{needed} in which both servers answered and were read, although it took {results.seconds:.0f} s: "
        "the machine was too busy. Use fewer users."
    )


def _cost(results: Results, mode: str) -> Finding | None:
    judged = judge(results, mode)
    ours, base = results.side(mode), results.side(PLAIN)
    if judged is None or ours is None or base is None:
        return None
    ratios = results.ratios.get(mode, ())
    figures = (
        f"{ours.cpu_us_per_request:.0f} us of server CPU per response of this mix in {mode} mode, "
        f"{base.cpu_us_per_request:.0f} us in plain mode"
    )
    if judged == "too short":
        return Finding("note", f"{figures}; {_short_of(results, len(ratios))}")
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    spread = f"{median:.2f}x in the median of {len(ratios)} parts of the run, {low:.2f}x to {high:.2f}x"
    if judged == "unclear":
        return Finding(
            "note",
            f"{mode} and plain: no difference shown. {figures} ({spread}): the parts of the run differ by "
            "more than the two modes do. Run longer, or on a machine with less else to do.",
        )
    if judged == "same":
        return Finding("note", f"{mode} and plain cost the same: {figures} ({spread}).")
    if judged == "less":
        return Finding("good", f"{mode} costs less: {figures} ({spread}).")
    return Finding("bad", f"{mode} costs more: {figures} ({spread}).")


def _conclusion(results: Results, side: Side) -> Finding:
    judged, path = judge(results, side.mode), path_of(side)
    if path == "copies":
        moved = (
            "That zerocopy still costs the server less is no gain: the kernel makes the copy when the "
            "receiver reads, and charges it to the client. "
            if judged == "less"
            else ""
        )
        return Finding(
            "note",
            f"{moved}So here serve with --send-mode auto, which notices that the kernel copies and stops "
            f"asking for zero copy. {REAL_NETWORK}.",
        )
    if path != "zero copy":
        return Finding("note", f"So this run says nothing about what zero copy is worth. {REAL_NETWORK}.")
    words = {
        "less": "So zero copy pays here, for this mix of requests: serve with --send-mode auto or zerocopy.",
        "more": "So zero copy does not pay here, for this mix of requests, although nothing is copied: "
        "larger bodies may tell otherwise; try --zc-size-min.",
        None: f"What that saves, only a plain server beside it can tell. {REAL_NETWORK}.",
    }
    return Finding("note", words.get(judged, "So this run shows no gain and no loss by zero copy."))


def _client(results: Results) -> Finding:
    cost = results.client
    if not results.requests:
        return Finding("note", f"The load client used {cost.cpu_s:.1f} s of CPU.")
    each = cost.cpu_s * 1e6 / results.requests
    words = (
        f"The load client used {each:,.0f} us of its own CPU for each checked response, SHA-256 included "
        f"({cost.cpu_s:.1f} s in {cost.processes} process{'es' if cost.processes != 1 else ''}); its busiest "
        f"process was at {cost.busiest_share:.0%} of a core"
    )
    if cost.saturated:
        return Finding(
            "bad",
            f"{words}. That is the limit of what it can do: response times below are its own as much as the "
            "servers'. Use fewer users, or more processes: --processes N. CPU per GiB and per response stay "
            "the servers' own.",
        )
    return Finding("note", f"{words}, so it did not limit the run.")


def findings(results: Results) -> tuple[Finding, ...]:
    """The verdict, most important first."""
    found = [_correctness(results)]
    found += [_missing(results, why) for why in dict.fromkeys(results.missing.values())]
    asking = next((side for side in results.sides if side.mode == ZEROCOPY or side.sends.get(ZEROCOPY)), None)
    if asking is not None:
        found.append(_path(asking))
    costs = [_cost(results, side.mode) for side in results.sides if side.mode != PLAIN]
    found += [cost for cost in costs if cost is not None]
    if asking is not None and results.requests:
        found.append(_conclusion(results, asking))
    unread = [mode for mode in results.modes if results.side(mode) is None]
    if unread:
        found.append(
            Finding(
                "note",
                f"Nothing is known of the servers' own side of {', '.join(unread)}: start zchttpd with "
                "--admin H:P and name it here: --target-admin H:P beside --host, or --targets "
                "NAME=HOST:PORT/ADMINHOST:ADMINPORT",
            )
        )
    found.append(_client(results))
    return tuple(found)

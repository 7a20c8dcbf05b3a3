"""Which plots a run has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchlib.plots import Group, Line, Plot

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest._samples import Results, Slice


def _per_mode(results: Results, figure: Callable[[Slice], float]) -> tuple[Line, ...]:
    """A line for each server that was read at least twice."""
    lines = (
        Line(mode, tuple((part.at_s, figure(part)) for part in parts))
        for mode, parts in results.slices.items()
    )
    return tuple(line for line in lines if len(line.points) > 1)


def _scenes(results: Results, figure: str) -> tuple[Group, ...]:
    return tuple(
        Group(name, tuple((each.mode, getattr(each, figure)) for each in results.scenes if each.name == name))
        for name in dict.fromkeys(scene.name for scene in results.scenes)
    )


def _leases(results: Results) -> tuple[Group, ...]:
    """In ms; a percentile beyond the last bucket has no height to draw."""
    groups = []
    for percent in ("50", "90", "99"):
        bounds = [(side.mode, side.lease_s.get(percent, math.inf) * 1000) for side in results.sides]
        bars = tuple(bar for bar in bounds if math.isfinite(bar[1]))
        groups += [Group(f"{percent}% done within", bars)] if bars else []
    return tuple(groups)


def _costs(results: Results) -> tuple[Plot, ...]:
    costs = tuple((each.mode, each.cpu_s_per_gib) for each in results.sides if each.cpu_s_per_gib is not None)
    parts = (Group(mode, tuple((mode, each) for each in found)) for mode, found in results.ratios.items())
    return (
        Plot(
            "CPU per response, relative to plain mode",
            "A dot for each part of the run, a stroke at their median. A row of dots on both sides of 1 "
            "shows no difference.",
            groups=tuple(group for group in parts if group.bars),
            spread=True,
            unit="left of 1: cheaper than plain; right: dearer",
        ),
        Plot(
            "Server CPU seconds for each GiB sent",
            "Lower is better. Of bytes given to the kernel, also those that aborting clients never took.",
            groups=(Group("", costs),) if costs else (),
            unit="s per GiB",
        ),
        Plot(
            "Median time of a whole answer, ms",
            "As the user saw it, from the request to the last byte checked; logarithmic axis. A slow "
            "reader takes as long as it wants to.",
            groups=_scenes(results, "p50_ms"),
            logarithmic=True,
            wide=True,
            unit="ms",
        ),
        Plot(
            "99th percentile of a whole answer, ms",
            "Users wait for one answer before they ask again, so this hides what an open crowd would suffer.",
            groups=_scenes(results, "p99_ms"),
            logarithmic=True,
            wide=True,
            unit="ms",
        ),
    )


def plots_of(results: Results) -> tuple[Plot, ...]:
    """Those plots that have something to show."""
    users = tuple((each.at_s, float(each.users)) for each in results.moments)
    courses = (
        Plot(
            "Server CPU, % of one core",
            "Of each server's workers, user and system. All share one core when they were started here.",
            lines=_per_mode(results, lambda part: part.cpu_share * 100),
            unit="%",
        ),
        Plot(
            "Sent by each server, MiB/s",
            "Heads and bodies given to the kernel.",
            lines=_per_mode(results, lambda part: part.bytes_per_s / 2**20),
            unit="MiB/s",
        ),
        Plot(
            "Users",
            "Whom locust kept busy.",
            lines=(Line("users", users),) if len(users) > 1 else (),
            unit="users",
        ),
        Plot(
            "Answers per second, by server",
            "Every server is asked the same, so these lines lie on each other.",
            lines=_per_mode(results, lambda part: part.requests_per_s),
            unit="answers/s",
        ),
        Plot(
            "How long the kernel held the memory of a zero-copy send, ms",
            "Upper bounds of the histogram's buckets, at most the whole run. Slow readers hold it for as "
            "long as they read.",
            groups=_leases(results),
            logarithmic=True,
            unit="ms",
        ),
        Plot(
            "Memory of each server, MiB",
            "Proportional set size of all its processes. The cached files are in it.",
            lines=_per_mode(results, lambda part: part.resident / 2**20),
            unit="MiB",
        ),
    )
    return tuple(plot for plot in (*_costs(results), *courses) if plot.lines or plot.groups)

"""Which plots a run has: the same lines and bars for the SVG of the page and for the PNG."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchlib.plots import Group, Line, Plot

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest._samples import Results, Scene, Slice


def _per_mode(results: Results, figure: Callable[[Slice], float | None]) -> tuple[Line, ...]:
    lines = []
    for mode, parts in results.slices.items():
        values = [(part.at_s, figure(part)) for part in parts]
        points = tuple((at_s, value) for at_s, value in values if value is not None)
        if points:
            lines.append(Line(mode, points))
    return tuple(lines)


def _scenes(results: Results, figure: Callable[[Scene], float]) -> tuple[Group, ...]:
    groups = []
    for name in results.scene_names():
        scenes = [scene for mode in results.modes if (scene := results.scene(mode, name)) is not None]
        groups.append(Group(name, tuple((scene.mode, figure(scene)) for scene in scenes)))
    return tuple(groups)


def _cost(results: Results) -> tuple[Group, ...]:
    bars = tuple((side.mode, side.cpu_s_per_gib) for side in results.sides if side.cpu_s_per_gib is not None)
    return (Group("", bars),) if bars else ()


def _parts(results: Results) -> tuple[Group, ...]:
    return tuple(
        Group(mode, tuple((mode, ratio) for ratio in each)) for mode, each in results.ratios.items() if each
    )


def _lease_bars(results: Results, percent: str) -> tuple[tuple[str, float], ...]:
    """In ms; a percentile beyond the last bucket has no height to draw."""
    bounds = [(side.mode, side.lease_s.get(percent, math.inf)) for side in results.sides]
    return tuple((mode, bound * 1000) for mode, bound in bounds if math.isfinite(bound))


def _costs(results: Results) -> tuple[Plot, ...]:
    return (
        Plot(
            "CPU per response, relative to plain mode",
            "A dot for each part of the run, a stroke at their median. A row of dots on both sides of 1 "
            "shows no difference.",
            groups=_parts(results),
            spread=True,
            unit="left of 1: cheaper than plain; right: dearer",
        ),
        Plot(
            "Server CPU seconds for each GiB sent",
            "Lower is better. Of bytes given to the kernel, also those that aborting clients never took.",
            groups=_cost(results),
            unit="s per GiB",
        ),
    )


def _times(results: Results) -> tuple[Plot, ...]:
    return (
        Plot(
            "Median time of a whole answer, ms",
            "As the user saw it, from the request to the last byte checked; logarithmic axis. A slow "
            "reader takes as long as it wants to.",
            groups=_scenes(results, lambda scene: scene.p50_ms),
            logarithmic=True,
            wide=True,
            unit="ms",
        ),
        Plot(
            "99th percentile of a whole answer, ms",
            "Users wait for one answer before they ask again, so this hides what an open crowd would suffer.",
            groups=_scenes(results, lambda scene: scene.p99_ms),
            logarithmic=True,
            wide=True,
            unit="ms",
        ),
    )


def _courses(results: Results) -> tuple[Plot, ...]:
    leases = tuple(
        Group(f"{percent}% done within", _lease_bars(results, percent)) for percent in ("50", "90", "99")
    )
    return (
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
            lines=(Line("users", tuple((each.at_s, float(each.users)) for each in results.moments)),),
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
            groups=tuple(group for group in leases if group.bars),
            logarithmic=True,
            unit="ms",
        ),
        Plot(
            "Memory of each server, MiB",
            "Proportional set size of all its processes. With io_uring the cached files are in it; the "
            "portable engine's are in memory files, which are not.",
            lines=_per_mode(results, lambda part: part.resident / 2**20),
            unit="MiB",
        ),
    )


def plots_of(results: Results) -> tuple[Plot, ...]:
    """Those plots that have something to show."""
    found = (*_costs(results), *_times(results), *_courses(results))
    return tuple(plot for plot in found if any(len(line.points) > 1 for line in plot.lines) or plot.groups)

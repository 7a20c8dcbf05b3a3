"""The plots as one PNG, for those who paste it somewhere; needs matplotlib (the `loadtest` extra)."""

from __future__ import annotations

import logging
import math
import statistics
from typing import TYPE_CHECKING

from benchlib.charts import axis_around_one, colour, number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchlib.charts import Plot

COLUMNS = 2
INCHES = (13.0, 3.4)
FIGURES_MAX = 12


def write_picture(plots: Sequence[Plot], path: Path, title: str = "") -> None:
    """Raises ImportError without matplotlib, OSError when `path` cannot be written."""
    # It tells every new user that it lists the fonts.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    from matplotlib.figure import Figure

    places = _places(plots)
    rows = max(1, *(row + 1 for row, _ in places)) if places else 1
    figure = Figure(figsize=(INCHES[0], INCHES[1] * rows), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    grid = figure.add_gridspec(rows, COLUMNS)
    for plot, (row, column) in zip(plots, places, strict=True):
        _draw(figure.add_subplot(grid[row, :] if plot.wide else grid[row, column]), plot)
    figure.savefig(path, format="png", dpi=110)


def _places(plots: Sequence[Plot]) -> list[tuple[int, int]]:
    """(row, column) of each plot; a wide one has a row to itself."""
    found, row, column = [], 0, 0
    for plot in plots:
        if plot.wide and column:
            row, column = row + 1, 0
        found.append((row, column))
        if plot.wide or column == COLUMNS - 1:
            row, column = row + 1, 0
        else:
            column += 1
    return found


def _draw(axes: Axes, plot: Plot) -> None:
    axes.set_title(plot.title, fontsize=10, loc="left", pad=20 if not plot.spread else 6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    if plot.spread:
        _draw_spread(axes, plot)
        return
    axes.grid(axis="y", color="#dddddd")
    axes.set_ylabel(plot.unit, fontsize=8)
    names = [line.name for line in plot.lines]
    for line in plot.lines:
        xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
        axes.plot(xs, ys, label=line.name, color=colour(line.name, names))
    if plot.lines:
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds since the start", fontsize=8)
    if plot.groups:
        names = _draw_bars(axes, plot)
    if len(names) > 1:
        axes.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names), frameon=False)


def _draw_spread(axes: Axes, plot: Plot) -> None:
    names = [group.bars[0][0] for group in plot.groups]
    for row, group in enumerate(plot.groups):
        values = [value for _, value in group.bars]
        fill = colour(group.bars[0][0], names)
        axes.scatter(values, [row] * len(values), color=fill, alpha=0.6, linewidths=0)
        axes.plot([statistics.median(values)] * 2, [row - 0.25, row + 0.25], color=fill, linewidth=3)
    axes.axvline(1, color="black", linewidth=1)
    axes.grid(axis="x", color="#dddddd")
    axes.set_xlim(*axis_around_one([value for group in plot.groups for _, value in group.bars]))
    axes.set_ylim(len(plot.groups) - 0.5, -0.5)
    axes.set_yticks(range(len(plot.groups)), [group.label for group in plot.groups])
    axes.set_xlabel(plot.unit, fontsize=8)


def _draw_bars(axes: Axes, plot: Plot) -> list[str]:
    """Returns the names of the bars."""
    names = list(dict.fromkeys(name for group in plot.groups for name, _ in group.bars))
    width = min(0.8 / len(names), 0.25)
    for index, name in enumerate(names):
        held = [
            (place + (index - (len(names) - 1) / 2) * width, value)
            for place, group in enumerate(plot.groups)
            if (value := dict(group.bars).get(name)) is not None
        ]
        bars = axes.bar(
            [x for x, _ in held], [y for _, y in held], width, label=name, color=colour(name, names)
        )
        if len(plot.groups) <= FIGURES_MAX:
            axes.bar_label(bars, [number(y) for _, y in held], fontsize=6, padding=1)
    labels = [group.label.replace(" ", "\n", 1) for group in plot.groups]
    axes.set_xticks(range(len(plot.groups)), labels, fontsize=7)
    axes.set_xlim(-0.5, len(plot.groups) - 0.5)
    if plot.logarithmic:
        values = [value for group in plot.groups for _, value in group.bars if value > 0]
        axes.set_yscale("log")
        low, high = math.log10(min(values)), math.log10(max(values))
        axes.set_ylim(10 ** math.floor(low - 1e-9), 10 ** (high + 0.1 * (high - low) + 0.1))
        axes.yaxis.set_major_formatter(lambda value, _: number(value))
    else:
        axes.margins(y=0.12)
    return names

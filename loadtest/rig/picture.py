"""The plots as one PNG, for those who paste it somewhere; needs matplotlib (the `loadtest` extra)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rig.charts import colour

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from rig.plots import Plot

COLUMNS = 2


def write_picture(plots: Sequence[Plot], path: Path) -> None:
    """Raises ImportError without matplotlib, OSError when `path` cannot be written."""
    from matplotlib.figure import Figure

    # It tells every user once that it lists the fonts.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    rows = max(1, -(-len(plots) // COLUMNS))
    figure = Figure(figsize=(13, 3.4 * rows), layout="constrained")
    for place, plot in enumerate(plots, 1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        _draw(axes, plot)
    figure.savefig(path, format="png", dpi=110)


def _draw(axes: Axes, plot: Plot) -> None:
    axes.set_title(plot.title, fontsize=10, loc="left")
    axes.grid(axis="y", color="#dddddd")
    axes.set_axisbelow(True)
    names = [line.name for line in plot.lines]
    for line in plot.lines:
        xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
        axes.plot(xs, ys, label=line.name, color=colour(line.name, names))
    if plot.lines:
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds since the start", fontsize=8)
    bars = list(dict.fromkeys(name for group in plot.groups for name, _ in group.bars))
    width = 0.8 / max(1, len(bars))
    for index, name in enumerate(bars):
        found = [(place, dict(group.bars).get(name)) for place, group in enumerate(plot.groups)]
        held = [
            (place + (index - (len(bars) - 1) / 2) * width, value)
            for place, value in found
            if value is not None
        ]
        axes.bar([x for x, _ in held], [y for _, y in held], width, label=name, color=colour(name, bars))
    if plot.groups:
        axes.set_xticks(
            range(len(plot.groups)), [group.label.replace(" ", "\n", 1) for group in plot.groups], fontsize=7
        )
    if plot.logarithmic:
        axes.set_yscale("log")
    axes.tick_params(labelsize=8)
    if len(names) > 1 or len(bars) > 1:
        axes.legend(fontsize=7)

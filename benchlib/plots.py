"""Plots: matplotlib draws the same axes into an SVG for a page and into a PNG to be pasted somewhere.

In the SVG colours are variables of the page's style sheet (`PALETTE`): it is light or dark as the page is.
"""

from __future__ import annotations

import io
import logging
import math
import statistics
import textwrap
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from benchlib.payload import size_label

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

# Points, which are the pixels of an SVG that is shown in its own size.
WIDTH, WIDE, NARROW, HEIGHT, ROW, BAR, TITLE = 560, 1160, 350, 260, 46, 15, 30
LETTER = 6.5
DPI = 110
# What a colour is called in a style sheet: its value on a light and on a dark page.
PALETTE = {
    "ink": ("#1b1f24", "#e6edf3"),
    "faint": ("#57606a", "#9aa4af"),
    "rule": ("#d8dee4", "#303a44"),
    "s0": ("#0b62c4", "#6cb0ff"),
    "s1": ("#c2500c", "#ff9a57"),
    "s2": ("#4a7a12", "#93cf4e"),
    "s3": ("#6b3fa0", "#b794f0"),
    "s4": ("#0b7a75", "#4fd1c7"),
    "s5": ("#a3174f", "#ff7eb0"),
    "s6": ("#555555", "#b0b0b0"),
}
INK, FAINT, RULE, *SERIES = (light for light, _ in PALETTE.values())
COLOURS = {"zerocopy": SERIES[0], "plain": SERIES[1], "portable": SERIES[2], "host": SERIES[0]}
STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "grid.color": RULE,
    "text.color": INK,
    "legend.frameon": False,
    # Text stays text: it can be read aloud and found, and has the font of the page.
    "svg.fonttype": "none",
    "svg.hashsalt": "zchttpd",
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True, slots=True)
class Line:
    """A named series of (x, y)."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Bars beside each other under one label: (name of the bar, value)."""

    label: str
    bars: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """A named series of (size in bytes, lowest, median, highest)."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over seconds, or groups of bars, or (`spread`) a row of dots around 1 for each group, or curves
    over sizes, with a `band` of sizes that matter; `note` says how to read it, `unit` what the axis counts.
    `narrow`: groups of bars that lie, one below the other, for a telephone.
    """

    title: str
    note: str
    lines: tuple[Line, ...] = ()
    groups: tuple[Group, ...] = ()
    curves: tuple[Curve, ...] = ()
    band: tuple[float, float] | None = None
    logarithmic: bool = False
    wide: bool = False
    spread: bool = False
    narrow: bool = False
    unit: str = ""

    @property
    def width(self) -> int:
        return NARROW if self.narrow else WIDE if self.wide else WIDTH

    @property
    def height(self) -> int:
        if self.narrow:
            return 72 + BAR * sum(len(group.bars) + 1 for group in self.groups)
        return 72 + ROW * len(self.groups) if self.spread else HEIGHT


def number(value: float) -> str:
    """A figure for an axis or a bar: three digits, no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def colour(name: str, names: Sequence[str]) -> str:
    """The same colour for a mode in every plot; others get spare ones by their place."""
    return COLOURS.get(name) or SERIES[3 + list(names).index(name) % (len(SERIES) - 3)]


def draw(axes: Axes, plot: Plot) -> None:
    """Draw `plot`."""
    axes.tick_params(length=0)
    names: list[str] = []
    if plot.spread:
        _draw_spread(axes, plot)
    elif plot.narrow:
        _draw_rows(axes, plot)
    else:
        axes.grid(axis="y")
        axes.set_ylabel(plot.unit)
        kind = _draw_bars if plot.groups else _draw_curves if plot.curves else _draw_lines
        names = kind(axes, plot)
    # The legend stands between the title and the plot.
    title = textwrap.fill(plot.title, int(plot.width / LETTER) - 8)
    axes.set_title(title, pad=22 if len(names) > 1 else 8, x=-0.26 if plot.narrow else 0)
    if len(names) > 1:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names), borderaxespad=0, handlelength=1
        )


def _draw_lines(axes: Axes, plot: Plot) -> list[str]:
    names = [line.name for line in plot.lines]
    for line in plot.lines:
        xs, ys = zip(*line.points, strict=True)
        axes.plot(xs, ys, label=line.name, color=colour(line.name, names), linewidth=1.8)
    axes.margins(x=0.01, y=0.08)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds since the start")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: number(value))
    return names


def _draw_curves(axes: Axes, plot: Plot) -> list[str]:
    names = [curve.name for curve in plot.curves]
    for curve in plot.curves:
        sizes, lows, medians, highs = zip(*curve.points, strict=True)
        fill = colour(curve.name, names)
        axes.plot(sizes, medians, label=curve.name, color=fill, linewidth=1.8, marker="o", markersize=3)
        axes.fill_between(sizes, lows, highs, color=fill, alpha=0.15, linewidth=0)
    if plot.band:
        axes.axvspan(*plot.band, color=RULE, alpha=0.6, linewidth=0)
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xscale("log", base=2)
    ticks = sorted({size for curve in plot.curves for size, *_ in curve.points})
    axes.set_xticks(ticks, [size_label(int(size)) for size in ticks])
    axes.tick_params(which="minor", length=0, labelbottom=False)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("size of the file")
    return names


def _draw_bars(axes: Axes, plot: Plot) -> list[str]:
    """Bars with their figures where there is room for them. Returns the names of the bars."""
    names = list(dict.fromkeys(name for group in plot.groups for name, _ in group.bars))
    most = max(len(group.bars) for group in plot.groups)
    share = min(0.84 / most, 0.25)
    room = (plot.width - 70) / len(plot.groups)
    values = [value for group in plot.groups for _, value in group.bars if value > 0] or [1.0]
    low, high = math.log10(min(values)), math.log10(max(values))
    # A bar needs some height, and nothing at all has no place on such an axis.
    bottom = 10 ** math.floor(low - 1e-9) if plot.logarithmic else 0.0
    for name in names:
        held = [
            (place + (index - (len(group.bars) - 1) / 2) * share, value)
            for place, group in enumerate(plot.groups)
            for index, (bar, value) in enumerate(group.bars)
            if bar == name
        ]
        xs, ys = zip(*held, strict=True)
        bars = axes.bar(xs, [max(bottom, y) for y in ys], share * 0.94, label=name, color=colour(name, names))
        texts = [number(y) if room * share >= LETTER * 0.8 * len(number(y)) else "" for y in ys]
        axes.bar_label(bars, texts, fontsize=9, padding=1, color=FAINT)
    labels = [textwrap.fill(group.label, max(8, int(room / LETTER))) for group in plot.groups]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    if plot.logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(bottom, 10 ** (high + 0.1 * (high - low) + 0.1))
        axes.tick_params(which="minor", length=0, labelleft=False)
    else:
        axes.margins(y=0.12)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    return names


def _draw_rows(axes: Axes, plot: Plot) -> None:
    """Bars that lie, each with its name and its figure, below the label of their group."""
    names = list(dict.fromkeys(name for group in plot.groups for name, _ in group.bars))
    places: list[float] = []
    labels: list[str] = []
    row = 0
    for group in plot.groups:
        axes.text(0, row, group.label, va="center", fontweight="bold")
        for name, value in group.bars:
            row += 1
            bar = axes.barh(row, value, 0.8, color=colour(name, names))
            axes.bar_label(bar, [number(value)], fontsize=9, padding=2, color=FAINT)
            places.append(row)
            labels.append(name)
        row += 1
    axes.set_yticks(places, labels)
    axes.set_ylim(row - 0.3, -0.7)
    axes.margins(x=0.12)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])


def _draw_spread(axes: Axes, plot: Plot) -> None:
    names = [group.label for group in plot.groups]
    for row, group in enumerate(plot.groups):
        values = [value for _, value in group.bars]
        fill = colour(group.label, names)
        axes.scatter(values, [row] * len(values), color=fill, alpha=0.6, linewidths=0, s=50)
        axes.vlines(statistics.median(values), row - 0.3, row + 0.3, color=fill, linewidth=3)
    axes.axvline(1, color=INK, linewidth=1.5)
    axes.grid(axis="x")
    values = [value for group in plot.groups for _, value in group.bars]
    axes.update_datalim([(min(0.95, *values), 0), (max(1.05, *values), 0)])
    axes.margins(x=0.06)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(plot.unit)


def _place(plot: Plot, width: float, height: float, x: float = 0, y: float = 0) -> tuple[float, ...]:
    """Where the axes of `plot`, whose upper left corner is at `x`, `y`, are in a figure of these points:
    left, bottom, width, height, as shares of it. To find that out by drawing takes as long as to draw.
    """
    if plot.narrow:
        left, bottom, right, top = (76, 8, 12, 48)
    else:
        left, bottom, right, top = (84, 40, 14, 30) if plot.spread else (64, 46, 12, 44)
    across, tall = plot.width - left - right, plot.height - bottom - top
    return (x + left) / width, (height - y - top - tall) / height, across / width, tall / height


def _figures() -> Any:
    """matplotlib's figures. Imported late: it takes a second, and a worker of locust needs none."""
    # It tells every new user that it lists the fonts.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    from matplotlib import figure, rc_context

    return figure.Figure, rc_context(STYLE)


def svg(plot: Plot) -> str:
    """`plot` as an element of a page, with the page's colours."""
    make, style = _figures()
    text = io.StringIO()
    with style:
        figure = make(figsize=(plot.width / 72, plot.height / 72))
        draw(figure.add_axes(_place(plot, plot.width, plot.height)), plot)
        figure.savefig(text, format="svg", transparent=True, metadata=NO_METADATA)
    element = text.getvalue()
    element = element[element.index("<svg ") :]
    for name, (light, _) in PALETTE.items():
        element = element.replace(light, f"var(--{name})")
    return element.replace("<svg ", f'<svg role="img" aria-label="{escape(plot.title)}" ', 1)


def write_svg(plot: Plot, path: Path) -> None:
    """`plot` as a file of its own, light or dark as whoever shows it prefers. Raises OSError."""
    light, dark = (
        "".join(f"--{name}:{values[shade]};" for name, values in PALETTE.items()) for shade in (0, 1)
    )
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    element = svg(plot)
    inside = element.index(">") + 1
    path.write_text(f"{element[:inside]}{style}{element[inside:]}", encoding="utf-8")


def write_png(plots: Sequence[Plot], path: Path, title: str = "") -> None:
    """All plots in one picture, two beside each other; a wide one has a row to itself. Raises OSError."""
    rows: list[list[Plot]] = []
    for plot in plots:
        if rows and len(rows[-1]) == 1 and not plot.wide and not rows[-1][0].wide:
            rows[-1].append(plot)
        else:
            rows.append([plot])
    make, style = _figures()
    height = TITLE + sum(max(plot.height for plot in row) for row in rows)
    with style:
        figure = make(figsize=(WIDE / 72, height / 72))
        figure.text(0.01, 1 - 20 / height, title, fontsize=12)
        y = TITLE
        for row in rows:
            for column, plot in enumerate(row):
                draw(figure.add_axes(_place(plot, WIDE, height, (WIDE - WIDTH) * column, y)), plot)
            y += max(plot.height for plot in row)
        figure.savefig(path, format="png", dpi=DPI)

"""Plots as inline SVG: no script, no style sheet and no font from elsewhere. Numbers in, text out."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH, WIDE, HEIGHT = 560, 1160, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 40, 44
ROW, NAME_WIDTH, DOT = 46, 110, 4.5
COLOURS = {"zerocopy": "#0b62c4", "plain": "#c2500c", "portable": "#4a7a12", "host": "#0b62c4"}
SPARE = ("#6b3fa0", "#0b7a75", "#a3174f", "#555555")
# On a dark page, in the order of COLOURS and SPARE.
DARK = {
    "#0b62c4": "#6cb0ff",
    "#c2500c": "#ff9a57",
    "#4a7a12": "#93cf4e",
    "#6b3fa0": "#b794f0",
    "#0b7a75": "#4fd1c7",
    "#a3174f": "#ff7eb0",
    "#555555": "#b0b0b0",
}
LEGEND_LETTER, FIGURE_LETTER, LABEL_LETTER = 7.2, 5.8, 6.8
BAR_MAX = 54.0


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
class Plot:
    """Lines over seconds, or groups of bars, or (`spread`) a row of dots around 1 for each group; `note` says
    how to read it, `unit` what the axis counts.
    """

    title: str
    note: str
    lines: tuple[Line, ...] = ()
    groups: tuple[Group, ...] = ()
    logarithmic: bool = False
    wide: bool = False
    spread: bool = False
    unit: str = ""


def colour(name: str, names: Sequence[str]) -> str:
    """The same colour for a mode in every plot; others get spare ones by their place."""
    return COLOURS.get(name) or SPARE[list(names).index(name) % len(SPARE)]


def paint(name: str, names: Sequence[str]) -> str:
    """`colour` as the page's style sheet has it, light or dark: see `variables`."""
    return f"var(--s{list(DARK).index(colour(name, names))})"


def variables(colours: Iterable[str]) -> str:
    """The style sheet's variables that `paint` names, with these values in the order of DARK."""
    return " ".join(f"--s{place}: {value};" for place, value in enumerate(colours))


def number(value: float) -> str:
    """A figure for an axis or a bar: three digits, no exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ticks(high: float, count: int = 5) -> list[float]:
    """Round values from 0 to at least `high`, about `count` steps."""
    if high <= 0:
        return [0.0, 1.0]
    rough = high / count
    unit = 10 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough)
    return [place * step for place in range(math.ceil(high / step - 1e-9) + 1)]


def _frame(title: str, names: Sequence[str], body: list[str], across: int, tall: float = HEIGHT) -> str:
    legend, at = [], float(LEFT)
    for name in names if len(names) > 1 else ():
        legend.append(
            f'<rect x="{at:.0f}" y="20" width="10" height="10" rx="2" style="fill: {paint(name, names)}"/>'
            f'<text x="{at + 14:.0f}" y="29">{escape(name)}</text>'
        )
        at += 26 + LEGEND_LETTER * len(name)
    return (
        f'<svg viewBox="0 0 {across} {tall:g}" role="img" aria-label="{escape(title, quote=True)}">'
        f'<text class="title" x="0" y="13">{escape(title)}</text>{"".join(legend)}{"".join(body)}</svg>'
    )


def _grid(y: float, value: float, across: int) -> list[str]:
    """A grid line with its figure."""
    return [
        f'<line class="grid" x1="{LEFT}" x2="{across - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{number(value)}</text>',
    ]


def _axis_y(marks: Sequence[float], across: int) -> tuple[list[str], float]:
    """Grid lines from 0 to the last of `marks`; the scale in pixels per unit."""
    scale = (HEIGHT - TOP - BOTTOM) / (marks[-1] or 1)
    return [text for mark in marks for text in _grid(HEIGHT - BOTTOM - mark * scale, mark, across)], scale


def line_chart(title: str, lines: Sequence[Line], x_label: str = "seconds since the start") -> str:
    """Lines over time; "" when there is nothing to draw."""
    points = [point for line in lines for point in line.points]
    if len(points) < 2:
        return ""
    marks = ticks(max(y for _, y in points))
    body, scale = _axis_y(marks, WIDTH)
    x_high = max(x for x, _ in points) or 1.0
    # A run of 29.9 s has its last figure at 30.
    x_high = next((mark for mark in ticks(x_high) if x_high <= mark < x_high * 1.03), x_high)
    x_scale = (WIDTH - LEFT - RIGHT) / x_high
    for mark in ticks(x_high):
        if mark <= x_high:
            x, y = LEFT + mark * x_scale, HEIGHT - BOTTOM + 16
            body.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{y}">{number(mark)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    body.append(
        f'<text class="tick" text-anchor="middle" x="{middle}" y="{HEIGHT - 8}">{escape(x_label)}</text>'
    )
    names = [line.name for line in lines]
    for line in lines:
        path = " ".join(f"{LEFT + x * x_scale:.1f},{HEIGHT - BOTTOM - y * scale:.1f}" for x, y in line.points)
        stroke = paint(line.name, names)
        body.append(f'<polyline fill="none" style="stroke: {stroke}" stroke-width="2" points="{path}"/>')
    return _frame(title, names, body, WIDTH)


def _axis_log(values: Sequence[float], across: int) -> tuple[list[str], float, int]:
    """Grid lines at powers of ten; pixels per power, and the power at the bottom, below all `values`."""
    low = math.floor(math.log10(min(values)) - 1e-9)
    high = max(low + 1, math.ceil(math.log10(max(values))))
    scale = (HEIGHT - TOP - BOTTOM) / (high - low)
    powers = range(low, high + 1)
    body = [
        text
        for power in powers
        for text in _grid(HEIGHT - BOTTOM - (power - low) * scale, 10.0**power, across)
    ]
    return body, scale, low


def bar_chart(title: str, groups: Sequence[Group], *, logarithmic: bool = False, wide: bool = False) -> str:
    """Groups of bars with their figures on top; "" when there is nothing to draw.

    `logarithmic`: for values that differ by orders of magnitude; the axis then begins at a power of ten below
    all of them.
    """
    values = [value for group in groups for _, value in group.bars if value > 0]
    if not values:
        return ""
    across = WIDE if wide else WIDTH
    names = list(dict.fromkeys(name for group in groups for name, _ in group.bars))
    low = 0
    if logarithmic:
        body, scale, low = _axis_log(values, across)
    else:
        # Room above the highest bar for its figure.
        body, scale = _axis_y(ticks(max(values) * 1.08), across)
    width = (across - LEFT - RIGHT) / len(groups)
    bar = min(BAR_MAX, width * 0.84 / max(len(group.bars) for group in groups))
    for place, group in enumerate(groups):
        start = LEFT + place * width + (width - bar * len(group.bars)) / 2
        for index, (name, value) in enumerate(group.bars):
            units = (math.log10(value) - low if value > 0 else 0) if logarithmic else value
            body += _bar(start + index * bar, bar, max(0.0, units * scale), paint(name, names), value)
        body += _label(group.label, LEFT + (place + 0.5) * width, width)
    lines = max(len(_label(group.label, 0, width)) for group in groups) if groups[0].label else 0
    return _frame(title, names, body, across, HEIGHT - BOTTOM + 10 + 13 * lines)


def spread_chart(title: str, groups: Sequence[Group], x_label: str) -> str:
    """For each group a row with a dot for every value and a stroke at their median, on one axis around 1;
    "" when there is nothing to draw. The bars' names give the colours.
    """
    values = [value for group in groups for _, value in group.bars]
    if not values:
        return ""
    low, high = axis_around_one(values)
    scale = (WIDTH - NAME_WIDTH - RIGHT) / (high - low)
    tall = TOP + ROW * len(groups)
    body = []
    for mark in marks_between(low, high):
        x = NAME_WIDTH + (mark - low) * scale
        kind = "one" if abs(mark - 1) < 1e-9 else "grid"
        body += [
            f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 14}" y2="{tall}"/>',
            f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{tall + 15}">{number(mark)}</text>',
        ]
    names = [group.bars[0][0] for group in groups if group.bars]
    for row, group in enumerate(groups):
        y = TOP + ROW * (row + 0.5)
        fill = paint(group.bars[0][0], names)
        middle = NAME_WIDTH + (statistics.median(value for _, value in group.bars) - low) * scale
        body.append(f'<text x="0" y="{y + 4:.1f}">{escape(group.label)}</text>')
        body += [
            f'<circle cx="{NAME_WIDTH + (value - low) * scale:.1f}" cy="{y:.1f}" r="{DOT}" style="fill: '
            f'{fill}" '
            'fill-opacity="0.6"/>'
            for _, value in group.bars
        ]
        body.append(
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 14:.1f}" y2="{y + 14:.1f}" style="stroke: '
            f'{fill}" '
            'stroke-width="3"/>'
        )
    across = (NAME_WIDTH + WIDTH - RIGHT) / 2
    body.append(
        f'<text class="tick" text-anchor="middle" x="{across:.0f}" y="{tall + 33}">{escape(x_label)}</text>'
    )
    return _frame(title, (), body, WIDTH, tall + 42)


def axis_around_one(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that holds all values and 1, with some room."""
    low, high = min(0.95, *values), max(1.05, *values)
    room = (high - low) * 0.06
    return low - room, high + room


def marks_between(low: float, high: float) -> list[float]:
    """Round values between two others, 1 among them where it lies between them."""
    rough = (high - low) / 6
    unit = 10 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough)
    first, last = math.ceil((low - 1) / step), math.floor((high - 1) / step)
    return [1 + place * step for place in range(first, last + 1)]


def _bar(x: float, width: float, tall: float, fill: str, value: float) -> list[str]:
    """One bar; its figure only where there is room for it."""
    y = HEIGHT - BOTTOM - tall
    body = [
        f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{tall:.1f}" style="fill: '
        f'{fill}"/>'
    ]
    text = number(value)
    if width >= FIGURE_LETTER * len(text):
        at = f'x="{x + width / 2:.1f}" y="{y - 4:.1f}"'
        body.append(f'<text class="tick" text-anchor="middle" {at}>{text}</text>')
    return body


def _label(text: str, x: float, width: float) -> list[str]:
    """A label below the axis, on two lines where one is too narrow."""
    words = text.split()
    lines = [text]
    if len(text) * LABEL_LETTER > width and len(words) > 1:
        cuts = [[" ".join(words[:cut]), " ".join(words[cut:])] for cut in range(1, len(words))]
        lines = min(cuts, key=lambda pair: max(map(len, pair)))
    return [
        f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15 + 12 * row}">'
        f"{escape(line)}</text>"
        for row, line in enumerate(lines)
    ]

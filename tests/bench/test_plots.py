"""benchlib: plots as elements of a page and as a picture, tables, templates."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from jinja2 import UndefinedError

from benchlib.plots import (
    HEIGHT,
    PALETTE,
    TITLE,
    WIDE,
    Curve,
    Group,
    Line,
    Plot,
    number,
    svg,
    write_png,
    write_svg,
)
from benchlib.report import TEMPLATES, Table, render

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"
LINES = Plot("a <b> & c", "", lines=(Line("one", ((0.0, 1.0), (5.0, 2.0))), Line("two", ((0.0, 3.0),))))
BARS = Plot(
    "bars",
    "",
    groups=(Group("first kind", (("zerocopy", 1.0), ("plain", 1000.0))),),
    logarithmic=True,
    wide=True,
)
SPREAD = Plot(
    "spread",
    "",
    groups=(Group("zerocopy", (("zerocopy", 1.1), ("zerocopy", 1.3))),),
    spread=True,
    unit="a < b",
)
CURVES = Plot(
    "curves",
    "",
    curves=(Curve("zerocopy", ((4096, 1.1, 1.2, 1.3), (65536, 0.4, 0.5, 0.6))),),
    band=(8192.0, 16384.0),
    wide=True,
)


def texts_of(element: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()).strip() for text in element.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1.5, "1.5"), (0.0123, "0.0123"), (12345.6, "12,346"), (99.96, "100")]
)
def test_figures_on_plots(value: float, text: str) -> None:
    assert number(value) == text


NARROW = replace(BARS, title="narrow", logarithmic=False, wide=False, narrow=True)


@pytest.mark.parametrize("plot", [LINES, BARS, NARROW, SPREAD, CURVES], ids=lambda plot: plot.title)
def test_a_plot_is_an_element_with_a_name_in_the_colours_of_the_page(plot: Plot) -> None:
    text = svg(plot)
    element = ElementTree.fromstring(text)
    assert (element.get("role"), element.get("aria-label")) == ("img", plot.title)
    assert plot.title in texts_of(element)
    assert element.get("viewBox") == f"0 0 {plot.width} {plot.height}"
    assert set(re.findall(r"var\(--(\w+)\)", text)) <= set(PALETTE)
    # What has a colour of its own would be unreadable on a dark page.
    assert not re.findall(r"(?:fill|stroke): #\w+", text)


def test_a_plot_as_a_file_brings_its_colours(tmp_path: Path) -> None:
    write_svg(BARS, tmp_path / "bars.svg")
    text = (tmp_path / "bars.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag == f"{SVG}svg"
    light, dark = (dict(re.findall(r"--(\w+):(#\w+);", part)) for part in text.split("@media", 1))
    assert {name: (light[name], dark[name]) for name in light} == PALETTE
    assert set(re.findall(r"var\(--(\w+)\)", text)) <= set(PALETTE)


def test_lines_and_bars_have_a_legend_where_there_are_several() -> None:
    assert {"one", "two", "seconds since the start"} <= set(texts_of(ElementTree.fromstring(svg(LINES))))
    assert "zerocopy" not in texts_of(
        ElementTree.fromstring(svg(Plot("one", "", groups=(Group("", (("zerocopy", 1.0),)),))))
    )


def test_bars_have_their_figures_and_grow_with_them() -> None:
    text = svg(BARS)
    assert {"1", "1,000", "first kind", "zerocopy", "plain"} <= set(texts_of(ElementTree.fromstring(text)))
    bars = re.findall(r'<path d="([^"]*)" clip-path[^>]*style="fill: var\(--(s\d)\)', text)
    tops = {fill: min(float(y) for y in re.findall(r"[ML] \S+ (\S+)", path)) for path, fill in bars}
    # Three powers of ten apart.
    assert tops["s1"] < tops["s0"] - BARS.height / 3


def test_narrow_bars_lie_with_names_and_figures() -> None:
    text = svg(NARROW)
    assert NARROW.width < 360
    assert {"1", "1,000", "first kind", "zerocopy", "plain"} <= set(texts_of(ElementTree.fromstring(text)))
    bars = re.findall(r'<path d="([^"]*)" clip-path[^>]*style="fill: var\(--(s\d)\)', text)
    ends = {fill: max(float(x) for x in re.findall(r"[ML] (\S+) \S+", path)) for path, fill in bars}
    assert ends["s1"] > ends["s0"] + NARROW.width / 2


def test_a_spread_has_a_dot_for_each_value_right_of_the_line_at_one() -> None:
    text = svg(SPREAD)
    dots = [float(x) for x in re.findall(r'<use xlink:href="[^"]*" x="([\d.]+)"[^>]*fill: var\(--s0\)', text)]
    (one,) = re.findall(r'd="M ([\d.]+) [^"]*"[^>]*stroke: var\(--ink\)', text)
    assert len(dots) == 2
    assert float(one) < dots[0] < dots[1]
    assert "a < b" in texts_of(ElementTree.fromstring(text))


def test_a_figure_that_has_no_room_is_left_out() -> None:
    groups = tuple(Group(f"{place}", (("a", 1234.5), ("b", 1.0))) for place in range(40))
    assert "1,234" not in texts_of(ElementTree.fromstring(svg(Plot("many", "", groups=groups))))


def size_of(picture: Path) -> tuple[int, int]:
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return struct.unpack(">II", head[16:])  # type: ignore[return-value]


def test_a_picture_has_two_plots_in_a_row_and_wide_ones_alone(tmp_path: Path) -> None:
    write_png((SPREAD, LINES, BARS, LINES), tmp_path / "plots.png", "title")
    width, height = size_of(tmp_path / "plots.png")
    assert height / width == pytest.approx((3 * HEIGHT + TITLE) / WIDE, rel=0.01)
    write_png((), tmp_path / "none.png")
    assert size_of(tmp_path / "none.png")[0] == width


def test_tables_are_aligned_in_a_terminal_and_narrow_in_a_document() -> None:
    table = Table("", ("a", "n"), [("long", "1"), ("  x", "100")], (0,))
    assert table.plain() == "a       n\nlong    1\n  x   100"
    assert table.markdown() == "| a | n |\n|:---|---:|\n| long | 1 |\n| x | 100 |"
    assert Table("", ("a", "n"), [], (0,)).plain() == "a  n"


def test_what_a_template_does_not_get_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("report.html.j2", title="t")
    # Pages escape, texts do not.
    assert TEMPLATES.autoescape("report.html.j2")  # type: ignore[operator]
    assert not TEMPLATES.autoescape("terminal.txt.j2")  # type: ignore[operator]


def test_curves_are_over_sizes() -> None:
    texts = texts_of(ElementTree.fromstring(svg(CURVES)))
    assert {"4K", "64K", "size of the file", "curves"} <= set(texts)

"""loadtest/rig: a run as words, plots and files."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchlib.charts import Group, Line, bar_chart, line_chart, marks_between, number, spread_chart, ticks
from loadtest import _summary as outputs
from loadtest._page import render
from loadtest._plots import plots_of
from loadtest._readings import difference
from loadtest._verdict import findings
from loadtest._words import duration, server_rows

from .made_runs import results, run_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from loadtest._verdict import Finding

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.00025, "250 us"),
        (0.0025, "2.5 ms"),
        (2.5, "2.5 s"),
        (30.1837, "30.2 s"),
        (1000.0, "1000 s"),
        (math.inf, "beyond the last bucket"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_rows_without_any_figure_are_left_out() -> None:
    sides = [difference("plain", run_of(copied=0))]
    names = {row.name for row in server_rows(sides)}
    assert "CPU per GiB" in names
    assert "  of those copied after all" not in names


@given(st.floats(1e-6, 1e12))
def test_axes_reach_beyond_what_they_show(high: float) -> None:
    marks = ticks(high)
    assert marks[0] == 0
    assert marks[-1] >= high * (1 - 1e-9)
    assert len(marks) <= 7


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (1.5, "1.5"), (0.0123, "0.0123"), (12345.6, "12,346")])
def test_figures_on_plots(value: float, text: str) -> None:
    assert number(value) == text


def test_plots_are_well_formed_and_empty_ones_are_none() -> None:
    line = line_chart("a <b> & c", [Line("one", ((0.0, 1.0), (5.0, 2.0)))])
    bars = bar_chart("bars", [Group("x y", (("zerocopy", 1.0), ("plain", 1000.0)))], logarithmic=True)
    assert "a <b> & c" in "".join(ElementTree.fromstring(line).itertext())
    heights = [float(each.get("height", 0)) for each in ElementTree.fromstring(bars).iter("rect")][2:]
    assert 0 < heights[0] < heights[1]
    assert (
        line_chart("nothing", [])
        == bar_chart("nothing", [])
        == bar_chart("zero", [Group("", (("a", 0.0),))])
        == ""
    )


def test_a_spread_has_a_dot_for_each_value_and_a_line_at_one() -> None:
    chart = spread_chart("a & b", [Group("zerocopy", (("zerocopy", 1.1), ("zerocopy", 1.3)))], "left < right")
    found = ElementTree.fromstring(chart)
    xs = [float(dot.get("cx", 0)) for dot in found.iter("circle")]
    (one,) = [float(line.get("x1", 0)) for line in found.iter("line") if line.get("class") == "one"]
    assert one < xs[0] < xs[1]
    assert "left < right" in "".join(found.itertext())
    assert spread_chart("nothing", [], "x") == ""


@given(st.floats(0.01, 1), st.floats(1.01, 100))
def test_marks_lie_within_the_axis_and_one_is_among_them(low: float, high: float) -> None:
    marks = marks_between(low, high)
    assert 1 in marks
    assert all(low - 1e-9 <= mark <= high + 1e-9 for mark in marks)
    assert len(marks) <= 8


def test_the_page_is_one_file_and_escapes_what_it_quotes() -> None:
    found = results(run_of(), run_of(), errors=(("plain page", "<script>", 3),))
    page = render(found, findings(found), plots_of(found))
    for finding in findings(found):
        assert finding.words.replace("'", "&#x27;") in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "src=" not in page
    assert "http://" not in page
    assert page.count("<svg") == len(plots_of(found))


def test_every_figure_has_a_place_on_a_narrow_page() -> None:
    """Tables whose rows do not fit are stacked: their columns are those that the style sheet lays out."""
    found = results(run_of(), run_of())
    page = render(found, findings(found), plots_of(found))
    tables = re.findall(r'<table class="[^"]*\bstack" style="--columns: (\d)"><tr>(.*?)</tr>', page)
    assert [(int(columns), head.count("<th>") - 1) for columns, head in tables] == [(2, 2), (7, 7)]


def test_two_runs_at_once_write_into_different_folders(tmp_path: Path) -> None:
    folders = {outputs.make_folder(tmp_path, 0.0, 7) for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)


def test_everything_is_written(tmp_path: Path) -> None:
    found = results(run_of(), run_of())
    said: list[str] = []
    at_hand: list[Path] = []

    def ready(report: Path, verdict: Sequence[Finding]) -> None:
        assert verdict == findings(found)
        assert not (report.parent / outputs.PICTURE).exists(), "nobody waits for the picture"
        at_hand.append(report)

    report, summary = outputs.write_all(found, tmp_path, said.append, ready)
    assert report.name == outputs.REPORT
    assert at_hand == [report]
    assert "This path copies" in summary
    with (report.parent / outputs.SCENES).open(newline="") as file:
        assert [row["mode"] for row in csv.DictReader(file)] == ["zerocopy", "plain"]
    with (report.parent / outputs.SERIES).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    assert {float(row["cpu_share"]) for row in rows} == {0.5}
    # Without matplotlib there is no picture, but a word about it.
    assert (report.parent / outputs.PICTURE).exists() or any(
        "pip install matplotlib" in text for text in said
    )


def test_results_are_plain_values() -> None:
    found = results(run_of(), run_of())
    assert dataclasses.asdict(found)["sides"][0]["mode"] == "zerocopy"

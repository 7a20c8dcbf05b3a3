"""loadtest/: a run as words, plots and files."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from typing import TYPE_CHECKING

import pytest

from benchlib.scrape import duration
from loadtest import _summary as outputs
from loadtest._plots import plots_of
from loadtest._samples import difference
from loadtest._summary import page as render
from loadtest._summary import server_rows
from loadtest._verdict import findings

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


def test_the_page_is_one_file_and_escapes_what_it_quotes() -> None:
    found = results(run_of(), run_of(), errors=(("plain page", "<script>", 3),))
    page = render(found, findings(found))
    for finding in findings(found):
        assert finding.words.replace("'", "&#39;") in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "src=" not in page
    assert "http://" not in page.replace('="http://www.w3.org/', "")
    assert page.count("<svg") == len(plots_of(found))


def test_every_figure_has_a_place_on_a_narrow_page() -> None:
    """Tables whose rows do not fit are stacked: their columns are those that the style sheet lays out."""
    found = results(run_of(), run_of())
    page = render(found, findings(found))
    tables = re.findall(r'<table class="[^"]*\bstack" style="--columns: (\d)">\s*<tr>(.*?)</tr>', page)
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
    assert (report.parent / outputs.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_results_are_plain_values() -> None:
    found = results(run_of(), run_of())
    assert dataclasses.asdict(found)["sides"][0]["mode"] == "zerocopy"

"""loadtest/rig: from readings and locust's statistics to figures, from figures to words, plots and files."""

from __future__ import annotations

import csv
import dataclasses
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "loadtest"))

from rig import outputs
from rig.charts import Group, Line, bar_chart, line_chart, marks_between, number, spread_chart, ticks
from rig.page import render
from rig.plots import plots_of
from rig.readings import Reading, difference, paired_ratios, percentile_bound, slices
from rig.results import ClientCost, Moment, Results, Scene, scenes_of
from rig.targets import Target
from rig.verdict import compare, findings
from rig.words import duration, server_rows

pytestmark = pytest.mark.slow

GIB = 2**30
MODES = ("zerocopy", "plain")


def reading(
    second: float, *, cpu_per_s: float = 0.5, copied: float = 10, zero: float = 0, **more: float
) -> Reading:
    """A server that answers 100 requests and sends 1/8 GiB a second."""
    counters = {
        'zchttpd_requests_total{status="200"}': 90 * second,
        'zchttpd_requests_total{status="304"}': 10 * second,
        'zchttpd_send_bytes_total{mode="zerocopy"}': GIB / 8 * second,
        'zchttpd_sends_total{mode="zerocopy"}': 10 * second,
        'zchttpd_zerocopy_notifications_total{usage="copied"}': copied * second,
        'zchttpd_zerocopy_notifications_total{usage="zero_copied"}': zero * second,
        'zchttpd_plan_lookups_total{result="hit"}': 75 * second,
        'zchttpd_plan_lookups_total{result="miss"}': 25 * second,
        'zchttpd_lease_seconds_bucket{le="0.001"}': 5 * second,
        'zchttpd_lease_seconds_bucket{le="0.5"}': 9 * second,
        'zchttpd_lease_seconds_bucket{le="+Inf"}': 10 * second,
        "zchttpd_enters_total": 50 * second,
        "zchttpd_connections_open": 10 * min(second, 4),
        "zchttpd_mapped_bytes": 1000.0,
        **more,
    }
    return Reading(1000 + second, cpu_per_s * second, 5000 + 1000 * int(min(second, 4)), counters)


def run_of(seconds: int = 16, **changed: float) -> list[Reading]:
    return [reading(second, **changed) for second in range(seconds + 1)]


def results(ours: list[Reading] | None, base: list[Reading] | None, **changed: object) -> Results:
    read = {mode: found for mode, found in zip(MODES, (ours, base), strict=True) if found is not None}
    fields: dict[str, object] = {
        "started": "then", "seconds": 16.0, "users": 5, "shape": "", "command": "locust -f <loadtest>/",
        "machine": {"kernel": "K"}, "own": True, "targets": tuple(Target(mode, "h", 80) for mode in MODES),
        "files": 3, "file_bytes": 4096,
        "scenes": tuple(Scene(mode, "page", 100, 0, 1.0, 2.0, 3.0, 2**20) for mode in MODES),
        "errors": (), "sides": tuple(difference(mode, found) for mode, found in read.items()),
        "slices": {mode: tuple(slices(found, 1000)) for mode, found in read.items()},
        "ratios": {"zerocopy": tuple(paired_ratios(ours, base))} if ours and base else {},
        "moments": (Moment(0.0, 1, 10.0, 0.0), Moment(1.0, 5, 50.0, 0.0)),
        "client": ClientCost(1.0, 1, 0.5), "missing": {},
        **changed,
    }  # fmt: skip
    return Results(**fields)  # type: ignore[arg-type]


def words(found: Results) -> str:
    return "\n".join(each.words for each in findings(found))


# Aggregation


def test_a_side_is_the_difference_of_the_last_and_the_first_reading() -> None:
    side = difference("zerocopy", [reading(2), reading(4), reading(10)])
    assert (side.seconds, side.requests, side.sent_bytes, side.cpu_s) == (8, 800, GIB, 4.0)
    assert side.cpu_s_per_gib == 4.0
    assert side.cpu_us_per_request == 5000
    assert side.enters_per_request == 0.5
    assert side.plan_hit_share == 0.75
    assert side.copied_share == 1.0
    assert side.lease_s == {"50": 0.001, "90": 0.5, "99": math.inf}
    assert (side.connections_max, side.connection_bytes) == (40, 100.0)


def test_one_reading_makes_no_difference() -> None:
    with pytest.raises(ValueError, match="1 readings"):
        difference("plain", [reading(1)])


def test_what_did_not_happen_has_no_share() -> None:
    side = difference("plain", [reading(3), reading(3)])
    assert (side.cpu_s_per_gib, side.plan_hit_share, side.copied_share, side.connection_bytes) == (None,) * 4
    assert side.lease_s == {}


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.floats(1, 99))
def test_a_percentile_lies_in_the_bucket_that_holds_it(counts: list[int], percent: float) -> None:
    buckets, seen = [], 0.0
    for place, count in enumerate(counts):
        seen += count
        buckets.append((float(place), seen))
    found = percentile_bound(buckets, percent)
    leases = [place for place, count in enumerate(counts) for _ in range(count)]
    if not leases:
        assert found is None
    else:
        rank = math.ceil(len(leases) * percent / 100 - 1e-9)
        assert found == leases[rank - 1]


def test_slices_cover_the_run_without_gaps() -> None:
    parts = slices(run_of(30), 1000, count_max=7)
    assert len(parts) <= 7
    assert all(part.bytes_per_s == GIB / 8 and part.requests_per_s == 100 for part in parts)
    assert all(part.cpu_share == 0.5 for part in parts)


def test_the_last_look_makes_no_part_of_its_own() -> None:
    last = dataclasses.replace(reading(30), at_s=1030.1)
    assert len(slices([*run_of(30), last], 1000)) == 30
    assert len(slices([*run_of(30), dataclasses.replace(last, at_s=1030.9)], 1000)) == 31


def test_files_that_are_not_mapped_do_not_count_against_connections() -> None:
    portable = [reading(second, zchttpd_enters_total=0, zchttpd_mapped_bytes=4000) for second in (0, 4)]
    assert difference("portable", portable).connection_bytes == 100.0


def test_ratios_pair_the_same_parts_of_two_servers() -> None:
    assert paired_ratios(run_of(cpu_per_s=0.6), run_of(cpu_per_s=0.5)) == pytest.approx([1.2] * 8)
    assert paired_ratios(run_of(1), run_of(1)) == []
    assert paired_ratios([], run_of()) == []


def test_scenes_come_from_entries_named_by_mode() -> None:
    def entry(name: str) -> SimpleNamespace:
        return SimpleNamespace(
            name=name, num_requests=3, num_failures=1, total_content_length=9,
            get_response_time_percentile=lambda share: share * 100,
        )  # fmt: skip

    found = scenes_of(
        [entry("plain page"), entry("other page"), entry("zerocopy page"), entry("plain")], MODES
    )
    assert found == (
        Scene("zerocopy", "page", 3, 1, 50.0, 95.0, 99.0, 9),
        Scene("plain", "page", 3, 1, 50.0, 95.0, 99.0, 9),
    )


# The verdict


@pytest.mark.parametrize(
    ("ratios", "whole", "judged"),
    [
        ([1.2] * 5, 1.2, "too short"),
        ([1.2] * 8, 1.2, "more"),
        ([0.8] * 8, 0.8, "less"),
        ([1.01] * 8, 0.99, "same"),
        ([0.7, 1.4, 0.7, 1.4, 1.2, 0.8, 1.3, 1.1], 1.1, "unclear"),
        # A part on the other side of 1, and a difference smaller than the spread.
        ([1.05, 0.99, 1.08, 0.78, 1.07, 1.08, 1.05, 1.03], 1.01, "unclear"),
        ([1.2, 1.25, 1.3, 0.99, 1.2, 1.3, 1.25, 1.2], 1.2, "unclear"),
        ([1.02, 1.05, 1.1, 1.6, 1.08, 1.1, 1.04, 1.03], 1.1, "unclear"),
        ([1.3, 1.4, 1.75, 1.35, 1.4, 1.5, 1.4, 1.3], 1.4, "more"),
        ([1.2] * 8, 0.95, "unclear"),
        ([1.01] * 8, 1.3, "more"),
    ],
)
def test_ratios_are_judged_by_their_parts_and_by_the_whole(
    ratios: list[float], whole: float, judged: str
) -> None:
    assert compare(ratios, whole) == judged


def test_on_a_path_that_copies_zero_copy_can_only_cost() -> None:
    said = words(results(run_of(cpu_per_s=0.7), run_of(cpu_per_s=0.5)))
    assert "This path copies" in said
    assert "Zero copy can only cost here" in said
    assert (
        "zerocopy costs more: 7000 us of server CPU per response of this mix in zerocopy mode, 5000 us"
        in said
    )
    assert "in plain mode (1.40x in the median of 8 parts of the run, 1.40x to 1.40x)" in said
    assert "--send-mode auto, which notices" in said
    assert "pays here" not in said


def test_on_a_path_that_does_not_copy_it_may_pay() -> None:
    said = words(results(run_of(cpu_per_s=0.3, copied=0, zero=10), run_of(cpu_per_s=0.5)))
    assert "really zero copy: the kernel copied 0 of 160" in said
    assert "zerocopy costs less" in said
    assert "zero copy pays here" in said


def test_on_a_path_that_does_not_copy_it_may_not_pay_either() -> None:
    said = words(results(run_of(cpu_per_s=0.7, copied=0, zero=10), run_of(cpu_per_s=0.5)))
    assert "zero copy does not pay here" in said


def test_a_mixed_path_is_called_one() -> None:
    assert "copied 50% of 320" in words(results(run_of(copied=10, zero=10), run_of()))


def test_without_zero_copy_sends_none_is_judged() -> None:
    said = words(results(run_of(copied=0), run_of()))
    assert "No zero-copy send ended in this run" in said
    assert "says nothing about what zero copy is worth" in said


def test_no_difference_is_claimed_that_is_smaller_than_the_spread() -> None:
    noisy = (1.05, 0.99, 1.08, 0.78, 1.07, 1.08, 1.05, 1.03)
    said = words(results(run_of(cpu_per_s=0.52), run_of(cpu_per_s=0.5), ratios={"zerocopy": noisy}))
    assert "zerocopy and plain: no difference shown" in said
    assert "0.78x to 1.08x" in said
    assert "costs more" not in said


def test_sends_of_broken_off_answers_do_not_make_a_path_mixed() -> None:
    aborted = {"zchttpd_aborts_total": 3.0}
    ours = [*run_of(15, copied=9.5, zero=0.5), reading(16, copied=9.5, zero=0.5, **aborted)]
    said = words(results(ours, run_of()))
    assert "152 of 160 zero-copy sends as copied after all" in said
    assert "The other 8 went without one: of an answer that a client broke off (3 were)" in said


def test_less_cpu_on_a_path_that_copies_is_no_gain() -> None:
    said = words(results(run_of(cpu_per_s=0.3), run_of(cpu_per_s=0.5)))
    assert "zerocopy costs less" in said
    assert "is no gain" in said
    assert "pays here, for this mix" not in said


def test_a_single_server_is_not_compared() -> None:
    alone = (Target("host", "h", 80),)
    found = [difference("host", run_of(copied=0, zero=10))]
    said = words(results(None, None, targets=alone, sides=tuple(found), slices={}))
    assert "really zero copy" in said
    assert "only a plain server beside it can tell" in said


def test_modes_that_cannot_run_are_named_with_the_cause() -> None:
    found = findings(results(None, run_of(), missing={"zerocopy": "no ring", "portable": "no ring"}))
    assert [each.words for each in found if "no ring" in each.words] == [
        "Not compared, because it cannot run here: zerocopy and portable. The server says: no ring"
    ]


def test_a_wrong_byte_comes_first() -> None:
    broken = (Scene("plain", "page", 100, 1, 1.0, 2.0, 3.0, 5),)
    first = findings(results(run_of(), run_of(), scenes=broken))[0]
    assert first.tone == "bad"
    assert "1 of 100 responses were wrong" in first.words


def test_a_run_without_answers_says_so() -> None:
    found = findings(results(run_of(), run_of(), scenes=()))
    assert (found[0].tone, "No response was checked" in found[0].words) == ("bad", True)


def test_a_client_at_its_limit_is_told() -> None:
    said = words(results(run_of(), run_of(), client=ClientCost(30.0, 2, 0.97)))
    assert "97% of a core. That is the limit" in said
    assert "150,000 us" in said


def test_servers_that_cannot_be_read_are_named() -> None:
    assert "servers' own side of plain" in words(results(run_of(), None))


# Words, plots, files


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.00025, "250 us"),
        (0.0025, "2.5 ms"),
        (2.5, "2.5 s"),
        (math.inf, "beyond the last bucket"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_rows_without_any_figure_are_left_out() -> None:
    sides = [difference("plain", run_of(copied=0))]
    names = {row.name for row in server_rows(sides)}
    assert "CPU per GiB" in names
    assert "  of them copied after all" not in names


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


def test_two_runs_at_once_write_into_different_folders(tmp_path: Path) -> None:
    folders = {outputs.make_folder(tmp_path, 0.0, 7) for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)


def test_everything_is_written(tmp_path: Path) -> None:
    found = results(run_of(), run_of())
    said: list[str] = []
    report, summary = outputs.write_all(found, tmp_path, said.append)
    assert report.name == outputs.REPORT
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

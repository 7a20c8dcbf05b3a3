"""loadtest/rig: from readings and locust's statistics to figures, and from figures to a verdict."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest._samples import (
    ClientCost,
    Results,
    Scene,
    difference,
    paired_ratios,
    percentile_bound,
    scenes_of,
    slices,
)
from loadtest._targets import Target
from loadtest._verdict import PARTS_MIN, SECONDS_MIN, findings, judge

from .made_runs import GIB, MODES, reading, results, run_of


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
    assert side.lease_s == {"50": 0.001, "90": 0.5, "99": 8}
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


def test_no_lease_is_longer_than_the_run_unless_it_is_older() -> None:
    assert difference("zerocopy", [reading(2), reading(10)]).lease_s["99"] == 8
    older = reading(2, zchttpd_leases_open=1)
    assert difference("zerocopy", [older, reading(10)]).lease_s["99"] == math.inf


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
    assert judge(ratios, whole) == judged


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


@pytest.mark.parametrize("broken_off", [0, 1, 5, 50])
def test_sends_of_broken_off_answers_do_not_change_what_a_path_is_called(broken_off: float) -> None:
    """Their notifications say that nothing was copied, for a reset throws away what is queued."""
    ended = 'zchttpd_zerocopy_notifications_total{usage="zero_copied"}'
    ours = [reading(second, **{ended: broken_off * second}) for second in range(17)]
    said = words(results(ours, run_of()))
    assert "This path copies: the kernel reported 160 of 160 zero-copy sends that were delivered" in said
    assert "Zero copy can only cost here" in said
    assert "says nothing" not in said


@pytest.mark.parametrize(
    ("seconds", "parts", "said"),
    [
        (12.0, 5, "this one has 5, as it took 12 s. Run for 15 s or more."),
        (30.0, 4, "this one has 4 in which both servers answered and were read, although it took 30 s"),
    ],
)
def test_a_run_that_is_not_judged_says_what_it_lacked(seconds: float, parts: int, said: str) -> None:
    ratios = {"zerocopy": (1.2,) * parts}
    found = words(results(run_of(), run_of(), seconds=seconds, ratios=ratios))
    assert f"takes 6 parts of the run, and {said}" in found


def test_the_least_that_is_asked_for_is_enough() -> None:
    looks = run_of(SECONDS_MIN - 1)
    assert len(paired_ratios(looks, looks)) >= PARTS_MIN


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

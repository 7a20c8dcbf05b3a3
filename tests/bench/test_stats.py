"""loadtest/: sizes, what load clients print, ratios, verdicts."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from bench.load import Load, equivalent_requests, parse_load
from bench.options import at_least_one, prepare_outputs, server_names, sizes, workload_names
from bench.stats import GOALS, Goal, judge, make_rows, make_verdicts
from benchlib import CannotMeasure
from benchlib.payload import parse_size, size_label, write_payload
from benchlib.spread import spread

from .made_results import make_checked, make_sample

if TYPE_CHECKING:
    from pathlib import Path


# Sizes and options


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("612", 612), ("1K", 1024), ("10k", 10240), ("1M", 2**20), ("2GiB", 2**31)]
)
def test_sizes_in_words(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(size_label(size)) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5M", "1T", "1K "[:-1] + "x"])
def test_a_wrong_size_says_what_is_accepted(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write for example 612, 10K"):
        parse_size(text)
    with pytest.raises(argparse.ArgumentTypeError, match="write for example"):
        sizes(f"1K,{text}")


def test_labels_are_exact() -> None:
    labels = {1023: "1023", 1024: "1K", 1536: "1536", 2**20: "1M", 10 * 2**20: "10M"}
    assert {size: size_label(size) for size in labels} == labels


def test_options_refuse_what_cannot_be_measured() -> None:
    assert sizes("1K,10K,1K") == (1024, 10240)
    assert server_names("nginx,zerocopy,nginx") == ("nginx", "zerocopy")
    assert at_least_one("3") == 3
    with pytest.raises(argparse.ArgumentTypeError, match=r"no server 'apache'; choose from .*nginx"):
        server_names("nginx,apache")
    assert workload_names("mix,1K,mix") == ("mix", "1K")
    with pytest.raises(argparse.ArgumentTypeError, match=r"no workload '2K'; choose from .*stream"):
        workload_names("1K,2K")
    for text in ("0", "-2", "x", "1.5"):
        with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
            at_least_one(text)


def test_output_folders_are_made_before_measuring(tmp_path: Path) -> None:
    wanted = tmp_path / "results" / "new" / "bench.json"
    prepare_outputs(wanted, None)
    assert wanted.read_text() == ""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        prepare_outputs(tmp_path / "file" / "bench.json")


def test_a_payload_is_the_same_in_each_run_and_does_not_compress(tmp_path: Path) -> None:
    first = write_payload(tmp_path, 2**20 + 1)
    content = (tmp_path / first.target[1:]).read_bytes()
    assert len(content) == first.size == 2**20 + 1
    assert write_payload(tmp_path, 2**20 + 1) == first
    assert len(set(content[:4096])) == 256
    assert write_payload(tmp_path, 1024).sha256 != first.sha256


# What load clients print


def test_wrk_output_is_read_from_its_last_line() -> None:
    output = (
        "Running 4s test @ http://127.0.0.1:80/\n  Latency Distribution\n     50%    0.93ms\n"
        "  201208 requests in 3.00s, 245.23MB read\nRequests/sec:  67013.24\n"
        '{"seconds": 3.002511, "requests": 201208, "bytes": 257143824, "errors": 2, '
        '"p50_us": 934.0, "p99_us": 2441.0}\n'
    )
    assert parse_load(output, 2.5) == Load(3.002511, 201208, 257143824, 2, 934.0, 2441.0, 2.5)


def test_the_discarding_client_counts_its_own_cpu() -> None:
    load = Load(1.0, 2, 3, 0, 4.0, 5.0, 0.25)
    assert parse_load(json.dumps(dataclasses.asdict(load)), 9.0) == load


def test_a_client_without_a_result_is_shown() -> None:
    with pytest.raises(CannotMeasure, match="unable to connect"):
        parse_load("unable to connect to 127.0.0.1:1 Connection refused\n", 0.0)


def test_responses_cut_off_count_in_part() -> None:
    load = Load(1.0, 10, 1000 * 10 + 2500, 0, 0, 0, 0)
    assert equivalent_requests(load, make_checked(1000), 4) == 12.5


@pytest.mark.parametrize("received", [1000 * 5, 1000 * 10 + 64_000])
def test_bytes_that_do_not_fit_the_count_stop_the_run(received: int) -> None:
    with pytest.raises(CannotMeasure, match="something else"):
        equivalent_requests(Load(1.0, 10, received, 0, 0, 0, 0), make_checked(1000), 4)


def test_answers_of_many_lengths_are_counted_whole() -> None:
    """A turn of two answers, 1000 and 9000 bytes long: so 101 of them may be a turn away from the
    mean.
    """
    checked = make_checked(1000, 9000)
    assert checked.mean_length == 5000
    for received in (50 * 10_000 + 1000, 51 * 10_000 - 1000):
        assert equivalent_requests(Load(1.0, 101, received, 0, 0, 0, 0), checked, 1) == 101
    with pytest.raises(CannotMeasure, match="something else"):
        equivalent_requests(Load(1.0, 101, 101 * 9000, 0, 0, 0, 0), checked, 1)


def test_nothing_received_stops_the_run() -> None:
    with pytest.raises(CannotMeasure, match="not a single response"):
        equivalent_requests(Load(1.0, 0, 0, 3, 0, 0, 0), make_checked(1000), 4)


# Samples, rows, ratios


def test_figures_of_a_sample() -> None:
    sample = make_sample(seconds=2.0, wall_s=2.0, bytes=4_000_000, server_cpu_s=0.5, client_cpu_s=1.0)
    assert sample.requests_per_s == 500
    assert sample.bytes_per_s == 2_000_000
    assert sample.cpu_us_per_request == 500
    assert sample.bytes_per_cpu_s == 8_000_000
    assert sample.server_share == 0.25
    assert sample.client_share == 0.5
    assert dataclasses.replace(sample, client_cores=2).client_share == 0.25


@pytest.mark.parametrize(
    ("changed", "bound"),
    [
        ({}, False),
        ({"client_cpu_s": 0.97}, True),
        ({"client_idle_share": 0.01}, True),
        ({"client_cpu_s": 0.97, "server_cpu_s": 0.99}, False),
        ({"client_idle_share": 0.01, "server_idle_share": 0.0}, False),
        ({"server_cpu_s": 0.99}, False),
    ],
)
def test_a_client_is_the_limit_when_only_its_core_is_full(changed: dict[str, object], bound: bool) -> None:
    assert make_sample(**changed).client_bound is bound


def test_ratios_are_taken_within_a_round() -> None:
    costs = {"nginx": (0.010, 0.030, 0.020), "zerocopy": (0.008, 0.027, 0.010)}
    samples = [
        make_sample(name, number, server_cpu_s=costs[name][number]) for number in range(3) for name in costs
    ]
    base, ours = make_rows(samples)
    assert (base.server, ours.server) == ("nginx", "zerocopy")
    assert base.ratio("cpu_us_per_request") is None
    ratio = ours.ratio("cpu_us_per_request")
    assert ratio is not None
    # The medians of both sides would give 0.010 / 0.020 = 0.5.
    assert ratio.median == pytest.approx(0.8)
    assert ratio.low == pytest.approx(0.5)
    assert ratio.high == pytest.approx(0.9)
    assert ours.spread("cpu_us_per_request") == spread([8.0, 27.0, 10.0])


def test_rows_keep_workloads_apart_in_their_order() -> None:
    samples = [
        make_sample(server, number, workload=workload)
        for workload in ("mix", "1K")
        for number in (1, 2)
        for server in ("zerocopy", "nginx")
    ]
    keys = [(row.workload, row.server, len(row.samples)) for row in make_rows(samples)]
    assert keys == [("mix", "zerocopy", 2), ("mix", "nginx", 2), ("1K", "zerocopy", 2), ("1K", "nginx", 2)]


def test_a_row_without_its_baseline_has_no_ratio() -> None:
    (row,) = make_rows([make_sample()])
    assert row.ratio("cpu_us_per_request") is row.ratio("requests_per_s") is None


def test_a_round_the_baseline_missed_is_left_out() -> None:
    samples = [
        make_sample("nginx", 1),
        make_sample("zerocopy", 1),
        make_sample("zerocopy", 2, server_cpu_s=1.0),
    ]
    ours = make_rows(samples)[1]
    assert len(ours.samples) == 2
    assert ours.ratio("requests_per_s") == spread([1.0])


def test_marks_say_what_is_wrong() -> None:
    noisy = make_sample(
        errors=3, others_share=0.25, steal_share=0.02, client_cpu_s=1.0, client_others_share=0.06
    )
    (row,) = make_rows([noisy, dataclasses.replace(noisy, round=2)])
    assert row.marks == ("6 errors", "client-bound", "others 25%", "stolen 2%", "client's others 6%")
    assert make_rows([make_sample()])[0].marks == ()


def test_copies_are_added_for_us_and_absent_for_peers() -> None:
    ours = [make_sample("zerocopy", number, zero_copied=0, copied=number) for number in (1, 2)]
    rows = make_rows([*ours, make_sample("nginx")])
    assert [(row.total("zero_copied"), row.total("copied")) for row in rows] == [(0, 3), (None, None)]


# Verdicts


def verdict_of(goal: Goal, ours: list[dict[str, object]], base: list[dict[str, object]]) -> tuple[str, str]:
    samples = [
        make_sample("zerocopy", number, workload=goal.workload, **fields)
        for number, fields in enumerate(ours)
    ]
    samples += [
        make_sample("nginx", number, workload=goal.workload, **fields) for number, fields in enumerate(base)
    ]
    verdict = judge(goal, *make_rows(samples))
    return verdict.state, verdict.words


@pytest.mark.parametrize(
    ("costs", "state"),
    [((0.80, 0.85), "met"), ((0.80, 0.86), "unclear"), ((0.86, 0.99), "missed")],
)
def test_cpu_goals(costs: tuple[float, ...], state: str) -> None:
    ours: list[dict[str, object]] = [{"server_cpu_s": cost} for cost in costs]
    found, words = verdict_of(Goal("1K", "cpu", 0.85), ours, [{"server_cpu_s": 1.0}, {"server_cpu_s": 1.0}])
    assert found == state
    assert f"rounds {costs[0]:.2f} to {costs[1]:.2f}" in words


@pytest.mark.parametrize(
    ("gains", "state"),
    [((1.3, 1.5), "met"), ((1.2, 1.5), "unclear"), ((1.0, 1.2), "missed")],
)
def test_throughput_goals(gains: tuple[float, ...], state: str) -> None:
    ours: list[dict[str, object]] = [{"requests": 1e6 * gain} for gain in gains]
    assert verdict_of(Goal("1K", "throughput", 1.3), ours, [{"requests": 1e6}] * 2)[0] == state


def test_throughput_is_not_judged_when_the_client_was_the_limit() -> None:
    goal, full = Goal("1K", "throughput", 1.3), {"client_cpu_s": 1.0}
    ours: dict[str, object] = {"requests": 1100.0, "bytes": 1_100_000, "server_cpu_s": 0.1, **full}
    state, words = verdict_of(goal, [ours], [{"requests": 1000.0, "bytes": 10**6, "server_cpu_s": 0.2}])
    assert state == "not measurable"
    assert "2.20x the bytes per CPU second" in words
    assert "zerocopy: client-bound" in words
    assert verdict_of(goal, [{"requests": 2000.0}], [{"requests": 1000.0, **full}])[0] == "not measurable"
    assert verdict_of(goal, [{"requests": 2000.0, **full}], [{"requests": 1000.0}])[0] == "met"


def test_errors_are_never_judged() -> None:
    ours: dict[str, object] = {"server_cpu_s": 0.1, "errors": 1}
    state, words = verdict_of(Goal("1K", "cpu", 0.85), [ours], [{"server_cpu_s": 1.0}])
    assert state == "not measurable"
    assert "there were errors" in words


@pytest.mark.parametrize("shares", [{"others_share": 0.21}, {"others_share": 0.15, "steal_share": 0.06}])
def test_a_disturbed_machine_is_never_judged(shares: dict[str, object]) -> None:
    for goal in (Goal("1K", "cpu", 0.85), Goal("1K", "throughput", 1.3)):
        for ours, base in ((shares, {}), ({}, shares)):
            state, words = verdict_of(goal, [ours], [base])
            assert state == "not measurable"
            assert "run it alone" in words
    assert verdict_of(Goal("1K", "cpu", 1.0), [{"others_share": 0.19}], [{}])[0] == "met"


def test_the_goals_of_the_project() -> None:
    assert [(goal.workload, goal.metric, goal.bound) for goal in GOALS] == [
        ("1K", "cpu", 0.85), ("10K", "cpu", 0.85), ("100K", "cpu", 1.1), ("10M", "throughput", 1.3),
    ]  # fmt: skip


def test_goals_are_judged_beside_the_baseline_only() -> None:
    goals = (Goal("1K", "cpu", 0.85), Goal("1M", "throughput", 1.3))
    samples = [make_sample(name, workload="1K") for name in ("nginx", "plain")]
    samples.append(make_sample("plain", workload="1M"))
    verdicts = make_verdicts(make_rows(samples), ["plain", "zerocopy"], goals)
    assert [(verdict.server, verdict.goal.workload) for verdict in verdicts] == [("plain", "1K")]
    assert make_verdicts(make_rows(samples[1:]), ["plain"], goals) == []

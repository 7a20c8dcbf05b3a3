"""loadtest/: what a run says in tables, in JSON, in the README, and where zchttpd is behind."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from bench.behind import behind_lines, where_behind
from bench.results import Absent, Results, from_json, save, to_json
from bench.rounds import INTERRUPTED, exit_status
from bench.stats import paced_rows
from bench.summary import (
    chart_of,
    document,
    heads_table,
    plots_of,
    short_table,
    tables,
    write_pictures,
)
from benchlib.plots import Group

from .made_results import make_paced, make_results, make_sample, make_taken

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def results() -> Results:
    found = make_results("auto", "nginx", "caddy")
    found.samples = [
        make_sample("auto", zero_copied=0, copied=5, server_cpu_s=0.007),
        make_sample("nginx"),
        make_sample("caddy", server_cpu_s=0.05, client_cpu_s=1.0),
    ]
    found.paced = [make_paced("auto", "common", 800.0), make_paced("nginx", "common", None, unanswered=3)]
    found.takings = [make_taken("auto", 10 * 1024 * 200), make_taken("nginx", 10 * 1024 * 100)]
    found.absent = [Absent("h2o", "", "there is no program 'h2o'"), Absent("caddy", "1K", "answers | 404")]
    found.workloads |= {"rate": "10K at a fixed rate", "silent": "10M, clients that never read"}
    return found


# Where it is behind


def rounds(server: str, costs: tuple[float, ...], **changed: object) -> list:
    return [make_sample(server, number, server_cpu_s=cost, **changed) for number, cost in enumerate(costs)]


@pytest.mark.parametrize(
    ("theirs", "behind"),
    [
        ((0.0080, 0.0085, 0.0090), True),
        ((0.0080, 0.0085, 0.0100), False),
        ((0.0099, 0.0099, 0.0099), False),
        ((0.0120, 0.0110, 0.0130), False),
    ],
)
def test_behind_means_in_every_round(theirs: tuple[float, ...], behind: bool) -> None:
    found = make_results("auto", "nginx")
    found.samples = [*rounds("auto", (0.010, 0.010, 0.010)), *rounds("nginx", theirs)]
    lines = behind_lines(found)
    assert lines == (["1K: auto's CPU per request is 1.18x nginx's"] if behind else [])


def test_the_default_speaks_for_zchttpd() -> None:
    found = make_results("plain", "auto", "nginx")
    found.samples = [
        make_sample("plain", server_cpu_s=0.001),
        make_sample("auto", server_cpu_s=0.02),
        make_sample("nginx"),
    ]
    assert [(each.ours, each.ratio) for each in where_behind(found)] == [("auto", pytest.approx(2.0))]
    del found.samples[1]
    assert where_behind(found) == []


def test_throughput_is_compared_where_our_client_was_not_the_limit() -> None:
    found = make_results("auto", "nginx")
    slow = {"requests": 500.0, "server_cpu_s": 0.005}
    found.samples = [make_sample("auto", **slow), make_sample("nginx")]
    assert behind_lines(found) == ["1K: auto's time per request is 2.00x nginx's"]
    found.samples = [make_sample("auto", **slow, client_cpu_s=1.0), make_sample("nginx")]
    assert behind_lines(found) == []


@pytest.mark.parametrize("wrong", [{"errors": 1}, {"others_share": 0.3}])
def test_a_disturbed_row_is_named_and_not_compared(wrong: dict[str, object]) -> None:
    found = make_results("auto", "nginx")
    found.samples = [make_sample("auto", server_cpu_s=0.05), make_sample("nginx", **wrong)]
    assert behind_lines(found) == []
    words = "not compared, the core was shared or there were errors: 1K (nginx)"
    assert words in document("terminal.txt.j2", found)


def test_latency_is_compared_at_the_common_rate() -> None:
    found = make_results("auto", "nginx", "h2o")
    found.paced = [make_paced(name, "own", p99) for name, p99 in (("auto", 900.0), ("nginx", 100.0))]
    assert behind_lines(found) == []
    found.paced += [
        make_paced(name, "common", p99) for name, p99 in (("auto", 900.0), ("nginx", 300.0), ("h2o", 950.0))
    ]
    assert behind_lines(found) == ["rate: auto's p99 at 1,000 requests/s is 3.00x nginx's"]


def test_a_disturbed_latency_is_not_compared() -> None:
    found = make_results("auto", "nginx")
    quiet = make_paced("nginx", "common", 300.0)
    for share in ("others_share", "client_others_share"):
        found.paced = [make_paced("auto", "common", 900.0), dataclasses.replace(quiet, **{share: 0.3})]
        assert behind_lines(found) == []
        assert "there were errors: rate, common (nginx)" in document("terminal.txt.j2", found)


def test_memory_is_compared_where_it_kept_still() -> None:
    found = make_results("auto", "nginx")
    found.takings = [make_taken("auto", 4000), make_taken("nginx", 1000)]
    assert behind_lines(found) == ["silent: auto's memory per connection is 4.00x nginx's"]
    found.takings[1] = make_taken("nginx", 1000, steady=False)
    assert behind_lines(found) == []


# Latency rows


def test_paced_rows_have_medians_marks_and_no_answer_as_infinite() -> None:
    samples = [
        make_paced("auto", "common", value, number) for number, value in enumerate((700.0, 900.0, None))
    ]
    (row,) = paced_rows(samples)
    assert (row.spread("p99_ms").low, row.median("p99_ms")) == (0.7, 0.9)
    assert row.spread("p99_ms").high == float("inf")
    assert row.marks == ()
    (row,) = paced_rows([make_paced("auto", "own", None, unanswered=7, busy_share=0.95)])
    assert row.marks == ("7 unanswered", "client-bound")


# JSON


def test_a_run_survives_json(results: Results, tmp_path: Path) -> None:
    assert from_json(to_json(results)) == results
    save(results, tmp_path / "bench.json")
    assert from_json((tmp_path / "bench.json").read_text()) == results
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]
    assert "Infinity" not in to_json(results)
    with pytest.raises(ValueError, match="measure again"):
        from_json('{"schema": 1}')


def test_a_workload_that_is_measured_again_is_forgotten(results: Results) -> None:
    results.samples.append(make_sample("auto", workload="mix"))
    for workload in ("1K", "rate", "silent"):
        results.forget(workload)
    assert [sample.workload for sample in results.samples] == ["mix"]
    assert results.paced == results.takings == []
    assert [each.server for each in results.absent] == ["h2o"]
    assert results.workloads == {}


def test_errors_and_interruptions_have_a_status(results: Results) -> None:
    assert exit_status(results) == 0
    results.samples.append(make_sample(errors=1))
    assert exit_status(results) == 1
    results.cut_short = INTERRUPTED
    assert exit_status(results) == 130


# Tables


def test_the_terminal_report_has_tables_verdict_and_absent_servers(results: Results) -> None:
    text = document("terminal.txt.j2", results)
    for expected in (
        "wanted: at most 0.85x nginx's CPU per request at 1K",
        "auto: met (0.70x",
        " 0/5",
        "absent: h2o: there is no program",
        "absent: answers / 404",
        "3 unanswered",
        "closed loop",
        "silent: auto's memory per connection is 2.00x nginx's",
    ):
        assert expected in text, expected
    assert "INCOMPLETE" not in text
    results.cut_short = "interrupted"
    assert "INCOMPLETE: interrupted" in document("terminal.txt.j2", results)


def test_other_codings_are_said_where_servers_differ(results: Results) -> None:
    assert "sends" not in tables(results)[0].plain()
    results.peers[0].codings["1K"] = "br, identity"
    marks = [line[-1] for line in tables(results)[0].lines]
    assert marks[:2] == ["sends br, identity", "sends identity"]


def test_markdown_tables_are_rectangular(results: Results) -> None:
    for table in (*tables(results), short_table(results)):
        lines = table.markdown().splitlines()
        assert len(lines) == 2 + len(table.lines)
        assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_the_short_table_has_ratios_and_says_where_the_client_was_the_limit(results: Results) -> None:
    table = short_table(results)
    assert table.headings == ("server", "1K", "p99 ms at 1,000/s", "KiB/silent client")
    assert table.lines == [
        ("auto", "0.70 / 1.00", "0.80", "200"),
        ("nginx", "1 / 1", "none", "100"),
        ("caddy", "5.00 / 1.00+", "-", "-"),
    ]


def test_the_chart_has_ours_beside_the_closest_peers(results: Results) -> None:
    plot = chart_of(results)
    assert plot.groups == (Group("1K", (("zchttpd", pytest.approx(0.7)), ("nginx", 1.0))),)


def test_the_readme_is_short_and_the_page_has_everything(results: Results) -> None:
    short, whole = (document(name, results) for name in ("readme.md.j2", "figures.md.j2"))
    assert "  - silent: auto's memory per connection is 2.00x nginx's" in short
    assert "docs/figures.md" in short
    assert len(short.splitlines()) < 25
    for expected in (
        "## 1K: 1K, keep-alive",
        "$ nginx -c RUN/nginx.conf",
        "sendfile on;",
        "- kernel: Linux",
        "- h2o: there",
    ):
        assert expected in whole
        assert expected not in short


def test_heads_are_compared_by_bytes_and_fields(results: Results) -> None:
    results.peers[1].heads["1K"] += "z"
    lines = heads_table(results).plain().splitlines()
    assert lines[1].split() == ["auto", "37", "Date,", "ETag"]
    assert lines[2].split() == ["nginx", "38", "Date,", "ETag,", "z"]


def test_the_html_page_needs_nothing_else(results: Results, tmp_path: Path) -> None:
    text = document("bench.html.j2", results, plots_of(results))
    assert text.count("<svg") == len(plots_of(results)) == 3
    assert "http:" not in text.replace('="http://www.w3.org/', "")
    assert "<script" not in text
    write_pictures(results, tmp_path / "new")
    assert (tmp_path / "new" / "bench.html").read_text() == text
    assert (tmp_path / "new" / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(to_json(results))["schema"] == 2

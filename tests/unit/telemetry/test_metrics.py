"""The counters of several workers, as Prometheus and JSON show them; over a stub of the compiled layout."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from zchttpd.files import digests
from zchttpd.files.compressor import RESULTS
from zchttpd.files.encoders import ENCODERS
from zchttpd.telemetry import prometheus
from zchttpd.telemetry.metrics import StatsCollector, WorkerInfo, cpu_seconds, flat_json, resident_bytes
from zchttpd.telemetry.shared_stats import ACTIVE, DUE, GAUGES, SharedStats, cells_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.core import Metric

STUBS = runpy.run_path(str(Path(__file__).parents[1] / "stub_server.py"))
WORKERS = 3
# Histograms, and what is for the checks of health.
NOT_ONE = ("lease_buckets", "latency_buckets", "due_ms")


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> SharedStats:
    monkeypatch.setitem(sys.modules, "zchttpd._core.stats", STUBS["stub_stats"]())
    return SharedStats(WORKERS)


def facts() -> list[WorkerInfo]:
    return [WorkerInfo(0, os.getpid(), 100.0, 0), WorkerInfo(1, 0, 2.5, 4), WorkerInfo(2, 0, 0.0, 0)]


def numbers(stats: SharedStats) -> dict[str, float]:
    found: dict[str, float] = json.loads(flat_json(StatsCollector(stats, facts).families()))
    return found


def put(stats: SharedStats, name: str, *values: int, at: int = 0) -> None:
    """Cell `at` of `name` in worker 0, 1, ..."""
    for worker, value in enumerate(values):
        stats.cells(worker, name)[at] = value


def test_blocks_are_the_workers_own(stats: SharedStats) -> None:
    size = sys.modules["zchttpd._core.stats"].STATS_BYTES
    assert [stats.block(worker).nbytes for worker in range(WORKERS)] == [size] * WORKERS
    stats.block(1)[:] = b"\xff" * size
    assert bytes(stats.block(0)) == bytes(stats.block(2)) == bytes(size)


def test_memory_is_shared_with_a_forked_worker(stats: SharedStats) -> None:
    pid = os.fork()
    if pid == 0:
        stats.cells(1, "plan_hits")[0] = 2**63
        os._exit(0)
    os.waitpid(pid, 0)
    assert stats.totals()["plan_hits"] == [2**63]


def test_fixed_names_are_there_from_the_start(stats: SharedStats) -> None:
    # The names that scripts rely on, with every label that is known beforehand.
    expected = [
        'zchttpd_requests_total{status="200"}',
        *(f'zchttpd_sends_total{{mode="{mode}"}}' for mode in ("zerocopy", "plain", "splice")),
        *(f'zchttpd_send_bytes_total{{mode="{mode}"}}' for mode in ("zerocopy", "plain", "splice")),
        *(f'zchttpd_zerocopy_notifications_total{{usage="{usage}"}}' for usage in ("zero_copied", "copied")),
        *(f'zchttpd_zerocopy_delivered_total{{usage="{usage}"}}' for usage in ("zero_copied", "copied")),
        *(
            f'zchttpd_zerocopy_fallbacks_total{{reason="{reason}"}}'
            for reason in ("copied", "memlock", "windows")
        ),
        *("zchttpd_leases_open", "zchttpd_lease_seconds_count", "zchttpd_lease_seconds_sum"),
        *("zchttpd_mappings_open", "zchttpd_mapped_bytes", "zchttpd_connections_open"),
        *(f'zchttpd_plan_lookups_total{{result="{result}"}}' for result in ("hit", "miss")),
        *(
            "zchttpd_plans_open",
            "zchttpd_registered_bytes",
            "zchttpd_zombie_mappings_open",
            "zchttpd_enters_total",
        ),
        *(
            f'zchttpd_compressions_total{{encoding="{encoding}",result="{result}"}}'
            for encoding in ENCODERS
            for result in RESULTS
        ),
        *(f'zchttpd_compression_seconds_total{{encoding="{encoding}"}}' for encoding in ENCODERS),
        *("zchttpd_compressions_pending", "zchttpd_compressed_bytes"),
        *(f'zchttpd_digests_total{{result="{result}"}}' for result in digests.RESULTS),
        "zchttpd_digest_bytes_total",
        *(f'zchttpd_timeouts_total{{kind="{kind}"}}' for kind in ("head", "idle", "stall")),
        *(f'zchttpd_zerocopy_active{{route="{route}"}}' for route in ("loopback", "network")),
    ]
    found = numbers(stats)
    assert {name: found.get(name) for name in expected} == dict.fromkeys(expected, 0)


def test_counters_are_added_over_the_workers(stats: SharedStats) -> None:
    put(stats, "requests", 1, 2, 4, at=200)
    put(stats, "requests", 0, 8, at=404)
    put(stats, "sends_zerocopy", 10, 20, 30)
    put(stats, "fallbacks", 1, 1, at=1)
    found = numbers(stats)
    assert found['zchttpd_requests_total{status="200"}'] == 7
    assert found['zchttpd_requests_total{status="404"}'] == 8
    assert 'zchttpd_requests_total{status="500"}' not in found
    assert found['zchttpd_sends_total{mode="zerocopy"}'] == 60
    assert found['zchttpd_zerocopy_fallbacks_total{reason="memlock"}'] == 2


@pytest.mark.parametrize("name", [name for name in STUBS["CELL_COUNTS"] if name not in NOT_ONE])
def test_no_cell_is_forgotten_or_shown_twice(stats: SharedStats, name: str) -> None:
    before = numbers(stats)
    put(stats, name, 3, 0, 0)
    after = numbers(stats)
    changed = [key for key in after if after[key] != before.get(key, 0) and "cpu_seconds" not in key]
    assert len([key for key in changed if "resident" not in key]) == 1, changed


def test_compressions_have_a_cell_for_each_encoding_and_result(stats: SharedStats) -> None:
    cells = len(ENCODERS) * len(RESULTS)
    for cell in range(cells):
        put(stats, "compressions", 1, cell, at=cell)
    put(stats, "compression_us", 1_500_000, 250_000, at=len(ENCODERS) - 1)
    found = numbers(stats)
    names = [name for name in found if name.startswith("zchttpd_compressions_total")]
    assert [found[name] for name in names] == [cell + 1 for cell in range(cells)]
    assert found[f'zchttpd_compression_seconds_total{{encoding="{list(ENCODERS)[-1]}"}}'] == 1.75


def test_an_outcome_given_up_anywhere_shows(stats: SharedStats) -> None:
    put(stats, "zerocopy_active", 1, 2, 1)
    found = numbers(stats)
    assert found['zchttpd_zerocopy_active{route="loopback"}'] == 2
    assert found['zchttpd_zerocopy_active{route="network"}'] == 0


def test_the_lease_histogram_is_cumulative_and_in_seconds(stats: SharedStats) -> None:
    for bucket, count in enumerate((5, 0, 2, 1)):
        put(stats, "lease_buckets", count, count, at=bucket)
    put(stats, "lease_us_sum", 1_500_000, 500_000)
    found = numbers(stats)
    bounds = {key: value for key, value in found.items() if key.startswith("zchttpd_lease_seconds_bucket")}
    assert bounds == {
        'zchttpd_lease_seconds_bucket{le="1e-05"}': 10,
        'zchttpd_lease_seconds_bucket{le="0.001"}': 10,
        'zchttpd_lease_seconds_bucket{le="2.5"}': 14,
        'zchttpd_lease_seconds_bucket{le="+Inf"}': 16,
    }
    assert found["zchttpd_lease_seconds_count"] == 16
    assert found["zchttpd_lease_seconds_sum"] == 2.0


def test_responses_are_a_histogram_for_each_class_that_has_been(stats: SharedStats) -> None:
    for bucket, count in enumerate((5, 2, 1)):
        put(stats, "latency_buckets", count, at=bucket)
    put(stats, "latency_us_sum", 3_000_000)
    prefix = "zchttpd_response_seconds"
    found = {key: value for key, value in numbers(stats).items() if key.startswith(prefix)}
    assert found == {
        prefix + '_bucket{le="0.0001",size="0",status="2xx"}': 5,
        prefix + '_bucket{le="2.5",size="0",status="2xx"}': 7,
        prefix + '_bucket{le="+Inf",size="0",status="2xx"}': 8,
        prefix + '_count{size="0",status="2xx"}': 8,
        prefix + '_sum{size="0",status="2xx"}': 3,
    }
    put(stats, "latency_buckets", 0, 0, 4, at=5)
    assert numbers(stats)[prefix + '_count{size="16K",status="2xx"}'] == 4


def flat_name(name: str, labels: dict[str, str]) -> str:
    """The key of the JSON object for a sample of the text."""
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        (None, text_string_to_metric_families),
        # Which is strict: on _total, on bounds of histograms, on # EOF.
        (b"application/openmetrics-text", openmetrics.text_string_to_metric_families),
    ],
    ids=["prometheus", "openmetrics"],
)
def test_the_text_is_valid_and_equals_the_json(
    stats: SharedStats, accept: bytes | None, parse: Callable[[str], Iterable[Metric]]
) -> None:
    put(stats, "requests", 1, 2, 4, at=206)
    put(stats, "lease_buckets", 7, 0, 5, at=1)
    put(stats, "latency_buckets", 7, 0, 5, at=4)
    _, body = prometheus.render(StatsCollector(stats, facts).families(), accept)
    families = list(parse(body.decode()))
    seen = [
        (flat_name(sample.name, sample.labels), sample.value) for each in families for sample in each.samples
    ]
    expected = numbers(stats)
    assert len(seen) == len(expected)
    moving = [name for name, value in seen if value != expected[name]]
    assert all(name.startswith(("zchttpd_worker_cpu", "zchttpd_worker_resident")) for name in moving)
    assert all(each.documentation and each.type != "untyped" for each in families)
    assert {each.name for each in families if not each.name.startswith("zchttpd_")} == set()


def test_workers_are_described(stats: SharedStats) -> None:
    found = numbers(stats)
    assert found["zchttpd_workers"] == WORKERS
    assert found["zchttpd_workers_alive"] == 1
    assert found['zchttpd_worker_restarts_total{worker="1"}'] == 4
    assert found['zchttpd_worker_cpu_seconds_total{worker="0"}'] > 100
    assert found['zchttpd_worker_cpu_seconds_total{worker="1"}'] == 2.5
    assert found['zchttpd_worker_resident_bytes{worker="0"}'] > 0
    assert found['zchttpd_worker_resident_bytes{worker="1"}'] == 0
    assert [key for key in found if key.startswith("zchttpd_build_info{")] == [
        f'zchttpd_build_info{{version="{importlib.import_module("zchttpd").__version__}"}}'
    ]


def test_figures_of_a_process() -> None:
    used = os.times()
    assert cpu_seconds(os.getpid()) >= used.user + used.system - 0.02
    held = bytearray(b"x") * 2**26
    assert resident_bytes(os.getpid()) > len(held)
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    assert (cpu_seconds(gone), resident_bytes(gone)) == (0.0, 0)


def test_a_dead_worker_leaves_its_counts_and_takes_what_was_open(stats: SharedStats) -> None:
    for name, count in STUBS["CELL_COUNTS"].items():
        for index in range(count):
            put(stats, name, 1, 1, 1, at=index)
    stats.clear_gauges(stats.block(1))
    open_now = {*GAUGES, ACTIVE, DUE}
    assert {name for name, cells in stats.totals().items() if set(cells) != {WORKERS}} == open_now
    assert all(set(stats.cells(1, name)) == {0} for name in open_now)


def test_the_compiled_layout_has_the_cells_that_are_shown() -> None:
    stats: Any = importlib.import_module("zchttpd._core.stats")
    assert set(stats.CELLS) == set(STUBS["CELL_COUNTS"])
    assert stats.CELLS["lease_buckets"][1] == len(stats.LEASE_BOUNDS_US) + 1
    assert stats.CELLS["zerocopy_active"][1] == len(stats.ROUTES)
    assert stats.CELLS["fallbacks"][1] >= len(stats.FALLBACK_REASONS)
    ends = sorted((first, first + count) for first, count in stats.CELLS.values())
    assert all(end <= following for (_, end), (following, _) in itertools.pairwise(ends))
    assert ends[-1][1] * 8 <= stats.STATS_BYTES
    assert stats.STATS_BYTES % 8 == 0
    names = [family.name for family in StatsCollector(SharedStats(2), facts).families()]
    assert "zchttpd_lease_seconds" in names


def test_who_has_been_replaced_leaves_what_was_counted(stats: SharedStats) -> None:
    block = stats.add()
    cells_of(block, "connections_total")[0] = 7
    cells_of(block, "connections_open")[0] = 3
    put(stats, "connections_total", 5)
    assert stats.totals()["connections_total"] == [12]
    stats.retire(block)
    cells_of(block, "connections_total")[0] = 100
    assert stats.totals()["connections_total"] == [12]
    assert stats.totals()["connections_open"] == [0]

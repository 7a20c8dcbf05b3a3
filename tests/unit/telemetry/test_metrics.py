"""The counters of several workers, as Prometheus and JSON show them; over a stub of the compiled layout."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from zchttpd.files.compress import RESULTS
from zchttpd.files.encoders import ENCODERS
from zchttpd.telemetry.metrics import Exposition, TallyCollector, WorkerFacts, cpu_seconds, resident_bytes
from zchttpd.telemetry.shared_stats import GAUGES, Board

STUBS = runpy.run_path(str(Path(__file__).parents[1] / "stub_server.py"))
WORKERS = 3


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setitem(sys.modules, "zchttpd._core.stats", STUBS["stub_tally"]())
    return Board(WORKERS)


def facts() -> list[WorkerFacts]:
    return [WorkerFacts(0, os.getpid(), 100.0, 0), WorkerFacts(1, 0, 2.5, 4), WorkerFacts(2, 0, 0.0, 0)]


def numbers(board: Board) -> dict[str, float]:
    found: dict[str, float] = json.loads(Exposition(TallyCollector(board, facts)).flat_json())
    return found


def put(board: Board, name: str, *values: int, at: int = 0) -> None:
    """Cell `at` of `name` in worker 0, 1, ..."""
    for worker, value in enumerate(values):
        board.cells(worker, name)[at] = value


def test_blocks_are_the_workers_own(board: Board) -> None:
    size = sys.modules["zchttpd._core.stats"].STATS_BYTES
    assert [board.block(worker).nbytes for worker in range(WORKERS)] == [size] * WORKERS
    board.block(1)[:] = b"\xff" * size
    assert bytes(board.block(0)) == bytes(board.block(2)) == bytes(size)


def test_memory_is_shared_with_a_forked_worker(board: Board) -> None:
    pid = os.fork()
    if pid == 0:
        board.cells(1, "plan_hits")[0] = 2**63
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.totals()["plan_hits"] == [2**63]


def test_fixed_names_are_there_from_the_start(board: Board) -> None:
    # The names that scripts rely on, with every label that is known beforehand.
    expected = [
        'zchttpd_requests_total{status="200"}',
        *(f'zchttpd_sends_total{{mode="{mode}"}}' for mode in ("zerocopy", "plain", "sendfile")),
        *(f'zchttpd_send_bytes_total{{mode="{mode}"}}' for mode in ("zerocopy", "plain", "sendfile")),
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
        *(f'zchttpd_timeouts_total{{kind="{kind}"}}' for kind in ("head", "idle", "stall")),
        *(f'zchttpd_zerocopy_active{{route="{route}"}}' for route in ("loopback", "network")),
    ]
    found = numbers(board)
    assert {name: found.get(name) for name in expected} == dict.fromkeys(expected, 0)


def test_counters_are_added_over_the_workers(board: Board) -> None:
    put(board, "requests", 1, 2, 4, at=200)
    put(board, "requests", 0, 8, at=404)
    put(board, "sends_zerocopy", 10, 20, 30)
    put(board, "fallbacks", 1, 1, at=1)
    found = numbers(board)
    assert found['zchttpd_requests_total{status="200"}'] == 7
    assert found['zchttpd_requests_total{status="404"}'] == 8
    assert 'zchttpd_requests_total{status="500"}' not in found
    assert found['zchttpd_sends_total{mode="zerocopy"}'] == 60
    assert found['zchttpd_zerocopy_fallbacks_total{reason="memlock"}'] == 2


@pytest.mark.parametrize("name", [name for name in STUBS["CELL_COUNTS"] if name != "lease_buckets"])
def test_no_cell_is_forgotten_or_shown_twice(board: Board, name: str) -> None:
    before = numbers(board)
    put(board, name, 3, 0, 0)
    after = numbers(board)
    changed = [key for key in after if after[key] != before.get(key, 0) and "cpu_seconds" not in key]
    assert len([key for key in changed if "resident" not in key]) == 1, changed


def test_compressions_have_a_cell_for_each_encoding_and_result(board: Board) -> None:
    cells = len(ENCODERS) * len(RESULTS)
    for cell in range(cells):
        put(board, "compressions", 1, cell, at=cell)
    put(board, "compression_us", 1_500_000, 250_000, at=len(ENCODERS) - 1)
    found = numbers(board)
    names = [name for name in found if name.startswith("zchttpd_compressions_total")]
    assert [found[name] for name in names] == [cell + 1 for cell in range(cells)]
    assert found[f'zchttpd_compression_seconds_total{{encoding="{list(ENCODERS)[-1]}"}}'] == 1.75


def test_an_outcome_given_up_anywhere_shows(board: Board) -> None:
    put(board, "zerocopy_active", 1, 2, 1)
    found = numbers(board)
    assert found['zchttpd_zerocopy_active{route="loopback"}'] == 2
    assert found['zchttpd_zerocopy_active{route="network"}'] == 0


def test_the_lease_histogram_is_cumulative_and_in_seconds(board: Board) -> None:
    for bucket, count in enumerate((5, 0, 2, 1)):
        put(board, "lease_buckets", count, count, at=bucket)
    put(board, "lease_us_sum", 1_500_000, 500_000)
    found = numbers(board)
    bounds = {key: value for key, value in found.items() if key.startswith("zchttpd_lease_seconds_bucket")}
    assert bounds == {
        'zchttpd_lease_seconds_bucket{le="1e-05"}': 10,
        'zchttpd_lease_seconds_bucket{le="0.001"}': 10,
        'zchttpd_lease_seconds_bucket{le="2.5"}': 14,
        'zchttpd_lease_seconds_bucket{le="+Inf"}': 16,
    }
    assert found["zchttpd_lease_seconds_count"] == 16
    assert found["zchttpd_lease_seconds_sum"] == 2.0


def test_prometheus_text_is_valid_and_equals_the_json(board: Board) -> None:
    put(board, "requests", 1, 2, 4, at=206)
    exposition = Exposition(TallyCollector(board, facts))
    families = list(text_string_to_metric_families(exposition.text().decode()))
    seen = [
        (sample.name, tuple(sorted(sample.labels.items()))) for each in families for sample in each.samples
    ]
    assert len(seen) == len(set(seen)) == len(json.loads(exposition.flat_json()))
    assert all(each.documentation and each.type != "untyped" for each in families)
    assert {each.name for each in families if not each.name.startswith("zchttpd_")} == set()


def test_workers_are_described(board: Board) -> None:
    found = numbers(board)
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


def test_a_dead_worker_leaves_its_counts_and_takes_what_was_open(board: Board) -> None:
    for name, count in STUBS["CELL_COUNTS"].items():
        for index in range(count):
            put(board, name, 1, 1, 1, at=index)
    board.clear_gauges(1)
    assert {name for name, cells in board.totals().items() if set(cells) != {WORKERS}} == set(GAUGES)
    assert all(set(board.cells(1, name)) == {0} for name in GAUGES)


def test_the_compiled_layout_has_the_cells_that_are_shown() -> None:
    if importlib.util.find_spec("zchttpd._core.stats") is None:
        pytest.skip("zchttpd._core.stats is not built here")
    tally: Any = importlib.import_module("zchttpd._core.stats")
    assert set(tally.CELLS) == set(STUBS["CELL_COUNTS"])
    assert tally.CELLS["lease_buckets"][1] == len(tally.LEASE_BOUNDS_US) + 1
    assert tally.CELLS["zerocopy_active"][1] == len(tally.ROUTES)
    assert tally.CELLS["fallbacks"][1] >= len(tally.FALLBACK_REASONS)
    ends = sorted((first, first + count) for first, count in tally.CELLS.values())
    assert all(end <= following for (_, end), (following, _) in itertools.pairwise(ends))
    assert ends[-1][1] * 8 <= tally.STATS_BYTES
    assert tally.STATS_BYTES % 8 == 0
    assert Exposition(TallyCollector(Board(2), facts)).text().count(b"zchttpd_lease_seconds_bucket") > 0

"""The counters of all workers, added up and rendered for Prometheus and as JSON.

Each worker writes its own block of 64-bit cells in shared memory, without locks; here they are only read.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from zchttpd import __version__
from zchttpd.config.names import ENCODINGS
from zchttpd.files.compressor import RESULTS
from zchttpd.telemetry.shared_stats import SharedStats, stats_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

METRICS_TYPE = CONTENT_TYPE_LATEST
US_PER_S = 1_000_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What is known of one worker. `pid`: 0 while it is dead; `cpu_s_before`: of those before it, seconds."""

    worker: int
    pid: int
    cpu_s_before: float
    restarts: int


@dataclass(frozen=True, slots=True)
class _Scalar:
    """One metric that has no label: cell `cell`, summed over the workers."""

    name: str
    cell: str
    text: str
    gauge: bool


@dataclass(frozen=True, slots=True)
class _Labelled:
    """One counter with one label: each value of the label has a cell of its own."""

    name: str
    label: str
    cells: dict[str, str]
    text: str


_SCALARS = (
    _Scalar(
        "zchttpd_leases_open", "leases_open", "Zero-copy sends whose memory the kernel may still read.", True
    ),
    _Scalar("zchttpd_mappings_open", "mappings_open", "File versions held in memory.", True),
    _Scalar("zchttpd_mapped_bytes", "mapped_bytes", "Bytes of file versions held in memory.", True),
    _Scalar("zchttpd_registered_bytes", "registered_bytes", "Bytes registered with io_uring.", True),
    _Scalar(
        "zchttpd_zombie_mappings_open",
        "zombies_open",
        "Outdated file versions that a send still reads.",
        True,
    ),
    _Scalar("zchttpd_windows_open", "windows_open", "Windows of the streaming pool in use.", True),
    _Scalar("zchttpd_pool_bytes", "pool_bytes", "Bytes of the streaming windows, in use or not.", True),
    _Scalar("zchttpd_entries_open", "entries_open", "Paths whose file is known.", True),
    _Scalar("zchttpd_connections_open", "connections_open", "Connections open.", True),
    _Scalar("zchttpd_plans_open", "plans_open", "Request heads remembered with their response.", True),
    _Scalar("zchttpd_compressions_pending", "compressions_pending", "Files that are being compressed.", True),
    _Scalar("zchttpd_compressed_bytes", "compressed_bytes", "Bytes of encodings that were made.", True),
    _Scalar("zchttpd_connections", "connections_total", "Connections accepted.", False),
    _Scalar("zchttpd_enters", "enters", "io_uring_enter system calls.", False),
    _Scalar("zchttpd_completions", "completions", "Completions of operations.", False),
    _Scalar(
        "zchttpd_stale_completions", "stale_completions", "Completions for a connection already gone.", False
    ),
    _Scalar("zchttpd_aborts", "aborts", "Connections that ended in the middle of a response.", False),
    _Scalar(
        "zchttpd_access_records_dropped",
        "access_dropped",
        "Lines that the access log lacks: its file or pipe was too slow, or failed.",
        False,
    ),
    _Scalar("zchttpd_accept_errors", "accept_errors", "Accepts that failed.", False),
)

_LABELLED = (
    _Labelled(
        "zchttpd_sends",
        "mode",
        {"zerocopy": "sends_zerocopy", "plain": "sends_plain", "splice": "sends_splice"},
        "Send operations, by how they leave.",
    ),
    _Labelled(
        "zchttpd_send_bytes",
        "mode",
        {"zerocopy": "send_bytes_zerocopy", "plain": "send_bytes_plain", "splice": "send_bytes_splice"},
        "Bytes sent, by how they leave.",
    ),
    _Labelled(
        "zchttpd_zerocopy_notifications",
        "usage",
        {
            "zero_copied": "notifications_zero_copied",
            "copied": "notifications_copied",
            "unknown": "notifications_unknown",
        },
        "Ends of zero-copy sends: what the kernel really did with the bytes.",
    ),
    _Labelled(
        "zchttpd_zerocopy_delivered",
        "usage",
        {"zero_copied": "delivered_zero_copied", "copied": "delivered_copied"},
        "Zero-copy sends known to have reached the peer, by what the kernel did with the bytes. Those of "
        "connections that ended then or in the middle are left out: a reset ends sends without a copy.",
    ),
    _Labelled(
        "zchttpd_plan_lookups",
        "result",
        {"hit": "plan_hits", "miss": "plan_misses"},
        "Request heads looked up among the remembered ones.",
    ),
    _Labelled(
        "zchttpd_timeouts",
        "kind",
        {"head": "timeouts_head", "idle": "timeouts_idle", "stall": "timeouts_stall"},
        "Connections ended by a time limit.",
    ),
)


class StatsCollector(Collector):
    """prometheus_client collector over the shared counters; `workers` gives those of now."""

    def __init__(self, stats: SharedStats, workers: Callable[[], Sequence[WorkerInfo]]) -> None:
        self._stats = stats
        self._workers = workers
        self._layout = stats_layout()

    def collect(self) -> Iterator[Metric]:
        """Every metric family, in a fixed order."""
        totals = self._stats.totals()
        yield self._requests(totals["requests"])
        for labelled in _LABELLED:
            family = CounterMetricFamily(labelled.name, labelled.text, labels=[labelled.label])
            for value, cell in labelled.cells.items():
                family.add_metric([value], totals[cell][0])
            yield family
        fallbacks = CounterMetricFamily(
            "zchttpd_zerocopy_fallbacks",
            "Bodies that asked for zero copy and were copied, by reason.",
            labels=["reason"],
        )
        for reason, count in zip(self._layout.reasons, totals["fallbacks"], strict=False):
            fallbacks.add_metric([reason], count)
        yield fallbacks
        yield self._leases(totals["lease_buckets"], totals["lease_us_sum"][0])
        yield self._zerocopy_active()
        yield from self._compressions(totals["compressions"], totals["compression_us"])
        for scalar in _SCALARS:
            kind = GaugeMetricFamily if scalar.gauge else CounterMetricFamily
            yield kind(scalar.name, scalar.text, value=totals[scalar.cell][0])
        yield from self._about_workers()
        yield InfoMetricFamily("zchttpd_build", "The running version.", value={"version": __version__})

    def _requests(self, counts: Sequence[int]) -> Metric:
        family = CounterMetricFamily("zchttpd_requests", "Responses, by status.", labels=["status"])
        for status, count in enumerate(counts):
            if count or status == 200:
                family.add_metric([str(status)], count)
        return family

    def _leases(self, buckets: Sequence[int], us_sum: int) -> Metric:
        family = HistogramMetricFamily(
            "zchttpd_lease_seconds", "How long the kernel held the memory of a zero-copy send."
        )
        bounds = [*(f"{bound / US_PER_S:.10g}" for bound in self._layout.lease_bounds_us), "+Inf"]
        seen = 0
        cumulative = []
        for bound, count in zip(bounds, buckets, strict=True):
            seen += count
            cumulative.append((bound, float(seen)))
        family.add_metric([], cumulative, us_sum / US_PER_S)
        return family

    def _zerocopy_active(self) -> Metric:
        family = GaugeMetricFamily(
            "zchttpd_zerocopy_active",
            "Send mode auto by route: 0 undecided, 1 zero copy, 2 given up, as the kernel copies.",
            labels=["route"],
        )
        highest = self._stats.highest("zerocopy_active")
        for route, decision in zip(self._layout.routes, highest, strict=True):
            family.add_metric([route], decision)
        return family

    def _compressions(self, counts: Sequence[int], us_sums: Sequence[int]) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "zchttpd_compressions", "Files compressed, by how that ended.", labels=["encoding", "result"]
        )
        spent = CounterMetricFamily(
            "zchttpd_compression_seconds", "CPU time of compressing files.", labels=["encoding"]
        )
        cells = iter(counts)
        for encoding, us_sum in zip(ENCODINGS, us_sums, strict=False):
            spent.add_metric([encoding], us_sum / US_PER_S)
            for result, count in zip(RESULTS, cells, strict=False):
                family.add_metric([encoding, result], count)
        yield from (family, spent)

    def _about_workers(self) -> Iterator[Metric]:
        workers = self._workers()
        yield GaugeMetricFamily("zchttpd_workers", "Workers configured.", value=len(workers))
        yield GaugeMetricFamily(
            "zchttpd_workers_alive", "Workers alive.", value=sum(1 for each in workers if each.pid)
        )
        restarts = CounterMetricFamily(
            "zchttpd_worker_restarts", "Times a worker died and was replaced.", labels=["worker"]
        )
        cpu = CounterMetricFamily(
            "zchttpd_worker_cpu_seconds", "CPU time, user and system.", labels=["worker"]
        )
        resident = GaugeMetricFamily("zchttpd_worker_resident_bytes", "Resident memory.", labels=["worker"])
        for each in workers:
            name = [str(each.worker)]
            restarts.add_metric(name, each.restarts)
            cpu.add_metric(name, each.cpu_s_before + cpu_seconds(each.pid))
            resident.add_metric(name, resident_bytes(each.pid))
        yield from (restarts, cpu, resident)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, user and system (proc_pid_stat(5)); 0 when it is gone or `pid` is 0."""
    # The command name, field 2, may hold spaces and parentheses; the fields behind it may not.
    fields = _proc(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def resident_bytes(pid: int) -> int:
    """Resident memory of a process (proc_pid_statm(5), field 2); 0 when it is gone or `pid` is 0."""
    fields = _proc(pid, "statm").split()
    return int(fields[1]) * _PAGE_SIZE if fields else 0


def _proc(pid: int, name: str) -> str:
    if not pid:
        return ""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Exposition:
    """Renders a collector as Prometheus text and as flat JSON."""

    def __init__(self, collector: Collector) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)

    def text(self) -> bytes:
        """The Prometheus text format, as METRICS_TYPE says."""
        return generate_latest(self._registry)

    def flat_json(self) -> bytes:
        """One JSON object: `name{label="value"}` as in the text format -> number."""
        return json.dumps(dict(_flat(self._registry.collect())), separators=(",", ":")).encode("ascii")


def _flat(families: Iterable[Metric]) -> Iterator[tuple[str, float]]:
    for family in families:
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            yield (f"{sample.name}{{{labels}}}" if labels else sample.name), sample.value

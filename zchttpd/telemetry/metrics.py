"""The counters of all workers, added up, as metric families and as JSON.

Each worker writes its own block of 64-bit cells in shared memory, without locks; here they are only read.
"""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zchttpd import __version__
from zchttpd.config.names import ENCODINGS
from zchttpd.files import digests
from zchttpd.files.compressor import RESULTS
from zchttpd.telemetry.shared_stats import ACTIVE, GAUGES, SharedStats, stats_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Sample = tuple[str, Mapping[str, str], float]

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
class Family:
    """One metric. `kind`: counter, gauge, histogram or info, as Prometheus has them. `samples`: of each the
    suffix of the name, the labels and the value.
    """

    name: str
    kind: str
    text: str
    samples: list[Sample] = field(default_factory=list)


def _counter(name: str, text: str, label: str, counts: Iterable[tuple[str, float]]) -> Family:
    return Family(name, "counter", text, [("_total", {label: value}, count) for value, count in counts])


def _gauge(name: str, text: str, value: float) -> Family:
    return Family(name, "gauge", text, [("", {}, value)])


def _gauges(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Family:
    return Family(name, "gauge", text, [("", {label: each}, value) for each, value in values])


def _histogram(
    labels: Mapping[str, str], bounds_us: Sequence[int], counts: Sequence[int], us_sum: int
) -> Iterator[Sample]:
    """The samples of one histogram in seconds; `counts`, one more than the bounds, are not cumulative."""
    bounds = [*(repr(bound / US_PER_S) for bound in bounds_us), "+Inf"]
    for bound, seen in zip(bounds, itertools.accumulate(counts), strict=True):
        yield "_bucket", {**labels, "le": bound}, seen
    yield "_count", labels, sum(counts)
    yield "_sum", labels, us_sum / US_PER_S


def _pairs(
    suffix: str, outer: tuple[str, Iterable[str]], inner: tuple[str, Iterable[str]], counts: Iterable[int]
) -> list[Sample]:
    """A sample for each pair of values of two labels, in their order."""
    pairs = itertools.product(outer[1], inner[1])
    return [
        (suffix, {outer[0]: one, inner[0]: other}, count)
        for (one, other), count in zip(pairs, counts, strict=False)
    ]


def _cells(prefix: str, *values: str) -> dict[str, str]:
    """The cell of each value of a label."""
    return {value: f"{prefix}_{value}" for value in values}


# By metric: its cell, and what it says.
_COUNTERS = {
    "zchttpd_connections": ("connections_total", "Connections accepted."),
    "zchttpd_enters": ("enters", "io_uring_enter system calls."),
    "zchttpd_completions": ("completions", "Completions of operations."),
    "zchttpd_stale_completions": ("stale_completions", "Completions for a connection already gone."),
    "zchttpd_aborts": ("aborts", "Connections that ended in the middle of a response."),
    "zchttpd_access_records_dropped": (
        "access_dropped",
        "Lines that the access log lacks: its file or pipe was too slow, or failed.",
    ),
    "zchttpd_accept_errors": ("accept_errors", "Accepts that failed."),
    "zchttpd_fills": ("fills", "File versions that were begun to be read into memory."),
    "zchttpd_fill_bytes": ("fill_bytes", "Bytes read for them."),
    "zchttpd_evictions": ("evictions", "Paths whose file made room for others."),
    "zchttpd_evicted_bytes": ("evicted_bytes", "Bytes in memory that they had."),
    "zchttpd_plan_evictions": ("plans_evicted", "Request heads that were forgotten for others."),
    "zchttpd_digest_bytes": ("digest_bytes", "Bytes hashed."),
}

_MODES = ("zerocopy", "plain", "splice")
# Of counters with one label: the label, the cell of each of its values, and what it says.
_LABELLED = {
    "zchttpd_sends": ("mode", _cells("sends", *_MODES), "Send operations, by how they leave."),
    "zchttpd_send_bytes": ("mode", _cells("send_bytes", *_MODES), "Bytes sent, by how they leave."),
    "zchttpd_zerocopy_notifications": (
        "usage",
        _cells("notifications", "zero_copied", "copied", "unknown"),
        "Ends of zero-copy sends: what the kernel really did with the bytes.",
    ),
    "zchttpd_zerocopy_delivered": (
        "usage",
        _cells("delivered", "zero_copied", "copied"),
        "Zero-copy sends known to have reached the peer, by what the kernel did with the bytes. Those of "
        "connections that ended then or in the middle are left out: a reset ends sends without a copy.",
    ),
    "zchttpd_plan_lookups": (
        "result",
        {"hit": "plan_hits", "miss": "plan_misses"},
        "Request heads looked up among the remembered ones.",
    ),
    "zchttpd_plan_admissions": (
        "result",
        {"admitted": "plans_admitted", "declined": "plans_declined"},
        "New request heads that were remembered, or not: seen once, and there was no room to spare.",
    ),
    "zchttpd_refused": (
        "reason",
        _cells("refused", "memory", "address", "rate", "proxy_peer", "proxy_header"),
        "Requests without room (503), connections beyond the limit of one address (503), or requests that a"
        " proxy brings for it (429), and requests beyond its rate (429). Connections of others than the"
        " proxies, or without a header, where proxies connect: closed.",
    ),
    "zchttpd_tls_handshakes": (
        "result",
        _cells("tls_handshakes", "completed", "failed", "timeout"),
        "TLS handshakes, by how they ended: timeout is --head-ms-max.",
    ),
    "zchttpd_tls_connections": (
        "by",
        _cells("tls_connections", "kernel", "library"),
        "Connections that speak TLS, by who encrypts what they are sent.",
    ),
    "zchttpd_timeouts": (
        "kind",
        _cells("timeouts", "head", "idle", "stall"),
        "Connections ended by a time limit.",
    ),
}


class StatsCollector:
    """The metric families of the shared counters; `workers` gives those of now."""

    def __init__(self, stats: SharedStats, workers: Callable[[], Sequence[WorkerInfo]]) -> None:
        self._stats = stats
        self._workers = workers
        self._layout = stats_layout()

    def families(self) -> Iterator[Family]:
        """Every metric family, in a fixed order."""
        totals = self._stats.totals()
        statuses = enumerate(totals["requests"])
        yield _counter(
            "zchttpd_requests",
            "Responses, by status.",
            "status",
            ((str(status), count) for status, count in statuses if count or status == 200),
        )
        for name, (label, cells, text) in _LABELLED.items():
            yield _counter(name, text, label, ((value, totals[cell][0]) for value, cell in cells.items()))
        yield _counter(
            "zchttpd_zerocopy_fallbacks",
            "Bodies that asked for zero copy and were copied, by reason.",
            "reason",
            zip(self._layout.FALLBACK_REASONS, totals["fallbacks"], strict=False),
        )
        yield _counter(
            "zchttpd_admissions",
            "Large files asked for that were not in memory: whether they were let in.",
            "result",
            zip(self._layout.ADMISSIONS, totals["admissions"], strict=True),
        )
        yield self._responses(totals["latency_buckets"], totals["latency_us_sum"])
        yield self._leases(totals["lease_buckets"], totals["lease_us_sum"][0])
        yield from self._by_route(totals["route_bytes"], totals["route_delivered"])
        yield _gauges(
            "zchttpd_zerocopy_active",
            "Send mode auto by route: 0 undecided, 1 zero copy, 2 given up, as the kernel copies.",
            "route",
            zip(self._layout.ROUTES, self._stats.highest(ACTIVE), strict=True),
        )
        yield from self._compressions(totals["compressions"], totals["compression_us"])
        yield _counter(
            "zchttpd_digests",
            "File versions, and parts of them, that were hashed, by how that ended.",
            "result",
            zip(digests.RESULTS, totals["digests"], strict=True),
        )
        for cell, (name, text) in GAUGES.items():
            yield _gauge(name, text, totals[cell][0])
        for name, (cell, text) in _COUNTERS.items():
            yield Family(name, "counter", text, [("_total", {}, totals[cell][0])])
        yield from self._about_workers()
        yield Family(
            "zchttpd_build", "info", "The running version.", [("_info", {"version": __version__}, 1)]
        )

    def _leases(self, buckets: Sequence[int], us_sum: int) -> Family:
        return Family(
            "zchttpd_lease_seconds",
            "histogram",
            "How long the kernel held the memory of a zero-copy send.",
            [*_histogram({}, self._layout.LEASE_BOUNDS_US, buckets, us_sum)],
        )

    def _responses(self, buckets: Sequence[int], us_sums: Sequence[int]) -> Family:
        family = Family(
            "zchttpd_response_seconds",
            "histogram",
            "How long responses took that left whole, from the first byte of the request to the last that the"
            " kernel took; by their status, and by the size of the body, which is below `size`.",
        )
        bounds = self._layout.LATENCY_BOUNDS_US
        count = len(bounds) + 1
        for row, (status, size) in enumerate(self._layout.LATENCY_LABELS):
            counts = buckets[row * count : (row + 1) * count]
            # Most of them have never been, and each is twenty lines; the smallest are always there.
            if any(counts) or row == 0:
                labels = {"status": status, "size": size}
                family.samples.extend(_histogram(labels, bounds, counts, us_sums[row]))
        return family

    def _by_route(self, sizes: Sequence[int], delivered: Sequence[int]) -> Iterator[Family]:
        yield Family(
            "zchttpd_route_send_bytes",
            "counter",
            "Bytes sent, by how they leave and by where to. Small ones leave before the route is looked at.",
            _pairs("_total", ("route", (*self._layout.ROUTES, "unknown")), ("mode", _MODES), sizes),
        )
        yield Family(
            "zchttpd_route_delivered",
            "counter",
            "Zero-copy sends known to have reached the peer, as above, by where to.",
            _pairs("_total", ("route", self._layout.ROUTES), ("usage", ("zero_copied", "copied")), delivered),
        )

    def _compressions(self, counts: Sequence[int], us_sums: Sequence[int]) -> Iterator[Family]:
        ended = _pairs("_total", ("encoding", ENCODINGS), ("result", RESULTS), counts)
        yield Family("zchttpd_compressions", "counter", "Files compressed, by how that ended.", ended)
        yield _counter(
            "zchttpd_compression_seconds",
            "CPU time of compressing files.",
            "encoding",
            ((name, us_sum / US_PER_S) for name, us_sum in zip(ENCODINGS, us_sums, strict=False)),
        )

    def _about_workers(self) -> Iterator[Family]:
        workers = self._workers()
        alive = sum(1 for each in workers if each.pid)
        yield _gauge("zchttpd_workers", "Workers configured.", len(workers))
        yield _gauge("zchttpd_workers_alive", "Workers alive.", alive)
        named = [(str(each.worker), each) for each in workers]
        yield _counter(
            "zchttpd_worker_restarts",
            "Times a worker died and was replaced.",
            "worker",
            ((name, each.restarts) for name, each in named),
        )
        yield _counter(
            "zchttpd_worker_cpu_seconds",
            "CPU time, user and system.",
            "worker",
            ((name, each.cpu_s_before + cpu_seconds(each.pid)) for name, each in named),
        )
        yield _gauges(
            "zchttpd_worker_resident_bytes",
            "Resident memory.",
            "worker",
            ((name, resident_bytes(each.pid)) for name, each in named),
        )


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


def flat_json(families: Iterable[Family]) -> bytes:
    """One JSON object: `name{label="value"}` as in the text format -> number."""
    return json.dumps(dict(flat(families)), separators=(",", ":")).encode("ascii")


def flat(families: Iterable[Family]) -> Iterator[tuple[str, float]]:
    """(`name{label="value"}`, number) of every sample."""
    for family in families:
        for suffix, labelled, value in family.samples:
            labels = ",".join(f'{name}="{text}"' for name, text in sorted(labelled.items()))
            name = family.name + suffix
            yield (f"{name}{{{labels}}}" if labels else name), value

"""What a run found, as plain values: readings of the servers and what changed between them, what users saw,
and what the load client cost.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchlib.payload import GIB
from benchlib.proc import cpu_ns, process_tree, resident_bytes
from benchlib.scrape import (
    FALLBACKS,
    NOTIFICATIONS,
    growth,
    lease_buckets,
    percentile_bound,
    read_counters,
    total,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PERCENTILES = (50.0, 90.0, 99.0)


@dataclass(frozen=True, slots=True)
class Target:
    """One server under test. `admin`: H:P of its admin listener, "" unknown; `pid`: 0 when not ours."""

    mode: str
    host: str
    port: int
    admin: str = ""
    pid: int = 0
    version: str = ""
    command: str = ""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reading:
    """One server at one moment. `at_s` monotonic; `cpu_s` of its workers; `resident` bytes of all its
    processes.
    """

    at_s: float
    cpu_s: float
    resident: int
    counters: Mapping[str, float]

    def count(self, name: str) -> float:
        return self.counters.get(name, 0.0)

    @property
    def requests(self) -> float:
        return total(self.counters, "zchttpd_requests_total")

    @property
    def sent_bytes(self) -> float:
        return total(self.counters, "zchttpd_send_bytes_total")


def read_target(target: Target) -> Reading | None:
    """A reading of `target`, None when it has no admin listener or does not answer on it.

    Of our own servers CPU comes from the CPU clock of each worker (ns); the supervisor, which answers this
    very question, is left out. Of others it is what their metrics say (10 ms).
    """
    if not target.admin:
        return None
    host, _, port = target.admin.rpartition(":")
    try:
        counters = read_counters(host.strip("[]"), int(port))
        if target.pid:
            tree = process_tree(target.pid)
            workers = tuple(pid for pid in tree if pid != target.pid) or tree
            return Reading(time.monotonic(), cpu_ns(workers) / 1e9, resident_bytes(tree), counters)
    except (OSError, ValueError):
        return None
    cpu_s = total(counters, "zchttpd_worker_cpu_seconds_total")
    return Reading(time.monotonic(), cpu_s, int(total(counters, "zchttpd_worker_resident_bytes")), counters)


@dataclass(frozen=True, slots=True)
class Side:
    """What one server did between two readings. Shares are 0 to 1; None where there was nothing to divide.

    `delivered`: zero-copy sends that reached the client, by what the kernel did; `copied_share` is of those,
    for a reset ends without a copy what is queued, on any path.
    `lease_s`: percentile (PERCENTILES) -> seconds, the upper bound of the histogram's bucket it falls into,
    or the length of the run where that is less and no lease is older.
    `connection_bytes`: memory beyond what it was at the start and beyond cached file bytes, for each
    connection open at the moment when most were; plans and entries made meanwhile count in.
    """

    mode: str
    seconds: float
    requests: float
    sent_bytes: float
    cpu_s: float
    cpu_s_per_gib: float | None
    cpu_us_per_request: float | None
    enters_per_request: float | None
    sends: Mapping[str, float]
    notifications: Mapping[str, float]
    delivered: Mapping[str, float]
    copied_share: float | None
    fallbacks: Mapping[str, float]
    leases: float
    lease_s: Mapping[str, float]
    leases_open_max: float
    plan_hit_share: float | None
    resident_start: int
    resident_max: int
    mapped_max: float
    connections_max: float
    connection_bytes: float | None
    aborts: float


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 0 else None


def difference(mode: str, readings: Sequence[Reading]) -> Side:
    """Sum up readings of one server, in order of time. Raises ValueError for fewer than two."""
    if len(readings) < 2:
        raise ValueError(f"{mode}: {len(readings)} readings make no difference")
    first, last = readings[0], readings[-1]
    requests = last.requests - first.requests
    sent = last.sent_bytes - first.sent_bytes
    cpu_s = last.cpu_s - first.cpu_s
    notifications = growth(first.counters, last.counters, NOTIFICATIONS)
    delivered = growth(first.counters, last.counters, "zchttpd_zerocopy_delivered_total")
    plans = growth(first.counters, last.counters, "zchttpd_plan_lookups_total")
    buckets = lease_buckets(first.counters, last.counters)
    busiest = max(readings, key=lambda each: each.count("zchttpd_connections_open"))
    enters = last.count("zchttpd_enters_total") - first.count("zchttpd_enters_total")
    longest = math.inf if first.count("zchttpd_leases_open") else last.at_s - first.at_s
    found = {f"{percent:g}": percentile_bound(buckets, percent, longest) for percent in PERCENTILES}
    return Side(
        mode,
        last.at_s - first.at_s,
        requests,
        sent,
        cpu_s,
        cpu_s_per_gib=_ratio(cpu_s, sent / GIB),
        cpu_us_per_request=_ratio(cpu_s * 1e6, requests),
        enters_per_request=_ratio(enters, requests) if enters else None,
        sends=growth(first.counters, last.counters, "zchttpd_sends_total"),
        notifications=notifications,
        delivered=delivered,
        copied_share=_ratio(delivered.get("copied", 0), sum(delivered.values())),
        fallbacks={reason: n for reason, n in growth(first.counters, last.counters, FALLBACKS).items() if n},
        leases=buckets[-1][1] if buckets else 0,
        lease_s={percent: bound for percent, bound in found.items() if bound is not None},
        leases_open_max=max(each.count("zchttpd_leases_open") for each in readings),
        plan_hit_share=_ratio(plans.get("hit", 0), plans.get("hit", 0) + plans.get("miss", 0)),
        resident_start=first.resident,
        resident_max=max(each.resident for each in readings),
        mapped_max=max(each.count("zchttpd_mapped_bytes") for each in readings),
        connections_max=busiest.count("zchttpd_connections_open"),
        connection_bytes=_connection_bytes(first, busiest),
        aborts=last.count("zchttpd_aborts_total") - first.count("zchttpd_aborts_total"),
    )


def _connection_bytes(first: Reading, busiest: Reading) -> float | None:
    def beside_files(reading: Reading) -> float:
        return reading.resident - reading.count("zchttpd_mapped_bytes") - reading.count("zchttpd_pool_bytes")

    opened = busiest.count("zchttpd_connections_open") - first.count("zchttpd_connections_open")
    return _ratio(max(0.0, beside_files(busiest) - beside_files(first)), opened)


@dataclass(frozen=True, slots=True)
class Slice:
    """One server during a part of the run. `cpu_share` is of one core."""

    at_s: float
    seconds: float
    requests_per_s: float
    bytes_per_s: float
    cpu_share: float
    cpu_s_per_gib: float | None
    leases_open: float
    resident: int
    connections: float


def slices(readings: Sequence[Reading], started_s: float, count_max: int = 120) -> list[Slice]:
    """The run in at most `count_max` parts; `at_s` is the end of a part, since `started_s`."""
    step = max(1, math.ceil((len(readings) - 1) / count_max)) if len(readings) > 1 else 1
    chosen = list(readings[::step])
    # The last look comes whenever the run ends; what little it adds would be a dent in every plot.
    if len(chosen) > 2 and chosen[-1].at_s - chosen[-2].at_s < (chosen[1].at_s - chosen[0].at_s) / 2:
        chosen.pop()
    found = []
    for before, after in itertools.pairwise(chosen):
        seconds = after.at_s - before.at_s
        if seconds <= 0:
            continue
        sent, cpu_s = after.sent_bytes - before.sent_bytes, after.cpu_s - before.cpu_s
        found.append(
            Slice(
                after.at_s - started_s,
                seconds,
                (after.requests - before.requests) / seconds,
                sent / seconds,
                cpu_s / seconds,
                _ratio(cpu_s, sent / GIB),
                after.count("zchttpd_leases_open"),
                after.resident,
                after.count("zchttpd_connections_open"),
            )
        )
    return found


def paired_ratios(ours: Sequence[Reading], base: Sequence[Reading], parts: int = 8) -> list[float]:
    """CPU per response of one server / that of another, in each of at most `parts` equal parts of the run.

    Per response, not per byte given to the kernel: both are asked the same, but a copying send also counts
    what waited in a socket buffer when a client went away.

    Both are asked at the same moments, so readings pair by their number; a part needs two of each.
    """
    length = min(len(ours), len(base))
    parts = min(parts, (length - 1) // 2)
    edges = [round(place * (length - 1) / parts) for place in range(parts + 1)] if parts > 0 else []
    found = []
    for low, high in itertools.pairwise(edges):
        costs = []
        for readings in (ours, base):
            answered = readings[high].requests - readings[low].requests
            costs.append(_ratio(readings[high].cpu_s - readings[low].cpu_s, answered))
        if costs[0] is not None and costs[1]:
            found.append(costs[0] / costs[1])
    return found


# Above this share of a core the load client itself decides how fast things are.
SATURATED = 0.9


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of request to one server. Times in ms, of the whole answer."""

    mode: str
    name: str
    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    bytes: int


@dataclass(frozen=True, slots=True)
class ClientCost:
    """What the load client used: CPU seconds of all its processes, and of the busiest one per wall second."""

    cpu_s: float
    processes: int
    busiest_share: float

    @property
    def saturated(self) -> bool:
        return self.busiest_share > SATURATED


@dataclass(frozen=True, slots=True)
class Moment:
    """The load at `at_s` since the start: users, and answers and failures per second of all modes."""

    at_s: float
    users: int
    requests_per_s: float
    failures_per_s: float


@dataclass(frozen=True, slots=True)
class Results:
    """One run. `ratios`: mode -> CPU per response against plain, part by part; `sides` only of servers that
    could be read; `missing`: mode -> why it could not run.
    """

    started: str
    seconds: float
    users: int
    shape: str
    command: str
    machine: Mapping[str, str]
    own: bool
    targets: tuple[Target, ...]
    files: int
    file_bytes: int
    scenes: tuple[Scene, ...]
    errors: tuple[tuple[str, str, int], ...]
    sides: tuple[Side, ...]
    slices: Mapping[str, tuple[Slice, ...]]
    ratios: Mapping[str, tuple[float, ...]]
    moments: tuple[Moment, ...]
    client: ClientCost
    missing: Mapping[str, str]

    @property
    def modes(self) -> tuple[str, ...]:
        return tuple(target.mode for target in self.targets)

    def side(self, mode: str) -> Side | None:
        return next((side for side in self.sides if side.mode == mode), None)


def scenes_of(entries: Iterable[Any], modes: tuple[str, ...]) -> tuple[Scene, ...]:
    """Locust's statistics entries, whose names are `MODE scene`, in the order of scene, then of `modes`.

    An entry of another name is none of ours and left out.
    """
    found = []
    for entry in entries:
        mode, _, name = entry.name.partition(" ")
        if mode in modes and name:
            p50, p95, p99 = (float(entry.get_response_time_percentile(share)) for share in (0.5, 0.95, 0.99))
            counts = entry.num_requests, entry.num_failures
            found.append(Scene(mode, name, *counts, p50, p95, p99, entry.total_content_length))
    return tuple(sorted(found, key=lambda scene: (scene.name, modes.index(scene.mode))))

"""Made-up runs of the load test: readings of servers, and what they add up to."""

from __future__ import annotations

from loadtest._samples import ClientCost, Moment, Reading, Results, Scene, difference, paired_ratios, slices
from loadtest._targets import Target

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
        'zchttpd_zerocopy_delivered_total{usage="copied"}': copied * second,
        'zchttpd_zerocopy_delivered_total{usage="zero_copied"}': zero * second,
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

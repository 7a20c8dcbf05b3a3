"""The counters of zchttpd's admin listener, and what two readings of them tell."""

from __future__ import annotations

import http.client
import json
import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LEASE_BUCKET = re.compile(r'zchttpd_lease_seconds_bucket\{le="([^"]+)"\}')
NOTIFICATIONS = "zchttpd_zerocopy_notifications_total"
FALLBACKS = "zchttpd_zerocopy_fallbacks_total"
Counters = dict[str, float]
# (upper bound in seconds, leases up to it), in order of the bounds.
Buckets = list[tuple[float, float]]


def read_counters(host: str, port: int) -> Counters:
    """Raises OSError when the admin listener does not answer, or not with counters."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", "/metrics.json")
        found: Counters = json.loads(connection.getresponse().read())
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"no counters at {host}:{port}: {error!r}") from error
    finally:
        connection.close()
    return found


def total(counters: Mapping[str, float], name: str) -> float:
    """The sum over all labels of one metric."""
    return sum(value for sample, value in counters.items() if sample.startswith(name + "{"))


def growth(before: Mapping[str, float], after: Mapping[str, float], name: str) -> Counters:
    """How far a metric has grown, by its one label."""
    return {
        sample.split('"')[1]: value - before.get(sample, 0)
        for sample, value in after.items()
        if sample.startswith(name + "{")
    }


def lease_buckets(before: Mapping[str, float], after: Mapping[str, float]) -> Buckets:
    """The leases that ended between two readings, cumulative."""
    return sorted(
        (float(match[1]), count - before.get(sample, 0))
        for sample, count in after.items()
        if (match := LEASE_BUCKET.fullmatch(sample))
    )


def percentile_bound(buckets: Buckets, percent: float, longest: float = math.inf) -> float | None:
    """The upper bound of the bucket that holds the percentile, at most `longest`; None without any lease."""
    count = buckets[-1][1] if buckets else 0
    if count <= 0:
        return None
    return min(longest, next((bound for bound, seen in buckets if seen >= count * percent / 100), math.inf))


def duration(seconds: float | None) -> str:
    """A bucket's bound or the length of a run: 0.0025 -> "2.5 ms"; "-" for none."""
    if seconds is None:
        return "-"
    if math.isinf(seconds):
        return "beyond the last bucket"
    if seconds < 0.001:
        return f"{seconds * 1e6:g} us"
    if seconds < 1:
        return f"{seconds * 1000:g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"

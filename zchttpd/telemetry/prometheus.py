"""Metric families in the text format of Prometheus, or that of OpenMetrics.

Imported when somebody asks: prometheus_client brings an HTTP server of its own, a fifth of a start's CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from zchttpd.http.accept import wish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zchttpd.telemetry.metrics import Family

_openmetrics: Callable[[Collector], bytes] = openmetrics.generate_latest


class _Collected(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return map(_metric_of, self._families)


def _metric_of(family: Family) -> Metric:
    metric = Metric(family.name, family.text, family.kind)
    for suffix, labels, value in family.samples:
        metric.add_sample(family.name + suffix, dict(labels), value)
    return metric


def render(families: Iterable[Family], accept: bytes | None) -> tuple[str, bytes]:
    """Media type and text: what `Accept` wishes for more, else that of Prometheus."""
    if wish(accept, b"application/openmetrics-text") > wish(accept, b"text/plain"):
        return openmetrics.CONTENT_TYPE_LATEST, _openmetrics(_Collected(families))
    return CONTENT_TYPE_LATEST, generate_latest(_Collected(families))

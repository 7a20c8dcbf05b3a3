"""Metric families in the text format of Prometheus.

Imported when somebody asks: prometheus_client brings an HTTP server of its own, a fifth of a start's CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zchttpd.telemetry.metrics import Family

TEXT_TYPE = CONTENT_TYPE_LATEST


class _Collected(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._metrics = [_metric_of(family) for family in families]

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


def _metric_of(family: Family) -> Metric:
    metric = Metric(family.name, family.text, family.kind)
    for suffix, labels, value in family.samples:
        metric.add_sample(family.name + suffix, dict(labels), value)
    return metric


def render(families: Iterable[Family]) -> bytes:
    """The text, of the media type TEXT_TYPE."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    return generate_latest(registry)

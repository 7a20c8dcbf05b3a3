"""Metric families in the text format of Prometheus.

Imported when somebody asks: prometheus_client brings an HTTP server of its own, a fifth of a start's CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zchttpd.telemetry.metrics import Family

TEXT_TYPE = CONTENT_TYPE_LATEST


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


def render(families: Iterable[Family]) -> bytes:
    """The text, of the media type TEXT_TYPE."""
    return generate_latest(_Collected(families))

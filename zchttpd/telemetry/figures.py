"""What two readings of /metrics.json, some time apart, tell of the time between them: for `zchttpd top`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ANSWER_S_MAX = 5.0
ANSWER_SIZE_MAX = 4 << 20
_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})?")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Source:
    """An admin listener. `url`: its address, as `127.0.0.1:9100`, or the URL of one of its pages."""

    url: str
    token: bytes = b""

    @property
    def address(self) -> str:
        """Where its metrics are."""
        parts = urlsplit(self.url if "://" in self.url else f"http://{self.url}")
        return f"{parts.scheme}://{parts.netloc}/metrics.json"

    def read(self) -> dict[str, float]:
        """Every sample by its name and labels. Raises OSError and ValueError."""
        request = Request(self.address)
        if self.token:
            # Not for whoever it may send us to.
            request.add_unredirected_header("Authorization", f"Bearer {self.token.decode('ascii')}")
        # It is asked itself, whatever proxy other programs are to use.
        with build_opener(ProxyHandler({})).open(request, timeout=ANSWER_S_MAX) as answer:
            found = json.loads(answer.read(ANSWER_SIZE_MAX))
        if not isinstance(found, dict) or "zchttpd_workers" not in found:
            raise ValueError("these are no metrics of zchttpd")
        return found


class Latency(NamedTuple):
    """Responses of one class: how many a second, and how long they took at most, by part of them (s)."""

    status: str
    size: str
    rate: float
    quantiles: tuple[float, ...]


QUANTILES = (0.5, 0.9, 0.99)


class Figures:
    """What is `now`, and what became of what was `before`, `seconds` ago."""

    def __init__(self, before: Mapping[str, float], now: Mapping[str, float], seconds: float) -> None:
        self._before = before
        self._now = now
        self._seconds = seconds

    def value(self, name: str) -> float:
        """A gauge, or a counter as it stands; 0 where there is none."""
        return self._now.get(f"zchttpd_{name}", 0.0)

    def rate(self, name: str) -> float:
        """By how much a counter grows in a second. One that began anew counts from there."""
        return self._grown(f"zchttpd_{name}") / self._seconds

    def labels(self, name: str, label: str) -> list[str]:
        """The values of a label, in their order."""
        return list(dict.fromkeys(labels[label] for labels, _ in self._samples(name) if label in labels))

    def rates(self, name: str, label: str) -> dict[str, float]:
        """What a counter grows by in a second, by a label; over all values of the others."""
        found = dict.fromkeys(self.labels(name, label), 0.0)
        for labels, key in self._samples(name):
            found[labels[label]] += self._grown(key) / self._seconds
        return found

    def values(self, name: str, label: str) -> dict[str, float]:
        """Samples as they stand, by their one label."""
        return {labels[label]: self._now[key] for labels, key in self._samples(name)}

    def latencies(self) -> list[Latency]:
        """Of each class of responses, the busiest first. Without responses in that time it is left out."""
        found = []
        for (status, size), bounds in self._buckets().items():
            count = bounds.get(float("inf"), 0.0)
            if count:
                quantiles = tuple(_quantile(bounds, part * count) for part in QUANTILES)
                found.append(Latency(status, size, count / self._seconds, quantiles))
        return sorted(found, key=lambda each: -each.rate)

    def _buckets(self) -> dict[tuple[str, str], dict[float, float]]:
        found: dict[tuple[str, str], dict[float, float]] = {}
        for labels, key in self._samples("response_seconds_bucket"):
            bounds = found.setdefault((labels["status"], labels["size"]), {})
            bounds[float(labels["le"])] = self._grown(key)
        return found

    def _samples(self, name: str) -> Iterator[tuple[dict[str, str], str]]:
        for key in self._now:
            match = _SAMPLE.fullmatch(key)
            if match is not None and match[1] == f"zchttpd_{name}":
                yield dict(_LABEL.findall(match[2] or "")), key

    def _grown(self, key: str) -> float:
        now, before = self._now.get(key, 0.0), self._before.get(key, 0.0)
        return now - before if now >= before else now


def _quantile(bounds: Mapping[float, float], rank: float) -> float:
    """The least bound below which there are so many."""
    return min(bound for bound, seen in bounds.items() if seen >= rank)

"""Median, lowest and highest of what was measured several times."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, lowest and highest of the rounds."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """Raises statistics.StatisticsError when there are no values."""
    found = list(values)
    return Spread(statistics.median(found), min(found, default=0.0), max(found, default=0.0))


def ratio_words(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} [{ratio.low:.2f} to {ratio.high:.2f}]"

"""Load shapes: how many users at which moment, as pure functions of time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RAMP_STEPS = 10
SPIKE_REST_SHARE = 0.2
SOAK_RAMP_SHARE = 0.05


# The share of the users that are wanted, by the share of the run that is over.
SHAPES: dict[str, Callable[[float], float]] = {
    # Equal steps, to find where it bends.
    "ramp": lambda at: (min(RAMP_STEPS - 1, math.floor(at * RAMP_STEPS)) + 1) / RAMP_STEPS,
    # All of them in the third and the fourth fifth of the run, to see it recover.
    "spike": lambda at: 1.0 if 0.4 <= at < 0.8 else SPIKE_REST_SHARE,
    "soak": lambda at: min(1.0, at / SOAK_RAMP_SHARE),
}


def users_at(shape: str, at: float, peak: int) -> int:
    """Users at `at` (0 to 1, the share of the run that is over) of a run whose most is `peak`; at least 1."""
    return max(1, round(peak * SHAPES[shape](at)))

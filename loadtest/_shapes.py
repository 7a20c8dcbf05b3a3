"""Load shapes: how many users at which moment, as pure functions of time."""

from __future__ import annotations

import math

RAMP_STEPS = 10
SPIKE_REST_SHARE = 0.2
SOAK_RAMP_SHARE = 0.05
SHAPES = ("ramp", "spike", "soak")


def users_at(shape: str, at: float, peak: int) -> int:
    """Users at `at` (0 to 1, the share of the run that is over) of a run whose most is `peak`; at least 1.

    ramp: ten equal steps up to `peak`, to find where it bends. spike: a fifth of `peak`, all of it in the
    third and the fourth fifth of the run, and a fifth again, to see it recover. soak: all of it after a short
    ramp.
    Raises ValueError for another shape.
    """
    if shape == "ramp":
        wanted = peak * (min(RAMP_STEPS - 1, math.floor(at * RAMP_STEPS)) + 1) / RAMP_STEPS
    elif shape == "spike":
        wanted = peak if 0.4 <= at < 0.8 else peak * SPIKE_REST_SHARE
    elif shape == "soak":
        wanted = peak * min(1.0, at / SOAK_RAMP_SHARE)
    else:
        raise ValueError(f"no shape {shape!r}; type one of: {', '.join(SHAPES)}")
    return max(1, round(wanted))

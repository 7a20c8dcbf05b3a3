"""Runs seeds in a child: a machine that stops itself (zc_assert) is a failed seed, not the end of all."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from typing import TYPE_CHECKING, NamedTuple

from .play import run
from .world import BEGAN_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What the child says of a seed that passed: this, and its microseconds.
PASSED = "passed "


class Outcome(NamedTuple):
    """Of a block of seeds: a text for each that failed, and how long their clocks ran."""

    failures: list[str]
    simulated_us: int


def run_block(seeds: Sequence[int], steps: int) -> Outcome:
    """Run each seed. Those behind a seed that kills the child run in another."""
    failures: list[str] = []
    simulated_us = 0
    left = list(seeds)
    while left:
        done, said, elapsed_us, status = _run_child(left, steps)
        failures += said
        simulated_us += elapsed_us
        if (done < len(left) and len(said) == 0) or os.WIFSIGNALED(status):
            cause = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
            failures.append(f"seed {left[done]}: the machine stopped with {cause}; see stderr")
            done += 1
        left = left[done:]
    return Outcome(failures, simulated_us)


def _run_child(seeds: Iterable[int], steps: int) -> tuple[int, list[str], int, int]:
    """(seeds that came to an end, failures, simulated microseconds, wait status)."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn when other tests have left threads; the child uses none of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read_end)
            with os.fdopen(write_end, "w") as pipe:
                for seed in seeds:
                    try:
                        pipe.write(f"{PASSED}{run(seed, steps).now_us - BEGAN_US}\0")
                    except Exception:
                        pipe.write(f"seed {seed}:\n{traceback.format_exc(limit=-6)}\0")
                    pipe.flush()
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        records = pipe.read().split("\0")[:-1]
    _, status = os.waitpid(child, 0)
    failures = [record for record in records if not record.startswith(PASSED)]
    simulated_us = sum(int(record.removeprefix(PASSED)) for record in records if record.startswith(PASSED))
    return len(records), failures, simulated_us, status

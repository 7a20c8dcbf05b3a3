"""Long runs: `cd tests && python -m sim.run --minutes 60`. One seed again: `--first SEED --seeds 1`."""

from __future__ import annotations

import argparse
import time
from datetime import timedelta

from .block import run_block
from .world import STEPS

BLOCK = 50


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the simulation of the machine over many seeds.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--minutes", type=float, help="run for so long, however many seeds that takes")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of each run (default {STEPS})")
    options = parser.parse_args()
    began = time.monotonic()
    first, failed, simulated_us = options.first, 0, 0
    while True:
        if options.minutes is None:
            count = min(BLOCK, options.first + options.seeds - first)
        else:
            count = BLOCK if time.monotonic() < began + 60 * options.minutes else 0
        if count == 0:
            break
        outcome = run_block(range(first, first + count), options.steps)
        first += count
        failed += len(outcome.failures)
        simulated_us += outcome.simulated_us
        for failure in outcome.failures:
            print(failure, flush=True)
    simulated = timedelta(seconds=simulated_us // 1_000_000)
    elapsed = timedelta(seconds=int(time.monotonic() - began))
    print(f"{first - options.first} seeds, {simulated} of simulated time in {elapsed}, {failed} failed")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()

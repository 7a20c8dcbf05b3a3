"""Long runs: `cd tests && python -m sim.run --seeds 10000`. One seed again: `--first SEED --seeds 1`."""

from __future__ import annotations

import argparse

from .block import run_block
from .world import STEPS

BLOCK = 50


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the simulation of the core over many seeds.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of each run (default {STEPS})")
    options = parser.parse_args()
    failed = 0
    for first in range(options.first, options.first + options.seeds, BLOCK):
        seeds = range(first, min(first + BLOCK, options.first + options.seeds))
        failures = run_block(seeds, options.steps)
        failed += len(failures)
        for failure in failures:
            print(failure, flush=True)
    print(f"{options.seeds} seeds, {failed} failed")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()

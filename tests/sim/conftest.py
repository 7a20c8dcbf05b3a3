"""Which seeds to run: a few hundred by default, SIM_SEEDS of them, or SIM_SEED alone."""

from __future__ import annotations

import os

import pytest

try:
    from zchttpd._core import testing
except ImportError as error:
    raise pytest.UsageError("the simulation needs a build with test hooks. Type: make dev") from error

assert testing.OPS

SEEDS = 200
BLOCK = 20


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`seeds`: blocks of them, so that a failure names few and a run shows progress."""
    if "seeds" not in metafunc.fixturenames:
        return
    single = os.environ.get("SIM_SEED")
    if single is not None:
        blocks = [range(int(single), int(single) + 1)]
    else:
        count = int(os.environ.get("SIM_SEEDS", SEEDS))
        blocks = [range(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]
    metafunc.parametrize("seeds", blocks, ids=[f"{block.start}-{block.stop - 1}" for block in blocks])

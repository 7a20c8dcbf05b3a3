"""The shared counters: one anonymous mapping with a block of 64-bit cells for each worker (`_core.stats`)."""

from __future__ import annotations

import importlib
import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

# What is open in a worker is gone when the worker is; what it counted is not.
GAUGES = (
    "leases_open",
    "mappings_open",
    "mapped_bytes",
    "registered_bytes",
    "zombies_open",
    "windows_open",
    "pool_bytes",
    "connections_open",
    "plans_open",
    "entries_open",
    "compressed_bytes",
    "compressions_pending",
    "zerocopy_active",
)


def stats_layout() -> ModuleType:
    """Where the cells of one block are (`_core/stats.pyi`). ImportError where zchttpd was not built."""
    return importlib.import_module("zchttpd._core.stats")


def cells_of(block: memoryview, name: str) -> memoryview:
    """The 64-bit cells `name` of one worker's block."""
    first, count = stats_layout().CELLS[name]
    return block.cast("Q")[first : first + count]


class SharedStats:
    """The blocks of `workers` workers, in memory that stays shared after fork(2)."""

    def __init__(self, workers: int) -> None:
        self._layout = stats_layout()
        self._workers = workers
        self._memory = memoryview(mmap.mmap(-1, workers * self._layout.STATS_BYTES))

    def block(self, worker: int) -> memoryview:
        """The block of one worker, as writable bytes."""
        size = self._layout.STATS_BYTES
        return self._memory[worker * size : (worker + 1) * size]

    def cells(self, worker: int, name: str) -> memoryview:
        """The 64-bit cells `name` of one worker."""
        return cells_of(self.block(worker), name)

    def totals(self) -> dict[str, list[int]]:
        """All cells by name, added over the workers."""
        return {name: [sum(column) for column in self._columns(name)] for name in self._layout.CELLS}

    def highest(self, name: str) -> list[int]:
        """The cells `name`, each the highest of any worker."""
        return [max(column) for column in self._columns(name)]

    def _columns(self, name: str) -> Iterator[tuple[int, ...]]:
        """Each of the cells `name`, of all workers."""
        return zip(*(self.cells(worker, name) for worker in range(self._workers)), strict=True)

    def clear_gauges(self, worker: int) -> None:
        """Zero the gauges of a worker that died. Its counters stay: its successor goes on from them."""
        for name in GAUGES:
            cells = self.cells(worker, name)
            for index in range(len(cells)):
                cells[index] = 0

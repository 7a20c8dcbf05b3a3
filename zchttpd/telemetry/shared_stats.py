"""The shared counters: one anonymous mapping with a block of 64-bit cells for each worker (`_core.stats`)."""

from __future__ import annotations

import importlib
import mmap
from dataclasses import dataclass

CELL_SIZE = 8

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


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the cells of one block are. `cells`: name -> (first cell, how many). `block_size`: bytes."""

    block_size: int
    cells: dict[str, tuple[int, int]]
    lease_bounds_us: tuple[int, ...]
    reasons: tuple[str, ...]
    routes: tuple[str, ...]


def stats_layout() -> Layout:
    """The layout of the compiled counters (`_core.stats`). ImportError where zchttpd was not built."""
    stats = importlib.import_module("zchttpd._core.stats")
    return Layout(
        stats.STATS_BYTES,
        stats.CELLS,
        tuple(stats.LEASE_BOUNDS_US),
        tuple(stats.FALLBACK_REASONS),
        tuple(stats.ROUTES),
    )


def cells_of(block: memoryview, name: str) -> memoryview:
    """The 64-bit cells `name` of one worker's block."""
    first, count = stats_layout().cells[name]
    return block.cast("Q")[first : first + count]


class SharedStats:
    """The blocks of `workers` workers, in memory that stays shared after fork(2)."""

    def __init__(self, workers: int) -> None:
        self._layout = stats_layout()
        self._workers = workers
        self._memory = memoryview(mmap.mmap(-1, workers * self._layout.block_size))
        self._cells = self._memory.cast("Q")

    def block(self, worker: int) -> memoryview:
        """The block of one worker, as writable bytes."""
        size = self._layout.block_size
        return self._memory[worker * size : (worker + 1) * size]

    def cells(self, worker: int, name: str) -> memoryview:
        """The 64-bit cells `name` of one worker."""
        first, count = self._layout.cells[name]
        first += worker * self._layout.block_size // CELL_SIZE
        return self._cells[first : first + count]

    def totals(self) -> dict[str, list[int]]:
        """All cells by name, added over the workers."""
        return {
            name: [
                sum(column)
                for column in zip(*(self.cells(i, name) for i in range(self._workers)), strict=True)
            ]
            for name in self._layout.cells
        }

    def highest(self, name: str) -> list[int]:
        """The cells `name`, each the highest of any worker."""
        return [
            max(column) for column in zip(*(self.cells(i, name) for i in range(self._workers)), strict=True)
        ]

    def clear_gauges(self, worker: int) -> None:
        """Zero the gauges of a worker that died. Its counters stay: its successor goes on from them."""
        for name in GAUGES:
            cells = self.cells(worker, name)
            for index in range(len(cells)):
                cells[index] = 0

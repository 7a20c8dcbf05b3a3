"""The shared counters: a block of 64-bit cells for each worker, in an anonymous mapping (`_core.stats`)."""

from __future__ import annotations

import importlib
import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

# The metric of each cell of what is open, and what it says. What is open in a worker is gone when the worker
# is; what it counted is not.
GAUGES = {
    "leases_open": ("zchttpd_leases_open", "Zero-copy sends whose memory the kernel may still read."),
    "leased_bytes": (
        "zchttpd_leased_bytes",
        "Bytes of that memory: what clients have been sent without a copy and have not taken yet.",
    ),
    "mappings_open": ("zchttpd_mappings_open", "File versions held in memory."),
    "mapped_bytes": ("zchttpd_mapped_bytes", "Bytes of file versions held in memory."),
    "registered_bytes": ("zchttpd_registered_bytes", "Bytes registered with io_uring."),
    "zombies_open": ("zchttpd_zombie_mappings_open", "Outdated file versions that a send still reads."),
    "windows_open": ("zchttpd_windows_open", "Windows of the streaming pool in use."),
    "held_bytes": (
        "zchttpd_held_bytes",
        "Bytes of requests and responses under way that nothing else uses.",
    ),
    "pool_bytes": ("zchttpd_pool_bytes", "Bytes of the streaming windows, in use or not."),
    "entries_open": ("zchttpd_entries_open", "Paths whose file is known."),
    "connections_open": ("zchttpd_connections_open", "Connections open."),
    "plans_open": ("zchttpd_plans_open", "Request heads remembered with their response."),
    "compressions_pending": ("zchttpd_compressions_pending", "Files that are being compressed."),
    "compressed_bytes": ("zchttpd_compressed_bytes", "Bytes of encodings that were made."),
}
# Whether `auto` sends without a copy, by route.
ACTIVE = "zerocopy_active"
# When the loop has its next turn at the latest, monotonic milliseconds; 0 before the first.
DUE = "due_ms"


def stats_layout() -> ModuleType:
    """Where the cells of one block are (`_core/stats.pyi`). ImportError where zchttpd was not built."""
    return importlib.import_module("zchttpd._core.stats")


def cells_of(block: memoryview, name: str) -> memoryview:
    """The 64-bit cells `name` of one worker's block."""
    first, count = stats_layout().CELLS[name]
    return block.cast("Q")[first : first + count]


class SharedStats:
    """The blocks of the workers, and one of those that have gone, in memory shared by all that are forked."""

    def __init__(self, workers: int) -> None:
        self._layout = stats_layout()
        self._gone = self._make()
        self._blocks = [self._make() for _ in range(workers)]

    def _make(self) -> memoryview:
        return memoryview(mmap.mmap(-1, self._layout.STATS_BYTES))

    def add(self) -> memoryview:
        """The block of one more worker, as writable bytes."""
        self._blocks.append(self._make())
        return self._blocks[-1]

    def block(self, worker: int) -> memoryview:
        """The block of one of the first workers, as writable bytes."""
        return self._blocks[worker]

    def cells(self, worker: int, name: str) -> memoryview:
        """The 64-bit cells `name` of one of the first workers."""
        return cells_of(self.block(worker), name)

    def totals(self) -> dict[str, list[int]]:
        """All cells by name, added over the workers."""
        return {name: [sum(column) for column in self._columns(name)] for name in self._layout.CELLS}

    def highest(self, name: str) -> list[int]:
        """The cells `name`, each the highest of any worker."""
        return [max(column) for column in self._columns(name)]

    def _columns(self, name: str) -> Iterator[tuple[int, ...]]:
        """Each of the cells `name`, of all workers."""
        return zip(*(cells_of(block, name) for block in (self._gone, *self._blocks)), strict=True)

    def clear_gauges(self, block: memoryview) -> None:
        """Zero the gauges of a worker that died. Its counters stay: its successor goes on from them."""
        for name in (*GAUGES, ACTIVE, DUE):
            cells = cells_of(block, name)
            for index in range(len(cells)):
                cells[index] = 0

    def retire(self, block: memoryview) -> None:
        """A worker has gone for good. What it counted stays."""
        self.clear_gauges(block)
        total, counted = self._gone.cast("Q"), block.cast("Q")
        for index in range(len(counted)):
            total[index] += counted[index]
        self._blocks = [each for each in self._blocks if each is not block]

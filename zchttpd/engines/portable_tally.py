"""The counters of one worker, as the portable engine writes them: cells of the shared `_core.stats` block."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tally:
    """`cells` of 64 bits in `block`, and the index of each one that is written: `cells[stats.aborts] += 1`.

    `places` is `_core.stats.CELLS`: name -> (first cell, how many). `requests` has one cell for each status.
    """

    def __init__(self, block: memoryview, places: Mapping[str, tuple[int, int]]) -> None:
        self.block = block
        self.cells = block.cast("Q")
        self.requests = places["requests"][0]
        self.sends_plain = places["sends_plain"][0]
        self.sends_sendfile = places["sends_sendfile"][0]
        self.send_bytes_plain = places["send_bytes_plain"][0]
        self.send_bytes_sendfile = places["send_bytes_sendfile"][0]
        self.mappings_open = places["mappings_open"][0]
        self.mapped_bytes = places["mapped_bytes"][0]
        self.zombies_open = places["zombies_open"][0]
        self.connections_open = places["connections_open"][0]
        self.connections_total = places["connections_total"][0]
        self.plan_hits = places["plan_hits"][0]
        self.plan_misses = places["plan_misses"][0]
        self.plans_open = places["plans_open"][0]
        self.timeouts_head = places["timeouts_head"][0]
        self.timeouts_idle = places["timeouts_idle"][0]
        self.timeouts_stall = places["timeouts_stall"][0]
        self.aborts = places["aborts"][0]
        self.accept_errors = places["accept_errors"][0]
        self.access_dropped = places["access_dropped"][0]
        self.entries_open = places["entries_open"][0]

"""How often each of very many things was asked for lately, in a fixed amount of memory.

A count-min sketch with conservative updates whose counts are halved as time passes, as TinyLFU has it
(Einziger, Friedman and Manes, ACM Transactions on Storage 13(4), 2017).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

ROWS = 4
WIDTH_BITS = 12
WIDTH = 1 << WIDTH_BITS
COUNT_MAX = 255
# Counts are halved once in so many milliseconds, and after so many additions: with more than one thing to a
# cell, what is seen for the first time would look known.
HALVED_SHIFT = 16
ADDITIONS_MAX = WIDTH

_HALVES = bytes(count >> 1 for count in range(COUNT_MAX + 1))


class FrequencySketch:
    """Counts up to COUNT_MAX; never too few but for ageing, and seldom too many. Times in milliseconds.

    Keys are told apart by `hash`, which nobody outside can aim at as long as they are made of bytes.
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._counts = bytearray(ROWS * WIDTH)
        self._period = now_ms >> HALVED_SHIFT
        self._additions = 0

    def add(self, key: Hashable, now_ms: int) -> int:
        """It is asked for now. Returns how often it has been, this time too."""
        self._age(now_ms)
        places = self._places(key)
        count = min(self._counts[place] for place in places)
        if count == COUNT_MAX:
            return count
        for place in places:
            if self._counts[place] == count:
                self._counts[place] = count + 1
        return count + 1

    def _places(self, key: Hashable) -> list[int]:
        digest = hash(key)
        return [row * WIDTH + (digest >> row * WIDTH_BITS) % WIDTH for row in range(ROWS)]

    def _age(self, now_ms: int) -> None:
        passed = (now_ms >> HALVED_SHIFT) - self._period
        self._additions += 1
        if self._additions > ADDITIONS_MAX:
            passed = max(passed, 1)
        if passed > 0:
            for _ in range(min(passed, COUNT_MAX.bit_length())):
                self._counts = self._counts.translate(_HALVES)
            self._period = now_ms >> HALVED_SHIFT
            self._additions = 0

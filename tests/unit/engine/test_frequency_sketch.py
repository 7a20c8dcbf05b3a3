"""Counts of what was asked for lately: not too few, seldom too many, and forgotten with time."""

from __future__ import annotations

import random
from collections import Counter

from zchttpd.engine.frequency_sketch import (
    ADDITIONS_MAX,
    COUNT_MAX,
    HALVED_SHIFT,
    ROWS,
    WIDTH,
    FrequencySketch,
)

PERIOD_MS = 1 << HALVED_SHIFT


def key(number: int) -> tuple[bytes, ...]:
    return (b"files", b"%d" % number)


def test_it_counts() -> None:
    sketch = FrequencySketch()
    assert [sketch.add(key(1), 0) for _ in range(3)] == [1, 2, 3]
    assert sketch.add(key(2), 0) == 1


def test_no_count_is_too_low() -> None:
    sketch, true = FrequencySketch(), Counter[int]()
    rng = random.Random(1)
    for _ in range(ADDITIONS_MAX):
        number = min(int(rng.paretovariate(0.7)), 10**6)
        true[number] += 1
        assert sketch.add(key(number), 0) >= min(true[number], COUNT_MAX)


def test_few_of_many_that_are_new_look_known() -> None:
    sketch = FrequencySketch()
    known = sum(sketch.add(key(number), 0) > 1 for number in range(10 * ADDITIONS_MAX))
    assert known < ADDITIONS_MAX


def test_it_does_not_count_beyond_a_byte() -> None:
    sketch = FrequencySketch()
    for _ in range(2 * COUNT_MAX):
        last = sketch.add(key(1), 0)
    assert last == COUNT_MAX


def test_half_is_forgotten_each_period() -> None:
    sketch = FrequencySketch(now_ms=5 * PERIOD_MS)
    for _ in range(8):
        sketch.add(key(1), 5 * PERIOD_MS)
    assert sketch.add(key(1), 6 * PERIOD_MS) == 5
    assert sketch.add(key(1), 8 * PERIOD_MS) == 2
    assert sketch.add(key(1), 10**6 * PERIOD_MS) == 1


def test_half_is_forgotten_after_many_additions() -> None:
    sketch = FrequencySketch()
    for _ in range(8):
        sketch.add(key(1), 0)
    for number in range(2, ADDITIONS_MAX - 5):
        sketch.add(key(number), 0)
    assert sketch.add(key(1), 0) <= 6


def test_it_takes_the_memory_that_it_says() -> None:
    sketch = FrequencySketch()
    for number in range(2 * ADDITIONS_MAX):
        sketch.add(key(number), number)
    assert len(sketch._counts) == ROWS * WIDTH

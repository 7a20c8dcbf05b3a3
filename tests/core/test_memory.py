"""No memory: what cannot be had, costs at most the connection that wanted it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from zchttpd._core import testing_memory

from .bench import HEAD, LOOPBACK, WINDOW, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of a worker with a log: more than it makes at its start.
ALLOCATIONS_MAX = 100


@pytest.fixture(autouse=True)
def _enough_afterwards() -> Iterator[None]:
    yield
    testing_memory.fail_after(-1)


def test_a_worker_that_cannot_be_made_keeps_nothing() -> None:
    # Workers of other tests, which nothing but themselves refers to any more.
    gc.collect()
    before = testing_memory.live()
    for number in range(ALLOCATIONS_MAX):
        testing_memory.fail_after(number)
        try:
            bench = Bench(access_bytes=4096)
        except MemoryError:
            assert testing_memory.live() == before
            continue
        assert number > 20, "the slabs, the table, the wheel, the queues, the ops, the log"
        bench.machine.close()
        assert testing_memory.live() == before
        return
    pytest.fail("it is never made")


def test_a_head_that_cannot_be_kept_ends_its_connection() -> None:
    bench = Bench()
    recv = bench.connect()
    testing_memory.fail_after(0)
    bench.hear(recv, HEAD[:5])
    assert [op.kind for op in bench.ops()] == ["reset", "cancel_all", "close"]
    assert bench.accept(99, LOOPBACK), "the others are served"


def test_a_stream_that_cannot_be_begun_ends_its_connection() -> None:
    bench = Bench()
    source = bench.source(WINDOW)
    plan = bench.plan([("literal", 0, 39), ("streamed", 0, WINDOW)], source=source)
    ticket = bench.ask(bench.connect())
    bench.machine.answer(ticket, plan, False)
    [head] = bench.ops()
    testing_memory.fail_after(0)
    bench.step(head.token, head.length)
    assert [op.kind for op in bench.ops()] == ["shutdown"]

"""How long responses took, by status and size: from the first byte that came, once they have left whole."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from zchttpd._core.stats import LATENCY_BOUNDS_US, LATENCY_LABELS

from .bench import HEAD, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKETS = len(LATENCY_BOUNDS_US) + 1


def counted(bench: Bench) -> Iterator[tuple[str, str, int]]:
    """Status, size and bucket of each response."""
    for row, labels in enumerate(LATENCY_LABELS):
        for bucket in range(BUCKETS):
            for _ in range(bench.machine.gauge("latency_buckets", row * BUCKETS + bucket)):
                yield (*labels, bucket)


def bucket_of(us: int) -> int:
    return sum(bound < us for bound in LATENCY_BOUNDS_US)


@pytest.mark.parametrize(
    ("status", "size", "labels"),
    [
        (200, 0, ("2xx", "0")),
        (200, 1, ("2xx", "16K")),
        (206, (16 << 10) - 1, ("2xx", "16K")),
        (200, 16 << 10, ("2xx", "1M")),
        (304, 0, ("3xx", "0")),
        (404, 100, ("4xx", "16K")),
        (503, 100, ("5xx", "16K")),
    ],
)
def test_a_response_is_counted_in_its_class(status: int, size: int, labels: tuple[str, str]) -> None:
    bench = Bench(held_bytes_max=1 << 20)
    ticket = bench.ask(bench.connect())
    image = b"h" * 50 + b"b" * size
    plan = bench.plan([("literal", 0, len(image))], image=image, head_length=50, status=status)
    bench.machine.answer(ticket, plan, False)
    [send] = bench.ops()
    bench.wait(3)
    assert [*counted(bench)] == []
    bench.step(send.token, send.length)
    assert [*counted(bench)] == [(*labels, bucket_of(3000))]
    assert bench.machine.gauge("latency_us_sum", LATENCY_LABELS.index(labels)) == 3000


def test_the_time_begins_with_the_first_byte_and_again_with_each_request() -> None:
    bench = Bench()
    recv = bench.connect()
    bench.wait(50_000)
    bench.hear(recv, HEAD[:5])
    bench.wait(600)
    bench.hear(recv, HEAD[5:] + HEAD)
    plan = bench.small()
    for later_ms in (0, 300):
        [(_, ticket, _)] = bench.take_work()
        bench.wait(later_ms)
        bench.machine.answer(ticket, plan, False)
        [send] = bench.ops()
        bench.step(send.token, send.length)
    # The second had come with the first, and waited from when that was over.
    assert sorted(bucket for *_, bucket in counted(bench)) == [bucket_of(300_000), bucket_of(600_000)]
    assert bucket_of(300_000) < bucket_of(600_000) == bucket_of(900_000)


def test_what_is_broken_off_is_not_counted() -> None:
    bench = Bench()
    ticket = bench.ask(bench.connect())
    bench.machine.answer(ticket, bench.small(), False)
    [send] = bench.ops()
    bench.step(send.token, -32)
    for op in bench.ops():
        bench.step(op.token, 0)
    assert bench.machine.gauge("aborts") == 1
    assert [*counted(bench)] == []


def test_who_is_refused_at_once_has_waited_for_nothing() -> None:
    bench = Bench(connections_max=1)
    bench.ask(bench.connect())
    bench.connect()
    [(kind, ticket, status)] = bench.take_work()
    assert (kind, status) == ("refuse", 503)
    bench.machine.answer(ticket, bench.small(status=503), False)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    assert [*counted(bench)] == [("5xx", "16K", 0)]


def test_rows_and_bounds_are_in_order() -> None:
    assert all(one < other for one, other in pairwise(LATENCY_BOUNDS_US))
    assert [status for status, _ in LATENCY_LABELS] == sorted(status for status, _ in LATENCY_LABELS)
    assert len(set(LATENCY_LABELS)) == len(LATENCY_LABELS)

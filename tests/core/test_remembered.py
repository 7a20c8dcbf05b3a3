"""What is remembered of answers: how often each was used, and no more of parts than there is room for."""

from __future__ import annotations

from .bench import DATE, Bench

PERIOD_MS = 1 << 16
PARTS_MAX = 1000  # bytes, as the bench has them
PART_SIZE = 400


def head(number: int) -> bytes:
    return b"GET /a HTTP/1.1\r\nRange: bytes=%d-\r\n\r\n" % number


class Parts(Bench):
    """A client that asks for parts of one file."""

    def __init__(self, size: int = PART_SIZE, status: int = 206) -> None:
        super().__init__()
        self.status = status
        self.image = b"Date: " + DATE + b"\r\n\r\n" + bytes(size - 39)
        self.entry = self.machine.entry(self.now_ms + 10**9)
        self.recv = self.connect()

    def asks(self, number: int) -> bool:
        """Ask for a part. Whether its answer was remembered."""
        self.hear(self.recv, head(number))
        work = self.take_work()
        for _, ticket, _ in work:
            plan = self.plan(
                [("literal", 0, len(self.image))], self.image, entry=self.entry, status=self.status
            )
            self.machine.answer(ticket, plan, True)
            self.machine.release(plan)
        [send] = self.ops()
        self.step(send.token, send.length)
        return not work


def test_a_part_is_remembered_when_it_comes_back() -> None:
    parts = Parts()
    assert [parts.asks(1) for _ in range(4)] == [False, False, True, True]
    assert parts.machine.live()["part_bytes"] == PART_SIZE


def test_when_there_is_no_room_for_a_part_all_make_room() -> None:
    parts = Parts()
    for number in (1, 2):
        assert [parts.asks(number) for _ in range(3)] == [False, False, True]
    assert parts.machine.live()["part_bytes"] == 2 * PART_SIZE <= PARTS_MAX
    assert [parts.asks(3) for _ in range(3)] == [False, False, True]
    assert parts.machine.live()["part_bytes"] == PART_SIZE
    assert [parts.asks(number) for number in (1, 2)] == [False, False]


def test_a_part_that_has_no_room_at_all_is_not_remembered() -> None:
    parts = Parts(size=PARTS_MAX + 1)
    assert not any(parts.asks(1) for _ in range(4))
    assert parts.machine.live()["part_bytes"] == 0


def test_what_is_whole_needs_no_such_room() -> None:
    whole = Parts(size=PARTS_MAX + 1, status=200)
    assert [whole.asks(number) for number in (1, 1)] == [False, True]
    assert whole.machine.live()["part_bytes"] == 0
    assert whole.machine.image_bytes == PARTS_MAX + 1


def test_a_part_of_what_is_retired_takes_no_room() -> None:
    parts = Parts()
    for _ in range(2):
        parts.asks(1)
    parts.machine.retire(parts.entry)
    assert parts.machine.live()["part_bytes"] == 0


def test_uses_are_counted_and_half_of_them_is_forgotten_each_period() -> None:
    whole = Parts(status=200)
    for _ in range(8):
        whole.asks(1)
    assert whole.machine.uses(whole.entry) == 8
    whole.wait(PERIOD_MS)
    assert whole.machine.uses(whole.entry) == 4
    whole.ops()
    whole.recv = whole.connect()
    whole.asks(1)
    assert whole.machine.uses(whole.entry) == 5
    whole.wait(2 * PERIOD_MS)
    assert whole.machine.uses(whole.entry) == 1
    whole.wait(100 * PERIOD_MS)
    assert whole.machine.uses(whole.entry) == 0


def test_evictions_are_counted() -> None:
    bench = Bench()
    first, second = bench.machine.entry(10**9), bench.machine.entry(10**9)
    bench.machine.retire(first)
    assert bench.machine.gauge("evictions") == 0
    bench.machine.retire(second, evicted=True)
    assert bench.machine.gauge("evictions") == 1

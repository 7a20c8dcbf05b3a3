"""The handler's share of a turn: what is left stays in its order, and what needs no handler goes first."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest

from zchttpd._core import testing

from .bench import HEAD, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

ITEMS_MAX = 64
SHARE_US = 1000
REST = 3  # times as long as it took
PAUSE_US = 500
WARM = b"GET /warm HTTP/1.1\r\n\r\n"


def head(number: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\n\r\n" % number


class BoomError(Exception):
    pass


class Busy(Bench):
    """A worker whose handler takes `cost_us` for each thing that it is given, and answers nothing."""

    def __init__(self, cost_us: int) -> None:
        super().__init__(connections_max=400)
        self.cost_us = cost_us
        self.calls: list[list[bytes | int]] = []
        self.fails_on: bytes | None = None
        self.fails_at_once = False

    def _handle(
        self, work: Iterator[tuple[str, int, bytes | int]], filled: Iterator[tuple[int, int]], now_ms: int
    ) -> None:
        assert not list(filled)
        if self.fails_at_once:
            self.fails_at_once = False
            raise BoomError
        self.calls.append([])
        for item in work:
            self._work.append(item)
            self.calls[-1].append(item[2])
            self.machine.now_us += self.cost_us
            if item[2] == self.fails_on:
                raise BoomError

    def ask(self, recv: testing.ExecutedOp, head: bytes = HEAD) -> int:
        # The handler may have to rest.
        self.machine.now_us += PAUSE_US
        return super().ask(recv, head)

    def crowd(self, count: int) -> list[testing.ExecutedOp]:
        return [self.connect() for _ in range(count)]

    def burst(self, recvs: list[testing.ExecutedOp]) -> list[bytes]:
        """A new head of each, in one batch."""
        heads = [head(number) for number in range(len(recvs))]
        for recv, each in zip(recvs, heads, strict=True):
            self.machine.deliver(recv.token, len(each), True, received=each)
        return heads

    def given(self) -> list[bytes | int]:
        return [subject for call in self.calls for subject in call]

    def warm(self, entry: int | None = None) -> testing.ExecutedOp:
        """A connection whose head is known; its receive."""
        recv = self.connect()
        plan = self.small() if entry is None else self.small(entry=entry)
        self.machine.answer(self.ask(recv, WARM), plan, True)
        [send] = self.ops()
        self.step(send.token, send.length)
        self.calls.clear()
        return recv

    def state(self, recv: testing.ExecutedOp) -> str:
        return testing.STATES[self.machine.conn(testing.unpack(recv.token)[1])["state"]]


@pytest.mark.parametrize(
    ("cost_us", "at_a_time"), [(0, ITEMS_MAX), (400, 3), (SHARE_US, 1), (50_000, 1)], ids=str
)
def test_the_handler_gets_its_share_of_a_turn_and_no_more(cost_us: int, at_a_time: int) -> None:
    busy = Busy(cost_us)
    heads = busy.burst(busy.crowd(150))
    turns = 0
    while busy.machine.step() == 0:
        turns += 1
        assert turns <= 150
    assert [len(call) for call in busy.calls[:-1]] == [at_a_time] * (len(busy.calls) - 1)
    assert busy.given() == heads, "first come, first served"


def test_a_turn_that_follows_on_one_with_work_left_waits_for_nothing() -> None:
    busy = Busy(SHARE_US)
    busy.burst(busy.crowd(2))
    assert busy.machine.step() == 0
    assert busy.machine.step() > 0


def test_what_is_known_is_served_while_heads_wait() -> None:
    busy = Busy(SHARE_US)
    warm = busy.warm()
    busy.burst(busy.crowd(20))
    busy.machine.step()
    busy.ops()
    busy.hear(warm, WARM)
    assert [op.kind for op in busy.ops()] == ["send"]
    assert len(busy.given()) == 1


def test_the_handler_rests_while_what_is_known_is_asked_for() -> None:
    busy = Busy(SHARE_US)
    warm = busy.warm()
    busy.burst(busy.crowd(20))
    busy.machine.step()
    busy.ops()
    for us in range(0, REST * SHARE_US, 50):
        assert len(busy.given()) == 1, f"after {us} us"
        busy.hear(warm, WARM)
        [send] = busy.ops()
        busy.machine.deliver(send.token, send.length)
        busy.machine.now_us += 50
    busy.hear(warm, WARM)
    assert len(busy.given()) == 2


def test_a_pause_ends_the_rest_of_the_handler() -> None:
    busy = Busy(SHARE_US)
    warm = busy.warm()
    busy.burst(busy.crowd(20))
    busy.machine.step()
    busy.hear(warm, WARM)
    assert len(busy.given()) == 1
    assert busy.machine.step() == 0, "it does not wait"
    busy.machine.now_us += PAUSE_US
    busy.machine.step()
    assert len(busy.given()) == 2


def test_a_handler_that_took_less_than_its_share_need_not_rest() -> None:
    busy = Busy(SHARE_US // 4)
    warm = busy.warm()
    for recv in busy.crowd(10):
        busy.machine.deliver(warm.token, len(WARM), True, received=WARM)
        busy.hear(recv, HEAD)
        [send] = [op for op in busy.ops() if op.kind == "send"]
        busy.step(send.token, send.length)
    assert len(busy.given()) == 10


def test_a_look_at_a_stale_entry_does_not_wait_for_heads() -> None:
    busy = Busy(SHARE_US)
    entry = busy.machine.entry(busy.now_ms + 10)
    warm = busy.warm(entry)
    busy.wait(20)
    busy.burst(busy.crowd(20))
    busy.machine.step()
    busy.hear(warm, WARM)
    assert busy.calls[-1][0] == entry
    assert len(busy.calls[-1]) == 2, "and a head all the same"


def test_heads_go_on_however_many_entries_are_looked_at() -> None:
    busy = Busy(SHARE_US)
    entries = [busy.machine.entry(busy.now_ms + 10) for _ in range(10)]
    warm = []
    for number, entry in enumerate(entries):
        recv = busy.connect()
        busy.machine.answer(busy.ask(recv, head(number)), busy.small(entry=entry), True)
        [send] = busy.ops()
        busy.step(send.token, send.length)
        warm.append(recv)
    busy.calls.clear()
    busy.wait(20)
    busy.burst([*warm, *busy.crowd(3)])
    for _ in range(3):
        busy.machine.step()
    assert [len(call) for call in busy.calls] == [2, 2, 2]
    assert [call[0] for call in busy.calls] == entries[:3]
    assert [call[1] for call in busy.calls] == [head(number) for number in range(10, 13)]


def test_one_look_is_enough_for_all_that_wait_for_it() -> None:
    busy = Busy(SHARE_US)
    entry = busy.machine.entry(busy.now_ms + 10)
    warm = [busy.warm(entry)]
    for _ in range(9):
        recv = busy.connect()
        busy.hear(recv, WARM)
        [send] = busy.ops()
        busy.step(send.token, send.length)
        warm.append(recv)
    busy.wait(20)
    for recv in warm:
        busy.machine.deliver(recv.token, len(WARM), True, received=WARM)
    busy.machine.step()
    assert busy.given() == [entry]
    [(_, ticket, _)] = busy.take_work()[-1:]
    busy.machine.refresh(entry, busy.now_ms + 1000)
    busy.machine.retry(ticket)
    busy.machine.step()
    assert busy.given() == [entry]
    assert [op.kind for op in busy.ops()] == ["send"] * 10


def test_an_entry_that_is_retired_meanwhile_is_not_looked_at() -> None:
    busy = Busy(SHARE_US)
    entries = [busy.machine.entry(busy.now_ms + 10) for _ in range(2)]
    recvs = busy.crowd(2)
    for number, entry in enumerate(entries):
        busy.machine.answer(busy.ask(recvs[number], head(number)), busy.small(entry=entry), True)
        [send] = busy.ops()
        busy.step(send.token, send.length)
    busy.calls.clear()
    busy.wait(20)
    busy.burst(recvs)
    busy.machine.step()
    assert busy.given() == entries[:1]
    busy.machine.retire(entries[1])
    busy.machine.step()
    assert busy.given() == [entries[0], head(1)], "it has to be answered anew"


def test_who_pipelines_takes_its_turn_behind_the_others() -> None:
    busy = Busy(SHARE_US)
    greedy, modest = busy.crowd(2)
    plan = busy.small()
    ahead = b"".join(head(number) for number in range(3))
    busy.machine.deliver(greedy.token, len(ahead), True, received=ahead)
    busy.machine.deliver(modest.token, len(HEAD), True, received=HEAD)
    for _ in range(3):
        busy.machine.step()
        for _, ticket, _ in busy.take_work():
            busy.machine.answer(ticket, plan, False)
        for send in busy.ops():
            busy.machine.deliver(send.token, send.length)
    assert busy.given()[:3] == [head(0), HEAD, head(1)]


def test_a_request_that_cannot_be_answered_costs_nobody_else_anything() -> None:
    busy = Busy(0)
    recvs = busy.crowd(4)
    heads = busy.burst(recvs)
    busy.fails_on = heads[1]
    with pytest.raises(BoomError):
        busy.machine.step()
    assert [busy.state(recv) for recv in recvs] == ["parked", "lingering", "parked", "parked"]
    busy.machine.step()
    assert busy.given() == heads


def test_what_fails_before_it_comes_to_anybody_has_an_end() -> None:
    busy = Busy(0)
    recvs = busy.crowd(3)
    heads = busy.burst(recvs)
    busy.fails_at_once = True
    with pytest.raises(BoomError):
        busy.machine.step()
    assert [busy.state(recv) for recv in recvs] == ["lingering", "parked", "parked"]
    busy.machine.step()
    assert busy.given() == heads[1:]


def test_a_wake_descriptor_may_have_any_number() -> None:
    """select(2) knows none beyond 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if hard > 0 else 4096, hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < 1100:
            taken.append(os.dup(taken[0]))
        bench = Bench()
        [watch] = bench.watches()
        assert watch.fd > 1023
        os.eventfd_write(watch.fd, 1)
        bench.step(watch.token, 1)
        assert bench.watches(), "it watches on"
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Answering(Bench):
    """A worker whose handler answers each head at once, in a way that may be remembered or not."""

    def __init__(self, *, remembers: bool) -> None:
        self.remembers = remembers
        self.given: list[bytes] = []
        super().__init__()

    def _handle(
        self, work: Iterator[tuple[str, int, bytes | int]], filled: Iterator[tuple[int, int]], now_ms: int
    ) -> None:
        assert not list(filled)
        for _, ticket, subject in work:
            assert isinstance(subject, bytes)
            self.given.append(subject)
            plan = self.small()
            self.machine.answer(ticket, plan, self.remembers)
            self.machine.release(plan)


@pytest.mark.parametrize(
    ("remembers", "given"), [(True, [head(0), head(1)]), (False, [head(0), head(1), *[head(0)] * 2])]
)
def test_who_asks_for_the_same_at_the_same_time_needs_the_handler_once(
    remembers: bool, given: list[bytes]
) -> None:
    bench = Answering(remembers=remembers)
    receives = [(bench.connect(), head(number)) for number in (0, 1, 0, 0)]
    for recv, asked in receives:
        bench.machine.deliver(recv.token, len(asked), True, False, asked)
    bench.machine.step()
    assert bench.given == given
    assert [op.kind for op in bench.ops()] == ["send"] * 4


def test_who_drains_asks_the_handler_for_each_last_response() -> None:
    bench = Answering(remembers=True)
    receives = [bench.connect() for _ in range(2)]
    bench.machine.drain(60_000)
    for recv in receives:
        bench.machine.deliver(recv.token, len(head(0)), True, False, head(0))
    bench.machine.step()
    assert bench.given == [head(0)] * 2

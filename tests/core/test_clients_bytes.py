"""What one address is sent, of clients whom proxies name in heads: each pays for its own responses."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .bench import WINDOW
from .fronted import FRONT, ONE, OTHER, PATIENT, PROXIES, RESET, asking
from .gate import TICK_MS, WAYS, most, prepared

if TYPE_CHECKING:
    from zchttpd._core import testing

IMAGE = b"Date: " + bytes(29) + b"\r\n\r\n"
# Whatever else, so many seconds' worth leave at once at most.
DEPTH_S = 1.0


class Shared:
    """Connections of fronts, over which each request is for a client, and answered with one plan."""

    def __init__(self, way: str, rate: int, size: int, proxies: list[tuple[bytes, int]] = PROXIES) -> None:
        self.gate, self.plan = prepared(way, rate, size, **PATIENT)
        self.gate.machine.believe(proxies, False)
        # Of the last way there is an image alone.
        self.size = size + len(IMAGE) * (way != "literal")
        self.asked: dict[int, list[str]] = {}  # by descriptor, in order

    def ask(self, recv: testing.ExecutedOp, *clients: str) -> None:
        """All of them ahead."""
        self.asked.setdefault(recv.fd, []).extend(clients)
        self.gate.hear(recv, b"".join(map(asking, clients)))
        self.answer()

    def answer(self) -> None:
        self.gate.serve()
        while work := self.gate.take_work():
            for _, ticket, _ in work:
                self.gate.machine.answer(ticket, self.plan, True)
            self.gate.serve()

    def run(self, ms: int) -> None:
        for _ in range(ms // TICK_MS):
            self.gate.wait(TICK_MS)
            self.answer()

    def sent(self) -> dict[str, list[tuple[int, int]]]:
        """By client: when, and how many bytes. No send is of two responses."""
        found: dict[str, list[tuple[int, int]]] = {}
        before: Counter[int] = Counter()
        for at, fd, length in self.gate.sent:
            found.setdefault(self.asked[fd][before[fd] // self.size], []).append((at, length))
            before[fd] += length
        return found


@pytest.mark.parametrize("way", WAYS)
def test_each_response_is_paid_for_by_its_own_client(way: str) -> None:
    rate, seconds = 20_000, 8
    shared = Shared(way, rate, 3 * WINDOW)
    for first, second in ((ONE, OTHER), (OTHER, ONE)):
        shared.ask(shared.gate.come(FRONT), *[first, second] * 10)
    shared.run(seconds * 1000)
    sent = shared.sent()
    assert all(most(sent[client], rate) <= DEPTH_S for client in (ONE, OTHER))
    total = sum(length for each in sent.values() for _, length in each)
    assert total > 1.5 * rate * seconds, "two buckets, and not one"


def test_who_has_no_limit_leaves_none_of_that_to_the_next() -> None:
    """By a unix socket the front itself has no address."""
    rate = 20_000
    shared = Shared("plain", rate, 3 * WINDOW, [(b"", 0)])
    shared.ask(shared.gate.come(b""), *["", ONE] * 10)
    shared.run(4000)
    sent = shared.sent()
    assert most(sent[ONE], rate) <= DEPTH_S
    assert most(sent[""], rate) > DEPTH_S


def test_who_goes_gives_back_to_whom_it_was_for() -> None:
    rate = 10_000
    shared = Shared("plain", rate, 64 * WINDOW)
    gate = shared.gate
    for _ in range(50):
        recv = gate.come(FRONT)
        shared.ask(recv, ONE)
        gate.step(recv.token, RESET)
        for op in gate.ops():
            if op.kind in ("cancel_all", "close"):
                gate.step(op.token, 0)
    last = gate.come(FRONT)
    shared.ask(last, ONE)
    shared.run(3000)
    assert sum(length for _, length in gate.bytes_of({last.fd})) >= rate * 2


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_comes_in_whatever_order(data: st.DataObject) -> None:
    rate = data.draw(st.sampled_from([1999, 30_000]), label="rate")
    size = data.draw(st.integers(len(IMAGE), 4 * WINDOW), label="size")
    shared = Shared(data.draw(st.sampled_from(WAYS), label="way"), rate, size)
    gate = shared.gate
    recvs = [gate.come(FRONT) for _ in range(4)]
    for _ in range(data.draw(st.integers(5, 40), label="moves")):
        move = data.draw(st.sampled_from(["ask", "wait", "sleep", "deaf", "hear"]))
        recv = data.draw(st.sampled_from(recvs))
        if move == "ask" and len(shared.asked.get(recv.fd, [])) < 30:
            shared.ask(recv, *data.draw(st.lists(st.sampled_from([ONE, OTHER, ""]), min_size=1, max_size=5)))
        elif move == "wait":
            shared.run(data.draw(st.integers(1, 12)) * TICK_MS)
        elif move == "sleep":
            gate.wait(data.draw(st.integers(1, 5000)))
            shared.answer()
        elif move == "deaf":
            gate.deaf.add(recv.fd)
        elif move == "hear" and gate.takes_again(recv.fd):
            shared.answer()
    assert all(most(sent, rate) <= DEPTH_S + 1 / rate for sent in shared.sent().values())

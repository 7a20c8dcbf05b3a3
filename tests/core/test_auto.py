"""`auto`: zero copy is given up on a route where the kernel copies, and a network gets another trial."""

from __future__ import annotations

import pytest

from .bench import LOOPBACK, NETWORK, Bench

TRIAL = 32
RETRY = 8192
COPIED, ZERO_COPIED = -(2**31), 0
SIZE = 3000


class Route:
    """One connection that asks for the same mapped file over and over."""

    def __init__(self, route: int) -> None:
        self.bench = Bench("auto")
        self.recv = self.bench.connect(route)
        mapping = self.bench.machine.mapping(b"m" * SIZE, True)
        self.plan = self.bench.plan([("literal", 0, 39), ("mapped", 0, SIZE)], mapping=mapping)

    def ask(self, usage: int) -> str:
        """The kind of the send that carried the body; a zero-copy one is notified with this usage."""
        machine = self.bench.machine
        machine.answer(self.bench.ask(self.recv), self.plan, False)
        head, body = self.bench.ops()
        machine.step(head.token, head.length)
        if body.kind == "send_zc":
            machine.step(body.token, SIZE, True)
            machine.step(body.token, usage, False, True)
        else:
            machine.step(body.token, SIZE)
        kind: str = body.kind
        return kind

    def kinds(self, count: int, usage: int) -> set[str]:
        return {self.ask(usage) for _ in range(count)}


@pytest.mark.parametrize("route", [LOOPBACK, NETWORK])
def test_a_route_that_copies_is_given_up(route: int) -> None:
    auto = Route(route)
    assert auto.kinds(TRIAL, COPIED) == {"send_zc"}
    assert auto.kinds(100, COPIED) == {"send"}


def test_a_route_that_does_not_copy_stays() -> None:
    auto = Route(NETWORK)
    assert auto.kinds(4 * TRIAL, ZERO_COPIED) == {"send_zc"}


def test_a_network_is_tried_again_and_may_win() -> None:
    auto = Route(NETWORK)
    auto.kinds(TRIAL, COPIED)
    assert auto.kinds(RETRY, COPIED) == {"send"}
    assert auto.kinds(TRIAL, COPIED) == {"send_zc"}
    assert auto.kinds(RETRY, COPIED) == {"send"}, "it lost again"
    assert auto.kinds(TRIAL, ZERO_COPIED) == {"send_zc"}
    assert auto.kinds(RETRY, ZERO_COPIED) == {"send_zc"}, "it won"


def test_loopback_is_not_tried_again() -> None:
    auto = Route(LOOPBACK)
    auto.kinds(TRIAL, COPIED)
    assert auto.kinds(2 * RETRY, COPIED) == {"send"}

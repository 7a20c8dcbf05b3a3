"""`auto`: zero copy is given up on a route where the kernel copies, and a network gets another trial."""

from __future__ import annotations

import errno

import pytest

from .bench import LOOPBACK, NETWORK, Bench
from .site_bench import REVALIDATE_MS, Site
from .site_bench import head as head_of

TRIAL = 32
RETRY = 8192
COPIED, ZERO_COPIED = -(2**31), 0
UNDECIDED, ZEROCOPY_ON, GIVEN_UP = range(3)
SIZE = 3000


class Route:
    """One connection that asks for the same mapped file over and over."""

    def __init__(self, route: int, bench: Bench | None = None) -> None:
        self.bench = bench or Bench("auto")
        self.route = route
        self.recv = self.bench.connect(route)
        mapping = self.bench.mapping(b"m" * SIZE, True)
        self.plan = self.bench.plan([("literal", 0, 39), ("mapped", 0, SIZE)], mapping=mapping)

    def ask(self, usage: int) -> str:
        """The kind of the send that carried the body; a zero-copy one is notified with this usage."""
        self.bench.machine.answer(self.bench.ask(self.recv), self.plan, False)
        head, body = self.bench.ops()
        self.bench.step(head.token, head.length)
        if body.kind == "send_zc":
            self.bench.step(body.token, SIZE, True)
            self.bench.step(body.token, usage, False, True)
        else:
            self.bench.step(body.token, SIZE)
        kind: str = body.kind
        return kind

    def ask_and_break_off(self, result: int, usage: int) -> str:
        """The kind of the send that carried the body, of which the client took nothing: it sent a reset,
        and another client came.
        """
        self.bench.machine.answer(self.bench.ask(self.recv), self.plan, False)
        head, body = self.bench.ops()
        self.bench.step(head.token, head.length)
        self.bench.step(body.token, result, body.kind == "send_zc")
        ops = self.bench.ops()
        if body.kind == "send_zc":
            self.bench.step(body.token, usage, False, True)
        self.bench.step(self.recv.token, -errno.ECONNRESET)
        for op in (*ops, *self.bench.ops()):
            if op.kind in ("cancel_all", "close"):
                self.bench.step(op.token, 0)
        self.recv = self.bench.connect(self.route)
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


@pytest.mark.parametrize(
    ("result", "usage"), [(SIZE, ZERO_COPIED), (-errno.EPIPE, COPIED), (-errno.ECONNRESET, ZERO_COPIED)]
)
@pytest.mark.parametrize(("delivered", "then"), [(COPIED, "send"), (ZERO_COPIED, "send_zc")])
def test_sends_that_were_broken_off_do_not_count(result: int, usage: int, delivered: int, then: str) -> None:
    """A reset ends what is queued without a copy; a send that failed reports one. The path did neither."""
    auto = Route(NETWORK)
    for _ in range(TRIAL // 2):
        assert auto.ask_and_break_off(result, usage) == "send_zc"
        assert auto.ask(delivered) == "send_zc"
    assert auto.bench.machine.gauge("delivered_zero_copied") == (0 if delivered == COPIED else TRIAL // 2 - 1)
    assert auto.kinds(TRIAL // 2, delivered) == {"send_zc"}
    assert auto.kinds(1, delivered) == {then}


def test_a_connection_that_ends_in_order_has_taken_what_it_was_sent() -> None:
    auto = Route(NETWORK)
    auto.ask(ZERO_COPIED)
    gauge = auto.bench.machine.gauge
    assert (gauge("notifications_zero_copied"), gauge("delivered_zero_copied")) == (1, 0)
    auto.bench.step(auto.recv.token, 0)
    assert gauge("delivered_zero_copied") == 1


@pytest.mark.parametrize(
    ("end", "verdict", "then"), [(0, ZEROCOPY_ON, "send_zc"), (-errno.ECONNRESET, GIVEN_UP, "send")]
)
def test_sends_that_are_out_count_as_what_they_will_be(end: int, verdict: int, then: str) -> None:
    """What was copied is told at once, what was not when the peer is heard from, which is later."""
    auto = Route(NETWORK, Bench("auto", connections_max=TRIAL))
    out = []
    for _ in range(TRIAL // 8):
        assert auto.ask(ZERO_COPIED) == "send_zc"
        out.append(auto.recv)
        auto.recv = auto.bench.connect(NETWORK)
    assert auto.kinds(TRIAL + 1, COPIED) == {"send_zc"}
    assert auto.bench.machine.gauge("zerocopy_active", NETWORK) == UNDECIDED
    for recv in out:
        auto.bench.step(recv.token, end)
        for op in auto.bench.ops():
            if op.kind in ("cancel_all", "close"):
                auto.bench.step(op.token, 0)
    auto.ask(COPIED)
    assert auto.bench.machine.gauge("zerocopy_active", NETWORK) == verdict
    assert auto.kinds(10, COPIED) == {then}


@pytest.mark.parametrize("mode", ["auto", "zerocopy", "plain"])
def test_the_route_is_asked_for_when_it_decides_and_once(mode: str) -> None:
    bench = Bench(mode)
    recv = bench.connect(NETWORK)
    mapping = bench.mapping(b"m" * SIZE, True)
    small = bench.plan([("literal", 0, 39), ("mapped", 0, 900)], mapping=mapping)
    large = bench.plan([("literal", 0, 39), ("mapped", 0, 100), ("mapped", 0, SIZE)], mapping=mapping)
    asked: list[int] = []
    for plan in (bench.small(), small, large, large):
        bench.machine.answer(bench.ask(recv), plan, False)
        while ops := bench.ops():
            for op in ops:
                if op.kind == "send_zc":
                    bench.step(op.token, op.length, True)
                    bench.step(op.token, ZERO_COPIED, False, True)
                elif op.kind == "send":
                    bench.step(op.token, op.length)
        asked.append(bench.route_asked)
    assert asked == ([0, 0, 0, 0] if mode == "plain" else [0, 0, 1, 1])


PAGE = 4096


class Large(Route):
    """The same worker also has a file that is large enough for a huge page."""

    def __init__(self, route: int, bench: Bench | None = None) -> None:
        super().__init__(route, bench or Bench("auto", memfd_size_min=1, huge_size=PAGE))
        self.make()

    def make(self) -> None:
        self.large = self.bench.mapping(b"l" * PAGE, True)
        self.large_plan = self.bench.plan([("literal", 0, 39), ("mapped", 0, PAGE)], mapping=self.large)

    @property
    def wants_other_pages(self) -> bool:
        wants: bool = self.bench.machine.wants_other_pages(self.large)
        return wants

    def ask_for_it(self) -> str:
        """How the large file has left."""
        self.bench.machine.answer(self.bench.ask(self.recv), self.large_plan, False)
        return self.large_sends()

    def large_sends(self) -> str:
        """How it leaves, now that somebody is sent it."""
        head, body = self.bench.ops()
        self.bench.step(head.token, head.length)
        self.bench.step(body.token, PAGE)
        kind: str = body.kind
        return kind


def test_large_snapshots_leave_by_reference_only_where_all_who_ask_are_at_routes_that_copy() -> None:
    auto = Large(LOOPBACK)
    assert not auto.wants_other_pages
    auto.kinds(TRIAL, COPIED)
    assert auto.wants_other_pages
    auto.make()
    assert not auto.wants_other_pages
    assert auto.ask_for_it() == "splice"
    assert not auto.wants_other_pages, "loopback is known"
    auto.recv = auto.bench.connect(NETWORK)
    assert auto.ask_for_it() == "splice"
    assert auto.wants_other_pages, "and the network is not: it has to be tried"
    auto.kinds(TRIAL, ZERO_COPIED)
    assert auto.wants_other_pages
    auto.make()
    assert not auto.wants_other_pages


def test_a_network_that_was_given_up_is_tried_again_though_all_leaves_by_reference() -> None:
    auto = Large(NETWORK)
    auto.kinds(TRIAL, COPIED)
    auto.make()
    for _ in range(RETRY):
        assert not auto.wants_other_pages
        assert auto.ask_for_it() == "splice"
    assert auto.wants_other_pages
    assert auto.kinds(TRIAL + 1, ZERO_COPIED) == {"send_zc"}
    assert auto.bench.machine.gauge("zerocopy_active", NETWORK) == ZEROCOPY_ON


def test_what_is_better_made_anew_is_the_handlers_to_look_at_again() -> None:
    site = Site(send_mode="auto", memfd_size_min=1, huge_size=PAGE)
    auto = Large(LOOPBACK, site)
    auto.kinds(TRIAL, COPIED)
    auto.make()
    entry = site.machine.entry(site.now_ms)
    site.machine.watch(entry, site.put(b"b.txt"))
    plan = site.plan([("literal", 0, 39), ("mapped", 0, PAGE)], mapping=auto.large, entry=entry)
    asked = head_of(b"b.txt", b"Connection: keep-alive")
    site.machine.answer(site.ask(auto.recv, asked), plan, True)
    assert auto.large_sends() == "splice"

    def looked_at_by_the_handler() -> bool:
        site.wait(REVALIDATE_MS + 1)
        site.hear(auto.recv, asked)
        return [kind for kind, _, _ in site.take_work()] == ["stale"]

    assert not looked_at_by_the_handler()
    assert auto.large_sends() == "splice"
    recv, auto.recv = auto.recv, site.connect(NETWORK)
    assert auto.ask_for_it() == "splice"
    auto.recv = recv
    assert looked_at_by_the_handler(), "on the network it has to be tried"

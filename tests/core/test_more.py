"""Responses of several plans: each is asked for when the one before has been sent."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from zchttpd._core.stats import LATENCY_LABELS

from .bench import HEAD, WINDOW, Bench
from .test_access import Logged

if TYPE_CHECKING:
    from zchttpd._core import testing

HEAD_SIZE = 39


def begin(bench: Bench, recv: testing.ExecutedOp, more: int) -> int:
    """A response that has more behind its head, which has been sent; its ticket."""
    ticket = bench.ask(recv)
    plan = bench.small(head_length=HEAD_SIZE, more=more)
    assert bench.machine.answer(ticket, plan, False)
    bench.machine.release(plan)
    assert bench.machine.wants_more(ticket)
    [head] = bench.ops()
    bench.step(head.token, head.length)
    assert bench.take_work() == [("more", ticket, 0)]
    return ticket


def literal(bench: Bench, text: bytes, *, more: int = 0) -> int:
    return bench.plan([("literal", 0, len(text))], text, date_at=-1, more=more)


def test_it_goes_on_with_what_the_handler_says() -> None:
    bench = Bench("plain")
    recv = bench.connect()
    ticket = begin(bench, recv, 5)
    assert bench.ops() == [], "nothing until the handler has told"
    for text, more in ((b"abc", 2), (b"de", 0)):
        plan = literal(bench, text, more=more)
        assert bench.machine.go_on(ticket, plan)
        bench.machine.release(plan)
        [send] = bench.ops()
        assert (send.kind, bench.machine.peek(send.address, send.length)) == ("send", text)
        bench.step(send.token, send.length)
        assert bench.take_work() == ([("more", ticket, 0)] if more else [])
    assert not bench.machine.wants_more(ticket)
    assert bench.machine.live()["plans"] == 0
    # The connection goes on.
    assert bench.ask(recv, HEAD.replace(b"/a", b"/b"))


def test_each_plan_has_a_file_of_its_own() -> None:
    bench = Bench("plain")
    ticket = begin(bench, bench.connect(), 3 * WINDOW)
    for more in (2, 1, 0):
        source = bench.source(WINDOW)
        plan = bench.plan([("streamed", 0, WINDOW)], b"\0", date_at=-1, source=source, more=more * WINDOW)
        bench.machine.drop_source(source)
        assert bench.machine.go_on(ticket, plan)
        bench.machine.release(plan)
        [read] = bench.ops()
        bench.step(read.token, read.length)
        [send] = bench.ops()
        assert bench.machine.live()["sources"] == 1
        bench.step(send.token, send.length)
        bench.take_work()
    assert bench.machine.live()["sources"] == 0


def test_what_comes_too_early_or_too_late_is_not_taken() -> None:
    bench = Bench("plain")
    recv = bench.connect()
    ticket = bench.ask(recv)
    early = literal(bench, b"early")
    assert not bench.machine.go_on(ticket, early), "nothing has been answered"
    plan = bench.small(more=5)
    bench.machine.answer(ticket, plan, False)
    assert not bench.machine.go_on(ticket, early), "its head has not been sent"
    [head] = bench.ops()
    bench.step(head.token, head.length)
    assert bench.machine.go_on(ticket, early)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    assert not bench.machine.go_on(ticket, early), "it has no more"
    bench.step(recv.token, 0)
    for op in bench.ops():
        bench.step(op.token, 0)
    assert not bench.machine.wants_more(ticket)
    assert not bench.machine.go_on(ticket, early), "the connection has gone"


def test_it_is_broken_off_when_there_is_no_more() -> None:
    bench = Bench("plain")
    # The clock of the machine begins at 0, which is no time of a request.
    bench.wait(1)
    recv = bench.connect()
    ticket = begin(bench, recv, 5)
    bench.wait(12)
    bench.machine.abandon(ticket)
    # What it has had of it is still to arrive.
    assert [op.kind for op in bench.ops()] == ["shutdown"]
    assert bench.machine.live()["plans"] == 0
    bench.step(recv.token, 0)
    assert [op.kind for op in bench.ops()] == ["close"]
    assert not any(bench.machine.gauge("latency_us_sum", row) for row in range(len(LATENCY_LABELS)))


def test_a_response_under_way_is_not_abandoned() -> None:
    bench = Bench("plain")
    ticket = bench.ask(bench.connect())
    bench.machine.answer(ticket, bench.small(more=5), False)
    bench.machine.abandon(ticket)
    assert [op.kind for op in bench.ops()] == ["send"]


def test_it_is_broken_off_when_nothing_comes() -> None:
    bench = Bench("plain")
    begin(bench, bench.connect(), 5)
    for _ in range(3):
        bench.wait(61_000)
    assert "reset" in [op.kind for op in bench.ops()]
    assert bench.machine.gauge("timeouts_stall") == 1


def test_who_leaves_meanwhile_is_not_asked_for() -> None:
    bench = Bench("plain")
    recv = bench.connect()
    ticket = bench.ask(recv)
    bench.machine.answer(ticket, bench.small(more=5), False)
    [head] = bench.ops()
    # In one turn, before the handler has been called.
    bench.machine.deliver(head.token, head.length, False)
    bench.machine.deliver(recv.token, -104, False)
    bench.machine.step()
    assert bench.take_work() == []
    for op in bench.ops():
        bench.step(op.token, 0)
    assert bench.machine.live()["conns"] == 0


def test_the_handler_is_told_that_somebody_has_left() -> None:
    """At once, whatever else there is: what is made for them is made for nobody."""
    bench = Bench("plain")
    recv, other = bench.connect(), bench.connect()
    begin(bench, recv, 5)
    ticket = begin(bench, other, 3)
    plan = literal(bench, b"abc")
    assert bench.machine.go_on(ticket, plan)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    assert not bench.machine.broken_off, "nobody has"
    bench.step(recv.token, -errno.ECONNRESET)
    for op in bench.ops():
        bench.step(op.token, 0)
    assert bench.machine.broken_off
    bench.ask(other, HEAD.replace(b"/a", b"/b"))
    assert not bench.machine.broken_off, "it is told once"


def test_it_counts_as_one_response() -> None:
    bench = Logged()
    recv = bench.connect()
    ticket = begin(bench, recv, 100_000)
    assert bench.taken() == []
    bench.wait(12)
    plan = literal(bench, b"x" * 100)
    bench.machine.go_on(ticket, plan)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    [record] = bench.taken()
    assert (record.status, record.body_bytes) == (200, 100)
    assert bench.machine.gauge("requests", 200) == 1
    counted = [
        labels for row, labels in enumerate(LATENCY_LABELS) if bench.machine.gauge("latency_us_sum", row) > 0
    ]
    assert [labels[1] for labels in counted] == ["1M"], "its size is that of all"


def test_the_handler_is_told_that_somebody_who_waits_has_left() -> None:
    bench = Bench("plain")
    recv, other = bench.connect(), bench.connect()
    ticket, stays = bench.ask(recv), bench.ask(other, HEAD.replace(b"/a", b"/b"))
    assert not bench.machine.broken_off, "nobody has"
    assert bench.machine.awaits(ticket)
    bench.step(recv.token, -errno.ECONNRESET)
    assert bench.machine.broken_off
    assert not bench.machine.awaits(ticket)
    assert bench.machine.awaits(stays)
    assert not bench.machine.may_have_left(stays)
    bench.machine.answer(stays, bench.small(), False)
    assert not bench.machine.awaits(stays), "it has been answered"


def test_the_handler_is_told_that_somebody_may_have_left() -> None:
    """Who has closed one direction may still read the other: it is answered."""
    bench = Bench("plain")
    recv = bench.connect()
    ticket = bench.ask(recv)
    bench.step(recv.token, 0)
    assert bench.machine.broken_off
    assert bench.machine.awaits(ticket)
    assert bench.machine.may_have_left(ticket)
    assert bench.machine.answer(ticket, bench.small(), False)


def test_the_handler_is_not_called_for_who_leaves_before_it_is_asked() -> None:
    bench = Bench("plain")
    recv = bench.connect()
    bench.machine.deliver(recv.token, len(HEAD), True, received=HEAD)
    bench.machine.deliver(recv.token, -errno.ECONNRESET)
    bench.machine.step()
    assert bench.take_work() == []
    assert not bench.machine.broken_off

"""The machine step by step: situations that are easy to get wrong, each as small as it can be."""

from __future__ import annotations

import errno

import pytest

from zchttpd._core import testing

from .bench import CONNECTIONS_MAX, HEAD, HEAD_MAX, REFUSALS_MAX, Bench


def test_a_head_whose_connection_died_in_the_same_batch_is_not_judged() -> None:
    bench = Bench()
    recv = bench.connect()
    bench.machine.deliver(recv.token, len(HEAD), True, received=HEAD)
    bench.step(recv.token, -errno.ECONNRESET)
    assert bench.take_work() == []
    assert [op.kind for op in bench.ops()] == ["reset", "cancel_all", "close"]


def test_an_answer_to_a_connection_that_is_gone_is_refused() -> None:
    bench = Bench()
    recv = bench.connect()
    ticket = bench.ask(recv)
    bench.step(recv.token, -errno.ECONNRESET)
    plan = bench.small()
    assert not bench.machine.answer(ticket, plan, True)
    for op in bench.ops():
        if op.kind != "reset":
            bench.step(op.token, 0)
    assert bench.machine.live()["conns"] == 0
    assert not bench.machine.answer(ticket, plan, True)
    bench.machine.release(plan)
    assert bench.machine.live()["plans"] == 0


def test_the_date_of_a_response_under_way_does_not_change() -> None:
    bench = Bench()
    first, second = bench.connect(), bench.connect()
    plan = bench.small()
    bench.machine.answer(bench.ask(first), plan, False)
    [send] = bench.ops()
    before = bench.machine.peek(send.address, send.length)
    bench.wait(1000, second=101)
    bench.machine.answer(bench.ask(second), plan, False)
    [other] = bench.ops()
    assert bench.machine.peek(send.address, send.length) == before
    assert before == b"Date: " + testing.http_date(100) + b"\r\n\r\n"
    assert bench.machine.peek(other.address, other.length) == b"Date: " + testing.http_date(101) + b"\r\n\r\n"
    bench.step(send.token, send.length)
    bench.step(other.token, other.length)
    bench.hear(first, HEAD)
    bench.machine.answer(bench.take_work()[0][1], plan, False)
    [third] = bench.ops()
    assert (third.address, bench.machine.peek(third.address, third.length)) == (
        send.address,
        b"Date: " + testing.http_date(101) + b"\r\n\r\n",
    )


def test_a_head_and_its_window_are_linked_and_sent_again_when_the_head_is_short() -> None:
    bench = Bench()
    recv = bench.connect()
    mapping = bench.mapping(b"m" * 3000, True)
    plan = bench.plan([("literal", 0, 39), ("mapped", 0, 3000)], mapping=mapping)
    bench.machine.answer(bench.ask(recv), plan, False)
    head, body = bench.ops()
    assert (head.kind, head.flags, body.kind, body.flags) == (
        "send",
        testing.MORE | testing.LINK,
        "send_zc",
        0,
    )
    bench.step(head.token, 10)
    assert bench.ops() == [], "the window has yet to be answered"
    bench.step(body.token, -errno.ECANCELED)
    head_rest, body_again = bench.ops()
    assert (head_rest.address, head_rest.length) == (head.address + 10, 29)
    assert (body_again.address, body_again.length) == (body.address, 3000)
    assert bench.machine.live()["leases"] == 1


def test_a_retired_plan_leaves_when_its_heads_are_looked_up() -> None:
    bench = Bench()
    recv = bench.connect()
    entry = bench.machine.entry(10**9)
    plan = bench.small(entry=entry)
    bench.machine.answer(bench.ask(recv), plan, True)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    bench.hear(recv, HEAD)
    [send] = bench.ops()
    bench.machine.retire(entry)
    assert bench.machine.peek(send.address, send.length) is not None
    bench.step(send.token, send.length)
    live = bench.machine.live()
    assert (live["plans"], live["image_bytes"], bench.machine.husks()) == (1, 0, 1)
    bench.ask(recv)
    assert bench.machine.live()["plans"] == 0


def test_a_stale_entry_is_looked_at_before_its_plans_are_replayed() -> None:
    bench = Bench()
    recv = bench.connect()
    entry = bench.machine.entry(bench.now_ms + 1000)
    plan = bench.small(entry=entry)
    bench.machine.answer(bench.ask(recv), plan, True)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    bench.wait(1001)
    bench.hear(recv, HEAD + HEAD)
    [(kind, ticket, subject)] = bench.take_work()
    assert (kind, subject) == ("stale", entry)
    assert bench.ops() == []
    bench.machine.refresh(entry, bench.now_ms + 1000)
    bench.machine.retry(ticket)
    for _ in range(2):
        [send] = bench.ops()
        bench.step(send.token, send.length)
    assert bench.machine.gauge("plan_hits") == 2


def test_a_peer_that_sends_far_ahead_is_not_received_until_it_is_served() -> None:
    bench = Bench()
    recv = bench.connect()
    plan = bench.small()
    ticket = bench.ask(recv)
    ahead = HEAD * (2 * HEAD_MAX // len(HEAD) + 1)
    bench.hear(recv, ahead)
    [cancel] = bench.ops()
    assert (cancel.kind, cancel.offset) == ("cancel", recv.token)
    bench.step(recv.token, -errno.ECANCELED)
    bench.step(cancel.token, 0)
    assert bench.ops() == []
    bench.machine.answer(ticket, plan, False)
    bench.step(bench.ops()[0].token, 39)
    [(_, ticket, _)] = bench.take_work()
    assert [op.kind for op in bench.ops()] == [], "still too much waits"
    bench.machine.answer(ticket, plan, True)
    bench.step(bench.ops()[0].token, 39)
    assert [op.kind for op in bench.ops()] == ["send", "recv"]


def test_above_the_limit_an_idle_connection_makes_room() -> None:
    bench = Bench()
    recvs = [bench.connect() for _ in range(CONNECTIONS_MAX)]
    for recv in recvs[1:]:
        bench.ask(recv)
    assert bench.accept(99, 0)
    ops = bench.ops()
    assert [(op.kind, op.fd) for op in ops] == [
        ("cancel", recvs[0].fd),
        ("close", recvs[0].fd),
        ("recv", 99),
    ]
    assert bench.take_work() == []


def test_above_the_limit_the_newcomer_is_told_503_and_beyond_that_nothing() -> None:
    bench = Bench()
    for _ in range(CONNECTIONS_MAX):
        bench.ask(bench.connect())
    for _ in range(REFUSALS_MAX):
        bench.connect()
        [(kind, _, status)] = bench.take_work()
        assert (kind, status) == ("refuse", 503)
    assert not bench.accept(7, 0)
    assert bench.machine.gauge("connections_open") == CONNECTIONS_MAX + REFUSALS_MAX


def test_a_refused_connection_lingers_until_the_peer_has_read() -> None:
    bench = Bench()
    recv = bench.connect()
    bench.hear(recv, b"GET / HTTP/1.1\nHost: bare\n\n")
    [(kind, ticket, status)] = bench.take_work()
    assert (kind, status) == ("refuse", 400)
    plan = bench.small(status=400, keep_alive=0, linger=1)
    bench.machine.answer(ticket, plan, False)
    [send] = bench.ops()
    bench.hear(recv, b"and more of it")
    bench.step(send.token, send.length)
    assert [op.kind for op in bench.ops()] == ["shutdown"]
    bench.hear(recv, b"and still more")
    assert bench.ops() == []
    bench.step(recv.token, 0)
    [close] = bench.ops()
    assert close.kind == "close"
    bench.step(close.token, 0)
    assert bench.machine.live()["conns"] == 0


def last_answer(bench: Bench, recv: testing.ExecutedOp) -> testing.ExecutedOp:
    """The send of an answer to a client that has said that it sends nothing more."""
    bench.machine.answer(bench.ask(recv), bench.small(keep_alive=0), False)
    [send] = bench.ops()
    return send


def answered_last(bench: Bench, recv: testing.ExecutedOp) -> None:
    """And it has gone."""
    send = last_answer(bench, recv)
    bench.step(send.token, send.length)


def test_who_sends_nothing_more_is_closed_at_once() -> None:
    bench = Bench()
    recv = bench.connect()
    answered_last(bench, recv)
    ops = bench.ops()
    assert [op.kind for op in ops] == ["unread", "cancel", "close"]
    for op in ops[1:]:
        bench.step(op.token, 0)
    bench.step(recv.token, -errno.ECANCELED)
    assert bench.machine.live()["conns"] == 0


def test_who_has_sent_more_all_the_same_is_waited_for() -> None:
    """A close with unread bytes would be a reset, which can destroy the response."""
    bench = Bench()
    recv = bench.connect()
    bench.unread = 1
    answered_last(bench, recv)
    assert [op.kind for op in bench.ops()] == ["unread", "shutdown"]
    bench.hear(recv, b"x")
    assert bench.ops() == []
    bench.step(recv.token, 0)
    assert [op.kind for op in bench.ops()] == ["close"]


def test_what_came_behind_the_last_head_is_waited_for() -> None:
    bench = Bench()
    recv = bench.connect()
    send = last_answer(bench, recv)
    bench.hear(recv, HEAD)
    bench.step(send.token, send.length)
    assert [op.kind for op in bench.ops()] == ["shutdown"]


def test_who_closes_while_it_is_looked_at_is_closed_once() -> None:
    bench = Bench()
    recv = bench.connect()
    send = last_answer(bench, recv)
    bench.machine.deliver(send.token, send.length)
    bench.machine.deliver(recv.token, 0)
    bench.machine.step()
    assert [op.kind for op in bench.ops()] == ["unread", "close"]


def test_who_has_closed_its_direction_is_closed_without_a_look() -> None:
    bench = Bench()
    recv = bench.connect()
    send = last_answer(bench, recv)
    bench.step(recv.token, 0)
    bench.step(send.token, send.length)
    assert [op.kind for op in bench.ops()] == ["close"]


def test_a_peer_that_takes_nothing_is_reset_and_one_that_takes_a_little_is_not() -> None:
    bench = Bench()
    bench.machine.answer(bench.ask(bench.connect()), bench.small(), False)
    bench.ops()
    for bench.unacknowledged in (500, 400, 399):
        bench.wait(60_200)
        assert [op.kind for op in bench.ops()] == ["queued"]
    bench.wait(60_200)
    assert [op.kind for op in bench.ops()] == ["queued", "reset", "cancel_all", "close"]
    assert bench.machine.gauge("timeouts_stall") == 1


def test_an_empty_line_behind_a_request_leaves_the_connection_idle() -> None:
    bench = Bench()
    recv = bench.connect()
    bench.hear(recv, b"\r\n")
    bench.wait(60_000)
    assert bench.take_work() == []
    bench.wait(5_200)
    assert [op.kind for op in bench.ops()] == ["cancel", "close"]


@pytest.mark.parametrize(("method", "told"), [(b"GET", 408), (b"HEAD", 1408)])
def test_a_head_that_does_not_end_in_time_is_told_408(method: bytes, told: int) -> None:
    """The handler hears of HEAD, whose refusals have no content either."""
    bench = Bench()
    recv = bench.connect()
    bench.hear(recv, b"\r\n" + method + b" / HT")
    bench.wait(6_000)
    bench.hear(recv, b"TP/1.1\r\n")
    bench.wait(4_200)
    [(kind, _, status)] = bench.take_work()
    assert (kind, status) == ("refuse", told)


def test_a_stale_completion_touches_nothing() -> None:
    bench = Bench()
    recv = bench.connect()
    kind, slot, generation = testing.unpack(recv.token)
    for token in (
        testing.pack(kind, slot, generation + 1),
        testing.pack(testing.TOKENS["read"], 3, 1),
        testing.pack(testing.TOKENS["send_zc"], 0, 1),
        testing.pack(kind, 9, 0),
    ):
        bench.step(token, 10, False, False, b"0123456789")
    assert bench.machine.gauge("stale_completions") == 4
    assert bench.ops() == []
    bench.ask(recv)

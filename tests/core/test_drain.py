"""The end of a worker: at once, or while another one goes on to serve."""

from __future__ import annotations

import errno

from zchttpd._core import testing

from .bench import HEAD, Bench


def test_draining_closes_who_is_idle_and_lets_the_others_finish() -> None:
    bench = Bench()
    idle, busy = bench.connect(), bench.connect()
    bench.machine.answer(bench.ask(busy), bench.small(), False)
    [send] = bench.ops()
    bench.machine.drain()
    assert [(op.kind, op.fd) for op in bench.ops()] == [
        ("cancel", idle.fd),
        ("close", idle.fd),
        ("cancel", testing.LISTENER),
    ]
    assert not bench.accept(99, 0)
    assert [(op.kind, op.fd) for op in bench.ops()] == [("reject", 99)]
    bench.step(send.token, send.length)
    assert [(op.kind, op.fd) for op in bench.ops()] == [
        ("unread", busy.fd),
        ("cancel", busy.fd),
        ("close", busy.fd),
    ]


def test_who_is_idle_when_others_go_on_to_serve_has_one_more_request() -> None:
    bench = Bench()
    prompt, silent = bench.connect(), bench.connect()
    plan = bench.small()
    bench.machine.answer(bench.ask(prompt), plan, True)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    bench.machine.drain(2_000)
    assert [op.kind for op in bench.ops()] == ["cancel"], "the accept alone ends"
    late = bench.connect()
    # Its head is known, but no plan says that it is the last response of its connection.
    ticket = bench.ask(prompt)
    assert bench.machine.is_last(ticket)
    bench.machine.answer(ticket, bench.small(keep_alive=False, linger=True), False)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    assert [(op.kind, op.fd) for op in bench.ops()] == [("shutdown", prompt.fd)]
    bench.wait(2_300)
    assert {op.fd for op in bench.ops() if op.kind == "close"} == {silent.fd, late.fd}


def test_of_a_pipeline_only_the_last_answer_is_the_last() -> None:
    bench = Bench()
    peer = bench.connect()
    bench.machine.drain(2_000)
    bench.ops()
    bench.hear(peer, HEAD + HEAD)
    [(_, ticket, _)] = bench.take_work()
    assert not bench.machine.is_last(ticket)
    bench.machine.answer(ticket, bench.small(), True)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    [(_, ticket, _)] = bench.take_work()
    assert bench.machine.is_last(ticket)


def test_a_pipeline_does_not_outlast_half_of_the_drain() -> None:
    """Else the end of it would cut an answer, of which the client has had a part."""
    bench = Bench(drain_ms_max=10_000)
    peer = bench.connect()
    bench.machine.drain(2_000)
    bench.ops()
    bench.hear(peer, HEAD * 4)
    [(_, ticket, _)] = bench.take_work()
    bench.machine.answer(ticket, bench.small(), True)
    [send] = bench.ops()
    bench.wait(4_900)
    # What is asked to leave sooner has no more time for that.
    bench.machine.drain()
    bench.step(send.token, send.length)
    [send] = bench.ops()
    bench.wait(100)
    bench.step(send.token, send.length)
    [(_, ticket, _)] = bench.take_work()
    assert bench.machine.is_last(ticket)
    bench.machine.answer(ticket, bench.small(keep_alive=False, linger=True), False)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    assert [(op.kind, op.fd) for op in bench.ops()] == [("shutdown", peer.fd)]


def test_whose_answers_have_left_gets_them_though_the_time_is_over() -> None:
    bench = Bench(drain_ms_max=3_000)
    gone, slow = bench.connect(), bench.connect()
    bench.machine.answer(bench.ask(gone), bench.small(keep_alive=False, linger=True), False)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    assert [op.kind for op in bench.ops()] == ["shutdown"]
    bench.machine.answer(bench.ask(slow), bench.small(), False)
    assert [op.kind for op in bench.ops()] == ["send"]
    bench.machine.drain(1_000)
    bench.ops()
    bench.wait(3_001)
    ended = [(op.kind, op.fd) for op in bench.ops()]
    assert ended == [
        ("cancel", gone.fd),
        ("close", gone.fd),
        ("reset", slow.fd),
        ("cancel_all", slow.fd),
        ("close", slow.fd),
    ]


def test_a_drain_that_has_begun_can_be_shortened() -> None:
    bench = Bench()
    idle = bench.connect()
    bench.machine.drain(2_000)
    assert [op.kind for op in bench.ops()] == ["cancel"]
    bench.machine.drain()
    assert [(op.kind, op.fd) for op in bench.ops()] == [("cancel", idle.fd), ("close", idle.fd)]


def test_nobody_is_left_in_the_queue_that_the_ring_alone_was_woken_for() -> None:
    """Where others go on with the listener the last accepts wait for nobody, and then it is closed."""
    bench = Bench()
    bench.machine.drain(2_000)
    assert [op.kind for op in bench.ops()] == ["cancel"]
    bench.refuse_accept(errno.ECANCELED)
    assert bench.accepts()
    [cancel] = bench.ops()
    assert (cancel.kind, cancel.fd) == ("cancel", testing.LISTENER)
    bench.machine.deliver(cancel.offset, 50, False)
    bench.machine.step()
    assert bench.accepts()
    assert [(op.kind, op.fd) for op in bench.ops()] == [("recv", 50), ("cancel", testing.LISTENER)]
    bench.refuse_accept(errno.ECANCELED)
    assert [(op.kind, op.fd) for op in bench.ops()] == [("reject", testing.LISTENER)]


def test_the_listener_is_closed_when_the_last_accept_has_ended() -> None:
    bench = Bench()
    bench.machine.drain()
    assert [op.kind for op in bench.ops()] == ["cancel"]
    bench.refuse_accept(errno.ECANCELED)
    assert [(op.kind, op.fd) for op in bench.ops()] == [("reject", testing.LISTENER)]

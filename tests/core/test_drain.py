"""The end of a worker: at once, or while another one goes on to serve."""

from __future__ import annotations

from zchttpd._core import testing

from .bench import HEAD, Bench


def test_draining_closes_who_is_idle_and_lets_the_others_finish() -> None:
    bench = Bench()
    idle, busy = bench.connect(), bench.connect()
    bench.machine.answer(bench.ask(busy), bench.small(), False)
    [send] = bench.ops()
    bench.machine.drain()
    assert [(op.kind, op.fd) for op in bench.ops()] == [
        ("cancel", testing.LISTENER),
        ("cancel", idle.fd),
        ("close", idle.fd),
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


def test_a_drain_that_has_begun_can_be_shortened() -> None:
    bench = Bench()
    idle = bench.connect()
    bench.machine.drain(2_000)
    assert [op.kind for op in bench.ops()] == ["cancel"]
    bench.machine.drain()
    assert [(op.kind, op.fd) for op in bench.ops()] == [("cancel", idle.fd), ("close", idle.fd)]

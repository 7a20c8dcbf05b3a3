"""What never comes: file bytes of a disk that does not answer, memory for a window. Nobody waits for ever."""

from __future__ import annotations

import contextlib
import errno

from zchttpd._core import testing

from .bench import HEAD, WINDOW, Bench

STALL_MS = 60_000


def test_a_parked_connection_is_told_503_when_its_file_does_not_come() -> None:
    bench = Bench()
    recv = bench.connect()
    ticket = bench.ask(recv)
    bench.hear(recv, HEAD)
    bench.wait(STALL_MS - 200)
    assert bench.take_work() == []
    bench.wait(400)
    [(kind, same, status)] = bench.take_work()
    assert (kind, same, status) == ("refuse", ticket, 503)
    late, refusal = bench.small(), bench.small(status=503, keep_alive=0, linger=1)
    bench.machine.retry(ticket)
    assert not bench.machine.answer(ticket, late, True), "too late: it is being refused"
    assert bench.machine.answer(ticket, refusal, False)
    [send] = bench.ops()
    assert bench.machine.gauge("requests", 503) == 1
    bench.step(send.token, send.length)
    assert [op.kind for op in bench.ops()] == ["shutdown"]
    assert not bench.machine.answer(ticket, late, True)


def test_an_answer_in_time_is_sent() -> None:
    bench = Bench()
    ticket = bench.ask(bench.connect())
    bench.wait(STALL_MS - 200)
    assert bench.machine.answer(ticket, bench.small(), False)
    assert [op.kind for op in bench.ops()] == ["send"]
    bench.wait(400)
    assert bench.take_work() == []


def test_a_stream_whose_read_never_ends_is_reset() -> None:
    bench = Bench()
    read = bench.stream(bench.connect(), 2)
    bench.wait(STALL_MS + 200)
    assert [op.kind for op in bench.ops()] == ["queued"]
    bench.wait(STALL_MS // 2 + 200)
    assert [op.kind for op in bench.ops()] == ["queued", "reset", "cancel_all", "close"]
    assert bench.machine.live()["windows_left"] == 7, "the read may still write into its window"
    bench.step(read.token, read.length)
    assert bench.machine.live()["windows_left"] == 8


def wait_for_a_window(bench: Bench) -> None:
    """A stream that gets no window."""
    source = bench.source(WINDOW)
    plan = bench.plan([("literal", 0, 39), ("streamed", 0, WINDOW)], source=source)
    bench.machine.answer(bench.ask(bench.connect()), plan, False)
    [head] = bench.ops()
    bench.step(head.token, head.length)
    assert bench.ops() == []


def use_up(bench: Bench) -> list[int]:
    """Mappings that leave no room for another: to the pool that is as if there were no memory."""
    mappings: list[int] = []
    with contextlib.suppress(MemoryError):
        while True:
            mappings.append(bench.machine.hog())
    return mappings


def test_a_window_that_cannot_be_made_is_tried_again() -> None:
    """With no window out, none comes back to wake those that wait."""
    bench = Bench()
    mappings = use_up(bench)
    for _ in range(2):
        wait_for_a_window(bench)
    bench.wait(200)
    assert bench.ops() == []
    for mapping in mappings:
        bench.machine.drop(mapping)
    bench.wait(200)
    assert [op.kind for op in bench.ops()] == ["read", "read"]


def test_who_gets_no_window_for_too_long_is_reset() -> None:
    bench = Bench()
    use_up(bench)
    wait_for_a_window(bench)
    for ms in (STALL_MS + 200, STALL_MS // 2 + 200):
        bench.wait(ms)
    assert [op.kind for op in bench.ops()] == ["queued", "queued", "reset", "cancel_all", "close"]
    bench.wait(200)
    assert bench.ops() == [], "it has left the line"


def test_a_peer_that_reads_slowly_is_left_alone() -> None:
    bench = Bench()
    bench.stream(bench.connect(), 2)
    bench.unacknowledged = 10_000
    for ms in (STALL_MS + 200, *[STALL_MS // 2 + 200] * 5):
        bench.unacknowledged -= 1000
        bench.wait(ms)
        assert [op.kind for op in bench.ops()] == ["queued"]


def test_a_reset_while_waiting_for_the_file_ends_at_once() -> None:
    bench = Bench()
    recv = bench.connect()
    read = bench.stream(recv, 2)
    bench.step(recv.token, -errno.ECONNRESET)
    ops = bench.ops()
    assert [op.kind for op in ops] == ["reset", "cancel_all", "close"]
    for op in ops[1:]:
        bench.step(op.token, 0)
    assert testing.STATES[bench.machine.conn(0)["state"]] == "closing"
    bench.step(read.token, read.length)
    assert bench.machine.live()["conns"] == 0


def test_nothing_is_looked_at_before_something_is_due() -> None:
    """While there are connections a second goes by at most, and no deadline is missed."""
    bench = Bench(idle_ms_max=10_000)
    assert bench.machine.step() > 1000
    bench.connect()
    pauses = []
    while len(pauses) < 20 and not any(op.kind == "close" for op in bench.ops()):
        pauses.append(bench.machine.step())
        bench.wait(pauses[-1])
    assert max(pauses) <= 1000
    assert 10_000 <= sum(pauses) <= 10_300

"""Large files on their way through windows, step by step."""

from __future__ import annotations

import errno
import select

import pytest

from zchttpd._core import testing

from .bench import HEAD, WINDOW, Bench


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOBUFS])
def test_a_stream_goes_on_by_copying_when_zero_copy_lacks_memory(error: int) -> None:
    bench = Bench()
    read = bench.stream(bench.connect(), 2)
    bench.step(read.token, read.length)
    ops = bench.ops()
    send = next(op for op in ops if op.kind == "send_zc")
    bench.step(send.token, -error)
    [again] = bench.ops()
    assert (again.kind, again.address, again.length) == ("send", send.address, send.length)
    assert bench.machine.gauge("fallbacks", 4) == 1


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_socket_that_refuses_zero_copy_is_not_asked_again(error: int) -> None:
    bench = Bench()
    read = bench.stream(bench.connect(), 2)
    bench.step(read.token, read.length)
    ops = bench.ops()
    send = next(op for op in ops if op.kind == "send_zc")
    ahead = next(op for op in ops if op.kind == "read")
    bench.step(send.token, -error)
    [again] = bench.ops()
    assert (again.kind, again.address, again.length) == ("send", send.address, send.length)
    bench.step(again.token, again.length)
    bench.step(ahead.token, ahead.length)
    assert [op.kind for op in bench.ops()] == ["send"]


def test_a_window_that_comes_back_goes_to_who_waits_longest() -> None:
    bench = Bench(window_count=1)
    first, second = bench.connect(), bench.connect()
    read = bench.stream(first, 3)
    source = bench.source(WINDOW)
    plan = bench.plan([("literal", 0, 39), ("streamed", 0, WINDOW)], source=source)
    bench.machine.answer(bench.ask(second), plan, False)
    [head] = bench.ops()
    bench.step(head.token, head.length)
    assert bench.ops() == [], "no window is left"
    bench.step(read.token, read.length)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    [read] = bench.ops()
    assert testing.unpack(read.token)[1] == testing.unpack(second.token)[1]
    bench.step(read.token, read.length)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    [read] = bench.ops()
    assert (testing.unpack(read.token)[1], read.offset) == (testing.unpack(first.token)[1], WINDOW)


def test_a_short_read_of_a_window_goes_on_where_it_ended() -> None:
    bench = Bench()
    first = bench.stream(bench.connect(), 1)
    bench.step(first.token, 1000)
    [rest] = bench.ops()
    assert (rest.kind, rest.offset, rest.length) == ("read", first.offset + 1000, first.length - 1000)
    assert rest.address == first.address + 1000
    bench.step(rest.token, rest.length)
    [send] = bench.ops()
    assert (send.address, send.length) == (first.address, first.length)


@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_who_leaves_the_queue_for_windows_takes_nobody_along(leaver: int) -> None:
    bench = Bench(window_count=1, connections_max=8)
    read = bench.stream(bench.connect(), 1)
    source = bench.source(WINDOW)
    plan = bench.plan([("literal", 0, 39), ("streamed", 0, WINDOW)], source=source)

    def wait_for_a_window() -> testing.ExecutedOp:
        recv = bench.connect()
        bench.machine.answer(bench.ask(recv), plan, False)
        [head] = bench.ops()
        bench.step(head.token, head.length)
        assert bench.ops() == []
        return recv

    waiting = [wait_for_a_window() for _ in range(3)]
    bench.step(waiting.pop(leaver).token, -errno.ECONNRESET)
    bench.ops()
    waiting.append(wait_for_a_window())
    for recv in waiting:
        bench.step(read.token, read.length)
        [send] = bench.ops()
        bench.step(send.token, send.length)
        [read] = bench.ops()
        assert testing.unpack(read.token)[1] == testing.unpack(recv.token)[1]


def test_a_window_of_the_reserve_is_given_back_when_the_socket_is_full() -> None:
    bench = Bench(window_count=1)
    read = bench.stream(bench.connect(), 1)
    bench.step(read.token, read.length)
    [send] = bench.ops()
    assert send.kind == "send"
    bench.step(send.token, 1000)
    [poll] = bench.ops()
    assert poll.kind == "poll"
    assert bench.machine.live()["windows_left"] == 1
    bench.step(poll.token, 4)
    [again] = bench.ops()
    assert (again.kind, again.offset, again.length) == ("read", 1000, WINDOW - 1000)


@pytest.mark.parametrize(("left", "then"), [(WINDOW // 8, "send"), (WINDOW // 8 - 1, "read")])
def test_no_window_is_kept_for_little_when_the_socket_is_full(left: int, then: str) -> None:
    bench = Bench("plain")
    read = bench.stream(bench.connect(), 1)
    bench.step(read.token, read.length)
    [send] = bench.ops()
    bench.step(send.token, WINDOW - left)
    [poll] = bench.ops()
    assert bench.machine.live()["windows_left"] == (8 if then == "read" else 7)
    bench.step(poll.token, select.POLLOUT)
    [again] = bench.ops()
    assert (again.kind, again.length) == (then, left)


@pytest.mark.parametrize("mode", ["zerocopy", "plain"])
def test_a_send_that_finds_no_room_waits_for_it_by_a_poll(mode: str) -> None:
    """Head and window alike, and whichever of a linked pair it is."""
    bench = Bench(mode)
    recv = bench.connect()
    mapping = bench.mapping(b"m" * 3000, True)
    plan = bench.plan([("literal", 0, 39), ("mapped", 0, 3000)], mapping=mapping)
    bench.machine.answer(bench.ask(recv), plan, False)
    head, body = bench.ops()
    bench.step(head.token, -errno.EAGAIN)
    [poll] = bench.ops()
    assert poll.kind == "poll"
    # A poll may end before what was cancelled does.
    bench.step(poll.token, select.POLLOUT)
    assert bench.ops() == []
    bench.step(body.token, -errno.ECANCELED)
    head, body = bench.ops()
    bench.step(head.token, head.length)
    bench.step(body.token, 1000)
    if body.kind == "send_zc":
        bench.step(body.token, 0, False, True)
    # What went short found no more room: nothing is tried before there is.
    [poll] = bench.ops()
    assert poll.kind == "poll"
    bench.hear(recv, HEAD)
    assert bench.ops() == []
    bench.step(poll.token, select.POLLOUT)
    [rest] = bench.ops()
    assert (rest.kind, rest.length) == (body.kind, 2000)
    bench.step(rest.token, -errno.EAGAIN)
    [poll] = bench.ops()
    assert poll.kind == "poll"
    bench.step(poll.token, select.POLLHUP)
    [again] = bench.ops()
    assert (again.kind, again.length) == (body.kind, 2000)
    bench.step(again.token, -errno.EPIPE)
    assert [op.kind for op in bench.ops()] == ["reset", "cancel_all", "close"]
    assert bench.machine.live()["leases"] == 0


def test_a_stream_that_waits_for_room_sends_nothing_else() -> None:
    bench = Bench()
    read = bench.stream(bench.connect(), 3)
    bench.step(read.token, read.length)
    send = next(op for op in bench.ops() if op.kind == "send_zc")
    bench.step(send.token, 1000, True)
    [poll] = (op for op in bench.ops() if op.kind != "read")
    assert poll.kind == "poll"
    # The notification of what has gone.
    bench.step(send.token, 0, False, True)
    assert bench.ops() == []
    bench.step(poll.token, select.POLLOUT)
    again = next(op for op in bench.ops() if op.kind == "send_zc")
    assert again.length == WINDOW - 1000


def test_a_read_that_fails_ends_the_response_and_gives_everything_back() -> None:
    bench = Bench()
    recv = bench.connect()
    read = bench.stream(recv, 3)
    bench.step(read.token, read.length)
    ops = {op.kind: op for op in bench.ops()}
    bench.step(ops["read"].token, -errno.EIO)
    send = ops["send_zc"]
    assert bench.ops() == [], "what is being sent goes first"
    bench.step(send.token, send.length, True)
    assert [op.kind for op in bench.ops()] == ["shutdown"]
    bench.step(recv.token, 0)
    [close] = bench.ops()
    assert close.kind == "close"
    bench.step(close.token, 0)
    live = bench.machine.live()
    assert (live["conns"], live["plans"], live["sources"]) == (0, 0, 0)
    assert (live["leases"], live["windows_left"]) == (1, 7), "the kernel still reads the window"
    bench.step(send.token, 0, False, True)
    live = bench.machine.live()
    assert (live["leases"], live["windows_left"]) == (0, 8)


def test_a_late_notification_takes_nothing_from_who_has_the_slot_now() -> None:
    bench = Bench()
    first = bench.connect()
    read = bench.stream(first, 2)
    bench.step(read.token, read.length)
    ops = bench.ops()
    late = next(op for op in ops if op.kind == "send_zc")
    ahead = next(op for op in ops if op.kind == "read")
    bench.step(late.token, late.length, True)
    bench.ops()
    bench.step(ahead.token, -errno.EIO)
    assert [op.kind for op in bench.ops()] == ["shutdown"]
    bench.step(first.token, 0)
    [close] = bench.ops()
    bench.step(close.token, 0)
    assert bench.machine.live()["conns"] == 0
    second = bench.connect()
    slot = testing.unpack(second.token)[1]
    assert slot == testing.unpack(first.token)[1], "the test is about a slot that is used again"
    read = bench.stream(second, 2)
    bench.step(read.token, read.length)
    before = bench.machine.conn(slot)
    assert (before["leases"], before["windows_held"]) == (1, 2)
    bench.step(late.token, 0, False, True)
    after = bench.machine.conn(slot)
    assert (after["leases"], after["windows_held"]) == (1, 2)

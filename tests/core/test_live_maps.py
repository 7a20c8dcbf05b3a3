"""Large files sent straight from their mappings, step by step: the end comes last, and of one version."""

from __future__ import annotations

import errno
import select
from typing import TYPE_CHECKING

import pytest

from .bench import WINDOW, Bench

if TYPE_CHECKING:
    from zchttpd._core import testing

TAIL = WINDOW // 32
LEAST = WINDOW // 8


def mapped(send_mode: str = "plain", **limits: int) -> Bench:
    return Bench(send_mode, maps=True, **limits)


def place(bench: Bench, send: testing.ExecutedOp) -> tuple[str, int, int]:
    """Kind, offset in the file and length of a send from the mapping."""
    return send.kind, send.address - bench.mapped, send.length


def whole(bench: Bench, op: testing.ExecutedOp) -> list[testing.ExecutedOp]:
    """It is done whole; what follows."""
    bench.step(op.token, op.length)
    return bench.ops()


def test_the_end_is_read_when_all_before_it_has_left() -> None:
    bench = mapped()
    first = bench.stream(bench.connect(), 2, kind="send")
    assert place(bench, first) == ("send", 0, WINDOW)
    [second] = whole(bench, first)
    assert place(bench, second) == ("send", WINDOW, WINDOW - TAIL)
    [read] = whole(bench, second)
    assert (read.kind, read.offset, read.length) == ("read", 2 * WINDOW - TAIL, TAIL)
    [end] = whole(bench, read)
    assert (end.kind, end.address, end.length) == ("send", read.address, TAIL)
    assert whole(bench, end) == []
    assert bench.machine.live()["windows_left"] == 8


def test_a_rest_that_is_not_worth_a_piece_goes_with_the_end() -> None:
    bench = mapped()
    send = bench.stream(bench.connect(), 1, kind="send")
    assert place(bench, send) == ("send", 0, WINDOW - TAIL)
    bench.step(send.token, WINDOW - TAIL - LEAST + 1)
    [poll] = bench.ops()
    bench.step(poll.token, select.POLLOUT)
    [read] = bench.ops()
    assert (read.kind, read.offset + read.length, read.length) == ("read", WINDOW, TAIL + LEAST - 1)


def test_the_end_of_another_version_is_not_sent() -> None:
    bench = mapped()
    send = bench.stream(bench.connect(), 1, kind="send")
    [read] = whole(bench, send)
    bench.check_error = errno.ESTALE
    assert [op.kind for op in whole(bench, read)] == ["shutdown"]


def test_no_more_is_sent_of_a_file_that_has_changed() -> None:
    bench = mapped()
    send = bench.stream(bench.connect(), 4, kind="send")
    bench.check_error = errno.ESTALE
    [read] = whole(bench, send)
    assert read.kind == "read"
    assert [op.kind for op in whole(bench, read)] == ["shutdown"]


def test_a_file_that_has_been_cut_ends_the_response() -> None:
    bench = mapped()
    recv = bench.connect()
    send = bench.stream(recv, 2, kind="send")
    bench.step(send.token, -errno.EFAULT)
    reset, *ends = bench.ops()
    assert [op.kind for op in (reset, *ends)] == ["reset", "cancel_all", "close"]
    bench.step(recv.token, -errno.ECANCELED)
    for op in ends:
        bench.step(op.token, 0)
    live = bench.machine.live()
    assert (live["conns"], live["sources"]) == (0, 0)
    assert bench.unmapped == bench.mapped


def test_it_is_mapped_for_as_long_as_a_send_reads_it() -> None:
    bench = mapped()
    recv = bench.connect()
    send = bench.stream(recv, 2, kind="send")
    bench.step(recv.token, -errno.ECONNRESET)
    for op in bench.ops():
        if op.kind != "reset":
            bench.step(op.token, 0)
    assert not bench.unmapped
    bench.step(send.token, -errno.ECANCELED)
    bench.ops()
    assert bench.unmapped == bench.mapped


@pytest.mark.parametrize("resident", [0, LEAST - 1])
def test_what_would_wait_for_a_disk_is_read_into_windows(resident: int) -> None:
    bench = mapped()
    bench.resident = resident
    read = bench.stream(bench.connect(), 5)
    assert (read.offset, read.length) == (0, WINDOW)
    send, ahead = sorted(whole(bench, read), key=lambda op: op.kind, reverse=True)
    assert (send.kind, ahead.kind, ahead.offset) == ("send", "read", WINDOW)
    # Now the rest is there: what has been read leaves first.
    bench.resident = WINDOW
    assert whole(bench, ahead) == []
    [second] = whole(bench, send)
    assert (second.kind, second.address) == ("send", ahead.address)
    [live] = whole(bench, second)
    assert place(bench, live) == ("send", 2 * WINDOW, WINDOW)


def test_as_much_as_is_there_is_sent() -> None:
    bench = mapped()
    bench.resident = LEAST
    send = bench.stream(bench.connect(), 2, kind="send")
    assert place(bench, send) == ("send", 0, LEAST)


def test_parts_of_a_file_hold_back_the_end_of_the_last() -> None:
    bench = mapped()
    recv = bench.connect()
    source = bench.source(4 * WINDOW)
    parts = [("literal", 0, 39), ("streamed", WINDOW, WINDOW), ("literal", 0, 39), ("streamed", 0, WINDOW)]
    plan = bench.plan([*parts, ("literal", 0, 39)], source=source)
    bench.machine.answer(bench.ask(recv), plan, False)
    [head] = bench.ops()
    [first] = whole(bench, head)
    assert place(bench, first) == ("send", WINDOW, WINDOW)
    [boundary] = whole(bench, first)
    [last] = whole(bench, boundary)
    assert place(bench, last) == ("send", 0, WINDOW - TAIL)
    [read] = whole(bench, last)
    assert (read.kind, read.length) == ("read", TAIL)


def test_what_nobody_writes_to_leaves_by_reference_and_whole() -> None:
    bench = mapped(memfd_size_min=1)
    first = bench.stream(bench.connect(), 2, kind="splice", frozen=True)
    assert place(bench, first) == ("splice", 0, WINDOW)
    [second] = whole(bench, first)
    assert place(bench, second) == ("splice", WINDOW, WINDOW)
    assert whole(bench, second) == []
    assert bench.machine.gauge("sends_splice") == 2


def test_what_was_resident_a_moment_ago_is_not_asked_for_again() -> None:
    bench = mapped()
    send = bench.stream(bench.connect(), 2, kind="send")
    bench.resident = 0
    bench.step(send.token, 1000)
    [poll] = bench.ops()
    bench.step(poll.token, select.POLLOUT)
    [rest] = bench.ops()
    assert place(bench, rest) == ("send", 1000, WINDOW - 1000)
    bench.step(rest.token, 1000)
    [poll] = bench.ops()
    bench.wait(10)
    bench.step(poll.token, select.POLLOUT)
    [read] = bench.ops()
    assert (read.kind, read.offset) == ("read", 2000)


def test_where_nothing_leaves_by_reference_it_is_copied_whole() -> None:
    bench = mapped()
    send = bench.stream(bench.connect(), 1, kind="send", frozen=True)
    assert place(bench, send) == ("send", 0, WINDOW)

"""Large files sent from their mappings without a copy: what is out may be written to until it is notified."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from .bench import LOOPBACK, NETWORK, WINDOW, Bench

if TYPE_CHECKING:
    from zchttpd._core import testing

TAIL = WINDOW // 32
MEMORY, LEASES = 4, 5  # reasons
COPIED = -1


def place(bench: Bench, send: testing.ExecutedOp) -> tuple[str, int, int]:
    """Kind, offset in the file and length of a send from the mapping."""
    return send.kind, send.address - bench.mapped, send.length


def taken(bench: Bench, send: testing.ExecutedOp, sent: int = 0) -> list[testing.ExecutedOp]:
    """It has been taken, whole or `sent` bytes of it; what follows."""
    bench.step(send.token, sent or send.length, True)
    return bench.ops()


def notified(bench: Bench, send: testing.ExecutedOp) -> list[testing.ExecutedOp]:
    bench.step(send.token, COPIED, False, True)
    return bench.ops()


@pytest.mark.parametrize("by_socket", [False, True])
@pytest.mark.parametrize("send_mode", ["zerocopy", "auto"])
def test_the_end_is_read_when_all_before_it_has_been_notified(send_mode: str, by_socket: bool) -> None:
    bench = Bench(send_mode, maps=True, zerocopy_by_socket=by_socket)
    recv = bench.connect(NETWORK)
    source = bench.source(2 * WINDOW)
    plan = bench.plan([("literal", 0, 39), ("streamed", 0, 2 * WINDOW)], source=source)
    bench.machine.answer(bench.ask(recv), plan, False)
    [head] = bench.ops()
    bench.step(head.token, head.length)
    first = bench.ops()[-1]
    assert (place(bench, first), first.buffer) == (("send_zc", 0, WINDOW), -1)
    [second] = taken(bench, first)
    assert place(bench, second) == ("send_zc", WINDOW, WINDOW - TAIL)
    assert taken(bench, second) == []
    assert notified(bench, second) == []
    [read] = notified(bench, first)
    assert (read.kind, read.offset, read.length) == ("read", 2 * WINDOW - TAIL, TAIL)
    bench.step(read.token, read.length)
    [end] = bench.ops()
    assert (end.kind, end.address, end.length) == ("send", read.address, TAIL)
    bench.step(end.token, end.length)
    assert bench.machine.gauge("send_bytes_zerocopy") == 2 * WINDOW - TAIL
    assert bench.machine.live()["leases"] == 0


def test_the_end_of_another_version_is_not_sent() -> None:
    bench = Bench(maps=True)
    send = bench.stream(bench.connect(), 1, kind="send_zc")
    assert taken(bench, send) == []
    [read] = notified(bench, send)
    bench.check_error = errno.ESTALE
    bench.step(read.token, read.length)
    assert [op.kind for op in bench.ops()] == ["shutdown"]


def test_a_part_that_is_read_waits_for_what_was_sent_of_another() -> None:
    bench = Bench(maps=True)
    recv = bench.connect()
    source = bench.source(4 * WINDOW)
    parts = [("literal", 0, 39), ("streamed", WINDOW, WINDOW), ("literal", 0, 39), ("streamed", 0, 300)]
    plan = bench.plan([*parts, ("literal", 0, 39)], source=source)
    bench.machine.answer(bench.ask(recv), plan, False)
    [head] = bench.ops()
    bench.step(head.token, head.length)
    [first] = bench.ops()
    assert place(bench, first) == ("send_zc", WINDOW, WINDOW)
    [boundary] = taken(bench, first)
    bench.step(boundary.token, boundary.length)
    assert bench.ops() == []
    [read] = notified(bench, first)
    assert (read.kind, read.length) == ("read", 300)


def test_windows_in_between_wait_for_nothing() -> None:
    """Only what ends the response does."""
    bench = Bench(maps=True, windows_per_connection=4)
    first = bench.stream(bench.connect(), 4, kind="send_zc")
    bench.resident = 0
    [read] = taken(bench, first)
    assert (read.kind, read.offset, read.length) == ("read", WINDOW, WINDOW)
    bench.step(read.token, read.length)
    second, ahead = sorted(bench.ops(), key=lambda op: op.kind, reverse=True)
    assert (second.kind, second.buffer >= 0) == ("send_zc", True)
    assert (ahead.kind, ahead.offset) == ("read", 2 * WINDOW)
    bench.step(ahead.token, ahead.length)
    assert bench.ops() == [], "the last one is left"
    # A window is private: its notification is not waited for.
    [third] = taken(bench, second)
    assert third.kind == "send_zc"
    assert notified(bench, first) == []
    [last] = taken(bench, third)
    assert (last.kind, last.offset, last.length) == ("read", 3 * WINDOW, WINDOW)


def test_it_is_mapped_until_the_last_lease_on_it_has_ended() -> None:
    bench = Bench(maps=True)
    recv = bench.connect()
    send = bench.stream(recv, 2, kind="send_zc")
    [second] = taken(bench, send)
    bench.step(recv.token, -errno.ECONNRESET)
    for op in bench.ops():
        if op.kind != "reset":
            bench.step(op.token, 0)
    bench.step(second.token, -errno.ECANCELED)
    bench.ops()
    live = bench.machine.live()
    assert (live["conns"], live["leases"], live["sources"]) == (0, 1, 1)
    assert not bench.unmapped
    bench.step(send.token, 0, False, True)
    bench.ops()
    assert bench.unmapped == bench.mapped
    assert bench.machine.live()["sources"] == 0


def test_pages_stay_in_our_page_tables_until_the_notification() -> None:
    bench = Bench(maps=True)
    first = bench.stream(bench.connect(), 3, kind="send_zc")
    [second] = taken(bench, first)
    bench.step(second.token, -errno.ENOBUFS)
    [copied] = bench.ops()
    assert place(bench, copied) == ("send", WINDOW, WINDOW)
    assert bench.dropped == []
    bench.step(copied.token, 1000)
    bench.machine.flush()
    assert bench.dropped == [(WINDOW, 1000)]
    notified(bench, first)
    assert bench.dropped == [(WINDOW, 1000), (0, WINDOW)]


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOBUFS])
def test_without_memory_for_zero_copy_it_is_copied_from_where_it_is(error: int) -> None:
    bench = Bench(maps=True)
    send = bench.stream(bench.connect(), 2, kind="send_zc")
    bench.step(send.token, -error, True)
    [again] = bench.ops()
    assert place(bench, again) == ("send", 0, WINDOW)
    assert bench.machine.gauge("fallbacks", MEMORY) == 1
    notified(bench, send)
    bench.step(again.token, again.length)
    [second] = bench.ops()
    assert second.kind == "send_zc", "the next one is tried again"


def test_above_its_share_of_leases_it_is_copied() -> None:
    bench = Bench(maps=True, leases_per_connection=1)
    first = bench.stream(bench.connect(), 2, kind="send_zc")
    [second] = taken(bench, first)
    assert place(bench, second) == ("send", WINDOW, WINDOW - TAIL)
    assert bench.machine.gauge("fallbacks", LEASES) == 1


def test_a_file_that_has_been_cut_ends_the_response() -> None:
    bench = Bench(maps=True)
    send = bench.stream(bench.connect(), 2, kind="send_zc")
    bench.step(send.token, -errno.EFAULT, True)
    assert [op.kind for op in bench.ops()] == ["reset", "cancel_all", "close"]
    assert bench.machine.live()["leases"] == 1
    notified(bench, send)
    assert bench.machine.live()["leases"] == 0
    assert bench.dropped == []


def test_what_nobody_writes_to_leaves_whole() -> None:
    bench = Bench(maps=True, memfd_size_min=1)
    first = bench.stream(bench.connect(), 2, kind="send_zc", frozen=True)
    [second] = taken(bench, first)
    assert place(bench, second) == ("send_zc", WINDOW, WINDOW)
    recvs = taken(bench, second)
    assert recvs == []
    assert bench.machine.conn(0)["state"] == 1, "it waits for the next request"


def test_where_auto_has_given_up_the_end_waits_for_nothing() -> None:
    bench = Bench("auto", maps=True)
    recv = bench.connect(LOOPBACK)
    source = bench.source(40 * WINDOW)
    plan = bench.plan([("literal", 0, 39), ("streamed", 0, 40 * WINDOW)], source=source)
    bench.machine.answer(bench.ask(recv), plan, False)
    [head] = bench.ops()
    bench.step(head.token, head.length)
    kinds = []
    send = bench.ops()[-1]
    while send.kind != "read":
        kinds.append(send.kind)
        bench.step(send.token, send.length, send.kind == "send_zc")
        ops = bench.ops()
        if send.kind == "send_zc":
            bench.step(send.token, COPIED, False, True)
            ops += bench.ops()
        [send] = ops
    # The verdict comes with the notification of a send behind which the next one was on its way.
    assert (kinds.count("send_zc"), kinds[-1]) == (33, "send")
    assert send.length == TAIL

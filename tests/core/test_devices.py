"""Turns at devices: one that hangs keeps its share, and harms nobody but those who ask for its files."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from zchttpd._core.testing import ASIDE

from .bench import HEAD, READS_MAX, WINDOW, Bench
from .test_fill import FILLS_MAX, NOT_AT_HAND, PIECE, waits_for_nothing

if TYPE_CHECKING:
    from zchttpd._core import testing

HUNG, HEALTHY = 1, 2
CROWD = 3 * READS_MAX


class Streams(Bench):
    """Files of devices that the test plays, of which the page cache has nothing."""

    def __init__(self, **limits: int) -> None:
        super().__init__("plain", **{"connections_max": 2 * CROWD, "window_count": 8, **limits})

    def ask_for(self, device: int, windows: int = 1) -> testing.ExecutedOp:
        """A client asks for a file; its receive."""
        recv = self.connect()
        source = self.source(windows * WINDOW, device=device)
        plan = self.plan([("literal", 0, 39), ("streamed", 0, windows * WINDOW)], source=source)
        self.machine.drop_source(source)
        self.machine.answer(self.ask(recv), plan, False)
        self.machine.release(plan)
        [head] = self.ops()
        self.step(head.token, head.length)
        return recv

    def cold(self, error: int = errno.EAGAIN) -> testing.ExecutedOp | None:
        """The page cache has nothing of what is being read; the read of the disk, if that has begun."""
        [op] = self.ops()
        assert op.kind == "read"
        assert waits_for_nothing(op)
        self.step(op.token, -error)
        return next((each for each in self.ops() if each.kind == "read"), None)

    @property
    def windows_out(self) -> int:
        left: int = self.machine.live()["windows_left"]
        return 8 - left


def crowd(streams: Streams, device: int = HUNG) -> list[testing.ExecutedOp]:
    """More ask for files of a device than may read there; the reads that have begun."""
    begun = []
    for _ in range(CROWD):
        streams.ask_for(device)
        read = streams.cold()
        if read is not None:
            begun.append(read)
    return begun


@pytest.mark.parametrize("error", NOT_AT_HAND)
def test_what_the_page_cache_lacks_is_read_from_the_disk(error: int) -> None:
    streams = Streams()
    streams.ask_for(HUNG)
    read = streams.cold(error)
    assert read is not None
    assert not waits_for_nothing(read)
    streams.step(read.token, WINDOW)
    [send] = streams.ops()
    assert (send.kind, send.length) == ("send", WINDOW)


def test_the_rest_of_a_window_is_read_from_the_disk() -> None:
    streams = Streams()
    streams.ask_for(HUNG)
    [first] = streams.ops()
    streams.step(first.token, 1000)
    rest = streams.cold()
    assert rest is not None
    assert (rest.offset, rest.length) == (1000, WINDOW - 1000)


def test_a_device_that_hangs_has_its_share() -> None:
    streams = Streams()
    assert len(crowd(streams)) == READS_MAX == streams.windows_out


def test_another_device_goes_on() -> None:
    streams = Streams()
    crowd(streams)
    for _ in range(READS_MAX):
        streams.ask_for(HEALTHY)
        assert streams.cold() is not None


def test_what_the_page_cache_has_of_it_comes_all_the_same() -> None:
    streams = Streams()
    crowd(streams)
    streams.ask_for(HUNG)
    [op] = streams.ops()
    streams.step(op.token, WINDOW)
    assert [op.kind for op in streams.ops()] == ["send"]


def test_who_waits_has_a_turn_in_order_when_it_goes_on() -> None:
    streams = Streams()
    under_way = crowd(streams)
    served = []
    while under_way:
        read = under_way.pop(0)
        streams.step(read.token, WINDOW)
        ops = streams.ops()
        under_way += [op for op in ops if op.kind == "read"]
        [send] = [op for op in ops if op.kind == "send"]
        served.append(send.fd)
        streams.step(send.token, send.length)
        under_way += [op for op in streams.ops() if op.kind == "read"]
    assert served == sorted(served)
    assert len(served) == CROWD
    assert streams.windows_out == 0


def test_who_leaves_gives_the_turn_back_when_the_read_is_over() -> None:
    streams = Streams()
    recvs, reads = [], []
    for _ in range(READS_MAX):
        recvs.append(streams.ask_for(HUNG))
        reads.append(streams.cold())
    streams.ask_for(HUNG)
    assert streams.cold() is None
    for recv in recvs:
        streams.step(recv.token, -errno.ECONNRESET)
    # The kernel still writes to their windows.
    assert not any(op.kind == "read" for op in streams.ops())
    assert streams.windows_out == READS_MAX
    assert reads[0] is not None
    streams.step(reads[0].token, WINDOW)
    assert [op.kind for op in streams.ops()] == ["read"]


def test_who_leaves_while_it_waits_takes_no_turn() -> None:
    streams = Streams()
    reads = [streams.ask_for(HUNG) and streams.cold() for _ in range(READS_MAX)]
    leaver = streams.ask_for(HUNG)
    assert streams.cold() is None
    stays = streams.ask_for(HUNG)
    assert streams.cold() is None
    streams.step(leaver.token, -errno.ECONNRESET)
    streams.ops()
    assert reads[0] is not None
    streams.step(reads[0].token, WINDOW)
    [read] = [op for op in streams.ops() if op.kind == "read"]
    assert conn_of(read) == conn_of(stays)


def conn_of(op: testing.ExecutedOp) -> int:
    from zchttpd._core import testing

    return testing.unpack(op.token)[1]


def test_snapshots_and_windows_share_the_turns() -> None:
    streams = Streams()
    for _ in range(FILLS_MAX):
        streams.machine.fill(9000, PIECE, 1, False, HUNG)
        [op] = streams.ops()
        streams.step(op.token, -errno.EAGAIN)
        [op] = streams.ops()
        assert (op.kind, waits_for_nothing(op)) == ("fill", False)
    assert len(crowd(streams)) == READS_MAX - FILLS_MAX


def test_a_snapshot_has_the_next_turn() -> None:
    streams = Streams()
    reads = crowd(streams)
    streams.machine.fill(9000, PIECE, 1, False, HUNG)
    [op] = streams.ops()
    streams.step(op.token, -errno.EAGAIN)
    assert streams.ops() == []
    streams.step(reads[0].token, WINDOW)
    kinds = [op.kind for op in streams.ops()]
    assert sorted(kinds) == ["fill", "send"]


def test_an_error_gives_the_turn_back() -> None:
    streams = Streams()
    reads = crowd(streams)
    streams.step(reads[0].token, -errno.EIO)
    kinds = [op.kind for op in streams.ops()]
    assert kinds.count("read") == 1
    assert "shutdown" in kinds


def test_a_warm_client_notices_nothing() -> None:
    streams = Streams()
    crowd(streams)
    recv = streams.connect()
    plan = streams.small()
    streams.machine.answer(streams.ask(recv), plan, True)
    [send] = streams.ops()
    streams.step(send.token, send.length)
    streams.hear(recv, HEAD)
    assert [op.kind for op in streams.ops()] == ["send"]


# ---- what may hang where nothing should ----


def test_nothing_is_tried_on_the_spot_of_a_file_system_that_may_hang() -> None:
    streams = Streams()
    recv = streams.connect()
    source = streams.machine.source(9000, WINDOW, 1, False, HUNG, False, True)
    plan = streams.plan([("literal", 0, 39), ("streamed", 0, WINDOW)], source=source)
    streams.machine.answer(streams.ask(recv), plan, False)
    [head] = streams.ops()
    streams.machine.flush()
    streams.step(head.token, head.length)
    kinds = {op.kind for op in streams._ops}
    assert not kinds & {"map_file", "resident"}
    [read] = streams.ops()
    assert (read.kind, read.flags) == ("read", ASIDE)
    streams.step(read.token, 1000)
    [rest] = streams.ops()
    assert (rest.offset, rest.flags) == (1000, ASIDE)
    streams.step(rest.token, WINDOW - 1000)
    assert [op.kind for op in streams.ops()] == ["send"]


def test_snapshots_of_it_wait_for_a_turn_at_once() -> None:
    streams = Streams()
    begun = []
    for _ in range(FILLS_MAX + 1):
        streams.machine.fill(9000, PIECE, 1, False, HUNG, True)
        begun += streams.ops()
    assert [(op.kind, op.flags) for op in begun] == [("fill", ASIDE)] * FILLS_MAX

"""Fills: from the page cache at once, and else a few of each device; waited for while they get on."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from .bench import Bench

if TYPE_CHECKING:
    from zchttpd._core import testing

PIECE = 256 * 1024
FILLS_MAX = 2
STALL_MS = 60_000
NOT_AT_HAND = [errno.EAGAIN, errno.EOPNOTSUPP]


class Disks(Bench):
    """Fills of files on devices that the test plays."""

    def fill(self, device: int, size: int = PIECE) -> int:
        """Begin a fill; its mapping."""
        self.files += 1
        number: int = self.machine.fill(self.files, size, 1, False, device)
        return number

    def fills(self) -> dict[int, testing.ExecutedOp]:
        """The reads that have begun since the last call, by mapping."""
        found = [op for op in self.ops() if op.kind == "fill"]
        return {op.slot: op for op in found}

    def says(self, op: testing.ExecutedOp, res: int) -> None:
        self.step(op.token, res)

    def disk_only(self, device: int, error: int = errno.EAGAIN) -> testing.ExecutedOp | None:
        """A fill that the page cache has nothing of; its read of the disk, if that has begun."""
        self.fill(device)
        [op] = self.fills().values()
        assert waits_for_nothing(op)
        self.says(op, -error)
        return next(iter(self.fills().values()), None)


def waits_for_nothing(op: testing.ExecutedOp) -> bool:
    from zchttpd._core.testing import NOWAIT

    return bool(op.flags & NOWAIT)


def slot_of(mapping: int) -> int:
    return mapping & 0xFFFFFF


def test_what_the_page_cache_has_waits_for_no_disk() -> None:
    disks = Disks()
    mapping = disks.fill(1, 2 * PIECE)
    for _ in range(2):
        op = disks.fills()[slot_of(mapping)]
        assert waits_for_nothing(op)
        disks.says(op, PIECE)
    assert disks._filled == {mapping: 0}


@pytest.mark.parametrize("error", NOT_AT_HAND)
def test_what_it_does_not_have_is_read_from_the_disk(error: int) -> None:
    disks = Disks()
    op = disks.disk_only(1, error)
    assert op is not None
    assert not waits_for_nothing(op)
    disks.says(op, PIECE)
    assert list(disks._filled.values()) == [0]


def test_the_rest_of_what_it_has_in_part_is_read_from_the_disk() -> None:
    disks = Disks()
    mapping = disks.fill(1)
    op = disks.fills()[slot_of(mapping)]
    disks.says(op, 1000)
    op = disks.fills()[slot_of(mapping)]
    assert (waits_for_nothing(op), op.offset) == (True, 1000)
    disks.says(op, -errno.EAGAIN)
    op = disks.fills()[slot_of(mapping)]
    assert (waits_for_nothing(op), op.offset, op.length) == (False, 1000, PIECE - 1000)


def test_a_device_that_hangs_holds_up_its_own_files_alone() -> None:
    disks = Disks()
    hung = [disks.disk_only(1) for _ in range(FILLS_MAX)]
    assert all(hung)
    assert disks.disk_only(1) is None
    # What the page cache has of it comes all the same.
    mapping = disks.fill(1)
    disks.says(disks.fills()[slot_of(mapping)], PIECE)
    # And what another device has.
    op = disks.disk_only(2)
    assert op is not None
    disks.says(op, PIECE)
    assert list(disks._filled.values()) == [0, 0]
    assert not disks.fills()


def test_a_file_has_its_turn_when_another_of_its_device_has_come() -> None:
    disks = Disks()
    first = disks.disk_only(1)
    assert first is not None
    assert disks.disk_only(1) is not None
    waits = [disks.disk_only(1) for _ in range(2)]
    assert waits == [None, None]
    disks.says(first, PIECE)
    assert len(disks.fills()) == 1


def test_there_may_be_more_devices_than_queues() -> None:
    disks = Disks()
    begun = [disks.disk_only(device) for device in range(1, 40)]
    assert sum(op is not None for op in begun) >= 16
    waiting = [op for op in begun if op is not None]
    while waiting:
        disks.says(waiting.pop(0), PIECE)
        waiting += disks.fills().values()
    assert list(disks._filled.values()) == [0] * 39


def test_an_error_of_a_read_is_no_lack_of_the_page_cache() -> None:
    disks = Disks()
    mapping = disks.fill(1)
    disks.says(disks.fills()[slot_of(mapping)], -errno.EIO)
    assert disks._filled == {mapping: errno.EIO}


# ---- who waits ----


def refused(disks: Disks) -> list[tuple[str, int | bytes]]:
    return [(kind, subject) for kind, _, subject in disks.take_work()]


def test_a_request_waits_for_a_fill_that_gets_on() -> None:
    disks = Disks()
    ticket = disks.ask(disks.connect())
    mapping = disks.fill(1, 10 * PIECE)
    assert disks.machine.await_fill(ticket, mapping)
    disks.says(disks.fills()[slot_of(mapping)], -errno.EAGAIN)
    for _ in range(5):
        op = disks.fills()[slot_of(mapping)]
        disks.wait(STALL_MS * 3 // 4)
        disks.says(op, 1000)
        assert refused(disks) == []
    disks.wait(STALL_MS * 3 // 4)
    assert refused(disks) == []
    disks.wait(STALL_MS // 2)
    assert refused(disks) == [("refuse", 503)]
    assert not disks.machine.await_fill(ticket, mapping)


def test_a_request_waits_while_those_before_it_get_on() -> None:
    disks = Disks()
    slow = [disks.fill(1, 10 * PIECE) for _ in range(FILLS_MAX)]
    for op in disks.fills().values():
        disks.says(op, -errno.EAGAIN)
    ops = disks.fills()
    ticket = disks.ask(disks.connect())
    mapping = disks.fill(1)
    disks.says(disks.fills()[slot_of(mapping)], -errno.EAGAIN)
    assert not disks.fills()
    assert disks.machine.await_fill(ticket, mapping)
    for _ in range(4):
        disks.wait(STALL_MS * 3 // 4)
        disks.says(ops[slot_of(slow[0])], 1000)
        ops |= disks.fills()
        assert refused(disks) == []
    disks.wait(STALL_MS + 1000)
    assert refused(disks) == [("refuse", 503)]


def test_a_request_that_waits_for_no_fill_waits_no_longer() -> None:
    disks = Disks()
    disks.ask(disks.connect())
    disks.wait(STALL_MS + 1000)
    assert refused(disks) == [("refuse", 503)]

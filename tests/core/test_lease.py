"""Mappings and the ledger of leases, against a Counter of references."""

from __future__ import annotations

import mmap
import os
from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from zchttpd._core.testing import Leases

from zchttpd._core.stats import LEASE_BOUNDS_US

MAPPINGS = 5
LEASES = 7
PAGE = 4096
HUGE = 2 * 1024 * 1024


class LedgerMachine(RuleBasedStateMachine):
    """The references of a mapping: its owner, those who hold it, its leases. Memory goes with the last."""

    mappings = Bundle("mappings")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.door = Leases(MAPPINGS, LEASES)
        self.refs: Counter[int] = Counter()
        self.leased: Counter[int] = Counter()
        self.lengths: dict[int, int] = {}
        self.registered: set[int] = set()
        self.clearing: set[int] = set()
        self.disowned: set[int] = set()
        self.open: dict[tuple[int, int], tuple[int, int]] = {}  # (slot, generation) -> (mapping, opened)
        self.held_us: list[int] = []

    @rule(
        target=mappings, length=st.sampled_from([1, PAGE, PAGE + 1, HUGE, HUGE + 5]), registered=st.booleans()
    )
    def make(self, length: int, registered: bool) -> object:
        slot = self.door.make(length)
        if len(self.refs) + len(self.clearing) == MAPPINGS:
            assert slot is None
            return multiple()
        assert slot is not None
        assert slot not in self.refs
        assert slot not in self.clearing
        if registered:
            self.door.registered(slot)
            self.registered.add(slot)
        self.refs[slot] = 1
        self.lengths[slot] = length
        row = self.door.row(slot)
        assert row["capacity"] == -(-length // PAGE) * PAGE
        assert row["address"] % PAGE == 0
        return slot

    @rule(mapping=mappings)
    def hold(self, mapping: int) -> None:
        if mapping in self.refs:
            self.door.hold(mapping)
            self.refs[mapping] += 1

    def _let_go(self, mapping: int, rest: str) -> None:
        self.refs[mapping] -= 1
        if self.refs[mapping]:
            assert rest == "nothing"
            return
        del self.refs[mapping]
        if mapping in self.registered:
            assert rest == "clear"
            self.clearing.add(mapping)
        else:
            assert rest == "nothing"
            self._unmapped(mapping)

    def _unmapped(self, mapping: int) -> None:
        self.registered.discard(mapping)
        self.disowned.discard(mapping)
        del self.lengths[mapping]

    @rule(mapping=mappings)
    def let_go(self, mapping: int) -> None:
        # Leases hold their own references, which nobody else may drop.
        if self.refs[mapping] > self.leased[mapping]:
            self._let_go(mapping, self.door.let_go(mapping))

    @rule(mapping=mappings)
    def disown(self, mapping: int) -> None:
        if self.refs[mapping] > self.leased[mapping]:
            self.door.disown(mapping)
            if self.refs[mapping] > 1:
                self.disowned.add(mapping)
            self._let_go(mapping, self.door.let_go(mapping))

    @rule(target=leases, mapping=mappings, now_us=st.integers(0, 10**6))
    def lease(self, mapping: int, now_us: int) -> object:
        if mapping not in self.refs:
            return multiple()
        lease = self.door.open(mapping, 100, now_us)
        if len(self.open) == LEASES:
            assert lease is None
            return multiple()
        assert lease is not None
        assert lease not in self.open
        self.open[lease] = (mapping, now_us)
        self.refs[mapping] += 1
        self.leased[mapping] += 1
        return lease

    @rule(lease=consumes(leases), sent=st.integers(-1, 1), held_us=st.integers(0, 2 * LEASE_BOUNDS_US[-1]))
    def end(self, lease: tuple[int, int], sent: int, held_us: int) -> None:
        mapping, opened_us = self.open.pop(lease)
        assert self.door.holds(*lease)
        self.leased[mapping] -= 1
        self._let_go(mapping, self.door.end(lease[0], sent, opened_us + held_us))
        assert not self.door.holds(*lease), "a notification that comes twice must match nothing"
        if sent > 0:
            self.held_us.append(held_us)

    @rule()
    def tags_come_back(self) -> None:
        for mapping in self.clearing:
            self.door.unmap(mapping)
            self._unmapped(mapping)
        self.clearing.clear()

    @invariant()
    def agrees(self) -> None:
        for mapping, refs in self.refs.items():
            row = self.door.row(mapping)
            assert (row["refs"], row["leases"]) == (refs, self.leased[mapping])
        pages = {mapping: -(-length // PAGE) * PAGE for mapping, length in self.lengths.items()}
        assert self.door.gauge("mappings_open") == len(self.lengths)
        assert self.door.gauge("mapped_bytes") == sum(pages.values())
        assert self.door.gauge("registered_bytes") == sum(pages[mapping] for mapping in self.registered)
        assert self.door.gauge("zombies_open") == len(self.disowned)
        assert self.door.gauge("leases_open") == len(self.open)
        assert self.door.gauge("lease_us_sum") == sum(self.held_us)

    @invariant()
    def the_histogram_counts_each_that_held_bytes_once(self) -> None:
        expected = [0] * (len(LEASE_BOUNDS_US) + 1)
        for held_us in self.held_us:
            expected[sum(bound < held_us for bound in LEASE_BOUNDS_US)] += 1
        assert self.door.lease_counts() == expected


TestLedger = LedgerMachine.TestCase


def test_a_window_goes_back_to_the_pool_and_stays_mapped() -> None:
    door = Leases(2, 2)
    window = door.make(PAGE, window=True)
    assert window is not None
    door.registered(window)
    lease = door.open(window, PAGE, 0)
    assert lease is not None
    assert door.let_go(window) == "nothing", "the lease still reads it"
    assert door.end(lease[0], 1, 5) == "pool"
    assert door.row(window)["address"] != 0


def test_a_snapshot_that_is_a_memory_file_cannot_be_written_to_once_sealed() -> None:
    mappings = Leases(MAPPINGS, LEASES, memfd_size_min=PAGE)
    small, slot = mappings.make(PAGE - 1), mappings.make(PAGE + 5)
    assert mappings.row(small)["memfd"] == -1
    fd = mappings.row(slot)["memfd"]
    os.pwrite(fd, b"as it was", 0)
    mappings.seal(slot)
    held = os.dup(fd)
    assert mappings.let_go(slot) == "nothing"
    # Its descriptor and its memory have gone, and the bytes are still there for whoever has them.
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert os.pread(held, 9, 0) == b"as it was"
    for change in (
        lambda: os.pwrite(held, b"otherwise", 0),
        lambda: os.ftruncate(held, 1),
        lambda: os.ftruncate(held, 3 * PAGE),
        lambda: mmap.mmap(held, PAGE, mmap.MAP_SHARED, mmap.PROT_WRITE),
    ):
        with pytest.raises(PermissionError):
            change()
    os.close(held)


def test_snapshots_beyond_the_descriptors_for_memory_files_are_anonymous() -> None:
    mappings = Leases(MAPPINGS, LEASES, memfd_size_min=1, memfds_max=2)

    def made() -> tuple[int, bool]:
        slot = mappings.make(PAGE)
        assert slot is not None
        return slot, mappings.row(slot)["memfd"] >= 0

    first, second, third = made(), made(), made()
    assert [is_file for _, is_file in (first, second, third)] == [True, True, False]
    mappings.let_go(third[0])
    assert not made()[1]
    mappings.let_go(first[0])
    assert made()[1]
    assert not made()[1]


def test_windows_are_never_memory_files() -> None:
    mappings = Leases(MAPPINGS, LEASES, memfd_size_min=1)
    assert mappings.row(mappings.make(PAGE, window=True))["memfd"] == -1


@pytest.mark.parametrize(("pages", "huge"), [(7, 0), (8, 16), (16, 16), (23, 16), (24, 32)])
def test_a_huge_page_that_would_be_less_than_half_full_is_left_out(pages: int, huge: int) -> None:
    mappings = Leases(MAPPINGS, LEASES, memfd_size_min=1, huge_size=16 * PAGE)
    row = mappings.row(mappings.make(pages * PAGE))
    assert row["huge"] == huge * PAGE
    assert row["capacity"] == max(huge, pages) * PAGE
    assert os.fstat(row["memfd"]).st_size == row["capacity"]
    assert not huge or row["address"] % (16 * PAGE) == 0


def test_only_memory_files_have_huge_pages() -> None:
    mappings = Leases(MAPPINGS, LEASES, huge_size=PAGE)
    assert mappings.row(mappings.make(4 * PAGE))["huge"] == 0

"""Slots with generations, against a dict."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from zchttpd._core.testing import Slots

CAPACITY = 6
ROW_SIZE = 24


class SlabMachine(RuleBasedStateMachine):
    taken = Bundle("taken")
    given = Bundle("given")

    def __init__(self) -> None:
        super().__init__()
        self.slab = Slots(ROW_SIZE, CAPACITY)
        self.live: dict[int, int] = {}
        self.ever: set[tuple[int, int]] = set()

    @rule(target=taken)
    def take(self) -> tuple[int, int]:
        got = self.slab.take()
        if len(self.live) == CAPACITY:
            assert got is None
            return (CAPACITY, 0)
        assert got is not None
        slot, generation = got
        assert slot not in self.live
        assert got not in self.ever, "a generation came twice"
        assert generation != 0, "an all-zero token would match it"
        assert self.slab.row(slot) == bytes(ROW_SIZE)
        self.slab.scribble(slot)
        self.live[slot] = generation
        self.ever.add(got)
        return got

    @rule(target=given, pair=consumes(taken))
    def give(self, pair: tuple[int, int]) -> tuple[int, int]:
        if self.live.get(pair[0]) == pair[1]:
            self.slab.give(pair[0])
            del self.live[pair[0]]
        return pair

    @rule(pair=given)
    def a_slot_given_back_is_not_held(self, pair: tuple[int, int]) -> None:
        assert not self.slab.holds(*pair)

    @rule(slot=st.integers(0, 2**24 - 1), generation=st.integers(0, 2**32 - 1))
    def only_what_was_taken_is_held(self, slot: int, generation: int) -> None:
        if slot >= CAPACITY or ((slot, generation) not in self.ever and slot in self.live):
            assert not self.slab.holds(slot, generation)

    @invariant()
    def agrees(self) -> None:
        assert self.slab.live == len(self.live)
        for slot, generation in self.live.items():
            assert self.slab.holds(slot, generation)


TestSlab = SlabMachine.TestCase

"""The timing wheel, against a dict from slot to tick."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from zchttpd._core.testing import TimingWheel

SLOTS = 8
TICK_MS = 100
ROUND_MS = 512 * TICK_MS


class WheelMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_000_000
        self.wheel = TimingWheel(SLOTS, self.now_ms)
        self.looked_at = self.now_ms // TICK_MS
        self.ticks: dict[int, int] = {}

    @rule(slot=st.integers(0, SLOTS - 1), delay_ms=st.integers(-1000, 3 * ROUND_MS))
    def file(self, slot: int, delay_ms: int) -> None:
        self.wheel.file(slot, self.now_ms + delay_ms)
        tick = max((self.now_ms + delay_ms) // TICK_MS + 1, self.looked_at + 1)
        self.ticks[slot] = min(tick, self.ticks.get(slot, tick))

    @rule(slot=st.integers(0, SLOTS - 1))
    def drop(self, slot: int) -> None:
        self.wheel.drop(slot)
        self.ticks.pop(slot, None)

    @rule(step_ms=st.one_of(st.integers(0, 3 * TICK_MS), st.integers(0, 4 * ROUND_MS)))
    def time_passes(self, step_ms: int) -> None:
        self.now_ms += step_ms
        due = set()
        while (slot := self.wheel.due(self.now_ms)) is not None:
            assert slot not in due
            due.add(slot)
        self.looked_at = self.now_ms // TICK_MS
        assert due == {slot for slot, tick in self.ticks.items() if tick <= self.looked_at}
        for slot in due:
            del self.ticks[slot]

    @rule(slot=st.integers(0, SLOTS - 1), later_ms=st.integers(1, 2 * ROUND_MS))
    def filed_again_while_due_are_taken(self, slot: int, later_ms: int) -> None:
        """As connections do whose deadline has moved: each comes up once, then waits for its new time."""
        self.file(slot, 0)
        self.now_ms += 2 * TICK_MS
        met = 0
        while (due := self.wheel.due(self.now_ms)) is not None:
            del self.ticks[due]
            met += due == slot
            if due == slot:
                self.wheel.file(slot, self.now_ms + later_ms)
                self.ticks[slot] = (self.now_ms + later_ms) // TICK_MS + 1
        self.looked_at = self.now_ms // TICK_MS
        assert met == 1

    @invariant()
    def agrees(self) -> None:
        assert self.wheel.filed == len(self.ticks)


TestWheel = WheelMachine.TestCase


def test_nothing_is_due_early_and_all_of_it_late() -> None:
    wheel = TimingWheel(1, 0)
    wheel.file(0, 65_000)
    assert wheel.due(64_999) is None
    assert wheel.due(65_000 + TICK_MS) == 0
    assert wheel.due(10**9) is None

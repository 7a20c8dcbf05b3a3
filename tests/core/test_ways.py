"""`auto`, where zero copy was given up: memory files leave in the way that takes less CPU time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bench import LOOPBACK, NETWORK, Bench
from .test_auto import COPIED, TRIAL, ZERO_COPIED, Route

if TYPE_CHECKING:
    from zchttpd._core import testing

LENGTH = 20_000  # bytes of the file
PARTS = 4
SETTLE, COUNTED = 20, 60  # answers
REST = 64 * COUNTED
REFERENCE, COPY = "splice", "send"


class Costly(Bench):
    """A driver whose sends take CPU time, microseconds for a whole file by kind."""

    def __init__(self, **costs_us: int) -> None:
        self.costs_us = {"send_zc": 1, **costs_us}
        self.cpu_us = 2**32 - 1000  # it is told modulo 2**32
        self.asked = 0
        super().__init__("auto", memfd_size_min=1, window_size=LENGTH, way_bytes=COUNTED * LENGTH)

    def _execute(self, op: testing.ExecutedOp) -> int:
        if op.kind in self.costs_us and op.length == LENGTH:
            self.cpu_us += self.costs_us[op.kind]
        if op.kind == "cpu_time":
            self.asked += 1
            told = self.cpu_us % 2**32
            return told - 2**32 if told >= 2**31 else told
        return super()._execute(op)


class File(Route):
    """One connection that asks for the same memory file over and over."""

    bench: Costly

    def __init__(self, route: int, usage: int = COPIED, **costs_us: int) -> None:
        super().__init__(route, Costly(**costs_us))
        self.kinds(TRIAL, usage)
        mapping = self.bench.mapping(bytes(LENGTH), True)
        self.body_plan = self.bench.plan([("literal", 0, 39), ("mapped", 0, LENGTH)], mapping=mapping)

    def fetch(self, count: int) -> list[str]:
        """How the file left each time, without repetitions."""
        kinds: list[str] = []
        for _ in range(count):
            self.bench.machine.answer(self.bench.ask(self.recv), self.body_plan, False)
            head, body = self.bench.ops()
            self.bench.step(head.token, head.length)
            self.bench.step(body.token, LENGTH, body.kind == "send_zc")
            if body.kind == "send_zc":
                self.bench.step(body.token, ZERO_COPIED, False, True)
            if kinds[-1:] != [body.kind]:
                kinds.append(body.kind)
        return kinds

    def try_both(self) -> list[str]:
        return self.fetch(COUNTED + PARTS * (SETTLE + COUNTED))


@pytest.mark.parametrize("route", [LOOPBACK, NETWORK])
@pytest.mark.parametrize(
    ("reference_us", "copy_us", "better"),
    [(100, 50, COPY), (50, 100, REFERENCE), (100, 90, COPY), (100, 98, REFERENCE), (100, 100, REFERENCE)],
)
def test_the_way_that_costs_less_is_taken(route: int, reference_us: int, copy_us: int, better: str) -> None:
    file = File(route, splice=reference_us, send=copy_us)
    assert file.try_both()[:3] == [REFERENCE, COPY, REFERENCE]
    assert file.fetch(REST // 2) == [better]


def test_what_has_become_dearer_is_found_out() -> None:
    file = File(LOOPBACK, splice=100, send=50)
    file.try_both()
    assert file.fetch(REST) == [COPY]
    file.bench.costs_us["send"] = 200
    file.fetch(PARTS * (SETTLE + COUNTED))
    assert file.fetch(REST // 2) == [REFERENCE]


def test_a_change_of_the_load_in_the_middle_of_a_trial_changes_both() -> None:
    file = File(LOOPBACK, splice=100, send=100)
    file.fetch(COUNTED + 2 * (SETTLE + COUNTED))
    file.bench.costs_us.update(splice=50, send=50)
    file.fetch(2 * (SETTLE + COUNTED))
    assert file.fetch(REST // 2) == [REFERENCE]


def test_nothing_is_tried_where_zero_copy_saves_the_copy() -> None:
    file = File(NETWORK, ZERO_COPIED, splice=100, send=50)
    assert file.try_both() == ["send_zc"]
    assert not file.bench.asked

"""The machine against a kernel that answers in any legal way, seed by seed; and proof that errors are seen.

A failing seed again: `SIM_SEED=123 pytest tests/sim`. More of them: `SIM_SEEDS=5000 pytest tests/sim`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from zchttpd._core import testing

from .block import run_block
from .parts import Violation
from .play import finish, run
from .world import STEPS, World

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_no_seed_breaks_a_rule(seeds: Sequence[int]) -> None:
    failures = run_block(seeds, STEPS)
    assert not failures, "\n".join(failures)


def test_a_seed_replays() -> None:
    first, second = (run(7, 300) for _ in range(2))
    assert first.kernel.bytes_taken == second.kernel.bytes_taken > 0
    assert first.now_us == second.now_us


# Fewer do not replay enough plans.
SEEDS_MIN = 5


def test_every_path_is_taken() -> None:
    """What the simulation is for does happen in it: an idle simulation would pass too."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        if seed >= SEEDS_MIN and all(seen.values()):
            break
        world = run(seed)
        for name in (
            "sends_zerocopy",
            "sends_plain",
            "plan_hits",
            "plan_misses",
            "aborts",
            "stale_completions",
            "notifications_copied",
            "notifications_zero_copied",
            "notifications_unknown",
            "timeouts_head",
            "access_dropped",
        ):
            seen[name] += world.machine.gauge(name)
        for place, name in enumerate(("copied", "memlock", "windows", "unsupported", "memory", "leases")):
            seen[name] += world.machine.gauge("fallbacks", place)
        for status in (200, 206, 304, 400, 404, 408, 414, 431, 503):
            seen[str(status)] += world.machine.gauge("requests", status)
        seen.update(dict(world.kernel.events))
    never = [name for name, count in seen.items() if not count]
    assert not never
    assert seen["plan_hits"] > 100


class Faulty:
    """A machine with one thing wrong."""

    def __init__(self, machine: testing.SimWorker) -> None:
        self.machine = machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.machine, name)


class EndsLeasesEarly(Faulty):
    """Takes the result of a zero-copy send for its end."""

    def step(
        self, token: int, res: int, more: bool = False, notification: bool = False, received: bytes = b""
    ) -> None:
        if testing.unpack(token)[0] == testing.TOKENS["send_zc"]:
            more = False
        self.machine.step(token, res, more, notification, received)


class ForgetsReceives(Faulty):
    """Does not receive again when a receive has ended."""

    def take_ops(self) -> list[testing.Op]:
        ops: list[testing.Op] = self.machine.take_ops()
        self.receives = getattr(self, "receives", 0) + sum(op.kind == "recv" for op in ops)
        return [op for op in ops if op.kind != "recv" or self.receives < 4]


class ReusesMemory(Faulty):
    """Writes into what is being sent."""

    def take_ops(self) -> list[testing.Op]:
        ops: list[testing.Op] = self.machine.take_ops()
        for address, length in getattr(self, "sent", []):
            self.machine.poke(address, b"\xaa" * length)
        self.sent = [(op.address, op.length) for op in ops if op.kind == "send_zc"]
        return ops


class SendsTwice(Faulty):
    """Submits a send twice."""

    def take_ops(self) -> list[testing.Op]:
        ops: list[testing.Op] = self.machine.take_ops()
        return [each for op in ops for each in ([op, op] if op.kind == "send" and not op.flags else [op])]


class AnswersLate(Faulty):
    """Skips the first byte of every send."""

    def take_ops(self) -> list[testing.Op]:
        return [
            op._replace(address=op.address + 1, length=op.length - 1)
            if op.kind == "send" and op.length > 1
            else op
            for op in self.machine.take_ops()
        ]


class ClosesHard(Faulty):
    """Resets where it should close."""

    def take_ops(self) -> list[testing.Op]:
        ops: list[testing.Op] = self.machine.take_ops()
        return [
            each for op in ops for each in ([op._replace(kind="reset"), op] if op.kind == "close" else [op])
        ]


class NeverGivesUp(Faulty):
    """Waits for ever for what does not come."""

    def queued(self, token: int, queued: int) -> None:
        del token, queued


class LooksAtNoFile(Faulty):
    """Does not see that a file which streams was written to."""

    def source(self, fd: int, size: int, _mtime_ns: int) -> int:
        return int(self.machine.source(fd, size))


@pytest.mark.parametrize(
    "fault",
    [
        EndsLeasesEarly,
        ForgetsReceives,
        ReusesMemory,
        SendsTwice,
        AnswersLate,
        ClosesHard,
        NeverGivesUp,
        LooksAtNoFile,
    ],
)
def test_a_faulty_machine_is_found_out(fault: type[Faulty]) -> None:
    for seed in range(40):
        world = World(seed)
        world.use(fault(world.machine))
        try:
            finish(world, STEPS)
        except Violation:
            return
    pytest.fail(f"{fault.__name__} passed 40 seeds")

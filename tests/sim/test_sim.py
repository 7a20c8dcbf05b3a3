"""The machine against a kernel that answers in any legal way, seed by seed; and proof that errors are seen.

A failing seed again: `SIM_SEED=123 pytest tests/sim`. More of them: `SIM_SEEDS=5000 pytest tests/sim`.
"""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from zchttpd._core import testing

from .block import run_block
from .parts import Cqe, Violation
from .play import finish, run
from .world import STEPS, World

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_no_seed_breaks_a_rule(seeds: Sequence[int]) -> None:
    failures = run_block(seeds, STEPS).failures
    assert not failures, "\n".join(failures)


def test_a_seed_replays() -> None:
    first, second = (run(7, 300) for _ in range(2))
    assert first.kernel.bytes_taken == second.kernel.bytes_taken > 0
    assert first.now_us == second.now_us


# Fewer do not replay enough plans.
SEEDS_MIN = 5
# What is rare has happened by then.
PATHS_SEEDS_MAX = 400
# Some faults need a rare turn to show.
FAULTY_SEEDS = 400


@pytest.mark.slow
def test_every_path_is_taken() -> None:
    """What the simulation is for does happen in it: an idle simulation would pass too."""
    seen: Counter[str] = Counter()
    for seed in range(PATHS_SEEDS_MAX):
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
    """One thing that is wrong with the machine, or would look like this to the kernel."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kernel_executes = world.kernel.execute
        world.execute = self.execute

    def execute(self, op: testing.ExecutedOp) -> int:
        return self.kernel_executes(op)


class EndsLeasesEarly(Faulty):
    """Takes the result of a zero-copy send for its end."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        world.deliver = self.deliver  # type: ignore[method-assign]

    def deliver(self, cqe: Cqe) -> None:
        more = cqe.more and testing.unpack(cqe.token)[0] != testing.TOKENS["send_zc"]
        self.world.machine.deliver(cqe.token, cqe.res, more, cqe.notification, cqe.received, note=cqe)


class Spins(Faulty):
    """Takes a socket without room for a signal, and sends again at once."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.kernel_delivers = world.deliver
        world.deliver = self.deliver  # type: ignore[method-assign]

    def deliver(self, cqe: Cqe) -> None:
        if cqe.res == -errno.EAGAIN:
            cqe.res = -errno.EINTR
        self.kernel_delivers(cqe)


class ForgetsReceives(Faulty):
    """Does not receive again when a receive has ended."""

    receives = 0

    def execute(self, op: testing.ExecutedOp) -> int:
        self.receives += op.kind == "recv"
        return 0 if op.kind == "recv" and self.receives >= 4 else super().execute(op)


class ReusesMemory(Faulty):
    """Writes into what is being sent."""

    sent: testing.ExecutedOp | None = None

    def execute(self, op: testing.ExecutedOp) -> int:
        if self.sent is not None:
            self.world.machine.poke(self.sent.address, b"\xaa" * self.sent.length)
        self.sent = op if op.kind == "send_zc" else None
        return super().execute(op)


class SendsTwice(Faulty):
    """Submits a send twice."""

    def execute(self, op: testing.ExecutedOp) -> int:
        if op.kind == "send" and not op.flags:
            super().execute(op)
        return super().execute(op)


class AnswersLate(Faulty):
    """Skips the first byte of every send."""

    def execute(self, op: testing.ExecutedOp) -> int:
        if op.kind == "send" and op.length > 1:
            op = op._replace(address=op.address + 1, length=op.length - 1)
        return super().execute(op)


class ClosesHard(Faulty):
    """Resets where it should close."""

    def execute(self, op: testing.ExecutedOp) -> int:
        if op.kind == "close":
            super().execute(op._replace(kind="reset"))
        return super().execute(op)


class NeverGivesUp(Faulty):
    """Waits for ever for what does not come."""

    queued = 2**30

    def execute(self, op: testing.ExecutedOp) -> int:
        result = super().execute(op)
        if op.kind != "queued":
            return result
        self.queued -= 1
        return self.queued


class LooksAtNoFile(Faulty):
    """Does not see that a file which is read was written to."""

    def execute(self, op: testing.ExecutedOp) -> int:
        return 0 if op.kind == "check_version" else super().execute(op)


class KeepsFilesOpen(Faulty):
    """Does not close what was filled from or streamed."""

    def execute(self, op: testing.ExecutedOp) -> int:
        return 0 if op.kind == "close_file" else super().execute(op)


class NeverAcceptsAgain(Faulty):
    """Accepts until the first error."""

    accepts = 0

    def execute(self, op: testing.ExecutedOp) -> int:
        self.accepts += op.kind == "accept"
        return 0 if op.kind == "accept" and self.accepts > 1 else super().execute(op)


class BelievesInRegistration(Faulty):
    """Takes a mapping that could not be registered for one that was."""

    def execute(self, op: testing.ExecutedOp) -> int:
        return super().execute(op) * (op.kind != "register")


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        EndsLeasesEarly,
        ForgetsReceives,
        NeverAcceptsAgain,
        BelievesInRegistration,
        Spins,
        ReusesMemory,
        SendsTwice,
        AnswersLate,
        ClosesHard,
        NeverGivesUp,
        LooksAtNoFile,
        KeepsFilesOpen,
    ],
)
def test_a_faulty_machine_is_found_out(fault: type[Faulty]) -> None:
    for seed in range(FAULTY_SEEDS):
        world = World(seed)
        fault(world)
        try:
            finish(world, STEPS)
        except Violation:
            return
    pytest.fail(f"{fault.__name__} passed {FAULTY_SEEDS} seeds")

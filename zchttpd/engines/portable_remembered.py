"""What the portable engine remembers of heads, and which entries it has files open for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zchttpd.engines.limits import PLANS_PER_ENTRY
from zchttpd.engines.portable_bodies import State
from zchttpd.engines.portable_heads import Memo

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterator

    from zchttpd.engines.portable_plan import Holding, Plan

# How often files that nobody asks for are looked for, while there are any.
SWEEP_S = 1.0


class Remembered:
    """At most `size_max` cache_keys, and the plans of holdings; `held_bytes` is what they take."""

    def __init__(self, size_max: int) -> None:
        self._memo: Memo[Plan] = Memo(size_max)
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._memo)

    def find(self, cache_key: bytes) -> Plan | None:
        """The plan that this cache_key leads to."""
        return self._memo.find(cache_key)

    def admit(self, key: bytes, plan: Plan, holding: Holding) -> bool:
        """Have this cache_key lead to a plan from now on, if it was seen before. Whether it does."""
        # The ranges of a file are very many: only one that comes back is remembered.
        forgotten = self._memo.admit(key, plan, eager=plan.status != 206)
        if forgotten is None:
            return False
        for other, lost in forgotten:
            assert lost.holding is not None
            lost.holding.cache_keys.discard(other)
            self.held_bytes -= len(other)
            self._let_go(lost)
        holding.cache_keys.add(key)
        self.held_bytes += len(key)
        self._keep(plan)
        return True

    def share(self, name: tuple[bytes, tuple[object, ...]], plan: Plan, holding: Holding) -> None:
        """Keep a plan for other cache_keys with the same answer, while there is room."""
        if len(holding.plans) < PLANS_PER_ENTRY:
            holding.plans[name] = plan
            self._keep(plan)

    def forget(self, holding: Holding) -> None:
        """Nothing leads to the plans of this holding any more."""
        for key in holding.cache_keys:
            self._forget(key)
        for plan in holding.plans.values():
            self._let_go(plan)

    def forget_files(self, holding: Holding) -> None:
        """Nothing leads any more to those of its plans that read from files."""
        for key in [*holding.cache_keys]:
            plan = self._memo.find(key)
            if plan is not None and _reads_file(plan):
                holding.cache_keys.remove(key)
                self._forget(key)
        for name, plan in [*holding.plans.items()]:
            if _reads_file(plan):
                self._let_go(holding.plans.pop(name))

    def _forget(self, key: bytes) -> None:
        self.held_bytes -= len(key)
        self._let_go(self._memo.forget(key))

    def _keep(self, plan: Plan) -> None:
        plan.users += 1
        if plan.users == 1:
            self.held_bytes += plan.own_bytes

    def _let_go(self, plan: Plan) -> None:
        plan.users -= 1
        if not plan.users:
            self.held_bytes -= plan.own_bytes


class OpenFiles:
    """Holdings with files that are sent from where they are. `close` is for those that nobody asks for.

    An open file keeps its blocks when it is deleted, and its file system busy. Times in milliseconds.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        clock: Callable[[], int],
        idle_ms: int,
        close: Callable[[Holding], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._idle_ms = idle_ms
        self._close = close
        self._holdings: set[Holding] = set()
        self._sweeping = False

    def __iter__(self) -> Iterator[Holding]:
        return iter([*self._holdings])

    def add(self, holding: Holding) -> None:
        """It has one."""
        self._holdings.add(holding)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)

    def discard(self, holding: Holding) -> None:
        """It has none any more."""
        self._holdings.discard(holding)

    def _sweep(self) -> None:
        now_ms = self._clock()
        for holding in self:
            if now_ms - holding.used_ms >= self._idle_ms:
                self._close(holding)
        self._sweeping = bool(self._holdings)
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)


def _reads_file(plan: Plan) -> bool:
    return plan.body is not None and plan.body.state is State.FILE

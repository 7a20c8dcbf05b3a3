"""What the portable engine remembers: gists with their plans, entries, and bytes of files within a budget."""

from __future__ import annotations

import errno
import logging
from collections import OrderedDict
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from zchttpd.engines import portable_bodies as bodies
from zchttpd.engines.desk import ATTEMPTS_MAX, CACHED_PART, PLANS_PER_ENTRY, REUSED, told
from zchttpd.engines.portable_bodies import Body, State
from zchttpd.engines.portable_heads import Memo
from zchttpd.engines.portable_plan import Holding, Plan, make_plan
from zchttpd.files.cache import ABSENT_MAX
from zchttpd.files.entry import Kind
from zchttpd.files.jobs import Job
from zchttpd.http.gist import gist

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable
    from concurrent.futures import Executor

    from zchttpd.engines.desk import Answer, Desk
    from zchttpd.engines.portable_tally import Tally
    from zchttpd.files.cache import Cache
    from zchttpd.files.entry import Entry, Representation
    from zchttpd.settings import Settings

LOGGER = logging.getLogger("zchttpd")


_Holdings: TypeAlias = "OrderedDict[tuple[tuple[bytes, ...], bool], Holding]"


class Store:
    """Finds plans for heads. Times in milliseconds of the engine's clock.

    File bytes and remembered gists stay below `settings.memory`, open descriptors below `files_max`: what was
    not used for longest goes. Half as much again may be evicted and still being sent. What would wait for the
    disk is read by `executor`.
    """

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        cache: Cache,
        tally: Tally,
        loop: AbstractEventLoop,
        executor: Executor,
        *,
        files_max: int,
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._cache = cache
        self._tally = tally
        self._loop = loop
        self._executor = executor
        self._files_max = files_max
        self._clock = clock
        self._memo: Memo[Plan] = Memo(settings.plans_max)
        self._present: _Holdings = OrderedDict()
        # Paths without a file are kept apart, so that a flood of invented names cannot push out files.
        self._absent: _Holdings = OrderedDict()
        self._bodies: dict[Representation, Body] = {}
        self._refusals: dict[tuple[int, bool], Plan] = {}
        self._held_bytes = 0
        self._held_files = 0
        self._zombie_bytes = 0

    def find(self, gist: bytes, now_ms: int) -> Plan | None:
        """The plan of a gist that is remembered, as long as its entry is what it was."""
        plan = self._memo.find(gist)
        if plan is None:
            return None
        holding = plan.holding
        assert holding is not None
        entry = holding.entry
        if now_ms > entry.check_at_ms and not self._cache.revalidate(entry, now_ms):
            self._retire(holding)
            return None
        self._table_of(entry).move_to_end((entry.segments, entry.directory))
        self._tally.cells[self._tally.plan_hits] += 1
        return plan

    def answer(
        self, head: bytes, now_ms: int, resume: Callable[[Plan], None], attempt: int = 1
    ) -> Plan | None:
        """The plan for a new head. None: what it needs is being read or made, and `resume` is told later."""
        answer = self._desk.answer(head, now_ms)
        if isinstance(answer, Job):
            answer.waiting.append(partial(self._again, head, resume, attempt))
            return None
        holding = self._hold(answer.entry) if answer.entry is not None else None
        body = None
        if answer.representation is not None and answer.parts:
            # Where there is a file there is its entry, which owns the bytes.
            assert holding is not None
            try:
                body = self._body(answer.representation, holding)
            except OSError as error:
                return self._fail(head, now_ms, resume, attempt, error, holding)
            if body.state is State.FILLING:
                if now_ms - body.since_ms > self._settings.stall_ms_max:
                    # A disk that does not answer: who waits is told 503 by now, and who comes is at once.
                    return self.refusal(503, bodiless=head.startswith(b"HEAD "))
                body.waiting.append(partial(self._again, head, resume, attempt))
                return None
        plan = self._shared_plan(answer, holding, body)
        key = gist(head) if answer.memo else None
        if key is not None and holding is not None:
            self._remember(key, plan, holding)
        return plan

    def refusal(self, status: int, *, bodiless: bool = False) -> Plan:
        """The plan for what never became a head; `bodiless`: it began as a HEAD request."""
        plan = self._refusals.get((status, bodiless))
        if plan is None:
            answer = self._desk.refuse(status, bodiless=bodiless)
            plan = self._refusals[status, bodiless] = self._plan(answer, None, None)
        return plan

    def release(self, body: Body) -> None:
        """A response that read `body` is over."""
        body.active -= 1
        if not body.active and self._bodies.get(body.representation) is not body:
            self._tally.cells[self._tally.zombies_open] -= 1
            self._zombie_bytes -= _held(body)
            self._close(body)

    def close(self) -> None:
        """Give everything back. No response may be under way."""
        for holding in self._everything():
            self._retire(holding)

    # ---- requests ----

    def _again(
        self, head: bytes, resume: Callable[[Plan], None], attempt: int, error: OSError | None
    ) -> None:
        """The file that a request waited for has been read, or could not be."""
        try:
            if error is None:
                plan = self.answer(head, self._clock(), resume, attempt)
            else:
                plan = self._fail(head, self._clock(), resume, attempt, error, None)
        except Exception:
            LOGGER.exception("a request could not be answered, and got 500")
            plan = self.refusal(500, bodiless=head.startswith(b"HEAD "))
        if plan is not None:
            resume(plan)

    def _fail(
        self,
        head: bytes,
        now_ms: int,
        resume: Callable[[Plan], None],
        attempt: int,
        error: OSError,
        holding: Holding | None,
    ) -> Plan | None:
        """The bytes could not be had. A file that was replaced meanwhile is looked up anew."""
        if attempt >= ATTEMPTS_MAX:
            LOGGER.warning("a file could not be read: %s", told(error))
            return self.refusal(503, bodiless=head.startswith(b"HEAD "))
        if holding is not None:
            self._retire(holding)
            # What the cache believed of it is outdated too.
            holding.entry.check_at_ms = now_ms
        return self.answer(head, now_ms, resume, attempt + 1)

    def _shared_plan(self, answer: Answer, holding: Holding | None, body: Body | None) -> Plan:
        if holding is None or not answer.memo or answer.status not in REUSED:
            return self._plan(answer, holding, body)
        key = (answer.head, answer.parts)
        plan = holding.plans.get(key)
        if plan is None:
            plan = self._plan(answer, holding, body)
            if len(holding.plans) < PLANS_PER_ENTRY:
                holding.plans[key] = plan
                self._keep(plan)
        return plan

    def _plan(self, answer: Answer, holding: Holding | None, body: Body | None) -> Plan:
        return make_plan(answer, holding, body, literal_max=self._settings.zc_size_min)

    # ---- what is remembered ----

    def _remember(self, key: bytes, plan: Plan, holding: Holding) -> None:
        # The ranges of a file are very many: only one that comes back is remembered.
        forgotten = self._memo.admit(key, plan, eager=plan.status != 206)
        if forgotten is None:
            return
        for other, lost in forgotten:
            assert lost.holding is not None
            lost.holding.gists.discard(other)
            self._held_bytes -= len(other)
            self._let_go(lost)
        holding.gists.add(key)
        self._held_bytes += len(key)
        self._keep(plan)
        self._make_room(0, 0, keep=holding)
        self._count_holdings()

    def _keep(self, plan: Plan) -> None:
        plan.users += 1
        if plan.users == 1:
            self._held_bytes += plan.own_bytes

    def _let_go(self, plan: Plan) -> None:
        plan.users -= 1
        if not plan.users:
            self._held_bytes -= plan.own_bytes

    def _hold(self, entry: Entry) -> Holding:
        key = (entry.segments, entry.directory)
        known = self._present.get(key) or self._absent.get(key)
        if known is not None:
            if known.entry is entry:
                self._table_of(entry).move_to_end(key)
                return known
            self._retire(known)
        holding = self._table_of(entry)[key] = Holding(entry)
        if len(self._absent) > ABSENT_MAX:
            self._retire(next(iter(self._absent.values())))
        self._make_room(0, 0, keep=holding)
        self._count_holdings()
        return holding

    def _table_of(self, entry: Entry) -> _Holdings:
        return self._present if entry.kind is Kind.FILE else self._absent

    def _everything(self) -> list[Holding]:
        return [*self._absent.values(), *self._present.values()]

    def _count_holdings(self) -> None:
        self._tally.cells[self._tally.entries_open] = len(self._present) + len(self._absent)
        self._tally.cells[self._tally.plans_open] = len(self._memo)

    def _retire(self, holding: Holding) -> None:
        """Outdated or evicted: responses under way finish, no new one begins."""
        if holding.retired:
            return
        holding.retired = True
        entry = holding.entry
        del self._table_of(entry)[(entry.segments, entry.directory)]
        for key in holding.gists:
            self._held_bytes -= len(key)
            self._let_go(self._memo.forget(key))
        for plan in holding.plans.values():
            self._let_go(plan)
        for body in holding.bodies:
            body.owners -= 1
            if not body.owners and body.state is not State.FILLING:
                self._drop(body)
        self._count_holdings()

    def _make_room(self, size: int, files: int, *, keep: Holding) -> None:
        """Evict what was not used for longest until `size` bytes and `files` descriptors more fit."""
        while self._over(size, files):
            oldest = chain(self._absent.values(), self._present.values())
            victim = next((each for each in oldest if each is not keep and not each.filling), None)
            if victim is None:
                return
            self._retire(victim)

    def _over(self, size: int, files: int) -> bool:
        return (
            self._held_bytes + size > self._settings.memory
            or self._held_files + files > self._files_max
            or len(self._present) > self._settings.plans_max
        )

    # ---- bytes ----

    def _body(self, representation: Representation, holding: Holding) -> Body:
        """The bytes of a representation, begun to be read if they are new. Raises OSError."""
        body = self._bodies.get(representation)
        if body is None:
            body = self._open(representation, holding)
            body.since_ms = self._clock()
            self._bodies[representation] = body
        if body not in holding.bodies:
            holding.bodies.add(body)
            body.owners += 1
        return body

    def _open(self, representation: Representation, holding: Holding) -> Body:
        size = representation.size
        if size > self._settings.memory // CACHED_PART:
            wanted = State.FILE
        else:
            wanted = State.INLINE if size < self._settings.zc_size_min else State.SNAPSHOT
        self._make_room(0 if wanted is State.FILE else size, 0 if wanted is State.INLINE else 1, keep=holding)
        # What was evicted stays for as long as somebody reads it, and who asks for much and reads nothing
        # must not fill the memory with that.
        if wanted is State.SNAPSHOT and self._zombie_bytes + size > self._settings.memory // 2:
            wanted = State.FILE
        body = bodies.open_body(representation, wanted)
        self._held_bytes += _held(body)
        self._held_files += body.fd >= 0
        if body.state is State.FILLING:
            reading = self._loop.run_in_executor(self._executor, body.read)
            reading.add_done_callback(partial(self._filled, body))
        elif body.state is State.SNAPSHOT:
            self._tally.cells[self._tally.mappings_open] += 1
            self._tally.cells[self._tally.mapped_bytes] += size
        return body

    def _filled(self, body: Body, reading: Future[bytes]) -> None:
        if reading.cancelled():
            return
        waiting, body.waiting = body.waiting, []
        error = reading.exception()
        if error is None:
            body.settle(reading.result())
            if body.state is State.SNAPSHOT:
                self._tally.cells[self._tally.mappings_open] += 1
                self._tally.cells[self._tally.mapped_bytes] += body.representation.size
            for tell in waiting:
                tell(None)
            if not body.owners and self._bodies.get(body.representation) is body:
                self._drop(body)
            return
        failure = error if isinstance(error, OSError) else OSError(errno.EIO, repr(error))
        now_ms = self._clock()
        for holding in self._everything():
            if body in holding.bodies:
                self._retire(holding)
                holding.entry.check_at_ms = now_ms
        self._drop(body)
        for tell in waiting:
            tell(failure)

    def _drop(self, body: Body) -> None:
        """No new response begins to read it."""
        del self._bodies[body.representation]
        self._held_bytes -= _held(body)
        if body.active:
            self._tally.cells[self._tally.zombies_open] += 1
            self._zombie_bytes += _held(body)
        else:
            self._close(body)

    def _close(self, body: Body) -> None:
        self._held_files -= body.fd >= 0
        if body.state is State.SNAPSHOT:
            self._tally.cells[self._tally.mappings_open] -= 1
            self._tally.cells[self._tally.mapped_bytes] -= body.representation.size
        body.close()


def _held(body: Body) -> int:
    """Bytes of memory that are its."""
    return 0 if body.state is State.FILE else body.representation.size

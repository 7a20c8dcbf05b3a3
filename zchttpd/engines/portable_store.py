"""What the portable engine remembers: cache keys and plans, entries, bytes of files within a budget."""

from __future__ import annotations

import errno
import logging
import os
from collections import OrderedDict
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from zchttpd.engines import portable_bodies as bodies
from zchttpd.engines.limits import ATTEMPTS_MAX, CACHED_PART, REUSED
from zchttpd.engines.parts import idle_ms, inlined, wants_part
from zchttpd.engines.portable_bodies import Body, State
from zchttpd.engines.portable_plan import Holding, Plan, make_plan
from zchttpd.engines.portable_remembered import OpenFiles, Remembered
from zchttpd.files.entry_cache import ABSENT_MAX
from zchttpd.files.lookup import Kind
from zchttpd.files.singleflight import Job
from zchttpd.handler.answer import Answer
from zchttpd.handler.errors import describe_error
from zchttpd.http.cache_key import cache_key

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable
    from concurrent.futures import Executor

    from zchttpd.config.settings import Settings
    from zchttpd.engines.portable_tally import Tally
    from zchttpd.files.entry_cache import EntryCache
    from zchttpd.files.lookup import Entry
    from zchttpd.files.version import Representation
    from zchttpd.handler.handler import Handler

LOGGER = logging.getLogger("zchttpd")


_Holdings: TypeAlias = "OrderedDict[tuple[tuple[bytes, ...], bool], Holding]"


class Store:
    """Finds plans for heads. Times in milliseconds of the engine's clock.

    File bytes and cache keys stay below `settings.memory`, open descriptors below `files_max`: what was
    not used for longest goes. Half as much again may be evicted and still being sent. What would wait for the
    disk is read by `executor`.
    """

    def __init__(
        self,
        settings: Settings,
        handler: Handler,
        cache: EntryCache,
        stats: Tally,
        loop: AbstractEventLoop,
        executor: Executor,
        *,
        files_max: int,
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._handler = handler
        self._cache = cache
        self._stats = stats
        self._loop = loop
        self._executor = executor
        self._files_max = files_max
        self._clock = clock
        self._remembered = Remembered(settings.plans_max)
        self._present: _Holdings = OrderedDict()
        # Paths without a file are kept apart, so that a flood of invented names cannot push out files.
        self._absent: _Holdings = OrderedDict()
        # At most one body of each representation, and one for parts of it as long as that is not in memory.
        self._whole: dict[Representation, Body] = {}
        self._parts: dict[Representation, Body] = {}
        self._open_files = OpenFiles(loop, clock, idle_ms(settings), self._close_files)
        self._refusals: dict[tuple[int, bool], Plan] = {}
        self._held_bytes = 0
        self._held_files = 0
        self._zombie_bytes = 0

    def find(self, cache_key: bytes, now_ms: int) -> Plan | None:
        """The plan of a cache_key that is remembered, as long as its entry is what it was."""
        plan = self._remembered.find(cache_key)
        if plan is None:
            return None
        holding = plan.holding
        assert holding is not None
        entry = holding.entry
        if plan.body is not None and plan.body.lost:
            # Written to in place: who comes now is told of what is there now.
            self._retire(holding)
            entry.check_at_ms = now_ms
            return None
        if now_ms > entry.check_at_ms and not self._cache.revalidate(entry, now_ms):
            self._retire(holding)
            return None
        holding.used_ms = now_ms
        self._table_of(entry).move_to_end((entry.segments, entry.directory))
        self._stats.cells[self._stats.plan_hits] += 1
        return plan

    def answer(
        self, head: bytes, now_ms: int, resume: Callable[[Plan], None], attempt: int = 1
    ) -> Plan | None:
        """The plan for a new head. None: what it needs is being read or made, and `resume` is told later."""
        answer = self._handler.answer(head, now_ms)
        if isinstance(answer, Job):
            answer.waiting.append(partial(self._again, head, resume, attempt))
            return None
        holding = self._hold(answer.entry) if answer.entry is not None else None
        body = None
        if answer.representation is not None and answer.parts:
            # Where there is a file there is its entry, which owns the bytes.
            assert holding is not None
            try:
                found = self._body(answer, holding, now_ms, attempt)
            except OSError as error:
                return self._fail(head, now_ms, resume, attempt, error, holding)
            if isinstance(found, Answer):
                answer = found
            else:
                body = found
            if body is not None and body.state is State.FILLING:
                if now_ms - body.since_ms > self._settings.stall_ms_max:
                    # A disk that does not answer: who waits is told 503 by now, and who comes is at once.
                    return self.refusal(503, bodiless=head.startswith(b"HEAD "))
                body.waiting.append(partial(self._again, head, resume, attempt))
                return None
        plan = self._shared_plan(answer, holding, body)
        key = cache_key(head) if answer.cacheable else None
        if key is not None and holding is not None:
            self._remember(key, plan, holding)
        return plan

    def refusal(self, status: int, *, bodiless: bool = False) -> Plan:
        """The plan for what never became a head; `bodiless`: it began as a HEAD request."""
        plan = self._refusals.get((status, bodiless))
        if plan is None:
            answer = self._handler.refuse(status, bodiless=bodiless)
            plan = self._refusals[status, bodiless] = self._plan(answer, None, None)
        return plan

    def release(self, body: Body) -> None:
        """A response that read `body` is over."""
        body.active -= 1
        if not body.active and self._known(body).get(body.representation) is not body:
            self._stats.cells[self._stats.zombies_open] -= 1
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
            LOGGER.warning("a file could not be read: %s", describe_error(error))
            return self.refusal(503, bodiless=head.startswith(b"HEAD "))
        if holding is not None:
            self._retire(holding)
            # What the cache believed of it is outdated too.
            holding.entry.check_at_ms = now_ms
        return self.answer(head, now_ms, resume, attempt + 1)

    def _shared_plan(self, answer: Answer, holding: Holding | None, body: Body | None) -> Plan:
        if holding is None or not answer.cacheable or answer.status not in REUSED:
            return self._plan(answer, holding, body)
        key = (answer.head, answer.parts)
        plan = holding.plans.get(key)
        if plan is None:
            plan = self._plan(answer, holding, body)
            self._remembered.share(key, plan, holding)
        return plan

    def _plan(self, answer: Answer, holding: Holding | None, body: Body | None) -> Plan:
        return make_plan(answer, holding, body, literal_max=self._settings.zc_size_min)

    # ---- what is remembered ----

    def _remember(self, key: bytes, plan: Plan, holding: Holding) -> None:
        if self._remembered.admit(key, plan, holding):
            self._make_room(0, 0, keep=holding)
            self._count_holdings()

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
        self._stats.cells[self._stats.entries_open] = len(self._present) + len(self._absent)
        self._stats.cells[self._stats.plans_open] = len(self._remembered)

    def _retire(self, holding: Holding) -> None:
        """Outdated or evicted: responses under way finish, no new one begins."""
        if holding.retired:
            return
        holding.retired = True
        entry = holding.entry
        del self._table_of(entry)[(entry.segments, entry.directory)]
        self._remembered.forget(holding)
        for body in holding.bodies:
            self._disown(body)
        self._open_files.discard(holding)
        self._count_holdings()

    def _disown(self, body: Body) -> None:
        body.owners -= 1
        if not body.owners and body.state is not State.FILLING:
            self._drop(body)

    def _close_files(self, holding: Holding) -> None:
        """Let go of its files, and of the plans that read from them. Responses under way finish."""
        self._remembered.forget_files(holding)
        for body in holding.files:
            holding.bodies.remove(body)
            self._disown(body)
        self._open_files.discard(holding)
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
            self._held_bytes + self._remembered.held_bytes + size > self._settings.memory
            or self._held_files + files > self._files_max
            or len(self._present) > self._settings.plans_max
        )

    # ---- bytes ----

    def _body(self, answer: Answer, holding: Holding, now_ms: int, attempt: int) -> Body | Answer:
        """The bytes that the answer wants, begun to be read if they are new; or the answer with them in it.

        Raises OSError.
        """
        representation = answer.representation
        assert representation is not None
        # A file that was looked at again has not been written anew since: it may have grown.
        grown = attempt > 1
        holding.used_ms = now_ms
        body = self._whole.get(representation)
        part = wants_part(answer) and not (body is not None and body.cached)
        if part:
            small = inlined(answer, self._settings.zc_size_min, grown=grown)
            if small is not None:
                return small
            part = representation.size <= self._settings.memory // CACHED_PART
            body = self._parts.get(representation) if part else body
        if body is None:
            body = self._open(representation, holding, part=part, grown=grown)
            body.since_ms = now_ms
            self._known(body)[representation] = body
        self._own(body, holding)
        if body.lost:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return body

    def _own(self, body: Body, holding: Holding) -> None:
        if body not in holding.bodies:
            holding.bodies.add(body)
            body.owners += 1
        if body.state is State.FILE:
            self._open_files.add(holding)

    def _known(self, body: Body) -> dict[Representation, Body]:
        return self._parts if body.part else self._whole

    def _open(self, representation: Representation, holding: Holding, *, part: bool, grown: bool) -> Body:
        size = representation.size
        if part or size > self._settings.memory // CACHED_PART:
            wanted = State.FILE
        else:
            wanted = State.INLINE if size < self._settings.zc_size_min else State.SNAPSHOT
        self._make_room(0 if wanted is State.FILE else size, 0 if wanted is State.INLINE else 1, keep=holding)
        # What was evicted stays for as long as somebody reads it, and who asks for much and reads nothing
        # must not fill the memory with that.
        if wanted is State.SNAPSHOT and self._zombie_bytes + size > self._settings.memory // 2:
            wanted = State.FILE
        body = bodies.open_body(representation, wanted, grown=grown)
        body.part = part
        self._held_bytes += _held(body)
        self._held_files += body.fd >= 0
        if body.state is State.FILLING:
            reading = self._loop.run_in_executor(self._executor, body.read)
            reading.add_done_callback(partial(self._filled, body))
        elif body.state is State.SNAPSHOT:
            self._stats.cells[self._stats.mappings_open] += 1
            self._stats.cells[self._stats.mapped_bytes] += size
        if body.cached:
            self._supersede(representation)
        return body

    def _supersede(self, representation: Representation) -> None:
        """From here on parts of it are sent from memory too."""
        part = self._parts.get(representation)
        for holding in [each for each in self._open_files if part in each.bodies]:
            self._close_files(holding)

    def _filled(self, body: Body, reading: Future[bytes]) -> None:
        if reading.cancelled():
            return
        waiting, body.waiting = body.waiting, []
        error = reading.exception()
        if error is None:
            body.settle(reading.result())
            if body.state is State.SNAPSHOT:
                self._stats.cells[self._stats.mappings_open] += 1
                self._stats.cells[self._stats.mapped_bytes] += body.representation.size
            self._supersede(body.representation)
            for tell in waiting:
                tell(None)
            if not body.owners and self._whole.get(body.representation) is body:
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
        del self._known(body)[body.representation]
        self._held_bytes -= _held(body)
        if body.active:
            self._stats.cells[self._stats.zombies_open] += 1
            self._zombie_bytes += _held(body)
        else:
            self._close(body)

    def _close(self, body: Body) -> None:
        self._held_files -= body.fd >= 0
        if body.state is State.SNAPSHOT:
            self._stats.cells[self._stats.mappings_open] -= 1
            self._stats.cells[self._stats.mapped_bytes] -= body.representation.size
        body.close()


def _held(body: Body) -> int:
    """Bytes of memory that are its."""
    return 0 if body.state is State.FILE else body.representation.size

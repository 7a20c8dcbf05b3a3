"""What the portable engine remembers: heads with their plans, entries, and bytes of files within a budget."""

from __future__ import annotations

import errno
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from zchttpd.engines import portable_bodies as bodies
from zchttpd.engines.portable_bodies import Body, State
from zchttpd.engines.portable_heads import Memo
from zchttpd.http.dates import DATE_SIZE

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable
    from concurrent.futures import Executor

    from zchttpd.engines.desk import Answer, Desk
    from zchttpd.engines.portable_tally import Tally
    from zchttpd.files.cache import Cache
    from zchttpd.files.entry import Entry, Representation
    from zchttpd.http.plan import Window
    from zchttpd.settings import Settings

LOGGER = logging.getLogger("zchttpd")

# A file that would take more of the memory than this part of it is sent from where it is.
CACHED_PART = 4
# A file may change faster than it can be read: after so many attempts the request is told 503.
ATTEMPTS_MAX = 3
# Plans of one entry that are found again by their head; ranges and the like are not among them.
PLANS_PER_ENTRY = 64
MEMO_SIZE_MAX = 2048
REUSED = frozenset((200, 301, 304, 403, 404))


@dataclass(slots=True, eq=False)
class Plan:
    """An answer, ready to be replayed.

    `head` and the literal `tail` behind it leave in one write; then `rest`, literals and windows of `body`.
    `holding` is what must be fresh for the next replay. `own_bytes`: memory that is this plan's alone.
    """

    status: int
    head: bytes
    date_at: int
    tail: bytes
    rest: tuple[bytes | Window, ...]
    body: Body | None
    keep_alive: bool
    holding: Holding | None
    own_bytes: int
    second: int = -1

    def stamp(self, second: int, date: bytes) -> None:
        """Put the Date of `second` (Unix time) into the head."""
        self.head = b"%b%b%b" % (self.head[: self.date_at], date, self.head[self.date_at + DATE_SIZE :])
        self.second = second


@dataclass(slots=True, eq=False)
class Holding:
    """An entry of the cache with everything that hangs on it. `heads`: those that the memo knows."""

    entry: Entry
    bodies: set[Body] = field(default_factory=set)
    plans: dict[tuple[bytes, tuple[object, ...]], Plan] = field(default_factory=dict)
    heads: set[bytes] = field(default_factory=set)
    retired: bool = False

    @property
    def filling(self) -> bool:
        """Whether requests wait for one of its files."""
        return any(body.state is State.FILLING for body in self.bodies)


class Store:
    """Finds plans for heads. Times in milliseconds of the engine's clock.

    File bytes and remembered heads stay below `settings.memory`, open descriptors below `files_max`: what was
    not used for longest goes. What would wait for the disk is read by `executor`.
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
        self._holdings: OrderedDict[tuple[tuple[bytes, ...], bool], Holding] = OrderedDict()
        self._bodies: dict[Representation, Body] = {}
        self._refusals: dict[int, Plan] = {}
        self._held_bytes = 0
        self._held_files = 0

    def find(self, head: bytes, now_ms: int) -> Plan | None:
        """The plan of a head that is remembered, as long as its entry is what it was."""
        plan = self._memo.find(head)
        if plan is None:
            return None
        holding = plan.holding
        assert holding is not None
        entry = holding.entry
        if now_ms > entry.check_at_ms and not self._cache.revalidate(entry, now_ms):
            self._retire(holding)
            return None
        self._holdings.move_to_end((entry.segments, entry.directory))
        self._tally.add(self._tally.plan_hits)
        return plan

    def answer(
        self, head: bytes, now_ms: int, resume: Callable[[Plan], None], attempt: int = 1
    ) -> Plan | None:
        """The plan for a new head. None: its file is being read, and `resume` is told the plan later."""
        answer = self._desk.answer(head, now_ms)
        holding = self._hold(answer.entry) if answer.entry is not None else None
        body = None
        if answer.representation is not None and answer.parts:
            try:
                body = self._body(answer.representation, holding)
            except OSError as error:
                return self._fail(head, now_ms, resume, attempt, error, holding)
            if body.state is State.FILLING:
                body.waiting.append(partial(self._again, head, resume, attempt))
                return None
        plan = self._shared_plan(answer, holding, body)
        if answer.memo and holding is not None and len(head) <= MEMO_SIZE_MAX:
            self._remember(head, plan, holding)
        return plan

    def refusal(self, status: int) -> Plan:
        """The plan for what never became a head."""
        plan = self._refusals.get(status)
        if plan is None:
            plan = self._refusals[status] = self._plan(self._desk.refuse(status, ""), None, None)
        return plan

    def release(self, body: Body) -> None:
        """A response that read `body` is over."""
        body.active -= 1
        if not body.active and self._bodies.get(body.representation) is not body:
            self._tally.add(self._tally.zombies_open, -1)
            self._close(body)

    def close(self) -> None:
        """Give everything back. No response may be under way."""
        for holding in list(self._holdings.values()):
            self._retire(holding)

    # ---- requests ----

    def _again(
        self, head: bytes, resume: Callable[[Plan], None], attempt: int, error: OSError | None
    ) -> None:
        """The file that a request waited for has been read, or could not be."""
        if error is None:
            plan = self.answer(head, self._clock(), resume, attempt)
        else:
            plan = self._fail(head, self._clock(), resume, attempt, error, None)
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
            LOGGER.warning("a file could not be read: %s", error)
            return self.refusal(503)
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
        return plan

    def _plan(self, answer: Answer, holding: Holding | None, body: Body | None) -> Plan:
        """Neighbouring literals become one, small windows among them; others are sent from where they are."""
        pieces: list[bytes | Window] = []
        literals: list[bytes] = []
        for part in answer.parts:
            literal = part if isinstance(part, bytes) else self._literal(body, part)
            if literal is not None:
                literals.append(literal)
                continue
            pieces.append(b"".join(literals))
            literals = []
            pieces.append(part)
        if literals or not pieces:
            # A single one is not copied: whoever asks for the whole small file shares its bytes.
            pieces.append(literals[0] if len(literals) == 1 else b"".join(literals))
        tail, *rest = pieces
        assert isinstance(tail, bytes)
        kept = tuple(piece for piece in rest if piece)
        shared = body is not None and tail is body.small
        own = len(answer.head) + (0 if shared else len(tail))
        return Plan(
            status=answer.status,
            head=answer.head,
            date_at=answer.date_at,
            tail=tail,
            rest=kept,
            body=body if kept else None,
            keep_alive=answer.keep_alive,
            holding=holding,
            own_bytes=own + sum(len(piece) for piece in kept if isinstance(piece, bytes)),
        )

    def _literal(self, body: Body | None, window: Window) -> bytes | None:
        """The bytes of a window if it is cheaper to join them to the head than to send them on their own."""
        assert body is not None
        if body.state is State.INLINE:
            whole = window.length == len(body.small)
            return body.small if whole else body.small[window.offset : window.offset + window.length]
        if body.state is State.SNAPSHOT and window.length < self._settings.zc_size_min:
            return os.pread(body.fd, window.length, window.offset)
        return None

    # ---- what is remembered ----

    def _remember(self, head: bytes, plan: Plan, holding: Holding) -> None:
        forgotten = self._memo.admit(head, plan)
        if forgotten is None:
            return
        for other, lost in forgotten:
            assert lost.holding is not None
            lost.holding.heads.discard(other)
            self._held_bytes -= len(other) + lost.own_bytes
        holding.heads.add(head)
        self._held_bytes += len(head) + plan.own_bytes
        self._make_room(0, 0, keep=holding)
        self._tally.set(self._tally.plans_open, len(self._memo))

    def _hold(self, entry: Entry) -> Holding:
        key = (entry.segments, entry.directory)
        holding = self._holdings.get(key)
        if holding is not None:
            if holding.entry is entry:
                self._holdings.move_to_end(key)
                return holding
            self._retire(holding)
        holding = self._holdings[key] = Holding(entry)
        self._make_room(0, 0, keep=holding)
        self._tally.set(self._tally.entries_open, len(self._holdings))
        return holding

    def _retire(self, holding: Holding) -> None:
        """Outdated or evicted: responses under way finish, no new one begins."""
        if holding.retired:
            return
        holding.retired = True
        del self._holdings[(holding.entry.segments, holding.entry.directory)]
        for head in holding.heads:
            plan = self._memo.find(head)
            assert plan is not None
            self._held_bytes -= len(head) + plan.own_bytes
            self._memo.forget(head)
        for body in holding.bodies:
            body.owners -= 1
            if not body.owners and body.state is not State.FILLING:
                self._drop(body)
        self._tally.set(self._tally.entries_open, len(self._holdings))
        self._tally.set(self._tally.plans_open, len(self._memo))

    def _make_room(self, size: int, files: int, *, keep: Holding | None) -> None:
        """Evict what was not used for longest until `size` bytes and `files` descriptors more fit."""
        while self._over(size, files):
            victims = (each for each in self._holdings.values() if each is not keep and not each.filling)
            victim = next(victims, None)
            if victim is None:
                return
            self._retire(victim)

    def _over(self, size: int, files: int) -> bool:
        return (
            self._held_bytes + size > self._settings.memory
            or self._held_files + files > self._files_max
            or len(self._holdings) > self._settings.plans_max
        )

    # ---- bytes ----

    def _body(self, representation: Representation, holding: Holding | None) -> Body:
        """The bytes of a representation, begun to be read if they are new. Raises OSError."""
        body = self._bodies.get(representation)
        if body is None:
            body = self._open(representation, holding)
            self._bodies[representation] = body
        if holding is not None and body not in holding.bodies:
            holding.bodies.add(body)
            body.owners += 1
        return body

    def _open(self, representation: Representation, holding: Holding | None) -> Body:
        size = representation.size
        if size > self._settings.memory // CACHED_PART:
            wanted = State.FILE
        else:
            wanted = State.INLINE if size < self._settings.zc_size_min else State.SNAPSHOT
        self._make_room(
            0 if wanted is State.FILE else size, 0 if wanted is State.INLINE else 1, keep=holding
        )
        body = bodies.open_body(representation, wanted)
        self._held_bytes += 0 if body.state is State.FILE else size
        self._held_files += body.fd >= 0
        if body.state is State.FILLING:
            reading = self._loop.run_in_executor(self._executor, body.read)
            reading.add_done_callback(partial(self._filled, body))
        elif body.state is State.SNAPSHOT:
            self._tally.add(self._tally.mappings_open)
            self._tally.add(self._tally.mapped_bytes, size)
        return body

    def _filled(self, body: Body, reading: Future[bytes]) -> None:
        if reading.cancelled():
            return
        waiting, body.waiting = body.waiting, []
        error = reading.exception()
        if error is None:
            body.settle(reading.result())
            if body.state is State.SNAPSHOT:
                self._tally.add(self._tally.mappings_open)
                self._tally.add(self._tally.mapped_bytes, body.representation.size)
            for tell in waiting:
                tell(None)
            if not body.owners and self._bodies.get(body.representation) is body:
                self._drop(body)
            return
        failure = error if isinstance(error, OSError) else OSError(errno.EIO, repr(error))
        now_ms = self._clock()
        for holding in [each for each in self._holdings.values() if body in each.bodies]:
            self._retire(holding)
            holding.entry.check_at_ms = now_ms
        self._drop(body)
        for tell in waiting:
            tell(failure)

    def _drop(self, body: Body) -> None:
        """No new response begins to read it."""
        del self._bodies[body.representation]
        if body.state is not State.FILE:
            self._held_bytes -= body.representation.size
        if body.active:
            self._tally.add(self._tally.zombies_open)
        else:
            self._close(body)

    def _close(self, body: Body) -> None:
        self._held_files -= body.fd >= 0
        if body.state is State.SNAPSHOT:
            self._tally.add(self._tally.mappings_open, -1)
            self._tally.add(self._tally.mapped_bytes, -body.representation.size)
        body.close()

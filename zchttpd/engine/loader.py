"""Turns the answers of `Handler` into mappings and plans of a worker, for its loop to replay."""

from __future__ import annotations

import errno
import logging
import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from zchttpd.engine.admission import Admission
from zchttpd.engine.bodies import Bodies, Body, Holding, State, name_of
from zchttpd.engine.downloads import Downloads
from zchttpd.engine.holdings import Holdings
from zchttpd.engine.limits import ATTEMPTS_MAX, PLANS_PER_ENTRY, REUSED
from zchttpd.engine.parts import idle_ms, inlined, wants_part
from zchttpd.engine.plans import make_plan
from zchttpd.engine.waiters import Waiters
from zchttpd.files.lookup import exhausted
from zchttpd.files.settling import Settling
from zchttpd.files.singleflight import Job, Pending
from zchttpd.handler.answer import Answer
from zchttpd.handler.errors import describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zchttpd._core.site_worker import SiteWorker
    from zchttpd.config.settings import Settings
    from zchttpd.engine.new_paths import NewPaths
    from zchttpd.files.entry_cache import EntryCache
    from zchttpd.files.lookup import Entry
    from zchttpd.files.singleflight import LoopMailbox
    from zchttpd.files.version import Representation
    from zchttpd.handler.handler import Handler
    from zchttpd.handler.sites import Sites

LOGGER = logging.getLogger("zchttpd")

# Eviction goes on to this far below a budget, a few holdings at a time.
SLACK_PART = 16
EVICTED_AT_A_TIME = 64
COMPLAINT_MS_MIN = 1000
# The engine adds these to the status that refuses what began as a HEAD request, and where the connection goes
# on.
REFUSED_HEAD = 1000
REFUSED_KEEPS = 2000


class Loader:
    """Called by the engine with heads to answer, entries to look at and mappings that have been filled.

    `caches` are those of the sites, by the number that their entries have.
    """

    def __init__(
        self,
        settings: Settings,
        handler: Handler | Sites,
        caches: Sequence[EntryCache],
        mailbox: LoopMailbox,
        new_paths: NewPaths,
        cells: Callable[[str], memoryview],
    ) -> None:
        """`cells`: counters of this worker, by name."""
        self._settings = settings
        self._mailbox = mailbox
        self._handler = handler
        self._caches = caches
        self._new_paths = new_paths
        self._holdings = Holdings()
        self._streaming: set[Holding] = set()
        self._bodies = Bodies(settings)
        self._settling = Settling(mailbox.post)
        self._admission = Admission(self._bodies, self._holdings, cells("admissions"))
        self._evicted_bytes = cells("evicted_bytes")
        self._refusals: dict[int, int] = {}
        self._idle_ms = idle_ms(settings)
        self._silent_until_ms = 0
        # What is to be done for requests whose file or job has come, or has not.
        self._ready: deque[Callable[[], None]] = deque()
        self._downloads = Downloads(self._settling, self._ready.append)
        self._waiters = Waiters(self._ready.append)
        self.engine: SiteWorker

    def begin(self, engine: SiteWorker) -> None:
        """From now on it answers through this engine."""
        self.engine = self._bodies.engine = self._downloads.engine = self._waiters.engine = engine
        self._new_paths.begin(engine, self._bodies.inline_below)

    def end(self) -> None:
        """The engine has ended, and goes: it and this hold each other no longer."""
        self._new_paths.end()
        del self.engine, self._bodies.engine, self._downloads.engine, self._waiters.engine

    def __call__(
        self, work: Iterator[tuple[str, int, bytes | int]], filled: Iterator[tuple[int, int]], now_ms: int
    ) -> None:
        """Answer `work`: ("head", ticket, bytes), ("more", ticket, 0), ("stale", ticket, entry), ("refuse",
        ticket, status).

        `filled`: (mapping, errno or 0). What cannot be done in this turn is done in the next.
        """
        if self.engine.broken_off:
            # First: who has left is in nobody's way.
            self._downloads.sweep()
            self._waiters.sweep()
        self._mailbox.run()
        for mapping, error in filled:
            self._on_filled(mapping, error, now_ms)
        if self._ready:
            self.engine.call_again()
        while self._ready and self.engine.may_go_on():
            self._ready.popleft()()
        for kind, ticket, subject in work:
            if isinstance(subject, bytes):
                self._go_on(ticket, subject, 1, None)
            elif kind == "stale":
                self._on_stale(ticket, subject, now_ms)
            elif kind == "more":
                self._downloads.go_on(ticket)
            else:
                self._waiters.refused(ticket)
                self._refuse(ticket, subject)
        self._look_at_streams(now_ms)
        self._shrink()

    # ---- requests ----

    def _on_head(self, ticket: int, head: bytes, attempt: int, now_ms: int) -> None:
        answer = self._handler.answer(head, now_ms, secure=self.engine.is_secure(ticket))
        if isinstance(answer, Job):
            self._waiters.add(ticket, answer, partial(self._go_on, ticket, head, attempt))
            return
        self._new_paths.learn(head, answer)
        holding = self._hold(answer.entry) if answer.entry is not None else None
        if answer.archive is None and (answer.representation is None or not answer.parts):
            self._reply(ticket, answer, holding, None)
            return
        try:
            if answer.archive is not None:
                self._downloads.begin(ticket, answer)
                return
            assert answer.representation is not None
            settling = self._settling.job(answer.representation)
            if settling is not None:
                raise Pending(settling)
            body = self._body(answer, holding, attempt, now_ms)
        except Pending as pending:
            self._waiters.add(ticket, pending.job, partial(self._go_on, ticket, head, attempt))
            return
        except OSError as error:
            self._fail(ticket, head, attempt, error, holding, now_ms)
            return
        if isinstance(body, Answer):
            self._reply(ticket, body, holding, None)
            return
        if body.state is State.FILLING:
            if not self.engine.await_fill(ticket, body.number):
                # A disk that does not answer: who waits is told 503 by now, and who comes is at once.
                self._refuse_head(ticket, head, 503)
                return
            body.waiting.append((ticket, head, attempt))
        else:
            self._reply(ticket, answer, holding, body)

    def _go_on(self, ticket: int, head: bytes, attempt: int, error: OSError | None) -> None:
        """Answer a head, or say what became of what it waited for. Harms no other, whatever happens."""
        try:
            if error is None:
                self._on_head(ticket, head, attempt, self.engine.now_ms)
            else:
                self._fail(ticket, head, attempt, error, None, self.engine.now_ms)
        except MemoryError:
            # No room for its plan, or for what responses under way hold.
            self._refuse_head(ticket, head, 503)
        except Exception:
            LOGGER.exception("a request could not be answered")
            self.engine.abandon(ticket)

    def _on_stale(self, ticket: int, number: int, now_ms: int) -> None:
        holding = self._holdings.numbered(number)
        if holding is not None:
            self._holdings.use(holding, now_ms)
            if any(self._bodies.lost(body) for body in holding.bodies):
                # Written to in place: who comes now is told of what is there now.
                self._retire(holding)
                holding.entry.check_at_ms = now_ms
            elif now_ms < holding.entry.check_at_ms:
                # Several requests may have found it stale: the first to come here has looked.
                self.engine.refresh(number, holding.entry.check_at_ms)
            else:
                try:
                    same = self._caches[holding.entry.site].revalidate(holding.entry, now_ms)
                except Pending as pending:
                    pending.job.waiting.append(partial(self._on_looked, ticket, number))
                    return
                if same and not self._outgrown(holding):
                    self.engine.refresh(number, holding.entry.check_at_ms)
                else:
                    self._retire(holding)
        self.engine.retry(ticket)

    def _on_looked(self, ticket: int, number: int, error: OSError | None) -> None:
        """What a stale entry is compared with is there, or cannot be had: then it is looked up anew."""
        holding = self._holdings.numbered(number)
        if error is not None and holding is not None:
            self._retire(holding)
        self._ready.append(lambda: self._on_stale(ticket, number, self.engine.now_ms))

    def _fail(
        self, ticket: int, head: bytes, attempt: int, error: OSError, holding: Holding | None, now_ms: int
    ) -> None:
        """The bytes could not be had. A file that was replaced meanwhile is looked up anew."""
        if attempt >= ATTEMPTS_MAX or exhausted(error):
            if now_ms >= self._silent_until_ms:
                self._silent_until_ms = now_ms + COMPLAINT_MS_MIN
                LOGGER.warning("a file could not be read: %s", describe_error(error))
            self._refuse_head(ticket, head, 503)
            return
        if holding is not None:
            self._retire(holding)
            # What the cache believed of it is outdated too.
            holding.entry.check_at_ms = now_ms
        self._on_head(ticket, head, attempt + 1, now_ms)

    def _refuse_head(self, ticket: int, head: bytes, status: int) -> None:
        self._refuse(ticket, status + (REFUSED_HEAD if head.startswith(b"HEAD ") else 0))

    def _refuse(self, ticket: int, status: int) -> None:
        plan = self._refusals.get(status)
        if plan is None:
            keeps = status >= REFUSED_KEEPS
            bodiless = status % REFUSED_KEEPS >= REFUSED_HEAD
            answer = self._handler.refuse(status % REFUSED_HEAD, bodiless=bodiless, keeps=keeps)
            plan = self._refusals[status] = make_plan(self.engine, self._bodies, answer, None, None)
        self.engine.answer(ticket, plan, False)

    def _reply(self, ticket: int, answer: Answer, holding: Holding | None, body: Body | None) -> None:
        answer = answer.as_last() if self.engine.is_last(ticket) else answer
        # The next request for the whole is to come here too: it may be for a snapshot.
        cacheable = answer.cacheable and not (body is not None and body.live and not wants_part(answer))
        reused = cacheable and holding is not None and answer.status in REUSED
        key = (answer.head, answer.parts)
        plan = holding.plans.get(key) if reused and holding is not None else None
        if plan is not None:
            self.engine.answer(ticket, plan, True)
            return
        plan = make_plan(self.engine, self._bodies, answer, holding, body)
        self.engine.answer(ticket, plan, cacheable, answer.user)
        if reused and holding is not None and len(holding.plans) < PLANS_PER_ENTRY:
            holding.plans[key] = plan
        else:
            self.engine.release(plan)

    # ---- entries and bodies ----

    def _hold(self, entry: Entry) -> Holding:
        holding = self._holdings.of(entry)
        if holding is not None:
            if holding.entry is entry:
                self._holdings.use(holding, self.engine.now_ms)
                self.engine.refresh(holding.number, entry.check_at_ms)
                return holding
            self._retire(holding)
        holding = Holding(entry, self._new_paths.number(entry))
        self._holdings.add(holding, self.engine.now_ms)
        return holding

    def _retire(self, holding: Holding, *, evicted: bool = False) -> None:
        """Outdated or evicted: responses under way finish, no new one begins."""
        if not self._holdings.remove(holding):
            return
        self.engine.retire(holding.number, evicted=evicted)
        if evicted:
            self._evicted_bytes[0] += sum(self._bodies.weight(body) for body in holding.bodies)
        for body in holding.bodies:
            self._bodies.release(body)
        holding.bodies.clear()
        self._streaming.discard(holding)

    def _unstream(self, holding: Holding) -> None:
        """Let go of its files, and of all plans: some of them read from those. Responses under way finish."""
        self.engine.retire(holding.number)
        self._holdings.renumber(holding, self._new_paths.number(holding.entry))
        holding.plans.clear()
        for body in holding.streamed:
            holding.bodies.remove(body)
            self._bodies.release(body)
        self._streaming.discard(holding)

    def _look_at_streams(self, now_ms: int) -> None:
        """Close files that nobody has asked for lately, and cache those that much was sent of, in parts."""
        for holding in [*self._streaming]:
            if now_ms - self.engine.used_at_ms(holding.number) >= self._idle_ms:
                self._unstream(holding)
                continue
            for body in holding.streamed:
                if body.live and self._admission.wants_for_parts(body, now_ms):
                    self._snapshot(holding, body.representation)

    def _body(self, answer: Answer, holding: Holding | None, attempt: int, now_ms: int) -> Body | Answer:
        """The bytes that the answer wants, begun to be read if they are new; or the answer with them in it.

        Raises OSError.
        """
        representation = answer.representation
        assert representation is not None
        # A file that was looked at again has not been written anew since: it may have grown.
        grown = attempt > 1
        part = wants_part(answer)
        if part and not self._bodies.cached(representation):
            small = inlined(answer, self._bodies.inline_below, grown=grown)
            if small is not None:
                return small
        body = self._bodies.find(representation, grown=grown, content=answer.content)
        self._own(holding, body)
        if self._bodies.lost(body):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), name_of(representation))
        if holding is not None and body.live and not part and self._admission.wants(representation, now_ms):
            self._snapshot(holding, representation)
        return body

    def _snapshot(self, holding: Holding, representation: Representation) -> None:
        """Begin one of what lives. It goes on to live when this fails: nobody waits for it."""
        try:
            self._own(holding, self._bodies.snapshot(representation))
        except Pending as pending:
            again = partial(self._snapshot, holding, representation)
            pending.job.waiting.append(lambda error: None if error else self._ready.append(again))
        except OSError:
            pass

    def _own(self, holding: Holding | None, body: Body) -> None:
        if holding is not None and body not in holding.bodies:
            holding.bodies.add(body)
            body.owners += 1
            if body.state is State.STREAMED:
                self._streaming.add(holding)

    def _outgrown(self, holding: Holding) -> bool:
        """Whether a body could be kept in a better way by now."""
        return any(self._bodies.outgrown(body) for body in holding.bodies)

    def _on_filled(self, number: int, error: int, now_ms: int) -> None:
        body = self._bodies.filled(number, error)
        waiting, body.waiting = body.waiting, []
        if error:
            for holding in [each for each in self._holdings if body in each.bodies]:
                holding.bodies.discard(body)
                self._retire(holding)
                holding.entry.check_at_ms = now_ms
            failure = OSError(error, os.strerror(error), name_of(body.representation))
            self._ready.extend(partial(self._go_on, *each, failure) for each in waiting)
            return
        live = self._bodies.live_of(body.representation)
        for holding in [each for each in self._streaming if live in each.bodies]:
            # From here on it is sent from memory.
            self._unstream(holding)
        self._ready.extend(partial(self._go_on, *each, None) for each in waiting)
        self._ready.append(partial(self._bodies.forsaken, body))

    def _shrink(self) -> None:
        """Evict what has not been used for longest until the budgets hold."""
        if self._bodies.streams_too_many():
            for holding in sorted(self._streaming, key=lambda each: self.engine.used_at_ms(each.number)):
                self._unstream(holding)
                if not self._bodies.streams_too_many():
                    break
        slack_part = 0
        while self._over(slack_part) and self._evict_some():
            slack_part = SLACK_PART

    def _evict_some(self) -> bool:
        """Evict a few, as long as a budget asks for it. False when there is nothing that could be."""
        evictable = 0

        def enough(holding: Holding) -> bool:
            nonlocal evictable
            evictable += not holding.fills
            return evictable == EVICTED_AT_A_TIME

        for holding in self._holdings.unused(self.engine.used_at_ms, enough):
            if not holding.fills and self._over(SLACK_PART):
                self._retire(holding, evicted=True)
        return evictable > 0

    def _over(self, slack_part: int) -> bool:
        """Whether any budget, less its `slack_part`-th part (0: less nothing), is exceeded."""
        plans, plans_max = self.engine.plans_held
        for taken, limit in (
            *self._bodies.used(),
            (len(self._holdings), self._settings.plans_max),
            (plans, plans_max // 2),
        ):
            if taken > limit - (limit // slack_part if slack_part else 0):
                return True
        return False

"""One connection of the portable engine: the state machine of `_core.conn` on a non-blocking socket.

READING -> PARKED (its file is being read) -> SENDING -> READING or LINGERING -> CLOSED. One response at a
time, in the order of the requests.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING, Final

from zchttpd.engines.portable_clock import Clocked
from zchttpd.engines.portable_heads import Frame, Framer
from zchttpd.engines.portable_send import FileChanged, Sender, Step, unacknowledged
from zchttpd.http.cache_key import cache_key

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from zchttpd.engines.portable import Portable
    from zchttpd.engines.portable_access import Guest
    from zchttpd.engines.portable_bodies import Body
    from zchttpd.engines.portable_plan import Plan

LOGGER = logging.getLogger("zchttpd")

READING: Final = 1
PARKED: Final = 2
SENDING: Final = 3
LINGERING: Final = 4
CLOSED: Final = 5

LINGER_MS_MAX = 5_000
LINE_SIZE_MAX = 8192
RECV_SIZE = 16 * 1024
# What one connection may do before the others have their turn.
RESPONSES_PER_TURN = 32
_RESET = struct.pack("ii", 1, 0)
_REFUSALS = {Frame.LINE_LONG: 414, Frame.HEAD_LONG: 431}


class Connection(Clocked):
    """Serves one accepted socket, which it owns. It tells `engine` when it has closed it."""

    __slots__ = (
        "_began_ms",
        "_crlf_skipped",
        "_framer",
        "_guest",
        "_inbox",
        "_parked",
        "_peer_done",
        "_reading",
        "_sender",
        "_socket",
        "_state",
        "_stats",
        "_store",
        "_writing",
        "answers",
        "turned_away",
    )

    def __init__(self, engine: Portable, accepted: socket.socket, guest: Guest, *, turned_away: bool) -> None:
        super().__init__(engine, accepted.fileno())
        self._store = engine.store
        self._stats = engine.stats
        self._socket = accepted
        self._state = READING
        self._inbox = bytearray()
        head_max = self._settings.head_size_max
        self._guest = guest  # as the access log sees it
        self._framer = Framer(min(LINE_SIZE_MAX, head_max), head_max)
        self._began_ms = 0  # when the head under way began to arrive; 0 before it
        self._crlf_skipped = False
        self._parked = b""  # the head, while its file is being read
        self._peer_done = False
        self._sender = Sender(accepted, engine.stats)
        self._reading = self._writing = False
        self.turned_away = turned_away  # there was no room: it is told 503
        self.answers = 0  # responses begun

    # ---- what the engine calls ----

    @property
    def idle(self) -> bool:
        """Whether it waits for a request of which nothing has come yet."""
        return self._state == READING and not self._inbox

    @property
    def quiet(self) -> bool:
        """Whether it is idle and the peer has got all of its last response."""
        return self.idle and not unacknowledged(self._fd)

    def start(self) -> None:
        """Begin to receive; or tell 503, then close."""
        if self.turned_away:
            self._turn(partial(self._refuse, 503))
        else:
            self._engine.room.stand_by(self)
            self._turn(self._watch)

    def close(self) -> None:
        """Orderly: what has been sent is still delivered."""
        if self._state == CLOSED:
            return
        self._state = CLOSED
        if self._reading:
            self._engine.loop.remove_reader(self._fd)
        self._wait_writable(False)
        self._socket.close()
        self._release()
        self._inbox.clear()
        self._engine.closed(self)

    def abort(self) -> None:
        """With a reset: what is queued is dropped."""
        if self._state == CLOSED:
            return
        self._stats.cells[self._stats.aborts] += 1
        # SO_LINGER with a time of 0 (socket(7)) makes close(2) send RST.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def expire(self, now_ms: int) -> int:
        """Act if the deadline has passed. When to look again, in milliseconds of the engine's clock."""
        if now_ms >= self._deadline_ms:
            self._turn(lambda: self._expire(now_ms))
        return self._deadline_ms

    def _expire(self, now_ms: int) -> None:
        if self._state == SENDING:
            if self._stands_still(now_ms):
                self._stats.cells[self._stats.timeouts_stall] += 1
                self.abort()
        elif self._state == PARKED:
            # The bytes of its file do not come, and nothing of the response has left.
            self._stats.cells[self._stats.timeouts_stall] += 1
            self._refuse(503)
        elif self._state == READING and self._began_ms:
            self._stats.cells[self._stats.timeouts_head] += 1
            self._refuse(408)
        else:
            self._stats.cells[self._stats.timeouts_idle] += self._state == READING
            self.close()

    # ---- receiving ----

    def _turn(self, act: Callable[[], None]) -> None:
        """Whatever goes wrong ends this connection and no other."""
        try:
            act()
        except Exception:
            LOGGER.exception("a connection failed")
            self.abort()

    def _on_readable(self) -> None:
        self._turn(self._receive)

    def _receive(self) -> None:
        try:
            received = self._socket.recv(RECV_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        now_ms = self._engine.now_ms()
        self._guest.heard()
        if self.idle:
            self._engine.room.leave(self)
        if not received:
            self._peer_done = True
            # A peer that has closed its direction may still be reading: what it asked for is served first.
            if self._state == LINGERING:
                self.close()
        elif self._state == READING and not self._inbox:
            # A remembered cache_key ends with its empty line and has none before it: equal bytes are framed.
            plan = self._store.find(received, now_ms)
            if plan is None:
                self._keep(received, now_ms)
            else:
                self._guest.note(received)
                self._begin(plan, now_ms)
        elif self._state != LINGERING:
            self._keep(received, now_ms)
        self._go_on(now_ms)

    def _keep(self, received: bytes, now_ms: int) -> None:
        if not self._began_ms and self._state == READING:
            self._began_ms = now_ms
            self._set_deadline(now_ms, self._settings.head_ms_max)
        self._inbox += received

    def _watch(self) -> None:
        """Receive whenever there is room for what may come; stop when a peer sends ahead more than it may."""
        room = len(self._inbox) < 2 * self._settings.head_size_max
        wanted = room and not self._peer_done and self._state != CLOSED
        if wanted is self._reading or self._state == CLOSED:
            return
        self._reading = wanted
        if wanted:
            self._engine.loop.add_reader(self._fd, self._on_readable)
        else:
            self._engine.loop.remove_reader(self._fd)

    def _go_on(self, now_ms: int) -> None:
        """Answer what has been received, one after the other, until something must be waited for."""
        for _ in range(RESPONSES_PER_TURN):
            if self._state == READING and not self._next(now_ms):
                if self._peer_done:
                    self.close()
                elif not self._inbox:
                    self._engine.room.stand_by(self)
                break
            if self._state != SENDING or not self._pump(now_ms):
                break
            self._finish(now_ms)
        else:
            self._engine.loop.call_soon(self._on_turn)
        self._watch()

    def _on_turn(self) -> None:
        """The socket takes bytes again, or the others have had their turn."""
        if self._state in (READING, SENDING):
            self._turn(lambda: self._go_on(self._engine.now_ms()))

    def _next(self, now_ms: int) -> bool:
        """Look for a head in what waits. True: it is being answered, or its file is being read."""
        while self._inbox:
            found = self._framer.look(self._inbox)
            if found is Frame.MORE:
                if not self._began_ms:
                    self._began_ms = now_ms
                    self._set_deadline(now_ms, self._settings.head_ms_max)
                return False
            size = self._framer.length
            if found is Frame.HEAD and size == 2 and not self._crlf_skipped:
                # RFC 9112 section 2.2: an empty line before the request line is to be ignored; one is enough.
                self._crlf_skipped = True
                del self._inbox[:2]
                if not self._inbox:
                    # Behind a request rather than before one: the connection is as idle as it was.
                    self._began_ms = 0
                    self._restart_idle_clock(now_ms)
                continue
            if found is Frame.HEAD and size > 2:
                head = bytes(self._inbox[:size])
                del self._inbox[:size]
                self._look_up(head, now_ms)
            else:
                self._begin(self._refusal(_REFUSALS.get(found, 400)), now_ms)
            return True
        return False

    def _refusal(self, status: int) -> Plan:
        head = self._parked if self._state == PARKED else bytes(self._inbox)
        self._guest.note(head)
        # What has arrived is not to be read as a request.
        self._inbox.clear()
        return self._store.refusal(status, bodiless=head.startswith(b"HEAD "))  # RFC 9110 section 9.3.2

    def _refuse(self, status: int) -> None:
        self._replay(self._refusal(status))

    def _look_up(self, head: bytes, now_ms: int) -> None:
        self._guest.note(head)
        key = cache_key(head)
        plan = None if key is None else self._store.find(key, now_ms)
        if plan is None:
            self._stats.cells[self._stats.plan_misses] += 1
            self._state = PARKED
            self._parked = head
            self._set_deadline(now_ms, self._settings.stall_ms_max)
            plan = self._store.answer(head, now_ms, self._resume)
        if plan is not None:
            self._begin(plan, now_ms)

    def _resume(self, plan: Plan) -> None:
        """The plan for the parked head, whose file had to be read first."""
        if self._state == PARKED:
            self._turn(partial(self._replay, plan))

    def _replay(self, plan: Plan) -> None:
        now_ms = self._engine.now_ms()
        self._begin(plan, now_ms)
        self._go_on(now_ms)

    # ---- sending ----

    def _begin(self, plan: Plan, now_ms: int) -> None:
        """Start to replay a plan; `_pump` goes on."""
        self._state = SENDING
        self.answers += 1
        self._began_ms = 0
        self._crlf_skipped = False
        second = self._engine.second(now_ms)
        if plan.second != second:
            plan.stamp(second, self._engine.date)
        try:
            self._sender.begin(plan)
        except OSError as error:
            self._fail(error)

    def _pump(self, now_ms: int) -> bool:
        """Send what comes next. True: the response has left. False: it goes on later, or it is over."""
        try:
            step, sent = self._sender.pump()
        except FileChanged as changed:
            LOGGER.debug("a response was cut off because its file changed: %s", changed)
            self.abort()
            return False
        except OSError as error:
            self._fail(error)
            return False
        if step is Step.FULL:
            # The stall clock runs from the last progress; while nothing is waited for it need not be set.
            if sent or not self._writing:
                self._restart_stall_clock(now_ms)
            self._wait_writable(True)
            return False
        if self._writing:
            self._wait_writable(False)
        if step is Step.FETCH:
            self._restart_stall_clock(now_ms)
            self._fetch()
        return step is Step.DONE

    def _wait_writable(self, wanted: bool) -> None:
        if wanted is self._writing:
            return
        self._writing = wanted
        if wanted:
            self._engine.loop.add_writer(self._fd, self._on_turn)
        else:
            self._engine.loop.remove_writer(self._fd)

    def _fetch(self) -> None:
        """Have a part of the file read into the page cache."""
        body = self._sender.body
        assert body is not None
        body.active += 1
        engine = self._engine
        fetching = engine.loop.run_in_executor(engine.executor, body.populate, *self._sender.fetch)
        fetching.add_done_callback(partial(self._on_fetched, body))

    def _on_fetched(self, body: Body, _fetching: Future[None]) -> None:
        self._store.release(body)
        self._on_turn()

    def _finish(self, now_ms: int) -> None:
        """The response has gone: the next head, or the end."""
        keep_alive = self._sender.plan.keep_alive
        draining = self._engine.draining
        if draining and not self._inbox and not self._peer_done:
            # What had arrived when the drain began is answered, also what was not read yet.
            with contextlib.suppress(OSError):
                self._inbox += self._socket.recv(RECV_SIZE)
        keep = keep_alive and not (draining and not self._inbox)
        linger = not keep_alive or (not keep and bool(self._inbox))
        self._release()
        if keep and not (self._peer_done and not self._inbox):
            self._state = READING
            self._restart_idle_clock(now_ms)
        elif linger and not self._peer_done:
            # Closing with unread bytes in the socket sends RST, which can destroy the response on its way.
            self._state = LINGERING
            self._inbox.clear()
            self._set_deadline(now_ms, LINGER_MS_MAX)
            if self.turned_away:
                self._engine.room.stand_by(self)
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()
        else:
            self.close()

    def _release(self) -> None:
        plan = self._sender.under_way
        if plan is not None:
            self._guest.left(plan.status, self._sender.sent, len(plan.head), more=bool(self._inbox))
        body = self._sender.end()
        if body is not None:
            self._store.release(body)

    # ---- time and the end ----

    def _fail(self, error: OSError) -> None:
        """The socket is of no more use."""
        if error.errno == errno.ETIMEDOUT:
            # The kernel saw the stall before the clock here did: TCP_USER_TIMEOUT (tcp(7)) is as long.
            self._stats.cells[self._stats.timeouts_stall] += 1
        self.abort()

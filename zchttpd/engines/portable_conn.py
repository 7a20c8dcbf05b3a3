"""One connection of the portable engine: the state machine of `_core.conn` on a non-blocking socket.

READING -> PARKED (its file is being read) -> SENDING -> READING or LINGERING -> CLOSED. One response at a time,
in the order of the requests.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import struct
import sys
import termios
from functools import partial
from typing import TYPE_CHECKING, Final

from zchttpd.engines.portable_bodies import Body, State, is_version
from zchttpd.engines.portable_heads import Frame, Framer
from zchttpd.engines.portable_store import MEMO_SIZE_MAX

if TYPE_CHECKING:
    from asyncio import Future

    from zchttpd.engines.portable import Portable
    from zchttpd.engines.portable_store import Plan
    from zchttpd.http.plan import Window

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
BYTES_PER_TURN = 1 << 20
# Of a file that may change: how much is sent between two looks at it, and how much at its end is held back.
FILE_STEP = 256 * 1024
LAST_STEP = 64 * 1024
FETCH_SIZE = 1 << 20
_RESET = struct.pack("ii", 1, 0)
_REFUSALS = {Frame.LINE_LONG: 414, Frame.HEAD_LONG: 431}
# tcp(7) and linux/sockios.h: Python has no names for them.
_TCP_NOTSENT_LOWAT = 25
_SIOCOUTQNSD = 0x894B


class Connection:
    """Serves one accepted socket, which it owns. It tells `engine` when it has closed it."""

    __slots__ = (
        "_began_ms",
        "_body",
        "_crlf_skipped",
        "_deadline_ms",
        "_done",
        "_engine",
        "_fd",
        "_fetched",
        "_framer",
        "_inbox",
        "_literal",
        "_peer_done",
        "_piece",
        "_plan",
        "_queued_last",
        "_reading",
        "_settings",
        "_socket",
        "_state",
        "_store",
        "_tally",
        "_unproven",
        "_writing",
        "tick",
    )

    def __init__(self, engine: Portable, accepted: socket.socket) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._store = engine.store
        self._tally = engine.tally
        self._socket = accepted
        self._fd = accepted.fileno()
        self._state = READING
        self._inbox = bytearray()
        line_max = min(LINE_SIZE_MAX, self._settings.head_size_max)
        self._framer = Framer(line_max, self._settings.head_size_max)
        self._began_ms = 0  # when the head under way began to arrive; 0 before it
        self._crlf_skipped = False
        self._peer_done = False
        self._plan: Plan | None = None
        self._body: Body | None = None  # held open for the response under way
        self._literal: memoryview | None = None  # what is left of the literal that is being sent
        self._piece = 0  # of plan.rest
        self._done = 0  # bytes of the window that have left
        self._fetched = 0  # up to where the file has been read ahead of sending
        self._unproven = False  # pages of a file that may change were queued
        self._queued_last = -1
        self._reading = False
        self._writing = False
        self._deadline_ms = 0
        self.tick = -1  # where the engine has filed it
        self._set_deadline(engine.now_ms(), self._settings.idle_ms_max)

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
        """Begin to receive."""
        self._watch()

    def refuse(self, status: int) -> None:
        """Answer with an error that needs no judge, then close."""
        now_ms = self._engine.now_ms()
        self._reject(status, now_ms)
        self._serve(now_ms)
        self._watch()

    def close(self) -> None:
        """Orderly: what has been sent is still delivered."""
        self._leave()

    def abort(self) -> None:
        """With a reset: what is queued is dropped."""
        if self._state == CLOSED:
            return
        self._tally.add(self._tally.aborts)
        # SO_LINGER with a time of 0 (socket(7)) makes close(2) send RST.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._leave()

    def expire(self, now_ms: int) -> int:
        """Act if the deadline has passed. When to look again, in milliseconds of the engine's clock."""
        if now_ms >= self._deadline_ms:
            if self._state == READING and self._began_ms:
                self._tally.add(self._tally.timeouts_head)
                self.refuse(408)
            elif self._state == READING:
                self._tally.add(self._tally.timeouts_idle)
                self.close()
            elif self._state == LINGERING:
                self.close()
            elif self._state == PARKED:
                self._set_deadline(now_ms, self._settings.stall_ms_max)
            elif self._state == SENDING:
                self._check_progress(now_ms)
        return self._deadline_ms

    # ---- receiving ----

    def _on_readable(self) -> None:
        try:
            self._receive()
        except Exception:
            LOGGER.exception("a connection failed")
            self.abort()

    def _receive(self) -> None:
        try:
            received = self._socket.recv(RECV_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        now_ms = self._engine.now_ms()
        if not received:
            self._peer_done = True
            # A peer that has closed its direction may still be reading: what it asked for is served first.
            if self._state in (READING, LINGERING):
                self.close()
        elif self._state == READING and not self._inbox and len(received) <= MEMO_SIZE_MAX:
            # A remembered head ends with its empty line and has none before it: equal bytes are framed.
            plan = self._store.find(received, now_ms)
            if plan is None:
                self._keep(received, now_ms)
            else:
                self._begin(plan, now_ms)
            self._serve(now_ms)
        elif self._state != LINGERING:
            self._keep(received, now_ms)
            if self._state == READING:
                self._serve(now_ms)
        self._watch()

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

    def _serve(self, now_ms: int) -> None:
        """Answer what has been received, one after the other, until something must be waited for."""
        for _ in range(RESPONSES_PER_TURN):
            if self._state == READING and not self._next(now_ms):
                if self._peer_done:
                    self.close()
                return
            if self._state != SENDING or not self._pump(now_ms):
                return
            self._finish(now_ms)
            if self._state != READING:
                return
        self._engine.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Another turn, unless the connection has ended or found something else to do meanwhile."""
        try:
            if self._state == READING:
                self._serve(self._engine.now_ms())
            self._watch()
        except Exception:
            LOGGER.exception("a connection failed")
            self.abort()

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
                continue
            if found is Frame.HEAD and size > 2:
                head = bytes(self._inbox[:size])
                del self._inbox[:size]
                self._look_up(head, now_ms)
            else:
                self._reject(_REFUSALS.get(found, 400), now_ms)
            return True
        return False

    def _reject(self, status: int, now_ms: int) -> None:
        # What has arrived is not to be read as a request.
        self._inbox.clear()
        self._begin(self._store.refusal(status), now_ms)

    def _look_up(self, head: bytes, now_ms: int) -> None:
        plan = self._store.find(head, now_ms) if len(head) <= MEMO_SIZE_MAX else None
        if plan is None:
            self._tally.add(self._tally.plan_misses)
            self._state = PARKED
            self._set_deadline(now_ms, self._settings.stall_ms_max)
            plan = self._store.answer(head, now_ms, self._resume)
        if plan is not None:
            self._begin(plan, now_ms)

    def _resume(self, plan: Plan) -> None:
        """The plan for the parked head, whose file had to be read first."""
        if self._state != PARKED:
            return
        try:
            now_ms = self._engine.now_ms()
            self._begin(plan, now_ms)
            self._serve(now_ms)
            self._watch()
        except Exception:
            LOGGER.exception("a connection failed")
            self.abort()

    # ---- sending ----

    def _begin(self, plan: Plan, now_ms: int) -> None:
        """Start to replay a plan; `_pump` goes on."""
        tally = self._tally
        self._state = SENDING
        self._plan = plan
        self._body = plan.body
        self._piece = 0
        self._done = 0
        self._literal = None
        self._began_ms = 0
        self._queued_last = -1
        self._crlf_skipped = False
        tally.add(tally.requests + plan.status)
        if plan.body is not None:
            plan.body.active += 1
        second = self._engine.second(now_ms)
        if plan.second != second:
            plan.stamp(second, self._engine.date)
        self._set_deadline(now_ms, self._settings.stall_ms_max)
        flags = socket.MSG_MORE if plan.rest else 0
        try:
            if plan.tail:
                sent = self._socket.sendmsg((plan.head, plan.tail), (), flags)
            else:
                sent = self._socket.send(plan.head, flags)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._fail(error)
            return
        if sent:
            tally.add(tally.sends_plain)
            tally.add(tally.send_bytes_plain, sent)
        if sent != len(plan.head) + len(plan.tail):
            self._literal = memoryview(plan.head + plan.tail)[sent:]

    def _on_writable(self) -> None:
        try:
            now_ms = self._engine.now_ms()
            if self._state == SENDING and self._pump(now_ms):
                self._finish(now_ms)
                if self._state == READING:
                    self._serve(now_ms)
            self._watch()
        except Exception:
            LOGGER.exception("a connection failed")
            self.abort()

    def _pump(self, now_ms: int) -> bool:
        """Send what comes next. True: the response has left. False: the socket is full, or it is over."""
        assert self._plan is not None
        rest = self._plan.rest
        budget = BYTES_PER_TURN
        try:
            while True:
                if self._literal is None:
                    if self._piece == len(rest):
                        break
                    piece = rest[self._piece]
                    if isinstance(piece, bytes):
                        self._literal = memoryview(piece)
                        self._piece += 1
                        continue
                    if budget <= 0:
                        raise BlockingIOError
                    sent = self._send_window(piece)
                else:
                    sent = self._send_literal(self._literal, last=self._piece == len(rest))
                if sent < 0:
                    return False
                budget -= sent
                self._set_deadline(now_ms, self._settings.stall_ms_max)
                self._queued_last = -1
        except (BlockingIOError, InterruptedError):
            self._wait_writable(True)
            return False
        except OSError as error:
            self._fail(error)
            return False
        self._wait_writable(False)
        return True

    def _send_literal(self, literal: memoryview, *, last: bool) -> int:
        sent = self._socket.send(literal, 0 if last else socket.MSG_MORE)
        self._tally.add(self._tally.sends_plain)
        self._tally.add(self._tally.send_bytes_plain, sent)
        self._literal = literal[sent:] if sent < len(literal) else None
        return sent

    def _send_window(self, window: Window) -> int:
        """Send some of a window. Bytes that left; -1 when it goes on later, or never."""
        body = self._body
        assert body is not None
        at = window.offset + self._done
        left = window.length - self._done
        if body.state is State.FILE:
            return self._send_changing(body, at, left)
        return self._sendfile(body, at, min(left, BYTES_PER_TURN), left)

    def _send_changing(self, body: Body, at: int, left: int) -> int:
        """Send some of a file that may be written to meanwhile: only what is too large for a snapshot.

        sendfile(2) queues pages of the file, not copies: what is written into them in place leaves instead of
        what was there, as long as TCP has not sent them, or must send them again. So little is queued at a
        time, the file is looked at before each step, and the last step is held back until everything before
        has been sent, and is a copy: a client that gets the whole length got one version. What this cannot see
        is a write within the clock tick of the one before (same mtime), one through a mapping that has not
        reached the mtime yet, and one to pages that are lost on the way and sent again. Files that are replaced
        by rename, as they should be, have none of these.
        """
        assert self._plan is not None
        if not is_version(body.fd, body.representation):
            self.abort()
            return -1
        rest = self._plan.rest
        final = self._piece >= len(rest) - (2 if isinstance(rest[-1], bytes) else 1)
        held_back = LAST_STEP if final else 0
        size = min(left - held_back, FILE_STEP) if left > held_back else left
        if at + size > self._fetched and not body.resident(at + size - 1):
            self._fetch(body, at, min(left, FETCH_SIZE))
            return -1
        if final and left <= held_back:
            return self._send_last(body, at, left)
        if not self._unproven:
            self._unproven = True
            self._limit_unsent(FILE_STEP)
        return self._sendfile(body, at, size, left)

    def _send_last(self, body: Body, at: int, left: int) -> int:
        if self._unproven:
            # Pushes what MSG_MORE held, so that "all sent" comes about.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if unsent(self._fd):
                self._limit_unsent(1)
                raise BlockingIOError
        self._limit_unsent(0)
        content = os.pread(body.fd, left, at)
        if len(content) != left or not is_version(body.fd, body.representation):
            self.abort()
            return -1
        self._literal = memoryview(content)
        self._advance(left, left)
        return 0

    def _limit_unsent(self, size: int) -> None:
        """How many bytes may wait unsent before the socket counts as full; 0 is the system's default."""
        self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, size)

    def _fetch(self, body: Body, at: int, size: int) -> None:
        """Read into the page cache what would make sendfile(2), and with it everybody, wait for the disk."""
        self._wait_writable(False)
        self._fetched = at + size
        body.active += 1
        fetching = self._engine.loop.run_in_executor(self._engine.executor, body.populate, at, size)
        fetching.add_done_callback(partial(self._on_fetched, body))

    def _on_fetched(self, body: Body, _fetching: Future[None]) -> None:
        self._store.release(body)
        self._on_writable()

    def _sendfile(self, body: Body, at: int, size: int, left: int) -> int:
        sent = os.sendfile(self._fd, body.fd, at, size)
        if not sent:
            # The file ends before its promised length.
            self.abort()
            return -1
        self._tally.add(self._tally.sends_sendfile)
        self._tally.add(self._tally.send_bytes_sendfile, sent)
        self._advance(sent, left)
        return sent

    def _advance(self, sent: int, left: int) -> None:
        self._done += sent
        if sent == left:
            self._piece += 1
            self._done = 0

    def _wait_writable(self, wanted: bool) -> None:
        if wanted is self._writing:
            return
        self._writing = wanted
        if wanted:
            self._engine.loop.add_writer(self._fd, self._on_writable)
        else:
            self._engine.loop.remove_writer(self._fd)

    def _finish(self, now_ms: int) -> None:
        """The response has gone: the next head, or the end."""
        assert self._plan is not None
        draining = self._engine.draining
        if draining and not self._inbox and not self._peer_done:
            self._look_for_more()
        keep = self._plan.keep_alive and not (draining and not self._inbox)
        linger = not self._plan.keep_alive or (not keep and bool(self._inbox))
        self._release()
        if keep and not (self._peer_done and not self._inbox):
            self._state = READING
            self._set_deadline(now_ms, self._settings.idle_ms_max)
        elif linger and not self._peer_done:
            # Closing with unread bytes in the socket sends RST, which can destroy the response on its way.
            self._state = LINGERING
            self._inbox.clear()
            self._set_deadline(now_ms, LINGER_MS_MAX)
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()
        else:
            self.close()

    def _look_for_more(self) -> None:
        """Requests that had arrived when the drain began are answered, also those that were not yet read."""
        # An error says that there is nothing, or nobody: what follows finds out.
        with contextlib.suppress(OSError):
            self._inbox += self._socket.recv(RECV_SIZE)

    def _release(self) -> None:
        body, self._body = self._body, None
        self._plan = None
        self._literal = None
        self._fetched = 0
        self._unproven = False
        if body is not None:
            self._store.release(body)

    # ---- time and the end ----

    def _set_deadline(self, now_ms: int, ms: int) -> None:
        self._deadline_ms = now_ms + ms
        self._engine.file(self, self._deadline_ms)

    def _check_progress(self, now_ms: int) -> None:
        """A slow reader still shrinks what is queued; one that has stopped reading does not."""
        queued = unacknowledged(self._fd)
        if 0 < self._queued_last <= queued:
            self._tally.add(self._tally.timeouts_stall)
            self.abort()
            return
        self._queued_last = queued
        self._set_deadline(now_ms, self._settings.stall_ms_max // 2 + 1)

    def _fail(self, error: OSError) -> None:
        """The socket is of no more use."""
        if error.errno == errno.ETIMEDOUT:
            # The kernel saw the stall before the clock here did: TCP_USER_TIMEOUT (tcp(7)) is as long.
            self._tally.add(self._tally.timeouts_stall)
        self.abort()

    def _leave(self) -> None:
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


def unacknowledged(fd: int) -> int:
    """Bytes in the send queue of a socket (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def unsent(fd: int) -> int:
    """Bytes of them that have not been sent even once (SIOCOUTQNSD)."""
    return int.from_bytes(fcntl.ioctl(fd, _SIOCOUTQNSD, bytes(4)), sys.byteorder)

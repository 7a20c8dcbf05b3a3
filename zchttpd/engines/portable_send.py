"""Replays a plan on a non-blocking socket: literals by send(2), windows by sendfile(2)."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import termios
from enum import Enum
from typing import TYPE_CHECKING

from zchttpd.engines.portable_bodies import Body, State

if TYPE_CHECKING:
    from zchttpd.engines.portable_plan import Plan
    from zchttpd.engines.portable_tally import Tally
    from zchttpd.http.response import Slice

# What one connection may send before the others have their turn.
BYTES_PER_TURN = 1 << 20
# Of a file that may change: how much is sent between two looks at it, how much at its end is held back, and
# how much is read ahead when the page cache does not have it.
FILE_STEP = 256 * 1024
LAST_STEP = 64 * 1024
FETCH_SIZE = 1 << 20
# tcp(7) and linux/sockios.h: Python has no names for them.
_TCP_NOTSENT_LOWAT = 25
_SIOCOUTQNSD = 0x894B


class Step(Enum):
    """How far `Sender.pump` came."""

    DONE = "the response has left"
    FULL = "the socket takes no more, or others have their turn"
    FETCH = "the file is to be read first, as `fetch` says"


class FileChanged(Exception):
    """The file is no longer the version that was promised: what was sent must not become a whole response."""


class Sender:
    """Sends one response at a time. Raises OSError when the socket is of no more use.

    While a response is under way, `body` counts as active: whoever calls `end` releases what that returns.
    """

    __slots__ = (
        "_done",
        "_fd",
        "_fetched",
        "_literal",
        "_piece",
        "_pieces",
        "_plan",
        "_socket",
        "_stats",
        "_unix",
        "_unproven",
        "body",
        "fetch",
        "sent",
    )

    def __init__(self, connected: socket.socket, stats: Tally) -> None:
        self._socket = connected
        self._fd = connected.fileno()
        self._unix = connected.family == socket.AF_UNIX
        self._stats = stats
        self.body: Body | None = None
        self.fetch = (0, 0)  # offset and length of what is to be read with Step.FETCH
        self._plan: Plan | None = None
        self._literal: memoryview | None = None  # what is left of the literal that is being sent
        self._pieces: tuple[bytes | Slice, ...] = ()  # what comes after it
        self._piece = 0  # of them
        self._done = 0  # bytes of the window that have left
        self._fetched = 0  # up to where the file has been read ahead
        self._unproven = False  # pages of a file that may change were queued
        self.sent = 0  # bytes of the response, head and body

    @property
    def under_way(self) -> Plan | None:
        """The plan that is being replayed, if there is one."""
        return self._plan

    @property
    def plan(self) -> Plan:
        """The plan that is being replayed."""
        assert self._plan is not None
        return self._plan

    def begin(self, plan: Plan) -> None:
        """Start to replay a plan whose head bears the right date; `pump` goes on."""
        stats = self._stats
        self._plan = plan
        self.sent = 0
        body = self.body = plan.body
        if body is not None:
            body.active += 1
        stats.cells[stats.requests + plan.status] += 1
        flags = socket.MSG_MORE if plan.rest else 0
        try:
            if plan.tail:
                sent = self._socket.sendmsg((plan.head, plan.tail), (), flags)
            else:
                sent = self._socket.send(plan.head, flags)
        except (BlockingIOError, InterruptedError):
            sent = 0
        else:
            stats.cells[stats.sends_plain] += 1
            stats.cells[stats.send_bytes_plain] += sent
        self.sent = sent
        self._pieces = plan.rest
        if sent < len(plan.head):
            self._literal = memoryview(plan.head)[sent:]
            self._pieces = (plan.tail, *plan.rest)
        elif sent < len(plan.head) + len(plan.tail):
            self._literal = memoryview(plan.tail)[sent - len(plan.head) :]

    def end(self) -> Body | None:
        """Forget the response, whether it was sent whole or not. Its body, which is no longer read."""
        body, self.body = self.body, None
        self._plan = None
        self._literal = None
        self._pieces = ()
        self._piece = self._done = self._fetched = 0
        self._unproven = False
        return body

    def pump(self) -> tuple[Step, int]:
        """Send what comes next: how far that went, and how many bytes left. Raises FileChanged."""
        pieces = self._pieces
        sent = 0
        try:
            while self._literal is not None or self._piece < len(pieces):
                if sent >= BYTES_PER_TURN:
                    return Step.FULL, sent
                if self._literal is not None:
                    sent += self._send_literal(self._literal, last=self._piece == len(pieces))
                    continue
                piece = pieces[self._piece]
                if isinstance(piece, bytes):
                    self._literal = memoryview(piece) if piece else None
                    self._piece += 1
                    continue
                step = self._send_window(piece)
                if step < 0:
                    return Step.FETCH, sent
                sent += step
        except (BlockingIOError, InterruptedError):
            return Step.FULL, sent
        return Step.DONE, sent

    def _send_literal(self, literal: memoryview, *, last: bool) -> int:
        sent = self._socket.send(literal, 0 if last else socket.MSG_MORE)
        self._stats.cells[self._stats.sends_plain] += 1
        self._stats.cells[self._stats.send_bytes_plain] += sent
        self.sent += sent
        self._literal = literal[sent:] if sent < len(literal) else None
        return sent

    def _send_window(self, window: Slice) -> int:
        """Send some of a window. Bytes that left; -1 when `fetch` comes first."""
        body = self.body
        assert body is not None
        at = window.offset + self._done
        left = window.length - self._done
        if body.state is State.FILE:
            return self._send_changing(body, at, left)
        return self._sendfile(body, at, min(left, BYTES_PER_TURN), left)

    def _sendfile(self, body: Body, at: int, size: int, left: int) -> int:
        sent = os.sendfile(self._fd, body.fd, at, size)
        if not sent:
            raise FileChanged("it ends before its promised length")
        self._stats.cells[self._stats.sends_sendfile] += 1
        self._stats.cells[self._stats.send_bytes_sendfile] += sent
        self.sent += sent
        self._advance(sent, left)
        return sent

    def _advance(self, sent: int, left: int) -> None:
        self._done += sent
        if sent == left:
            self._piece += 1
            self._done = 0

    def _send_changing(self, body: Body, at: int, left: int) -> int:
        """Send some of a file that may be written to meanwhile: only what is too large for a snapshot.

        sendfile(2) queues pages of the file, not copies: what is written into them in place leaves instead of
        what was there, as long as TCP has not sent them, or must send them again. So little is queued at a
        time, the file is looked at before each step, and the last step is held back until everything before
        has been sent, and is a copy: a client that gets the whole length got one version. What this cannot
        see is a write within the clock tick of the one before (same mtime), one through a mapping that has
        not reached the mtime yet, and one to pages that are lost on the way and sent again. Files that are
        replaced by rename, as they should be, have none of these. Appending is no such write.
        """
        assert body.announced is not None
        if not body.announced.hold():
            raise FileChanged("it was written to")
        pieces = self._pieces
        # Windows are separated by literals, so no window comes after one of the last two pieces.
        final = self._piece >= len(pieces) - (2 if isinstance(pieces[-1], bytes) else 1)
        held_back = LAST_STEP if final else 0
        size = min(left - held_back, FILE_STEP) if left > held_back else left
        if at + size > self._fetched and not body.resident(at + size - 1):
            # sendfile(2) would wait for the disk, and every other connection with it.
            self.fetch = (at, min(left, FETCH_SIZE))
            self._fetched = at + self.fetch[1]
            return -1
        if self._unix:
            # The reader takes what was queued whenever it likes, so nothing says when it has: copies only.
            return self._copy(body, at, size, left)
        if left <= held_back:
            return self._send_last(body, at, left)
        if not self._unproven:
            self._unproven = True
            self._limit_unsent(FILE_STEP)
        return self._sendfile(body, at, size, left)

    def _send_last(self, body: Body, at: int, left: int) -> int:
        if self._unproven:
            # Pushes what MSG_MORE holds back, so that everything can have been sent.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if unsent(self._fd):
                self._limit_unsent(1)
                raise BlockingIOError
            self._limit_unsent(0)
        return self._copy(body, at, left, left)

    def _copy(self, body: Body, at: int, size: int, left: int) -> int:
        assert body.announced is not None
        content = os.pread(body.fd, size, at)
        if len(content) != size or not body.announced.hold():
            raise FileChanged("it was written to")
        self._literal = memoryview(content)
        self._advance(size, left)
        return 0

    def _limit_unsent(self, size: int) -> None:
        """How many bytes may wait unsent before the socket counts as full; 0 is the system's default."""
        self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, size)


def unacknowledged(fd: int) -> int:
    """Bytes in the send queue of a socket (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def unsent(fd: int) -> int:
    """Bytes of them that have not been sent even once (SIOCOUTQNSD)."""
    return int.from_bytes(fcntl.ioctl(fd, _SIOCOUTQNSD, bytes(4)), sys.byteorder)

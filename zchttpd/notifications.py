"""Zero-copy sends by io_uring and by MSG_ZEROCOPY, and what the kernel tells of their ends, in the event loop
of a program. What has sends out is held until the last of them has ended, also when its loop has been closed.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import select
import threading
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary, WeakSet, ref

from zchttpd.error_queue import MSG_ZEROCOPY, enable, take

if TYPE_CHECKING:
    import socket

# Not on such sockets, unix(7), or not by this kernel (524 is its ENOTSUPP).
UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOPROTOOPT, errno.EINVAL, 524})


class Sent(Protocol):
    """What was sent, some or all of it."""

    def _begin_one(self) -> None: ...
    def _end_one(self, *, copied: bool) -> None: ...


class _Source:
    """Of notifications, in one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)

    @property
    def orphaned(self) -> bool:
        """Whether its loop will not run any more."""
        loop = self._loop()
        return loop is None or loop.is_closed()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take what comes in this loop."""
        self._loop = ref(loop)


class Ring(_Source):
    """The ring of a loop: it lasts as long. Raises OSError where io_uring is refused, ImportError where it is
    not built.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._ring = importlib.import_module("zchttpd._core.send_ring").SendRing()
        _MADE.add(self)
        self.watch(loop)

    def send(self, sock: socket.socket, buffer: memoryview, at: int, sent: Sent) -> int:
        """Of a buffer, from `at` on, what there is room for. Returns how many bytes. Raises OSError."""
        try:
            return self._ring.send(sock.fileno(), buffer, at, sent)  # type: ignore[no-any-return]
        finally:
            self._hold()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        super().watch(loop)
        loop.add_reader(self._ring.fd, self._take)

    def _take(self) -> None:
        self._ring.take()
        self._hold()
        loop = asyncio.get_running_loop()
        if not self._ring.out and _RINGS.get(loop) is not self:
            # It was adopted.
            loop.remove_reader(self._ring.fd)

    def _hold(self) -> None:
        if self._ring.out:
            _HELD.add(self)
        else:
            _HELD.discard(self)

    def close(self) -> None:
        """In a child: the parent's goes on."""
        self._ring.close()


class ErrorQueue(_Source):
    """Of one socket, whose zero-copy sends the kernel counts from 0: it tells by number which have ended.

    While any is out it has a descriptor of the socket for itself: the news come there, also when the caller
    has closed his. Raises OSError where there is no MSG_ZEROCOPY on such a socket.
    """

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        enable(sock)
        self._out: dict[int, Sent] = {}
        self._next = 0
        self._socket: socket.socket
        self._epoll: select.epoll

    @property
    def has_news(self) -> bool:
        """Whether the socket may have some, which event loops take for errors of it."""
        return bool(self._out)

    def send(self, sock: socket.socket, buffer: memoryview, at: int, sent: Sent) -> int:
        """Of a buffer, from `at` on, what there is room for. Returns how many bytes. Raises OSError."""
        if not self._out:
            self._open(sock)
        try:
            with buffer[at:] as rest:
                taken = sock.send(rest, MSG_ZEROCOPY)
            sent._begin_one()
            self._out[self._next] = sent
            self._next = (self._next + 1) % 2**32
        finally:
            if not self._out:
                self._end_watch()
        return taken

    def _open(self, sock: socket.socket) -> None:
        # An epoll of its own: the loop knows one reader of a descriptor, and that is the caller's. Errors are
        # told unasked, epoll_ctl(2), and at their edges: a hang-up would be told for ever. Before anything is
        # sent, as there may be no descriptor left.
        self._epoll = select.epoll()
        try:
            self._socket = sock.dup()
        except OSError:
            self._epoll.close()
            raise
        self._epoll.register(self._socket.fileno(), select.EPOLLET)
        self.watch(asyncio.get_running_loop())
        _HELD.add(self)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        super().watch(loop)
        loop.add_reader(self._epoll.fileno(), self._take)

    def _take(self) -> None:
        self._epoll.poll(0)
        while self._out:
            try:
                news = take(self._socket)
            except BlockingIOError:
                return
            for first, last, copied in news:
                self._end(first, last, copied=copied)
        self._end_watch()

    def _end_watch(self) -> None:
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self.close()
        _HELD.discard(self)

    def close(self) -> None:
        """Its descriptors."""
        self._epoll.close()
        self._socket.close()

    def _end(self, first: int, last: int, *, copied: bool) -> None:
        # Numbers begin again after 2**32.
        for ahead in range((last - first) % 2**32 + 1):
            sent = self._out.pop((first + ahead) % 2**32, None)
            if sent is not None:
                sent._end_one(copied=copied)


# Those with sends out: what the kernel reads must not go, whoever has forgotten it.
_HELD: set[Ring | ErrorQueue] = set()
# The loops that sent something, and their rings. None: io_uring is refused.
_JOINED: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
_RINGS: WeakKeyDictionary[asyncio.AbstractEventLoop, Ring | None] = WeakKeyDictionary()
_MADE: WeakSet[Ring] = WeakSet()
_ADOPTING = threading.Lock()


def ring_of(loop: asyncio.AbstractEventLoop) -> Ring | None:
    """That of this loop, made when first asked for; None where there is none to be had."""
    try:
        return _RINGS[loop]
    except KeyError:
        pass
    try:
        ring = Ring(loop)
    except (OSError, ImportError):
        ring = None
    _RINGS[loop] = ring
    return ring


def join(loop: asyncio.AbstractEventLoop) -> None:
    """Something is sent in this loop: when it is the first time, it adopts."""
    if loop not in _JOINED:
        _JOINED.add(loop)
        adopt(loop)


def adopt(loop: asyncio.AbstractEventLoop) -> None:
    """Take in this loop what comes for those that were closed."""
    with _ADOPTING:
        for source in list(_HELD):
            if source.orphaned:
                source.watch(loop)


def _forget() -> None:
    """In a child: a ring is memory that is shared with the parent, whose completions are not to be taken."""
    global _ADOPTING
    _ADOPTING = threading.Lock()
    for source in _HELD.union(_MADE):
        source.close()
    _HELD.clear()
    _RINGS.clear()
    _MADE.clear()


os.register_at_fork(after_in_child=_forget)

"""Awaitable zero-copy sends of any buffer, for programs on asyncio or uvloop (MSG_ZEROCOPY, Linux 4.14).

A zero-copy send leaves the kernel reading the caller's memory until the peer has acknowledged it. Who may
touch that memory, and when, is what a Lease says: it holds the buffer's export, so that Python itself refuses
to resize it, until the kernel's notification (Documentation/networking/msg_zerocopy.rst).
"""

from __future__ import annotations

import asyncio
import errno
import select
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from zchttpd.error_queue import MSG_ZEROCOPY, enable, take

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator
    from typing import Protocol

    class Buffer(Protocol):
        """Whatever has the buffer protocol (PEP 688)."""

        def __buffer__(self, flags: int, /) -> memoryview: ...


__all__ = ["Lease", "drain", "recv", "send"]

# What a socket, or this user's limit of locked memory, has no room for is copied.
_NO_ROOM = frozenset({errno.ENOBUFS, errno.ENOMEM})
# No zero copy on such sockets: unix(7), or a kernel before 4.14.
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOPROTOOPT, errno.EINVAL, 524})


class Lease:
    """The kernel's right to read a buffer that was sent. Awaited, it has ended: the buffer is its owner's.

    Until then the buffer is exported: a bytearray cannot be resized, an mmap cannot be closed (BufferError).
    Awaiting it may be cancelled; it goes on.
    """

    def __init__(self, buffer: Buffer, loop: asyncio.AbstractEventLoop, *, writable: bool) -> None:
        self._export = memoryview(buffer)
        if not (self._export.readonly or writable):
            self._export.release()
            raise TypeError(
                f"a {type(buffer).__name__} may change while it is sent. Give bytes, or say writable=True"
                " and leave it alone until the lease has ended"
            )
        self._bytes = self._export.cast("B")
        self._ended: asyncio.Future[None] = loop.create_future()
        self._sends = 0
        self._whole = False
        self._copied = False

    @property
    def ended(self) -> bool:
        """Whether the kernel has let go of the buffer."""
        return self._ended.done()

    @property
    def copied(self) -> bool | None:
        """Whether the kernel copied any of it all the same; None until the lease has ended."""
        return self._copied if self.ended else None

    def __await__(self) -> Generator[object, None, None]:
        return asyncio.shield(self._ended).__await__()

    def _end_one(self, *, copied: bool) -> None:
        self._sends -= 1
        self._copied |= copied
        self._end_if_due()

    def _end_if_due(self) -> None:
        if self._whole and not self._sends:
            self._bytes.release()
            self._export.release()
            self._ended.set_result(None)


class _Notifications:
    """Of the zero-copy sends of one socket: the kernel counts them from 0, and tells by number which ended.

    While any is open it has a descriptor of the socket for itself: the news come there, also when the caller
    has closed his.
    """

    def __init__(self) -> None:
        self.supported: bool | None = None
        self.open: dict[int, Lease] = {}
        self._next = 0
        self._socket: socket.socket
        self._epoll: select.epoll
        self._loop: asyncio.AbstractEventLoop

    def enable(self, sock: socket.socket) -> bool:
        """Whether this socket can do it."""
        if self.supported is None:
            try:
                enable(sock)
                self.supported = True
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                self.supported = False
        return self.supported

    def add(self, sock: socket.socket, lease: Lease, loop: asyncio.AbstractEventLoop) -> None:
        """One more send has been accepted."""
        if not self.open:
            self._watch(sock, loop)
        lease._sends += 1
        self.open[self._next] = lease
        self._next = (self._next + 1) % 2**32

    def _watch(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        # An epoll of its own: the loop knows one reader of a descriptor, and that is the caller's. Errors are
        # told unasked, epoll_ctl(2), and at their edges: a hang-up would be told for ever.
        self._socket, self._epoll, self._loop = sock.dup(), select.epoll(), loop
        self._epoll.register(self._socket.fileno(), select.EPOLLET)
        loop.add_reader(self._epoll.fileno(), self._take)

    def _take(self) -> None:
        self._epoll.poll(0)
        while self.open:
            try:
                news = take(self._socket)
            except BlockingIOError:
                return
            for first, last, copied in news:
                self._end(first, last, copied=copied)
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._socket.close()

    def _end(self, first: int, last: int, *, copied: bool) -> None:
        # Numbers begin again after 2**32.
        for ahead in range((last - first) % 2**32 + 1):
            lease = self.open.pop((first + ahead) % 2**32, None)
            if lease is not None:
                lease._end_one(copied=copied)


_NOTIFICATIONS: WeakKeyDictionary[socket.socket, _Notifications] = WeakKeyDictionary()


async def send(sock: socket.socket, buffer: Buffer, *, writable: bool = False) -> Lease:
    """Send all of a buffer on a non-blocking stream socket, as `loop.sock_sendall` does, without a copy.

    It returns when the kernel has taken all of it; `await` the lease before the memory is used again. What
    cannot be sent so (a Unix socket, no room for more, ENOBUFS) is copied, which the lease says. `writable`:
    a buffer that could change is taken all the same.

    When it is cancelled, part may have been sent; the kernel's right to that part goes on: see `drain`. Only
    this function may send without a copy on a socket, and nothing else may send meanwhile. Raises OSError,
    and TypeError for a buffer that is writable or not contiguous.
    """
    if sock.gettimeout() != 0:
        raise ValueError("the socket must be non-blocking")
    loop = asyncio.get_running_loop()
    known = _NOTIFICATIONS.setdefault(sock, _Notifications())
    supported = known.enable(sock)
    lease = Lease(buffer, loop, writable=writable)
    at = 0
    try:
        while at < len(lease._bytes):
            try:
                at += _send_some(sock, lease, at, known if supported else None, loop)
            except BlockingIOError:
                await _ready(sock, select.EPOLLOUT)
    finally:
        lease._whole = True
        lease._end_if_due()
    return lease


async def recv(sock: socket.socket, size: int) -> bytes:
    """As `loop.sock_recv`, which on uvloop misses what comes after a notification: libuv gives up a
    descriptor that has news. Raises OSError.
    """
    while True:
        try:
            return sock.recv(size)
        except BlockingIOError:
            await _ready(sock, select.EPOLLIN)


async def drain(sock: socket.socket) -> None:
    """Wait until the kernel reads nothing any more of what was sent on a socket, also by cancelled sends."""
    known = _NOTIFICATIONS.get(sock)
    for lease in set(known.open.values()) if known is not None else ():
        await lease


def _send_some(
    sock: socket.socket,
    lease: Lease,
    at: int,
    known: _Notifications | None,
    loop: asyncio.AbstractEventLoop,
) -> int:
    """Bytes sent. Raises OSError."""
    with lease._bytes[at:] as rest:
        if known is not None:
            try:
                sent = sock.send(rest, MSG_ZEROCOPY)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
            else:
                known.add(sock, lease, loop)
                return sent
        sent = sock.send(rest)
        lease._copied = True
        return sent


async def _ready(sock: socket.socket, events: int) -> None:
    """Wait until the socket has one of these events of epoll(7), or news."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    with select.epoll() as watched:
        watched.register(sock.fileno(), events)
        loop.add_reader(watched.fileno(), tell)
        try:
            await ready
        finally:
            loop.remove_reader(watched.fileno())

"""Awaitable zero-copy sends of any buffer, for programs on asyncio or uvloop: io_uring, or MSG_ZEROCOPY.

A zero-copy send leaves the kernel reading the caller's memory until the peer has acknowledged it. Who may
touch that memory, and when, is what a Lease says: it holds the buffer's export, so that Python itself refuses
to resize it, until the kernel's notification (io_uring_enter(2), IORING_OP_SEND_ZC;
Documentation/networking/msg_zerocopy.rst).
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from zchttpd.notifications import UNSUPPORTED, ErrorQueue, Ring, adopt, join, ring_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator
    from typing import Protocol

    class Buffer(Protocol):
        """Whatever has the buffer protocol (PEP 688)."""

        def __buffer__(self, flags: int, /) -> memoryview: ...


__all__ = ["Lease", "Via", "drain", "recv", "send"]

# The ways to send. Those without a copy are tried in this order.
Via = Literal["io_uring", "msg_zerocopy", "copy"]
_WITHOUT_COPY: tuple[Via, ...] = ("io_uring", "msg_zerocopy")
# What a socket, or this user's limit of locked memory, has no room for is copied.
_NO_ROOM = frozenset({errno.ENOBUFS, errno.ENOMEM})


class Lease:
    """The kernel's right to read a buffer that was sent. Awaited, it has ended: the buffer is its owner's.

    Until then the buffer is exported: a bytearray cannot be resized, an mmap cannot be closed (BufferError).
    Awaiting it may be cancelled; it goes on. It goes on, too, when the loop is closed: the next loop that
    sends or drains takes the notification, and there it can be awaited.
    """

    __slots__ = (
        "_bytes",
        "_copied",
        "_ended",
        "_export",
        "_sends",
        "_unended",
        "_via",
        "_waiting",
        "_whole",
    )

    def __init__(self, buffer: Buffer, unended: set[Lease], *, writable: bool) -> None:
        self._export = memoryview(buffer)
        if not (self._export.readonly or writable):
            self._export.release()
            raise TypeError(
                f"a {type(buffer).__name__} may change while it is sent. Give bytes, or say writable=True"
                " and leave it alone until the lease has ended"
            )
        self._bytes = self._export.cast("B")
        self._unended = unended
        self._waiting: list[asyncio.Future[None]] = []
        self._sends = 0
        self._whole = False
        self._copied = False
        self._ended = False
        self._via: Via = "copy"
        unended.add(self)

    @property
    def ended(self) -> bool:
        """Whether the kernel has let go of the buffer."""
        return self._ended

    @property
    def copied(self) -> bool | None:
        """Whether the kernel copied any of it all the same; None until the lease has ended."""
        return self._copied if self._ended else None

    @property
    def via(self) -> Via:
        """How it was sent, as far as there was room: "copy" when nothing of it left without one."""
        return self._via

    def __await__(self) -> Generator[object, None, None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        # Asked now, it is not missed: another thread ends it, and tells those who wait, afterwards.
        if not self._ended:
            yield from waiter

    def _begin_one(self) -> None:
        self._sends += 1

    def _end_one(self, *, copied: bool) -> None:
        self._sends -= 1
        self._copied |= copied
        self._end_if_due()

    def _end_if_due(self) -> None:
        if self._whole and not self._sends:
            self._bytes.release()
            self._export.release()
            self._unended.discard(self)
            self._ended = True
            for waiter in self._waiting:
                _tell(waiter)


class _Sends:
    """Of one socket: the leases that have not ended, and which ways it has."""

    def __init__(self) -> None:
        self.leases: set[Lease] = set()
        self._error_queue: ErrorQueue | None = None
        self._refused: set[Via] = set()

    @property
    def has_news(self) -> bool:
        """Whether its error queue may have some: event loops take that for errors of the socket."""
        return self._error_queue is not None and self._error_queue.has_news

    def send_some(
        self,
        sock: socket.socket,
        lease: Lease,
        at: int,
        via: Via | None,
        loop: asyncio.AbstractEventLoop,
    ) -> int:
        """Bytes sent. Raises OSError."""
        for way in _WITHOUT_COPY:
            if via not in (None, way):
                continue
            try:
                source = self._source(way, sock, loop)
                if source is None:
                    continue
                sent = source.send(sock, lease._bytes, at, lease)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    break
                if error.errno not in UNSUPPORTED:
                    raise
                self._refused.add(way)
            else:
                lease._via = way
                return sent
        else:
            if via not in (None, "copy"):
                raise OSError(errno.EOPNOTSUPP, f"{os.strerror(errno.EOPNOTSUPP)}: no {via} for this socket")
        with lease._bytes[at:] as rest:
            sent = sock.send(rest)
        lease._copied = True
        return sent

    def _source(
        self, way: Via, sock: socket.socket, loop: asyncio.AbstractEventLoop
    ) -> Ring | ErrorQueue | None:
        """What sends in this way, None when nothing does. Raises OSError, as does a send."""
        if way in self._refused:
            return None
        if way == "io_uring":
            return ring_of(loop)
        if self._error_queue is None:
            self._error_queue = ErrorQueue(sock, loop)
        return self._error_queue


_SENDS: WeakKeyDictionary[socket.socket, _Sends] = WeakKeyDictionary()


async def send(
    sock: socket.socket, buffer: Buffer, *, writable: bool = False, via: Via | None = None
) -> Lease:
    """Send all of a buffer on a non-blocking stream socket, as `loop.sock_sendall` does, without a copy.

    It returns when the kernel has taken all of it; `await` the lease before the memory is used again. It goes
    by io_uring (Linux 6.2), where that is refused by MSG_ZEROCOPY (4.14), and what cannot be sent so (a Unix
    socket, no room for more, ENOBUFS) is copied; the lease says which. `via` demands one of them. `writable`:
    a buffer that could change is taken all the same.

    When it is cancelled, part may have been sent; the kernel's right to that part goes on: see `drain`. Only
    this function may send by MSG_ZEROCOPY on a socket, and nothing else may send meanwhile. Raises OSError,
    EOPNOTSUPP when the socket has not what `via` demands, and TypeError for a buffer that is writable or not
    contiguous.
    """
    if sock.gettimeout() != 0:
        raise ValueError("the socket must be non-blocking")
    loop = asyncio.get_running_loop()
    join(loop)
    known = _SENDS.get(sock) or _SENDS.setdefault(sock, _Sends())
    lease = Lease(buffer, known.leases, writable=writable)
    at = 0
    try:
        while at < len(lease._bytes):
            try:
                at += known.send_some(sock, lease, at, via, loop)
            except BlockingIOError:
                await (_ready(sock, select.EPOLLOUT) if known.has_news else _writable(sock, loop))
    finally:
        lease._whole = True
        lease._end_if_due()
    return lease


async def recv(sock: socket.socket, size: int) -> bytes:
    """As `loop.sock_recv`, which on uvloop misses what comes after a notification of MSG_ZEROCOPY: libuv
    gives up a descriptor that has news. Raises OSError.
    """
    while True:
        try:
            return sock.recv(size)
        except BlockingIOError:
            await _ready(sock, select.EPOLLIN)


async def drain(sock: socket.socket) -> None:
    """Wait until the kernel reads nothing any more of what was sent on a socket, also by cancelled sends."""
    known = _SENDS.get(sock)
    if known is not None:
        adopt(asyncio.get_running_loop())
        for lease in list(known.leases):
            await lease


def _tell(waiter: asyncio.Future[None]) -> None:
    """Wake who waits, in whichever loop that is."""
    loop = waiter.get_loop()
    if loop is asyncio.get_running_loop():
        _wake(waiter)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(_wake, waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _writable(sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the socket has room."""
    room: asyncio.Future[None] = loop.create_future()
    descriptor = sock.fileno()
    loop.add_writer(descriptor, _wake, room)
    try:
        await room
    finally:
        loop.remove_writer(descriptor)


async def _ready(sock: socket.socket, events: int) -> None:
    """Wait until the socket has one of these events of epoll(7), or news."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    with select.epoll() as watched:
        watched.register(sock.fileno(), events)
        loop.add_reader(watched.fileno(), _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(watched.fileno())

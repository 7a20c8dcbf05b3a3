"""`zchttpd.zerocopy.send`: what is sent, and who may touch the buffer until when."""

from __future__ import annotations

import asyncio
import errno
import gc
import mmap
import os
import socket
from typing import TYPE_CHECKING

import pytest
import uvloop

from zchttpd import zerocopy

from .streams import pattern
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# More than the sockets of both ends hold.
LARGE = pattern(24 * MIB)


@pytest.fixture(params=[pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")])
def run(request: pytest.FixtureRequest) -> Callable[..., object]:
    found: Callable[..., object] = request.param
    return found


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A sender and a receiver, connected by TCP, and no descriptor more afterwards."""
    gc.collect()
    host = "127.0.0.1" if request.param == socket.AF_INET else "::1"
    uvloop.new_event_loop().close()
    before = len(os.listdir("/proc/self/fd"))
    with socket.create_server((host, 0), family=request.param) as listener:
        sender = socket.create_connection(listener.getsockname()[:2])
        receiver, _ = listener.accept()
    sender.setblocking(False)
    receiver.setblocking(False)
    with sender, receiver:
        yield sender, receiver
    assert len(os.listdir("/proc/self/fd")) == before


async def receive(receiver: socket.socket, size: int) -> bytes:
    loop, pieces = asyncio.get_running_loop(), []
    while size:
        pieces.append(await loop.sock_recv(receiver, min(size, 1 << 20)))
        assert pieces[-1], "the sender has closed"
        size -= len(pieces[-1])
    return b"".join(pieces)


def test_every_byte_arrives_and_the_lease_ends(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket]
) -> None:
    sender, receiver = pair

    async def program() -> None:
        received = asyncio.ensure_future(receive(receiver, 2 * len(LARGE)))
        for _ in range(2):
            lease = await zerocopy.send(sender, LARGE)
            await lease
            assert lease.ended
            # Loopback copies, and says so.
            assert lease.copied is True
        assert await received == 2 * LARGE

    run(program())


def test_a_buffer_is_the_kernels_until_the_lease_ends(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket]
) -> None:
    """As long as nobody reads, Python refuses to resize it; then it is its owner's again."""
    sender, receiver = pair

    async def program() -> None:
        buffer = bytearray(64 * 1024)
        lease = await zerocopy.send(sender, buffer, writable=True)
        assert lease.copied is None
        assert not lease.ended
        with pytest.raises(BufferError):
            buffer.append(1)
        assert len(await receive(receiver, 64 * 1024)) == 64 * 1024
        await lease
        buffer.append(1)

    run(program())


@pytest.mark.parametrize(
    ("run", "own"),
    [(asyncio.run, False), (asyncio.run, True), (uvloop.run, True)],
    ids=["asyncio", "asyncio-own", "uvloop-own"],
)
def test_the_socket_is_read_meanwhile(
    run: Callable[..., object], own: bool, pair: tuple[socket.socket, socket.socket]
) -> None:
    sender, receiver = pair

    async def program() -> None:
        loop = asyncio.get_running_loop()
        reading = asyncio.ensure_future(zerocopy.recv(sender, 100) if own else loop.sock_recv(sender, 100))
        lease = await zerocopy.send(sender, LARGE[:100_000])
        await receive(receiver, 100_000)
        await lease
        await loop.sock_sendall(receiver, b"answer")
        assert await reading == b"answer"

    run(program())


def test_what_could_change_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair

    async def program() -> None:
        buffer = bytearray(b"text")
        with pytest.raises(TypeError, match="writable=True"):
            await zerocopy.send(sender, buffer)
        buffer.append(1)
        receiver.setblocking(True)
        with pytest.raises(ValueError, match="non-blocking"):
            await zerocopy.send(receiver, b"")

    asyncio.run(program())


def test_views_and_maps_are_buffers_too(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket]
) -> None:
    sender, receiver = pair

    async def program() -> None:
        with mmap.mmap(-1, 1 << 20) as memory:
            memory[:] = LARGE[: 1 << 20]
            lease = await zerocopy.send(sender, memoryview(memory).toreadonly().cast("I"))
            assert await receive(receiver, 1 << 20) == LARGE[: 1 << 20]
            await lease
        # Nobody has it exported any more: it could be closed.
        lease = await zerocopy.send(sender, b"")
        await lease
        assert lease.copied is False

    run(program())


def test_a_send_that_is_cancelled_keeps_its_lease(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket]
) -> None:
    sender, receiver = pair

    async def program() -> None:
        buffer = bytearray(LARGE)
        sending = asyncio.ensure_future(zerocopy.send(sender, buffer, writable=True))
        # The sockets are full: it waits.
        while not zerocopy._NOTIFICATIONS.get(sender):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        with pytest.raises(BufferError):
            buffer.append(1)
        sender.shutdown(socket.SHUT_WR)
        loop = asyncio.get_running_loop()
        received = bytearray()
        while piece := await loop.sock_recv(receiver, 1 << 20):
            received += piece
        await zerocopy.drain(sender)
        buffer.append(1)
        assert LARGE.startswith(received)
        assert 0 < len(received) < len(LARGE)

    run(program())


def test_waiting_for_a_lease_may_be_cancelled(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket]
) -> None:
    sender, receiver = pair

    async def program() -> None:
        lease = await zerocopy.send(sender, LARGE[:100_000])
        waiting = asyncio.ensure_future(wait_for(lease))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not lease.ended
        await receive(receiver, 100_000)
        await lease

    run(program())


async def wait_for(lease: zerocopy.Lease) -> None:
    await lease


def test_a_closed_socket_ends_its_leases(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket]
) -> None:
    """All that was sent arrives, then the end; the buffer is free then, too."""
    sender, receiver = pair

    async def program() -> None:
        lease = await zerocopy.send(sender, LARGE[:100_000])
        sender.close()
        assert not lease.ended
        assert await receive(receiver, 100_000) == LARGE[:100_000]
        await lease
        assert await asyncio.get_running_loop().sock_recv(receiver, 1) == b""

    run(program())


def test_a_peer_that_resets_ends_the_leases(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket]
) -> None:
    sender, receiver = pair

    async def program() -> None:
        sending = asyncio.ensure_future(zerocopy.send(sender, LARGE))
        await asyncio.get_running_loop().sock_recv(receiver, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        receiver.close()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await sending
        await zerocopy.drain(sender)

    run(program())


def test_no_room_is_a_copy(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    full = Full(sender)

    async def program() -> None:
        lease = await zerocopy.send(full, b"text")  # type: ignore[arg-type]
        await lease
        assert lease.copied is True
        assert await receive(receiver, 4) == b"text"

    asyncio.run(program())


class Full:
    """A socket without room for one more zero-copy send."""

    def __init__(self, behind: socket.socket) -> None:
        self._behind = behind

    def send(self, data: memoryview, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.ENOBUFS, "no room")
        return self._behind.send(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._behind, name)


def test_a_unix_socket_copies() -> None:
    sender, receiver = socket.socketpair()

    async def program() -> None:
        lease = await zerocopy.send(sender, b"text")
        await lease
        assert lease.copied is True
        assert await receive(receiver, 4) == b"text"

    with sender, receiver:
        sender.setblocking(False)
        receiver.setblocking(False)
        asyncio.run(program())

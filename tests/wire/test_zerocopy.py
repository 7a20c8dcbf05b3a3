"""`zchttpd.zerocopy.send`: what is sent, and who may touch the buffer until when."""

from __future__ import annotations

import asyncio
import errno
import gc
import mmap
import os
import select
import socket
from typing import TYPE_CHECKING

import pytest
import uvloop

from zchttpd import zerocopy
from zchttpd.notifications import ring_of

from .pairs import LARGE, WAYS, connected, receive
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


@pytest.fixture(params=[pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")])
def run(request: pytest.FixtureRequest) -> Callable[..., object]:
    found: Callable[..., object] = request.param
    return found


@pytest.fixture(params=WAYS)
def via(request: pytest.FixtureRequest) -> zerocopy.Via:
    found: zerocopy.Via = request.param
    return found


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A sender and a receiver, connected by TCP, and no descriptor more afterwards."""
    gc.collect()
    uvloop.new_event_loop().close()
    before = len(os.listdir("/proc/self/fd"))
    with connected(request.param) as (sender, receiver):
        yield sender, receiver
    # A ring lasts as long as its loop.
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_every_byte_arrives_and_the_lease_ends(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket], via: zerocopy.Via
) -> None:
    sender, receiver = pair

    async def program() -> None:
        received = asyncio.ensure_future(receive(receiver, 2 * len(LARGE)))
        for _ in range(2):
            lease = await zerocopy.send(sender, LARGE, via=via)
            await lease
            assert lease.ended
            assert lease.via == via
            # Loopback copies, and says so.
            assert lease.copied is True
        assert await received == 2 * LARGE

    run(program())


def test_a_buffer_is_the_kernels_until_the_lease_ends(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket], via: zerocopy.Via
) -> None:
    """As long as nobody reads, Python refuses to resize it; then it is its owner's again."""
    sender, receiver = pair

    async def program() -> None:
        buffer = bytearray(64 * 1024)
        lease = await zerocopy.send(sender, buffer, writable=True, via=via)
        assert lease.copied is None
        assert not lease.ended
        with pytest.raises(BufferError):
            buffer.append(1)
        assert len(await receive(receiver, 64 * 1024)) == 64 * 1024
        await lease
        buffer.append(1)

    run(program())


def read(sock: socket.socket) -> Awaitable[bytes]:
    return asyncio.get_running_loop().sock_recv(sock, 100)


def own_read(sock: socket.socket) -> Awaitable[bytes]:
    return zerocopy.recv(sock, 100)


@pytest.mark.parametrize(
    ("run", "via", "reads"),
    [
        pytest.param(asyncio.run, "io_uring", read, id="asyncio-io_uring", marks=pytest.mark.uring),
        pytest.param(uvloop.run, "io_uring", read, id="uvloop-io_uring", marks=pytest.mark.uring),
        pytest.param(asyncio.run, "msg_zerocopy", read, id="asyncio-msg_zerocopy"),
        pytest.param(asyncio.run, "msg_zerocopy", own_read, id="asyncio-msg_zerocopy-own"),
        pytest.param(uvloop.run, "msg_zerocopy", own_read, id="uvloop-msg_zerocopy-own"),
    ],
)
def test_the_socket_is_read_meanwhile(
    run: Callable[..., object],
    via: zerocopy.Via,
    reads: Callable[[socket.socket], Awaitable[bytes]],
    pair: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = pair

    async def program() -> None:
        reading = asyncio.ensure_future(reads(sender))
        lease = await zerocopy.send(sender, LARGE[:100_000], via=via)
        await receive(receiver, 100_000)
        await lease
        await asyncio.get_running_loop().sock_sendall(receiver, b"answer")
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
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket], via: zerocopy.Via
) -> None:
    sender, receiver = pair

    async def program() -> None:
        with mmap.mmap(-1, 1 << 20) as memory:
            memory[:] = LARGE[: 1 << 20]
            lease = await zerocopy.send(sender, memoryview(memory).toreadonly().cast("I"), via=via)
            assert await receive(receiver, 1 << 20) == LARGE[: 1 << 20]
            await lease
        # Nobody has it exported any more: it could be closed.
        lease = await zerocopy.send(sender, b"", via=via)
        await lease
        assert lease.copied is False

    run(program())


def test_a_send_that_is_cancelled_keeps_its_lease(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket], via: zerocopy.Via
) -> None:
    sender, receiver = pair

    async def program() -> None:
        buffer = bytearray(LARGE)
        sending = asyncio.ensure_future(zerocopy.send(sender, buffer, writable=True, via=via))
        # The sockets are full: it waits.
        while select.select([], [sender], [], 0)[1]:
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
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket], via: zerocopy.Via
) -> None:
    sender, receiver = pair

    async def program() -> None:
        lease = await zerocopy.send(sender, LARGE[:100_000], via=via)
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
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket], via: zerocopy.Via
) -> None:
    """All that was sent arrives, then the end; the buffer is free then, too."""
    sender, receiver = pair

    async def program() -> None:
        lease = await zerocopy.send(sender, LARGE[:100_000], via=via)
        sender.close()
        assert not lease.ended
        assert await receive(receiver, 100_000) == LARGE[:100_000]
        await lease
        assert await asyncio.get_running_loop().sock_recv(receiver, 1) == b""

    run(program())


def test_a_peer_that_resets_ends_the_leases(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket], via: zerocopy.Via
) -> None:
    sender, receiver = pair

    async def program() -> None:
        sending = asyncio.ensure_future(zerocopy.send(sender, LARGE, via=via))
        await asyncio.get_running_loop().sock_recv(receiver, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        receiver.close()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await sending
        await zerocopy.drain(sender)

    run(program())


def test_memory_is_read_until_the_lease_ends_and_no_longer(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket], via: zerocopy.Via
) -> None:
    """Overwritten as soon as it may be, while a slow reader still has most of it to read."""
    sender, receiver = pair
    sizes = (1, 4096, 3 * MIB, 100_001, 5 * MIB)

    async def write() -> None:
        async def poison(lease: zerocopy.Lease, buffer: bytearray) -> None:
            await lease
            buffer[:] = bytes([0xDB]) * len(buffer)

        poisoning = []
        for size in sizes:
            buffer = bytearray(LARGE[:size])
            lease = await zerocopy.send(sender, buffer, writable=True, via=via)
            poisoning.append(asyncio.ensure_future(poison(lease, buffer)))
        await asyncio.gather(*poisoning)

    async def program() -> None:
        writing = asyncio.ensure_future(write())
        for size in sizes:
            assert await receive(receiver, size, 64 * 1024) == LARGE[:size]
        await writing

    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    run(program())


def test_sends_without_number_end(
    run: Callable[..., object], pair: tuple[socket.socket, socket.socket], via: zerocopy.Via
) -> None:
    sender, receiver = pair

    async def program() -> None:
        received = asyncio.ensure_future(receive(receiver, 3000 * 10))
        leases = [await zerocopy.send(sender, LARGE[at : at + 10], via=via) for at in range(0, 30_000, 10)]
        await zerocopy.drain(sender)
        assert all(lease.ended for lease in leases)
        assert await received == LARGE[:30_000]

    run(program())


def test_by_itself_it_goes_by_the_ring_or_by_the_error_queue(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = pair

    async def program() -> None:
        lease = await zerocopy.send(sender, b"text")
        await lease
        assert lease.via == ("io_uring" if ring_of(asyncio.get_running_loop()) else "msg_zerocopy")
        lease = await zerocopy.send(sender, b"text", via="copy")
        assert (lease.ended, lease.copied, lease.via) == (True, True, "copy")
        assert await receive(receiver, 8) == b"texttext"

    asyncio.run(program())


def test_no_room_is_a_copy(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    full = Full(sender)

    async def program() -> None:
        lease = await zerocopy.send(full, b"text", via="msg_zerocopy")  # type: ignore[arg-type]
        await lease
        assert lease.copied is True
        assert lease.via == "copy"
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


def test_a_unix_socket_copies(run: Callable[..., object], via: zerocopy.Via) -> None:
    """Unless that is not what was wanted."""
    sender, receiver = socket.socketpair()

    async def program() -> None:
        for _ in range(2):
            lease = await zerocopy.send(sender, b"text")
            await lease
            assert lease.copied is True
            assert lease.via == "copy"
            assert await receive(receiver, 4) == b"text"
            with pytest.raises(OSError, match=f"no {via} for this socket") as caught:
                await zerocopy.send(sender, b"text", via=via)
            assert caught.value.errno == errno.EOPNOTSUPP

    with sender, receiver:
        sender.setblocking(False)
        receiver.setblocking(False)
        run(program())

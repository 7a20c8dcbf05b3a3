"""`zchttpd.zerocopy.send` in several loops, threads and processes, after the end of a loop, and where the
kernel refuses some of it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop

from zchttpd import zerocopy

from .pairs import LARGE, WAYS, connected, receive
from .tree import MIB

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

# Of a receiver that holds less than is sent here: where it has room, a window probe brings it the rest.
ROOM = 8 * 1024
# For a notification that nobody takes.
PATIENCE_S = 30
HERE = Path(__file__).resolve()
TOP = HERE.parents[2]
LOOPS = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
EITHER = pytest.mark.parametrize("via", WAYS)


async def send_and_receive(via: zerocopy.Via, size: int, times: int = 1) -> None:
    """All of it arrives, and memory is overwritten as soon as it may be."""
    with connected() as (sender, receiver):

        async def write() -> None:
            buffer = bytearray(size)
            for _ in range(times):
                buffer[:] = LARGE[:size]
                lease = await zerocopy.send(sender, buffer, writable=True, via=via)
                await lease
                assert lease.via == via
                buffer[:] = bytes(size)

        writing = asyncio.ensure_future(write())
        for _ in range(times):
            assert await receive(receiver, size) == LARGE[:size]
        await writing


async def send_what_nobody_reads(
    sender: socket.socket, buffer: bytearray, via: zerocopy.Via
) -> zerocopy.Lease:
    """A lease that cannot end yet; `buffer`: larger than ROOM."""
    lease = await zerocopy.send(sender, buffer, writable=True, via=via)
    assert not lease.ended
    return lease


@LOOPS
@EITHER
def test_every_thread_has_its_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop], via: zerocopy.Via
) -> None:
    def work(_: int) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(send_and_receive(via, 3 * MIB, 4))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [None] * 4


@LOOPS
@EITHER
def test_a_loop_may_go_on_in_another_thread(
    new_loop: Callable[[], asyncio.AbstractEventLoop], via: zerocopy.Via
) -> None:
    """The one that sent has ended by then."""
    buffer = bytearray(64 * 1024)
    loop = new_loop()

    async def end(receiver: socket.socket, lease: zerocopy.Lease) -> None:
        await receive(receiver, len(buffer))
        await lease
        buffer.append(1)

    with connected(room=ROOM) as (sender, receiver):
        with ThreadPoolExecutor(1) as thread:
            lease = thread.submit(
                loop.run_until_complete, send_what_nobody_reads(sender, buffer, via)
            ).result()
        loop.run_until_complete(end(receiver, lease))
        loop.run_until_complete(send_and_receive(via, MIB))
    loop.close()


@LOOPS
@EITHER
def test_a_lease_may_be_awaited_in_another_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop], via: zerocopy.Via
) -> None:
    async def wait(lease: zerocopy.Lease) -> bool:
        await lease
        return lease.ended

    def run(lease: zerocopy.Lease) -> bool:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(wait(lease))

    async def program() -> None:
        buffer = bytearray(64 * 1024)
        with connected(room=ROOM) as (sender, receiver):
            lease = await send_what_nobody_reads(sender, buffer, via)
            elsewhere = asyncio.get_running_loop().run_in_executor(None, run, lease)
            while not lease._waiting:
                await asyncio.sleep(0)
            await receive(receiver, len(buffer))
            assert await elsewhere

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(program())


@LOOPS
@EITHER
@pytest.mark.parametrize("forgotten", [False, True], ids=["kept", "forgotten"])
def test_a_loop_that_is_closed_leaves_its_leases_to_the_next(
    new_loop: Callable[[], asyncio.AbstractEventLoop], via: zerocopy.Via, forgotten: bool
) -> None:
    """Also when nobody has kept them: the memory is the kernel's."""
    buffer = bytearray(64 * 1024)

    async def end(sender: socket.socket, receiver: socket.socket) -> None:
        assert await receive(receiver, len(buffer)) == bytes(len(buffer))
        await asyncio.wait_for(zerocopy.drain(sender), PATIENCE_S)

    with connected(room=ROOM) as (sender, receiver):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            leases = [runner.run(send_what_nobody_reads(sender, buffer, via))]
        if forgotten:
            leases.clear()
        gc.collect()
        with pytest.raises(BufferError):
            buffer.append(1)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(end(sender, receiver))
            assert all(lease.ended for lease in leases)
            buffer.append(1)
            runner.run(send_and_receive(via, MIB))


@EITHER
def test_a_socket_that_is_forgotten_leaves_its_leases_to_the_next_send(via: zerocopy.Via) -> None:
    buffer = bytearray(64 * 1024)

    async def end(receiver: socket.socket, lease: zerocopy.Lease) -> None:
        await send_and_receive(via, MIB)
        assert not lease.ended
        assert await receive(receiver, len(buffer)) == bytes(len(buffer))
        await asyncio.wait_for(lease, PATIENCE_S)
        buffer.append(1)

    with connected(room=ROOM) as (sender, receiver):
        lease = asyncio.run(send_what_nobody_reads(sender, buffer, via))
        sender.close()
        asyncio.run(end(receiver, lease))


@EITHER
def test_a_child_has_rings_of_its_own(via: zerocopy.Via) -> None:
    """What is out when it is forked ends in the parent, and only there."""
    buffer = bytearray(64 * 1024)

    async def program() -> None:
        with connected(room=ROOM) as (sender, receiver):
            lease = await send_what_nobody_reads(sender, buffer, via)
            assert in_child(lambda: asyncio.run(send_and_receive(via, MIB, 3))) == 0
            assert not lease.ended
            assert await receive(receiver, len(buffer)) == bytes(len(buffer))
            await lease
            await send_and_receive(via, MIB, 3)

    asyncio.run(program())


def in_child(work: Callable[[], None]) -> int:
    """Its exit code: 0 when the work was done."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


REFUSED = """
import asyncio, importlib, socket, sys
sys.path += [{paths}]
{before}
from zchttpd import zerocopy

async def program():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
    with sender, receiver:
        sender.setblocking(False)
        for size in (1000, 100_000):
            lease = await zerocopy.send(sender, bytes(size))
            assert len(receiver.recv(size, socket.MSG_WAITALL)) == size
            await lease
            print(lease.via, lease.copied)
        try:
            await zerocopy.send(sender, b"text", via="io_uring")
        except OSError as error:
            print(error)
        else:
            print("sent")

asyncio.run(program())
"""


def said_by(before: str = "", *confined: str) -> list[str]:
    """What a program says that sends twice, and then demands io_uring, after this, and behind a command."""
    paths = ", ".join(map(repr, (str(TOP), str(HERE.parents[1] / "ring"))))
    program = REFUSED.format(paths=paths, before=before)
    done = subprocess.run(
        [*confined, sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


NO_RING = "[Errno 95] Operation not supported: no io_uring for this socket"


@pytest.mark.parametrize(
    "before",
    [
        "import refuse_ring; refuse_ring.refuse(1)",
        "import refuse_ring; refuse_ring.refuse(38)",
        "import refuse_ring; refuse_ring.refuse(12)",
        "sys.modules['zchttpd._core.send_ring'] = None",
    ],
    ids=["EPERM", "ENOSYS", "ENOMEM", "not built"],
)
def test_without_a_ring_it_is_msg_zerocopy(before: str) -> None:
    assert said_by(before) == ["msg_zerocopy True", "msg_zerocopy True", NO_RING]


@pytest.mark.uring
@pytest.mark.locked
def test_a_send_beyond_the_limit_of_locked_memory_is_copied() -> None:
    """There is room for the ring and the first."""
    assert said_behind_limit(64 * 1024) == ["io_uring True", "copy True", "sent"]


@pytest.mark.locked
def test_without_memory_that_may_be_locked_all_is_copied() -> None:
    """A ring would have to lock its own."""
    assert said_behind_limit(0)[:2] == ["copy True", "copy True"]


def said_behind_limit(bytes_: int) -> list[str]:
    # What is locked counts for the real user, and root has other processes that do.
    alone = "import os; os.setresuid(61234, 0, 0)" if os.geteuid() == 0 else ""
    return said_by(alone, sys.executable, str(HERE.with_name("confined.py")), "--memlock", str(bytes_))

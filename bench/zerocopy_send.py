"""What `zchttpd.zerocopy.send` costs by each way beside `loop.sock_sendall`, in CPU time of the sender.

    python -m bench.zerocopy_send [HOST PORT]

The receiver is a process of this machine that drops what comes (MSG_TRUNC, tcp(7)), unless one is named.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import platform
import socket
import sys
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import uvloop
from tabulate import tabulate

from zchttpd import zerocopy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

SIZES = (4 << 10, 64 << 10, 1 << 20, 16 << 20)
BYTES = 128 << 20
ROUNDS = 5
# With sock_sendall in each round, by which the others are divided.
WAYS: tuple[zerocopy.Via, ...] = ("msg_zerocopy", "io_uring")


async def by_sendall(sock: socket.socket, buffer: bytes, count: int) -> None:
    """Send it so often by copying."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.sock_sendall(sock, buffer)


async def by_lease(sock: socket.socket, buffer: bytes, count: int, via: zerocopy.Via, each: bool) -> None:
    """The same without a copy, as far as the route allows; each lease awaited before the next send, or all at
    the end.
    """
    for _ in range(count):
        lease = await zerocopy.send(sock, buffer, via=via)
        if each:
            await lease
    await zerocopy.drain(sock)


def discard(listener: socket.socket) -> None:
    """Accept connections and drop what comes on them."""
    scratch = bytearray(1 << 20)
    while True:
        connection, _ = listener.accept()
        with connection:
            while connection.recv_into(scratch, len(scratch), socket.MSG_TRUNC):
                pass


async def cost(
    address: tuple[str, int], size: int, way: Callable[[socket.socket, bytes, int], Awaitable[None]]
) -> float:
    """CPU seconds of this process for each GiB."""
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)
        begun = time.process_time()
        await way(sock, bytes(size), BYTES // size)
        return (time.process_time() - begun) * (1 << 30) / BYTES


async def told(address: tuple[str, int], via: zerocopy.Via) -> str:
    """What the lease of a send says. Raises OSError where there is no such way."""
    with socket.socket() as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
        lease = await zerocopy.send(sock, bytes(1 << 16), via=via)
        await lease
        return f"{via}: {'copied all the same' if lease.copied else 'not copied'}"


def spread(ratios: list[float]) -> str:
    """The median of the rounds, and the least and the most."""
    return f"{median(ratios):.2f} [{min(ratios):.2f} to {max(ratios):.2f}]"


def main() -> None:
    """Print the table: medians of rounds in which the ways take turns."""
    if len(sys.argv) == 3:
        address = (sys.argv[1], int(sys.argv[2]))
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        multiprocessing.Process(target=discard, args=(listener,), daemon=True).start()
    runs: dict[str, Callable[[Coroutine[object, object, float]], float]] = {
        "asyncio": asyncio.run,
        "uvloop": uvloop.run,
    }
    rows = []
    for each in (True, False):
        for loop, run in runs.items():
            for size in SIZES:
                copying: list[float] = []
                ratios: dict[zerocopy.Via, list[float]] = {via: [] for via in WAYS}
                for _ in range(ROUNDS):
                    copying.append(run(cost(address, size, by_sendall)))
                    for via in WAYS:
                        by_this = partial(by_lease, via=via, each=each)
                        ratios[via].append(run(cost(address, size, by_this)) / copying[-1])
                between = [ring / queue for queue, ring in zip(*ratios.values(), strict=True)]
                rows.append(
                    [
                        "each" if each else "at the end",
                        loop,
                        f"{size >> 10} KiB",
                        f"{median(copying):.2f}",
                        *map(spread, (*ratios.values(), between)),
                    ]
                )
    headers = ["lease awaited", "loop", "buffer", "sock_sendall, s/GiB", *WAYS, "io_uring / msg_zerocopy"]
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))
    print("\n" + "; ".join(asyncio.run(told(address, via)) for via in WAYS))
    print(f"Linux {platform.release()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

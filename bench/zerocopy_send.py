"""What `zchttpd.zerocopy.send` costs beside `loop.sock_sendall`, in CPU time of the sender.

    python -m bench.zerocopy_send [HOST PORT]

The receiver is a process of this machine that drops what comes (MSG_TRUNC, tcp(7)), unless one is named.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sys
import time
from typing import TYPE_CHECKING

import uvloop
from tabulate import tabulate

from zchttpd import zerocopy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

SIZES = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20)
BYTES = 512 << 20
ROUNDS = 3


async def by_sendall(sock: socket.socket, buffer: bytes, count: int) -> bool:
    """Send it so often by copying; whether anything was copied."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.sock_sendall(sock, buffer)
    return True


async def by_zerocopy(sock: socket.socket, buffer: bytes, count: int) -> bool:
    """The same without a copy, as far as the route allows."""
    lease = await zerocopy.send(sock, buffer)
    for _ in range(count - 1):
        lease = await zerocopy.send(sock, buffer)
    await zerocopy.drain(sock)
    return bool(lease.copied)


def discard(listener: socket.socket) -> None:
    """Accept connections and drop what comes on them."""
    scratch = bytearray(1 << 20)
    while True:
        connection, _ = listener.accept()
        with connection:
            while connection.recv_into(scratch, len(scratch), socket.MSG_TRUNC):
                pass


async def cost(
    address: tuple[str, int], size: int, way: Callable[[socket.socket, bytes, int], Awaitable[bool]]
) -> tuple[float, bool]:
    """(CPU seconds of this process for each GiB, whether the last send was copied)."""
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)
        begun = time.process_time()
        copied = await way(sock, bytes(size), BYTES // size)
        return (time.process_time() - begun) * (1 << 30) / BYTES, copied


def main() -> None:
    """Print the table: the least of some rounds, the ways taking turns."""
    if len(sys.argv) == 3:
        address = (sys.argv[1], int(sys.argv[2]))
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        multiprocessing.Process(target=discard, args=(listener,), daemon=True).start()
    runs: dict[str, Callable[[Coroutine[object, object, tuple[float, bool]]], tuple[float, bool]]] = {
        "asyncio": asyncio.run,
        "uvloop": uvloop.run,
    }
    rows = []
    for loop, run in runs.items():
        for size in SIZES:
            copying, zero = [], []
            for _ in range(ROUNDS):
                copying.append(run(cost(address, size, by_sendall)))
                zero.append(run(cost(address, size, by_zerocopy)))
            told = "copied all the same" if zero[-1][1] else "not copied"
            rows.append([loop, f"{size >> 10} KiB", min(copying)[0], min(zero)[0], told])
    headers = ["loop", "buffer", "sock_sendall, s/GiB", "zerocopy.send, s/GiB", "the lease says"]
    print(tabulate(rows, headers, tablefmt="pipe", floatfmt=".2f"))


if __name__ == "__main__":
    main()

"""Senders and receivers on loopback, for sends without a copy."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from .streams import pattern
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

# More than the sockets of both ends hold.
LARGE = pattern(24 * MIB)
# What `via` may demand that does not copy.
WAYS = (pytest.param("io_uring", marks=pytest.mark.uring), "msg_zerocopy")


@contextmanager
def connected(
    family: int = socket.AF_INET, *, room: int = 0
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection, neither of which blocks. `room`: SO_RCVBUF of the second; 0: as usual."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listener:
        if room:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sender = socket.create_connection(listener.getsockname()[:2])
        receiver, _ = listener.accept()
    sender.setblocking(False)
    receiver.setblocking(False)
    with sender, receiver:
        yield sender, receiver


async def receive(receiver: socket.socket, size: int, piece: int = MIB) -> bytes:
    """So many bytes, at most a piece at a time."""
    loop, pieces = asyncio.get_running_loop(), []
    while size:
        pieces.append(await loop.sock_recv(receiver, min(size, piece)))
        assert pieces[-1], "the sender has closed"
        size -= len(pieces[-1])
    return b"".join(pieces)

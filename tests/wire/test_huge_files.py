"""A file beyond 32 bits, on one send mode of each engine: what counts bytes is the same in all."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from .client import Peer, request
from .servers import serving
from .tree import MIB

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = 8 * MIB
STREAM_MEMORY = 4 * MIB
GIB = 1024 * MIB


@pytest.mark.slow
@pytest.mark.resident
def test_four_gibibytes(tmp_path: Path, kind: tuple[str, str]) -> None:
    """A file beyond 32 bits: all zeros but for a mark in each 512 MiB and at both sides of 2 and 4 GiB."""
    engine, send_mode = kind
    size = 4 * GIB + 4097
    marks = sorted({*range(0, size, GIB // 2), 2 * GIB - 1, 2 * GIB, 4 * GIB - 1, 4 * GIB, size - 1})
    with open(tmp_path / "large", "wb") as file:
        file.truncate(size)
        for number, at in enumerate(marks):
            os.pwrite(file.fileno(), bytes([number + 1]), at)
    with serving(
        tmp_path, engine=engine, send_mode=send_mode, memory=MEMORY, stream_memory=STREAM_MEMORY
    ) as server:
        with server.peer() as peer:
            head = begin_raw(peer, "/large")
            assert f"Content-Length: {size}".encode().lower() in head.lower()
            check_stream(peer, size, marks)
        reply = server.ask(request("/large", f"Range: bytes={4 * GIB - 2}-{4 * GIB + 1}"))
        assert (reply.status, reply.body) == (
            206,
            bytes([0, marks.index(4 * GIB - 1) + 1, marks.index(4 * GIB) + 1, 0]),
        )
        grown = server.resident("VmHWM")
        assert grown <= 4 * (MEMORY + STREAM_MEMORY) + 64 * MIB, f"{grown} bytes resident"


def begin_raw(peer: Peer, path: str) -> bytes:
    """Ask, and take the head alone off the socket: h11 would cost more than the server."""
    peer.send(request(path))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.socket.recv(1)
    return head


def check_stream(peer: Peer, size: int, marks: list[int]) -> None:
    """The next `size` bytes have `number + 1` at each mark, with zeros around it, and nothing follows.

    What is far from any mark is dropped by the kernel (MSG_TRUNC, tcp(7)): looking at it would cost more than
    sending it.
    """
    zeros, buffer = bytes(MIB), bytearray(MIB)
    view = memoryview(buffer)
    for start in range(0, size, MIB):
        length = min(MIB, size - start)
        here = {at - start: number + 1 for number, at in enumerate(marks) if start <= at < start + length}
        flags = 0 if here else socket.MSG_TRUNC
        got = 0
        while got < length:
            count = peer.socket.recv_into(view[got:length], 0, flags)
            assert count, f"{size - start - got} bytes short"
            got += count
        assert {at: buffer[at] for at in here} == here, f"between {start} and {start + length}"
        for at in here:
            buffer[at] = 0
        if here:
            assert buffer.startswith(zeros[:length]), f"between {start} and {start + length}"
    peer.socket.shutdown(socket.SHUT_WR)
    assert peer.leftover() == b""

"""One connection to each engine and send mode: that it starts, answers, and leaves clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .client import request
from .tree import FILES

if TYPE_CHECKING:
    from .servers import Server


def test_it_serves(server: Server) -> None:
    with server.peer() as peer:
        for path in ("hello.txt", "3m17.bin", "hello.txt"):
            reply = peer.ask(request(f"/{path}"))
            assert (reply.status, reply.body) == (200, FILES[path.encode()])
        part = peer.ask(request("/3m17.bin", "Range: bytes=100000-899999"))
        assert (part.status, part.body) == (206, FILES[b"3m17.bin"][100_000:900_000])
        assert peer.ask(request("/nothing")).status == 404
        assert peer.ask(request("/hello.txt", "Connection: close")).closes
        assert peer.leftover() == b""

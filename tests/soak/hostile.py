"""Clients that mean ill, or are broken: each does one thing to the server, for some seconds at most."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ..wire.client import Peer, ProtocolError, request
from .site import FILES, PASSING, passing

if TYPE_CHECKING:
    from random import Random

    from .clients import Books

CORPUS = tuple(sorted(Path(__file__).parents[1].glob("fuzz/corpus/*/*.bin")))
LARGE = "/steady/8.txt"
PATIENCE_S = 5.0


class Hostile:
    """One that does all of it in turns, at random."""

    def __init__(self, books: Books, rng: Random, admin: tuple[str, int]) -> None:
        self._books = books
        self._rng = rng
        self._admin = admin
        self.ways = (
            self.only_connects,
            self.sends_half_a_head,
            self.sends_byte_by_byte,
            self.resets_in_the_middle,
            self.never_reads,
            self.sends_garbage,
            self.sends_what_a_fuzzer_found,
            self.sends_unknown_methods,
            self.sends_a_head_without_end,
            self.sends_a_body,
            self.floods_a_pipeline,
            self.closes_one_direction,
            self.asks_for_hundreds_of_ranges,
            self.asks_for_names_without_number,
            self.troubles_the_admin_listener,
        )

    def run(self) -> None:
        """Until it is over."""
        while not self._books.over.is_set():
            way = self._rng.choice(self.ways)
            # That it is thrown out, at whatever moment, is what it must expect.
            with contextlib.suppress(OSError, ProtocolError):
                way()
            self._books.count(way.__name__.replace("_", " "))
            self._pause(0.1)

    def _pause(self, most_s: float) -> None:
        self._books.over.wait(self._rng.uniform(0, most_s))

    def _connect(self, receive_buffer: int | None = None) -> Peer:
        peer = Peer(self._books.address, receive_buffer=receive_buffer)
        peer.socket.settimeout(PATIENCE_S)
        return peer

    def _leave(self, peer: Peer) -> None:
        """By a reset, or as `with` does it."""
        if self._rng.random() < 0.5:
            peer.abort()

    def _any_request(self) -> bytes:
        return request(self._rng.choice(FILES))

    def only_connects(self) -> None:
        with self._connect() as peer:
            self._pause(PATIENCE_S)
            self._leave(peer)

    def sends_half_a_head(self) -> None:
        head = self._any_request()
        with self._connect() as peer:
            peer.send(head[: self._rng.randrange(1, len(head))])
            self._pause(PATIENCE_S)
            self._leave(peer)

    def sends_byte_by_byte(self) -> None:
        with self._connect() as peer:
            for byte in self._any_request():
                peer.send(bytes([byte]))
                self._pause(0.1)
            peer.receive()

    def resets_in_the_middle(self) -> None:
        with self._connect(self._rng.choice((None, 4096, 65536))) as peer:
            peer.send(request(self._rng.choice((LARGE, *FILES))))
            for _ in range(self._rng.randrange(4)):
                peer.receive()
            peer.abort()

    def never_reads(self) -> None:
        with self._connect(4096) as peer:
            peer.send(request(LARGE) * self._rng.choice((1, 3)))
            self._pause(PATIENCE_S)
            self._leave(peer)

    def sends_garbage(self) -> None:
        with self._connect() as peer:
            peer.send(
                self._rng.choice((b"\x16\x03\x01\x02\x00\x01", b"", b"GET ")) + self._rng.randbytes(3000)
            )
            peer.leftover()

    def sends_what_a_fuzzer_found(self) -> None:
        found = bytearray(self._rng.choice(CORPUS).read_bytes())
        for _ in range(self._rng.randrange(3)):
            if found:
                found[self._rng.randrange(len(found))] = self._rng.randrange(256)
        with self._connect() as peer:
            peer.send(bytes(found) + b"\r\n\r\n")
            peer.half_close()
            peer.leftover()

    def sends_unknown_methods(self) -> None:
        with self._connect() as peer:
            for method in ("BREW", "POST", "PUT", "TRACE", "CONNECT", "x" * 100):
                peer.send(request("/steady/2.txt", method=method))
            peer.half_close()
            peer.leftover()

    def sends_a_head_without_end(self) -> None:
        with self._connect() as peer:
            peer.send(b"GET / HTTP/1.1\r\nHost: wire.test\r\n" + b"X-More: and more of it\r\n" * 2000)
            peer.leftover()

    def sends_a_body(self) -> None:
        length = self._rng.choice(
            ("Content-Length: 100000", "Transfer-Encoding: chunked", "Content-Length: 10, 11")
        )
        with self._connect() as peer:
            peer.send(request("/steady/2.txt", length, "Expect: 100-continue") + self._rng.randbytes(50_000))
            peer.half_close()
            peer.leftover()

    def floods_a_pipeline(self) -> None:
        with self._connect(4096) as peer:
            peer.socket.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                peer.socket.sendall(b"".join(self._any_request() for _ in range(300)))
            self._pause(PATIENCE_S / 2)
            self._leave(peer)

    def closes_one_direction(self) -> None:
        with self._connect() as peer:
            peer.send(request(LARGE))
            peer.half_close()
            if self._rng.random() < 0.5:
                peer.socket.shutdown(socket.SHUT_RD)
            self._pause(1)
            peer.leftover()

    def asks_for_hundreds_of_ranges(self) -> None:
        ranges = ", ".join(f"{first}-{first + 9}" for first in range(0, 8000, 40))
        with self._connect() as peer:
            for _ in range(3):
                peer.send(request(self._rng.choice(FILES), f"Range: bytes={ranges}"))
            peer.half_close()
            peer.leftover()

    def asks_for_names_without_number(self) -> None:
        with self._connect() as peer:
            for _ in range(50):
                name = (
                    f"/{self._rng.getrandbits(64):x}"
                    if self._rng.random() < 0.7
                    else passing(self._rng.randrange(PASSING))
                )
                peer.ask(request(f"{name}?{self._rng.getrandbits(32)}", f"X-Odd: {self._rng.random()}"))

    def troubles_the_admin_listener(self) -> None:
        with Peer(self._admin) as peer:
            peer.socket.settimeout(PATIENCE_S)
            sent = self._rng.choice(
                (b"", b"GET /metr", self._rng.randbytes(500), request("/metrics", host="localhost"))
            )
            peer.send(sent)
            self._pause(1)

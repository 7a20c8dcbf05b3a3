"""One request over a plain socket: what exactly does a server answer?"""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass

HEAD_BYTES_MAX = 65536
READ_BYTES = 2**20


class BadAnswer(Exception):
    """A server answered something that cannot be measured; the message says what."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response: its head as bytes (with the final empty line), the body's length and SHA-256."""

    head: bytes
    body_length: int
    sha256: str

    @property
    def status(self) -> int:
        return int(self.head.split(None, 2)[1])

    @property
    def wire_length(self) -> int:
        return len(self.head) + self.body_length


def request_bytes(host: str, port: int, target: str) -> bytes:
    """Return the request that wrk sends too: a request line and Host, nothing else."""
    return f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode("ascii")


def content_length(head: bytes) -> int:
    """Return the Content-Length in `head`. Raises BadAnswer when there is none (a chunked body cannot be
    compared).
    """
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise BadAnswer(f"no Content-Length in {head!r}")


def fetch(host: str, port: int, target: str, *, timeout_s: float = 30.0) -> Answer:
    """GET `target` and read all of it, on a connection that stays open. Raises OSError or BadAnswer."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(request_bytes(host, port, target))
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(READ_BYTES)
            if not piece or len(received) > HEAD_BYTES_MAX + READ_BYTES:
                raise BadAnswer(f"no complete response head in {received[:200]!r}")
            received += piece
        cut = received.index(b"\r\n\r\n") + 4
        head, body = received[:cut], received[cut:]
        length = content_length(head)
        digest, got = hashlib.sha256(body), len(body)
        while got < length:
            piece = connection.recv(READ_BYTES)
            if not piece:
                raise BadAnswer(f"{target}: closed after {got} of {length} body bytes")
            digest.update(piece)
            got += len(piece)
        if got != length:
            raise BadAnswer(f"{target}: {got} body bytes, Content-Length says {length}")
        return Answer(head, got, digest.hexdigest())

"""One request over a plain socket: what exactly does a server answer?"""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass

HEAD_BYTES_MAX = 65536
READ_BYTES = 2**20
BODILESS = (204, 304)
Fields = tuple[tuple[str, str], ...]


class BadAnswer(Exception):
    """A server answered something that cannot be measured; the message says what."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response: its head as bytes (with the final empty line), the body's length and SHA-256, and how
    many bytes all of it took on the wire.
    """

    head: bytes
    body_length: int
    wire_length: int
    sha256: str

    @property
    def status(self) -> int:
        return int(self.head.split(None, 2)[1])

    def field(self, name: str) -> str:
        """Return the value of the first field `name`, "" when there is none."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            found, _, value = line.partition(":")
            if found.strip().lower() == name.lower():
                return value.strip()
        return ""


def request_bytes(host: str, port: int, target: str, fields: Fields = ()) -> bytes:
    """Return the request that wrk sends too: a request line, Host, `fields`, nothing else."""
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}:{port}",
        *(f"{name}: {value}" for name, value in fields),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def content_length(head: bytes) -> int:
    """Return the Content-Length in `head`. Raises BadAnswer when there is none ."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise BadAnswer(f"no Content-Length in {head!r}")


class _Stream:
    """Bytes of a connection, in pieces as they are needed. Raises BadAnswer when it ends too early."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.held = b""
        self.taken = 0

    def _more(self, what: str) -> None:
        piece = self.connection.recv(READ_BYTES)
        if not piece:
            raise BadAnswer(f"closed after {self.taken + len(self.held)} bytes, before the end of {what}")
        self.held += piece

    def through(self, end: bytes, what: str) -> bytes:
        """Take everything up to and with `end`, at most HEAD_BYTES_MAX."""
        while end not in self.held:
            if len(self.held) > HEAD_BYTES_MAX + READ_BYTES:
                raise BadAnswer(f"no end of {what} in {self.held[:200]!r}")
            self._more(what)
        cut = self.held.index(end) + len(end)
        found, self.held = self.held[:cut], self.held[cut:]
        self.taken += cut
        return found

    def hash_body(self, digest: hashlib._Hash, length: int) -> None:
        """Take `length` bytes into `digest`."""
        while length:
            if not self.held:
                self._more("the body")
            piece, self.held = self.held[:length], self.held[length:]
            digest.update(piece)
            length -= len(piece)
            self.taken += len(piece)


def _chunks(stream: _Stream, digest: hashlib._Hash) -> int:
    """Take a chunked body (RFC 9112, 7.1) and return its length without the framing."""
    total = 0
    while True:
        line = stream.through(b"\r\n", "a chunk size")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise BadAnswer(f"no chunk size in {line!r}") from None
        if not size:
            break
        stream.hash_body(digest, size)
        stream.through(b"\r\n", "a chunk")
        total += size
    while stream.through(b"\r\n", "the trailers") != b"\r\n":
        pass
    return total


def fetch(host: str, port: int, target: str, fields: Fields = (), *, timeout_s: float = 30.0) -> Answer:
    """GET `target` and read all of it, on a connection that stays open. Raises OSError or BadAnswer."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(request_bytes(host, port, target, fields))
        stream, digest = _Stream(connection), hashlib.sha256()
        head = stream.through(b"\r\n\r\n", "the response head")
        shell = Answer(head, 0, len(head), "")
        if shell.status in BODILESS:
            length = 0
        elif shell.field("Transfer-Encoding").lower() == "chunked":
            length = _chunks(stream, digest)
        else:
            length = content_length(head)
            stream.hash_body(digest, length)
        if stream.held:
            raise BadAnswer(f"{target}: {len(stream.held)} bytes more than the answer has")
        return Answer(head, length, stream.taken, digest.hexdigest())

"""One request over a plain socket: what exactly does a server answer?"""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass

import h11

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


def fetch(host: str, port: int, target: str, fields: Fields = (), *, timeout_s: float = 30.0) -> Answer:
    """GET `target` and read all of it, on a connection that stays open. Raises OSError or BadAnswer."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(request_bytes(host, port, target, fields))
        return read_answer(connection, target)


def read_answer(connection: socket.socket, target: str) -> Answer:
    """Read the answer to a GET of `target`, and nothing behind it. Raises OSError or BadAnswer."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
    parser.send(h11.Request(method="GET", target=target, headers=[("Host", "of the request")]))
    parser.send(h11.EndOfMessage())
    try:
        return _read(connection, parser, target)
    except h11.RemoteProtocolError as error:
        raise BadAnswer(f"{target}: {error}") from error


def _read(connection: socket.socket, parser: h11.Connection, target: str) -> Answer:
    digest, head, length, received = hashlib.sha256(), b"", 0, 0
    while not isinstance(event := parser.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            piece = connection.recv(READ_BYTES)
            received += len(piece)
            if b"\r\n\r\n" not in head:
                head += piece
            parser.receive_data(piece)
        elif isinstance(event, h11.Response):
            framed = {name for name, _ in event.headers} & {b"content-length", b"transfer-encoding"}
            if not framed and event.status_code not in BODILESS:
                raise BadAnswer(f"{target}: no Content-Length in {head[:200]!r}")
        elif isinstance(event, h11.Data):
            digest.update(event.data)
            length += len(event.data)
    extra = len(parser.trailing_data[0])
    if extra:
        raise BadAnswer(f"{target}: {extra} bytes more than the answer has")
    head = head[: head.index(b"\r\n\r\n") + 4]
    return Answer(head, length, received, digest.hexdigest())

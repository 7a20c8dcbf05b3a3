"""A raw-socket HTTP/1.1 client that costs little and believes nothing of an answer unseen.

All connections of a process share one buffer: greenlets only switch inside the call that waits for bytes,
never between the filling of the buffer and its hashing. (So it is for greenlets, not for threads.) What the
client costs is measured in each run and stated in the report.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE_BYTES = 256 * 1024
HEAD_BYTES_MAX = 64 * 1024
TIMEOUT_S = 30.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class WrongAnswer(Exception):
    """An answer that is not what it must be; the message says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come: the status, the body's length in bytes and SHA-256 (None: any), fields by value.

    `prefix` > 0: only that many bytes of the body are read and hashed, then the connection is to be closed.
    `judge`: called with head and body once all of it has come; raises WrongAnswer.
    """

    status: int
    size: int | None
    sha256: str | None
    fields: tuple[tuple[bytes, bytes], ...] = ()
    prefix: int = 0
    judge: Callable[[bytes, bytes], None] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was as expected: its head, and how many body bytes were read."""

    head: bytes
    body_bytes: int


def field(head: bytes, name: bytes) -> bytes | None:
    """The value of field `name` (lower case) in a response head, or None."""
    low = head.lower()
    at = low.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip()


def request_head(target: str, host: str, fields: bytes = b"") -> bytes:
    """A GET; `fields` are whole lines, each with its CRLF."""
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target.encode("ascii"), host.encode("ascii"), fields)


class _Gone(Exception):
    """The server closed a kept connection before it answered anything: not an error, ask again."""


class Connection:
    """A kept connection to one server, opened when needed. `receive_buffer`: SO_RCVBUF in bytes, 0: the
    kernel's choice.
    """

    _piece = bytearray(PIECE_BYTES)

    def __init__(self, host: str, port: int, receive_buffer: int = 0) -> None:
        self._address = (host, port)
        self._receive_buffer = receive_buffer
        self._socket: socket.socket | None = None
        # Whether the connection has answered before: only then may the server have closed it meanwhile.
        self._kept = False

    def ask(
        self,
        request: bytes,
        expected: Expected,
        pace: Callable[[], None] | None = None,
        piece: int = PIECE_BYTES,
    ) -> Reply:
        """Send `request` and read its answer. Raises WrongAnswer or OSError; the connection is closed then.

        `pace` is called before each read of at most `piece` bytes: a slow reader waits there.
        """
        try:
            if self._socket is not None:
                try:
                    return self._exchange(self._socket, request, expected, pace, piece)
                except _Gone:
                    self.close()
            try:
                return self._exchange(self._open(), request, expected, pace, piece)
            except _Gone:
                raise WrongAnswer("the server closed a new connection without an answer") from None
        except BaseException:
            self.close()
            raise

    def close(self, *, reset: bool = False) -> None:
        """Close in order, or by RST."""
        if self._socket is not None:
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        self._socket = made
        self._kept = False
        made.settimeout(TIMEOUT_S)
        # The window is agreed on when connecting, so this comes before.
        if self._receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect(self._address)
        return made

    def _exchange(
        self,
        connection: socket.socket,
        request: bytes,
        expected: Expected,
        pace: Callable[[], None] | None,
        piece: int,
    ) -> Reply:
        kept, self._kept = self._kept, False
        try:
            connection.sendall(request)
            head, body = self._read_head(connection, piece)
        except (ConnectionResetError, BrokenPipeError):
            if kept:
                raise _Gone from None
            raise
        length = check_head(head, expected)
        wanted = min(length, expected.prefix) if expected.prefix else length
        if len(body) > length:
            raise WrongAnswer(f"{len(body) - length} bytes more than the Content-Length of {length}")
        digest = hashlib.sha256(body[:wanted])
        whole = bytearray(body) if expected.judge is not None else None
        got = len(body)
        into = memoryview(self._piece)
        while got < wanted:
            if pace is not None:
                pace()
            count = connection.recv_into(into, min(piece, wanted - got))
            if not count:
                raise WrongAnswer(f"closed after {got} of {length} body bytes")
            digest.update(into[:count])
            if whole is not None:
                whole += into[:count]
            got += count
        if expected.sha256 is not None and digest.hexdigest() != expected.sha256:
            raise WrongAnswer(f"{wanted} body bytes have the wrong SHA-256 (status {expected.status})")
        if expected.judge is not None and whole is not None:
            expected.judge(head, bytes(whole))
        self._kept = True
        if (field(head, b"connection") or b"").lower() == b"close":
            self.close()
        return Reply(head, got)

    def _read_head(self, connection: socket.socket, piece: int) -> tuple[bytes, bytes]:
        into = memoryview(self._piece)
        received = b""
        while True:
            count = connection.recv_into(into, min(piece, PIECE_BYTES))
            if not count:
                if received:
                    raise WrongAnswer(f"closed within a response head: {received[:80]!r}")
                raise _Gone
            received += bytes(into[:count])
            cut = received.find(b"\r\n\r\n")
            if cut >= 0:
                return received[: cut + 4], received[cut + 4 :]
            if len(received) > HEAD_BYTES_MAX:
                raise WrongAnswer(f"no end of the response head in {len(received)} bytes")


def check_head(head: bytes, expected: Expected) -> int:
    """The length of the body behind `head`, in bytes. Raises WrongAnswer for anything but what is
    `expected`.
    """
    line = head.partition(b"\r\n")[0]
    if not line.startswith(b"HTTP/1.1 %d " % expected.status):
        raise WrongAnswer(f"{line.decode('latin-1')!r}, expected status {expected.status}")
    for name, value in expected.fields:
        found = field(head, name)
        if found != value:
            raise WrongAnswer(f"{expected.status} with {name.decode()} {found!r}, expected {value!r}")
    if expected.status in (204, 304):
        return 0
    length = field(head, b"content-length")
    if length is None or not length.isdigit():
        raise WrongAnswer(f"{expected.status} with Content-Length {length!r}")
    if expected.size is not None and int(length) != expected.size:
        raise WrongAnswer(f"{expected.status} with Content-Length {int(length)}, expected {expected.size}")
    return int(length)

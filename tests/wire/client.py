"""A client that forgives nothing: raw bytes out, h11 as CLIENT in, and every byte accounted for."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import h11

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

RECEIVE_SIZE = 256 * 1024
# Far above what any answer needs: reaching it means that the server is stuck, not that it is slow.
STUCK_S = 60.0


class ProtocolError(AssertionError):
    """The server sent something that a client may not accept."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One final response. Header names are lower-case; `interim` are the statuses of the 1xx responses before
    it.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    version: bytes = b"1.1"
    interim: tuple[int, ...] = ()

    def fields(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key == name]

    def field(self, name: bytes) -> bytes | None:
        """The only value of a header, or None; two of them are a protocol error."""
        values = self.fields(name)
        if len(values) > 1:
            raise ProtocolError(f"{name!r} occurs {len(values)} times: {values}")
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether the response says that it is the last one."""
        return b"close" in (self.field(b"connection") or b"").lower()


# (host, port), or the path of a unix socket.
Address: TypeAlias = "tuple[str, int] | str"


class Peer:
    """One connection. `receive_buffer` (bytes) bounds what the kernel takes for a slow reader; `source` is
    the address that it comes from.
    """

    def __init__(
        self, address: Address, *, receive_buffer: int | None = None, source: str | None = None
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(STUCK_S)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.connect(address)
        self.rest = b""
        self.reset = False
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, chunks: bytes | Iterable[bytes]) -> None:
        """Write each chunk by itself. A server that has already refused may close early; what it said is
        still there to read.
        """
        for chunk in (chunks,) if isinstance(chunks, bytes) else chunks:
            try:
                self.socket.sendall(chunk)
            except (BrokenPipeError, ConnectionResetError):
                return

    def half_close(self) -> None:
        """Say that no more requests follow, as `curl` and netcat do."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Vanish with a reset, as a killed client with unread bytes does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def receive(self) -> bytes:
        """Bytes of the server, b"" at its end. A reset counts as an end, and is remembered in `reset`."""
        if self.rest:
            chunk, self.rest = self.rest, b""
            return chunk
        try:
            chunk = self.socket.recv(RECEIVE_SIZE)
        except ConnectionResetError:
            self.reset = True
            chunk = b""
        self.ended = chunk == b""
        return chunk

    def reply(self, method: bytes = b"GET", sink: Callable[[bytes], object] | None = None) -> Reply:
        """The next response, to a request of `method`. `sink` is given the pieces of the body instead of
        `Reply.body`.

        Raises ProtocolError when the server ends before the response does, or sends what h11 refuses.
        """
        connection = _client(method)
        interim: list[int] = []
        pieces: list[bytes] = []
        head: h11.Response | None = None
        raw = b""
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                raise ProtocolError(f"h11 refuses the response ({head}): {error}") from error
            if event is h11.NEED_DATA:
                chunk = self.receive()
                if not chunk and head is None:
                    raise ProtocolError(
                        f"no response: the server {'reset' if self.reset else 'closed'} the connection"
                    )
                connection.receive_data(chunk)
                raw += chunk if head is None else b""
            elif isinstance(event, h11.InformationalResponse):
                interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                (sink or pieces.append)(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise ProtocolError(f"h11 gives {event!r} in the middle of a response")
        self.rest = connection.trailing_data[0]
        assert head is not None
        # As on the wire: h11 has approved of the fields, but it makes one Content-Length out of two equal
        # ones.
        lines = raw.split(b"\r\n\r\n")[len(interim)].split(b"\r\n")[1:]
        named = (line.split(b":", 1) for line in lines)
        headers = tuple((name.lower(), value.strip(b" \t")) for name, value in named)
        return Reply(head.status_code, headers, b"".join(pieces), head.http_version, tuple(interim))

    def ask(self, request: bytes, sink: Callable[[bytes], object] | None = None) -> Reply:
        """Send one request and read its response."""
        self.send(request)
        return self.reply(method_of(request), sink)

    def leftover(self) -> bytes:
        """Everything that still comes until the server ends the connection."""
        pieces: list[bytes] = []
        while chunk := self.receive():
            pieces.append(chunk)
        return b"".join(pieces)

    def readable(self, within_s: float) -> bool:
        """Whether bytes, or the end, arrive within that time."""
        return bool(self.rest or select.select([self.socket], [], [], within_s)[0])


def _client(method: bytes) -> h11.Connection:
    """An h11 client that has just sent a request of `method`; needed because HEAD and CONNECT change how a
    response ends.
    """
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"wire.test")]))
    connection.send(h11.EndOfMessage())
    return connection


def method_of(request: bytes) -> bytes:
    """The method of any bytes: only HEAD and CONNECT matter to who reads the response; all else is GET."""
    word = request.lstrip(b"\r\n").split(b" ", 1)[0]
    return word if word in (b"HEAD", b"CONNECT") else b"GET"


def request(
    path: bytes | str, *lines: str | bytes, method: str = "GET", version: str = "1.1", host: str = "wire.test"
) -> bytes:
    """A well-formed request head; `lines` are further header lines without their ends. An empty host leaves
    Host out.
    """
    target = path.encode() if isinstance(path, str) else path
    head = [method.encode() + b" " + target + b" HTTP/" + version.encode()]
    if host:
        head.append(b"Host: " + host.encode())
    head += [line.encode() if isinstance(line, str) else line for line in lines]
    return b"\r\n".join(head) + b"\r\n\r\n"


def refused(address: Address) -> bool:
    """Whether nobody listens there any more."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as attempt:
        attempt.settimeout(STUCK_S)
        return attempt.connect_ex(address) in (errno.ECONNREFUSED, errno.ENOENT)


def eventually(what: str, holds: Callable[[], object], within_s: float = STUCK_S) -> None:
    """Wait until `holds()` is true. The deadline is no measure of speed: it only ends a wait that would last
    for ever.
    """
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)

"""Stands between clients and a server, and has faults befall their requests: a thread for each connection."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import socket
import struct
import termios
import threading
from typing import TYPE_CHECKING

import h11

from zchttpd.testing.faults import Answer, End, Fields, Request

if TYPE_CHECKING:
    from collections.abc import Callable

# A connection whose bytes are awaited looks so often whether they have arrived.
_LOOK_S = 0.001
_RECEIVE_SIZE = 1 << 16


class Proxy:
    """Listens on a free port of this machine. `answer` is called in any thread, with the method, the target
    and the fields of a request, and gives what it is answered with.
    """

    def __init__(self, answer: Callable[[str, str, Fields], Answer]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._thread = threading.Thread(target=self._accept, name="faults", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every connection, and wait for the threads."""
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            threads = list(self._open)
            for client in self._open.values():
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                # It has been shut down, or there is no descriptor for now.
                self._stopped.wait(_LOOK_S)
                continue
            thread = threading.Thread(target=self._serve, args=(client,), name="faults", daemon=True)
            with self._lock:
                self._open[thread] = client
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, contextlib.suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._converse(client)
        finally:
            with self._lock:
                del self._open[threading.current_thread()]

    def _converse(self, client: socket.socket) -> None:
        """Answer requests until the connection ends. Raises OSError when it does."""
        rest = b""
        while True:
            heard = _hear(client, rest)
            if heard is None:
                return
            asked, rest = heard
            fields = tuple((_text(name), _text(value)) for name, value in asked.headers.raw_items())
            answer = self._answer(_text(asked.method), _text(asked.target), fields)
            self._send(client, answer)
            match answer.end:
                case End.AS_SAID if not _closes(answer):
                    continue
                case End.SILENT:
                    while client.recv(_RECEIVE_SIZE):
                        pass
                case End.RESET:
                    self._await_arrival(client)
                    # socket(7): closing resets it.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return

    def _send(self, client: socket.socket, answer: Answer) -> None:
        fields = (f"{name}: {value}" for name, value in answer.fields)
        lines = (f"HTTP/1.1 {answer.status} {answer.reason}", *fields, "", "")
        client.sendall("\r\n".join(lines).encode("latin-1"))
        for at in range(0, len(answer.body), answer.piece_size):
            client.sendall(answer.body[at : at + answer.piece_size])
            if answer.pause_s and self._stopped.wait(answer.pause_s):
                return

    def _await_arrival(self, client: socket.socket) -> None:
        """Until the client has every byte: a reset would take away those on their way."""
        while True:
            # tcp(7), SIOCOUTQ, which has the number of TIOCOUTQ: bytes that have not been acknowledged.
            [waiting] = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, b"\0" * 4))
            if not waiting or self._stopped.wait(_LOOK_S):
                return


def _hear(client: socket.socket, rest: bytes) -> tuple[h11.Request, bytes] | None:
    """The next request, and the bytes behind it; None when there is none."""
    parser = h11.Connection(h11.SERVER)
    if rest:
        parser.receive_data(rest)
    asked: h11.Request | None = None
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError:
            return None
        if event is h11.NEED_DATA:
            received = client.recv(_RECEIVE_SIZE)
            if not received:
                return None
            parser.receive_data(received)
        elif isinstance(event, h11.Request):
            asked = event
        elif isinstance(event, h11.EndOfMessage) and asked is not None:
            return asked, parser.trailing_data[0]


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")


def _closes(answer: Answer) -> bool:
    return any(name.lower() == "connection" and "close" in value.lower() for name, value in answer.fields)


def fetch(host: str, port: int, request: Request) -> Answer:
    """What the server itself answers. Raises OSError, and http.client.HTTPException."""
    connection = http.client.HTTPConnection(host, port)
    try:
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.fields:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, answer.reason, tuple(answer.getheaders()), answer.read())
    finally:
        connection.close()

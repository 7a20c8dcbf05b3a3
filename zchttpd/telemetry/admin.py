"""The admin listener: metrics and health, in the supervisor's loop, as what forks has no threads."""

from __future__ import annotations

import contextlib
import selectors
import socket
from typing import TYPE_CHECKING

import h11

from zchttpd.telemetry import log
from zchttpd.telemetry.metrics import flat_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from zchttpd.telemetry.admin_access import Access
    from zchttpd.telemetry.metrics import Family

CONNECTIONS_MAX = 64
CONNECTION_S_MAX = 10.0
ACCEPT_PAUSE_S = 0.1
_LEAVING, _SILENT, _ASKING, _ANSWERING = range(4)
_TEXT = "text/plain; charset=utf-8"
_ABOUT = b"zchttpd admin: /metrics, /metrics.json, /healthz, /livez, /readyz\n"

Answer = tuple[int, str, bytes]


class Routes:
    """What the admin listener answers: (status, content type, body) for a path.

    `checks`: paths that everybody may ask, each with what tells why not, which is empty when all is well.
    """

    def __init__(
        self, families: Callable[[], Iterable[Family]], checks: Mapping[bytes, Callable[[], str]]
    ) -> None:
        self._families = families
        self.checks = checks

    def answer(self, path: bytes, accept: bytes | None) -> Answer:
        """`path` without its query."""
        if path in self.checks:
            why = self.checks[path]()
            return 503 if why else 200, _TEXT, f"{why or 'ok'}\n".encode()
        match path:
            case b"/metrics":
                from zchttpd.telemetry import prometheus

                return 200, *prometheus.render(self._families(), accept)
            case b"/metrics.json":
                return 200, "application/json", flat_json(self._families())
            case b"/":
                return 200, _TEXT, _ABOUT
            case _:
                return 404, _TEXT, _ABOUT


class Admin:
    """Accepts on `listener` and answers through `selector`, whose keys carry what to call (with the time)."""

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        routes: Routes,
        access: Access,
    ) -> None:
        self.routes = routes
        self.access = access
        self._listener = listener
        self._selector = selector
        self._connections: dict[_Connection, None] = {}
        self._accept_at: float | None = None
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Close the listener and every client's connection."""
        for connection in list(self._connections):
            connection.close()
        self.accept_no_more()

    def accept_no_more(self) -> None:
        """Another process answers from now on; connections that are open have their answers."""
        if self._accept_at is None and self._listener.fileno() >= 0:
            self._selector.unregister(self._listener)
        self._accept_at = None
        self._listener.close()

    def close_inherited(self) -> None:
        """In a forked child: drop the inherited sockets and leave the selector to the parent."""
        for connection in self._connections:
            connection.socket.close()
        self._listener.close()

    def expire(self, now: float) -> float | None:
        """Close the connections whose time is up, accept again after a pause; the next such moment (monotonic
        seconds), or None.
        """
        for connection in [each for each in self._connections if each.ends_at <= now]:
            connection.close()
        if self._accept_at is not None and self._accept_at <= now:
            self._accept_at = None
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        moments = [connection.ends_at for connection in self._connections]
        return min(moments if self._accept_at is None else [*moments, self._accept_at], default=None)

    def admit(self, connection: socket.socket, now: float) -> None:
        """Answer one accepted connection; for one too many the oldest that asks for nothing makes room."""
        if len(self._connections) >= CONNECTIONS_MAX:
            min(self._connections, key=lambda each: each.rank).close()
        connection.setblocking(False)
        self._connections[_Connection(connection, self, self._selector, now + CONNECTION_S_MAX)] = None

    def forget(self, connection: _Connection) -> None:
        """It has been closed."""
        del self._connections[connection]

    def _accept(self, now: float) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            # The client has gone again.
            return
        except OSError:
            # Out of descriptors, or of memory: trying at once would spin.
            self._selector.unregister(self._listener)
            self._accept_at = now + ACCEPT_PAUSE_S
            return
        self.admit(connection, now)


class _Connection:
    """One connection, one request, one answer."""

    def __init__(
        self, connection: socket.socket, admin: Admin, selector: selectors.BaseSelector, ends_at: float
    ) -> None:
        self.socket = connection
        self.ends_at = ends_at
        # Where room is needed who has had the answer goes first, then who is silent, then who has begun.
        self.rank = _SILENT
        self._admin = admin
        self._selector = selector
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._outgoing = b""
        selector.register(connection, selectors.EVENT_READ, self._read)

    def close(self) -> None:
        if self.socket.fileno() < 0:
            # It has made room, and the loop knew already that it had something to say.
            return
        self._selector.unregister(self.socket)
        self.socket.close()
        self._admin.forget(self)

    def _read(self, _now: float) -> None:
        try:
            received = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not received:
            self.close()
            return
        self.rank = _ASKING
        try:
            self._http.receive_data(received)
            self._listen()
        except h11.RemoteProtocolError as error:
            self._answer((error.error_status_hint, _TEXT, b"bad request\n"))

    def _listen(self) -> None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._request = event
            elif isinstance(event, h11.EndOfMessage):
                self._answer(self._routed())
                return
            elif not isinstance(event, h11.Data):
                return

    def _routed(self) -> Answer:
        try:
            return self._route()
        except Exception:
            # This is the loop of the supervisor: with it all would end.
            log.LOGGER.exception("a request to the admin listener could not be answered, and got 500")
            return 500, _TEXT, b"something went wrong here, and the log says what\n"

    def _route(self) -> Answer:
        assert self._request is not None
        if not self._admin.access.names(self._field(b"host")):
            return (
                421,
                _TEXT,
                b"this listener has another name: its address, localhost, or one of --admin-name\n",
            )
        # Of a query nothing is read.
        access, path = self._admin.access, self._request.target.partition(b"?")[0]
        if self._request.method == b"OPTIONS" and self._reader() is not None:
            # A page asks whether it may send a token.
            return 204, _TEXT, b""
        if self._request.method not in (b"GET", b"HEAD"):
            return 405, _TEXT, b"GET and HEAD only\n"
        if not access.admits(self._field(b"authorization")) and path not in self._admin.routes.checks:
            return 401, _TEXT, b"this needs the token of --admin-token-file: Authorization: Bearer TOKEN\n"
        return self._admin.routes.answer(path, self._field(b"accept"))

    def _reader(self) -> bytes | None:
        return self._admin.access.reader(self._field(b"host"), self._field(b"origin"))

    def _field(self, name: bytes) -> bytes | None:
        fields = self._request.headers if self._request is not None else ()
        return next((value for key, value in fields if key == name), None)

    def _answer(self, answer: Answer) -> None:
        status, content_type, body = answer
        headers = [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
            ("Vary", "Accept, Origin"),
        ]
        reader = self._reader()
        if reader is not None:
            headers.append(("Access-Control-Allow-Origin", reader.decode("latin-1")))
            headers.append(("Access-Control-Allow-Headers", "Authorization"))
        if status == 405:
            headers.append(("Allow", "GET, HEAD"))
        if status == 401:
            headers.append(("WWW-Authenticate", "Bearer"))
        if status == 204:
            headers.remove(("Content-Length", "0"))
        head = self._http.send(h11.Response(status_code=status, headers=headers))
        assert head is not None
        with_body = self._request is None or self._request.method != b"HEAD"
        self._outgoing = head + (body if with_body else b"")
        self.rank = _ANSWERING
        self._selector.modify(self.socket, selectors.EVENT_WRITE, self._write)

    def _write(self, _now: float) -> None:
        try:
            sent = self.socket.send(self._outgoing)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._outgoing = self._outgoing[sent:]
        if not self._outgoing:
            # Closing with bytes unread would reset the connection under the answer: the client leaves first.
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
            self.rank = _LEAVING
            self._selector.modify(self.socket, selectors.EVENT_READ, self._leave)

    def _leave(self, _now: float) -> None:
        try:
            if self.socket.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()

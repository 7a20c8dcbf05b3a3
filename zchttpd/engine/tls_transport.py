"""TLS beneath the connections of a worker: handshakes, and records where the kernel does not make them.

The poll driver calls this where it would call recv(2), and send(2) unless the kernel encrypts. Nothing waits:
what cannot be done now raises BlockingIOError, and what is wrong with a connection another OSError.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from zchttpd.engine import kernel_tls

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.engine.tls import Tls

# What the driver has to know of a connection: `tls.pxd` has the same.
SHAKING = 1
BY_LIBRARY = 2
BY_KERNEL = 3
RECORD_SIZE = 16384  # of plain bytes, RFC 8446 section 5.1
# Of a client that sends much to no purpose, before others have their turn.
READS_MAX = 8
# Bytes of records that wait for room when the library has something to say by itself: more than a response
# ever has there.
UNSENT_MAX = 16 * RECORD_SIZE
PLAIN_TEXT = b"This port speaks TLS. Type https:// in front of its name.\n"
PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(PLAIN_TEXT), PLAIN_TEXT)
)


class Connection:
    """One client. `state`: SHAKING, then BY_LIBRARY or BY_KERNEL, which is who encrypts what is sent.

    `again`: there is more to do for the client than its socket tells, as soon as that takes bytes.
    """

    __slots__ = (
        *("state", "again", "due_ms", "_transport", "_socket", "_tls", "_incoming", "_outgoing"),
        *("_secret", "_unsent", "_ahead", "_over", "_dead"),
    )

    def __init__(self, transport: Transport, fd: int, due_ms: int) -> None:
        self.state = SHAKING
        self.again = False
        self.due_ms = due_ms
        self._transport = transport
        # Of any family, which only names of sockets would be told by.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
        self._tls: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO
        self._outgoing: ssl.MemoryBIO
        self._secret = ""
        # Records that the socket has not taken; and plain bytes that are in records and not told as sent.
        self._unsent = memoryview(b"")
        self._ahead = 0
        # Nothing more is sent; and nothing is received either.
        self._over = self._dead = False

    # Receiving

    def receive(self, into: memoryview) -> int:
        """Plain bytes of the client, or 0 when it sends nothing more."""
        if self._over and not self._dead:
            # What still comes is thrown away, unread.
            return self._socket.recv_into(into)
        self.again = False
        if self._dead or (self.state == SHAKING and not self._shake()):
            return 0
        assert self._tls is not None
        for _ in range(READS_MAX):
            try:
                # The stub gives bytes whatever is asked for.
                count = cast("int", self._tls.read(len(into), into))
            except ssl.SSLWantReadError:
                self._say()
                if not self._fill():
                    return 0
                continue
            except ssl.SSLZeroReturnError:
                return 0
            except ssl.SSLError as error:
                raise ConnectionResetError(errno.ECONNRESET, error.reason) from None
            self._say()
            self.again = self._tls.pending() > 0 or self._incoming.pending > 0
            return count
        self.again = True
        raise BlockingIOError

    def _fill(self) -> bool:
        """Take what has come. False at its end, which a client may also reach without saying so."""
        received = self._socket.recv(RECORD_SIZE)
        self._incoming.write(received)
        return bool(received)

    def _say(self) -> None:
        """Send what the library has to say by itself: that it does not negotiate again, or has new keys too
        (RFC 8446 section 4.6.3). Records that are not the kernel's would break those that are.
        """
        if self._outgoing.pending:
            if self.state == BY_KERNEL:
                raise ConnectionResetError(errno.ECONNRESET, "the kernel cannot change its keys")
            if len(self._unsent) > UNSENT_MAX:
                raise ConnectionResetError(errno.ECONNRESET, "it asks, and does not read the answers")
            self._push(self._outgoing.read())

    # The handshake

    def _shake(self) -> bool:
        """Go on with the handshake until it is over. False where it has failed, and that has been told."""
        if self._tls is None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            context = self._transport.context
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        for _ in range(READS_MAX):
            self._flush()
            if self._unsent:
                break
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._secret = self._transport.secret() or self._secret
                self._push(self._outgoing.read())
                if self._unsent:
                    break
                if self._fill():
                    continue
            except ssl.SSLError as error:
                self._transport.secret()
                self._refuse(error)
            else:
                self._shaken()
                return True
            self._transport.count(self, "failed")
            self.hang_up()
            return False
        self.again = True
        raise BlockingIOError

    def _shaken(self) -> None:
        assert self._tls is not None
        self._secret = self._transport.secret() or self._secret
        tickets = self._outgoing.read()
        self._push(tickets)
        cipher = self._tls.cipher()
        by_kernel = (
            not self._unsent
            and self._secret
            and cipher is not None
            and kernel_tls.take_over(self._socket, cipher[0], self._secret, tickets)
        )
        self.state = BY_KERNEL if by_kernel else BY_LIBRARY
        self._secret = ""
        self._transport.count(self, "completed")

    def _refuse(self, error: ssl.SSLError) -> None:
        """Tell a client that cannot be talked to why, as far as it would understand."""
        with suppress(OSError):
            plain = error.reason == "HTTP_REQUEST"
            self._push(PLAIN_ANSWER if plain else self._outgoing.read())

    # Sending

    def resume(self, most: int) -> int:
        """Go on with what was begun. How many plain bytes of it, `most` at most, are sent and not told yet;
        0 when nothing was begun.
        """
        if self._over:
            raise BrokenPipeError
        self._flush()
        if self.state == SHAKING or self._unsent:
            raise BlockingIOError
        told = min(most, self._ahead)
        self._ahead -= told
        return told

    def send(self, plain: memoryview) -> None:
        """Begin to send these bytes; nothing else was begun."""
        assert self._tls is not None
        for at in range(0, len(plain), RECORD_SIZE):
            self._tls.write(plain[at : at + RECORD_SIZE])
        self._ahead = len(plain)
        self._push(self._outgoing.read())

    def _push(self, records: bytes) -> None:
        self._unsent = memoryview(bytes(self._unsent) + records if self._unsent else records)
        self._flush()

    def _flush(self) -> None:
        if self._unsent:
            with suppress(BlockingIOError):
                self._unsent = self._unsent[self._socket.send(self._unsent) :]

    # The end

    def end(self, broken: bool = False) -> None:
        """Say that nothing more is sent, as far as there is room for that; but not behind a response that is
        `broken` off, which would seem whole.
        """
        if self._over:
            return
        self._over = True
        if broken:
            return
        with suppress(OSError):
            if self.state == BY_KERNEL:
                kernel_tls.close_notify(self._socket)
            elif self.state == BY_LIBRARY and not self._unsent:
                assert self._tls is not None
                with suppress(ssl.SSLError):
                    self._tls.unwrap()
                self._push(self._outgoing.read())

    def give_up(self) -> None:
        """Say nothing more, and hear nothing."""
        self._over = self._dead = True

    def hang_up(self) -> None:
        """End both directions, which whoever waits for the socket is told."""
        self.give_up()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """The descriptor is the driver's to close."""
        self._socket.detach()


class Transport:
    """The TLS of one worker. `cells` gives those of a counter (stats.pxd).

    A handshake has `shake_ms_max` from when its connection was accepted.
    """

    def __init__(self, tls: Tls, shake_ms_max: int, cells: Callable[[str], memoryview]) -> None:
        self.context = tls.context
        self._shake_ms_max = shake_ms_max
        self._cells = cells
        # In the order in which they are due: a set that has one.
        self._shaking: OrderedDict[Connection, None] = OrderedDict()
        self._keys: kernel_tls.KeyLog | None = None
        if not tls.refused:
            with suppress(OSError):
                self._keys = kernel_tls.KeyLog(self.context)

    def accepted(self, fd: int, now_ms: int) -> Connection:
        """A new connection."""
        connection = Connection(self, fd, now_ms + self._shake_ms_max)
        self._shaking[connection] = None
        return connection

    def closing(self, connection: Connection) -> None:
        """It ends, and its descriptor is about to be closed."""
        if connection in self._shaking:
            self.count(connection, "failed")
        connection.end()
        connection.let_go()

    def expire(self, now_ms: int) -> int:
        """Hang up on those whose time for a handshake is over. When the next one is due, or 0."""
        while self._shaking:
            oldest = next(iter(self._shaking))
            if oldest.due_ms > now_ms:
                return oldest.due_ms
            self.count(oldest, "timeout")
            oldest.hang_up()
        return 0

    def secret(self) -> str:
        """See `KeyLog.take`; empty where the kernel is not to encrypt."""
        return self._keys.take() if self._keys is not None else ""

    def count(self, connection: Connection, result: str) -> None:
        """How a handshake has ended."""
        if self._shaking.pop(connection, self) is self:
            return
        self._cells(f"tls_handshakes_{result}")[0] += 1
        if result == "completed":
            by = "kernel" if connection.state == BY_KERNEL else "library"
            self._cells(f"tls_connections_{by}")[0] += 1

"""Certificates for the wire suite, and a client that speaks TLS record by record."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ..client import RECEIVE_SIZE, Peer
from ..streams import LARGE
from ..tree import MIB

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ..client import Address
    from ..servers import Server


COMPLETED = 'tls_handshakes_total{result="completed"}'
FAILED = 'tls_handshakes_total{result="failed"}'
TIMEOUT = 'tls_handshakes_total{result="timeout"}'
BY_KERNEL = 'tls_connections_total{by="kernel"}'
BY_LIBRARY = 'tls_connections_total{by="library"}'
# A file that is streamed, one that is cached, and ones on both sides of a record.
SIZES = {"large": LARGE + 1, "cached": MIB, "record": 16384, "more": 16385, "page": 5}
SLOW = {"memory": 8 * MIB, "stream_memory": 4 * MIB}


@dataclass(frozen=True)
class Pair:
    """A certificate for 127.0.0.1, and its key, as files."""

    cert: Path
    key: Path

    @property
    def options(self) -> dict[str, Path]:
        """As `serving` takes them."""
        return {"tls_cert": self.cert, "tls_key": self.key}


def make_pair(place: Path, name: str, *more: str) -> Pair:
    """Two files in `place`. `more`: words for `openssl req`, as -newkey has them."""
    openssl = shutil.which("openssl")
    assert openssl, "there is no openssl. Type: make test (it installs that)"
    pair = Pair(place / f"{name}.pem", place / f"{name}.key")
    words = more or ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", pair.key, "-out", pair.cert)
    subprocess.run(
        [openssl, "req", "-x509", *words, "-days", "30", *subject, *files], check=True, capture_output=True
    )
    return pair


def client_context(pair: Pair, **versions: ssl.TLSVersion) -> ssl.SSLContext:
    """Trusts this certificate alone. `versions`: minimum_version, maximum_version."""
    context = ssl.create_default_context(cafile=str(pair.cert))
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name, version in versions.items():
        setattr(context, name, version)
    return context


class TlsPeer(Peer):
    """One connection, with its handshake done. What is said of `Peer` holds for the plain bytes."""

    def __init__(
        self,
        server: Server,
        context: ssl.SSLContext,
        *,
        session: ssl.SSLSession | None = None,
        receive_buffer: int | None = None,
        source: str | None = None,
        address: Address | None = None,
        first: bytes | Iterable[bytes] = b"",
    ) -> None:
        super().__init__(address or server.address, receive_buffer=receive_buffer, source=source)
        # In clear, in front of the handshake.
        super().send(first)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="127.0.0.1", session=session
        )
        try:
            self._until_done(self.tls.do_handshake)
        except BaseException:
            self.socket.close()
            raise

    def _until_done(self, step: object) -> object:
        assert callable(step)
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._received())
                continue
            self._flush()
            return result

    def _received(self) -> bytes:
        chunk = self.socket.recv(RECEIVE_SIZE)
        if not chunk:
            self._incoming.write_eof()
        return chunk

    def _flush(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(self._outgoing.read())

    def encrypt(self, plain: bytes) -> bytes:
        """Records, for who sends them himself."""
        self.tls.write(plain)
        return self._outgoing.read()

    def send(self, chunks: object) -> None:
        """See `Peer`: each chunk is a record."""
        for chunk in (chunks,) if isinstance(chunks, bytes) else chunks:  # type: ignore[attr-defined]
            super().send(self.encrypt(chunk))

    def half_close(self) -> None:
        """Say that no more requests follow: close_notify, and nothing of TCP."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()

    def receive(self) -> bytes:
        """See `Peer`. An end without close_notify is an error: SSLEOFError."""
        if self.rest:
            chunk, self.rest = self.rest, b""
            return chunk
        while True:
            try:
                chunk = self.tls.read(RECEIVE_SIZE)
            except ssl.SSLWantReadError:
                try:
                    self._incoming.write(self._received())
                except ConnectionResetError:
                    self.reset = True
                    return b""
                continue
            except ssl.SSLZeroReturnError:
                chunk = b""
            self.ended = chunk == b""
            return chunk

    @property
    def protocol(self) -> str | None:
        """What ALPN has chosen."""
        return self.tls.selected_alpn_protocol()

    def certificate(self) -> bytes | None:
        """What the server has shown, as DER."""
        return self.tls.getpeercert(binary_form=True)


def raw(server: Server) -> socket.socket:
    """A connection without TLS."""
    return Peer(server.address).socket


def client_hello(pair: Pair) -> bytes:
    """The first record of a handshake."""
    outgoing = ssl.MemoryBIO()
    tls = client_context(pair).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@contextlib.contextmanager
def s_client(server: Server, pair: Pair, *words: str, port: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """OpenSSL's own client, once its handshake is done. What is typed there is sent, single letters apart.
    `port`: of who passes on to the server what it sends.
    """
    address = f"127.0.0.1:{port or server.address[1]}"
    with subprocess.Popen(
        ["openssl", "s_client", "-connect", address, "-CAfile", pair.cert, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as client:
        assert client.stdout
        said = b""
        while b"Verify return code" not in said:
            line = client.stdout.readline()
            assert line, said
            said += line
        assert b"Verify return code: 0" in said
        yield client

"""Clients of a server that speaks TLS, and mean no good."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..client import STUCK_S, Peer, ProtocolError, eventually, request
from ..servers import serving
from ..streams import pattern
from .peers import COMPLETED, FAILED, TIMEOUT, TlsPeer, client_context, client_hello, raw, s_client

if TYPE_CHECKING:
    from ..servers import Server
    from .peers import Pair


@pytest.mark.parametrize("length", [0, 1, 6, 100])
def test_a_handshake_that_hangs_is_hung_up(www: Path, pair: Pair, length: int) -> None:
    hello = client_hello(pair)
    with serving(www, engine="portable", head_ms_max=300, **pair.options) as server:
        with raw(server) as silent:
            silent.sendall(hello[:length])
            assert silent.recv(1000) == b""
        assert server.metric(TIMEOUT) == 1


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 20_000, b"SSH-2.0-x\r\n"])
def test_garbage_instead_of_a_handshake(server: Server, garbage: bytes) -> None:
    before = server.metric(FAILED)
    with raw(server) as peer:
        peer.sendall(garbage)
        try:
            while peer.recv(4096):
                pass
        except ConnectionResetError:
            pass
    eventually("it is counted", lambda: server.metric(FAILED) == before + 1)


def test_http_without_tls_is_told_so(server: Server) -> None:
    with Peer(server.address) as peer:
        reply = peer.ask(request("/page"))
        assert (reply.status, reply.closes) == (400, True)
        assert b"https://" in reply.body
        assert peer.leftover() == b""


def test_renegotiation_is_refused(server: Server, pair: Pair) -> None:
    with s_client(server, pair, "-tls1_2") as client:
        ended, _ = client.communicate(b"R\n", timeout=STUCK_S)
    assert b"no renegotiation" in ended
    server.wait_for_rest()


@pytest.mark.parametrize("after", ["hello", "finished", "data"])
def test_clients_that_vanish_leave_nothing(server: Server, pair: Pair, after: str) -> None:
    with TlsPeer(server, client_context(pair)) as peer:
        assert peer.ask(request("/page")).status == 200
    server.wait_for_rest()
    fds = server.fds_but_pipes()
    for _ in range(20):
        if after == "hello":
            with raw(server) as peer_without:
                peer_without.sendall(client_hello(pair))
            continue
        gone = TlsPeer(server, client_context(pair))
        if after == "data":
            gone.send(request("/large"))
        gone.abort()
    server.wait_for_rest()
    # That of the large file is kept for a while.
    eventually("no descriptor is left", lambda: server.fds_but_pipes() <= fds)


def test_a_record_that_was_changed_ends_the_connection(server: Server, pair: Pair) -> None:
    with TlsPeer(server, client_context(pair)) as peer:
        record = bytearray(peer.encrypt(request("/page")))
        record[-1] ^= 1
        peer.socket.sendall(record)
        with pytest.raises((ssl.SSLError, ProtocolError)):
            peer.reply()


class Relay:
    """Passes on between one client and a server, in a thread, until `deaf`: from then on it reads nothing of
    what the server says. `refused`: the server has taken no more.
    """

    def __init__(self, server: Server) -> None:
        self.deaf = threading.Event()
        self.refused = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server = Peer(server.address, receive_buffer=4096).socket
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._listener, self._listener.accept()[0] as client, self._server:
            while True:
                ready, _, _ = select.select([client, *([] if self.deaf.is_set() else [self._server])], [], [])
                source = ready[0]
                chunk = source.recv(65536)
                if not chunk:
                    return
                try:
                    (client if source is self._server else self._server).sendall(chunk)
                except (BrokenPipeError, ConnectionResetError):
                    self.refused.set()
                    return

    def join(self) -> None:
        self._thread.join(STUCK_S)


def test_who_asks_for_new_keys_and_never_reads_them_is_hung_up(server: Server, pair: Pair) -> None:
    relay = Relay(server)
    asked = 0
    with s_client(server, pair, "-tls1_3", port=relay.port) as client:
        assert client.stdin
        assert client.stdout
        relay.deaf.set()
        with suppress(BrokenPipeError):
            # Each answer is 22 bytes: what the server keeps of them, and all that sockets hold.
            while not relay.refused.is_set() and asked < 400_000:
                client.stdin.write(b"K\n")
                client.stdin.flush()
                line = client.stdout.readline()
                while line and b"KEYUPDATE" not in line:
                    line = client.stdout.readline()
                asked += 1
        client.kill()
    relay.join()
    assert relay.refused.is_set(), asked
    server.wait_for_rest()


def test_nothing_of_the_memory_is_in_cores(server: Server) -> None:
    filters = {Path(f"/proc/{pid}/coredump_filter").read_text().strip() for pid in server.pids()}
    assert filters == {"00000000"}


def test_a_hundred_handshakes_at_a_time(server: Server, pair: Pair) -> None:
    before = server.metric(COMPLETED)
    hello = client_hello(pair)
    with ExitStack() as stack:
        # A hundred whose first record is in, none of which is whole.
        halves = [stack.enter_context(raw(server)) for _ in range(100)]
        for half in halves:
            half.sendall(hello[:-1])
        context = client_context(pair)
        peers = [stack.enter_context(TlsPeer(server, context)) for _ in range(100)]
        for peer in peers:
            peer.send(request("/page"))
        assert [peer.reply().body for peer in peers] == [pattern(5)] * 100
        for half in halves:
            half.sendall(hello[-1:])
        assert all(half.recv(1) == b"\x16" for half in halves)
    assert server.metric(COMPLETED) == before + 100


def test_a_thousand_that_never_finish_keep_nobody_out(www: Path, pair: Pair) -> None:
    most = 200
    options = {"connections_max": most, "head_ms_max": 3000, **pair.options}
    hello = client_hello(pair)
    with serving(www, engine="portable", **options) as server, ExitStack() as stack:
        for number in range(1000):
            one = stack.enter_context(raw(server))
            try:
                one.sendall(hello[: number % len(hello)])
            except (BrokenPipeError, ConnectionResetError):
                continue
        assert server.metric("connections_open") <= 2 * most
        with TlsPeer(server, client_context(pair)) as peer:
            assert peer.ask(request("/page")).status == 200
        eventually("all are hung up", lambda: server.metric("connections_open") == 0)
        assert server.metric(TIMEOUT) + server.metric(FAILED) == 1000

"""The end of a connection: at once where the client sends nothing more, and never at the cost of a byte."""

from __future__ import annotations

import select
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .client import request
from .servers import serving
from .streams import LARGE, SLOW_BUFFER, cached_and_streamed, pattern
from .tree import FILES, MIB

if TYPE_CHECKING:
    from .client import Peer
    from .servers import Server


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cached_and_streamed(tmp_path_factory.mktemp("closing"))


def meets_reset(peer: Peer, within_ms: int) -> bool:
    """Whether a byte that is sent now finds nobody: the server has closed more than its direction."""
    poll = select.poll()
    poll.register(peer.socket, 0)
    if not poll.poll(0):
        peer.send(b"x")
    return bool(poll.poll(within_ms))


@pytest.mark.parametrize("path", ["/hello.txt", "/64k.bin", "/1m.bin", "/3m17.bin", "/nothing"])
@pytest.mark.parametrize(("version", "lines"), [("1.1", ("Connection: close",)), ("1.0", ())])
def test_who_sends_nothing_more_is_closed_at_once(
    server: Server, path: str, version: str, lines: tuple[str, ...]
) -> None:
    # Made by the handler, then replayed.
    for _ in range(3):
        with server.peer() as peer:
            reply = peer.ask(request(path, *lines, version=version))
            assert (reply.status, reply.closes) == (404 if path == "/nothing" else 200, True)
            if reply.status == 200:
                assert reply.body == FILES[path[1:].encode()]
            assert peer.leftover() == b""
            assert meets_reset(peer, 20_000), "the server still waits for the client to close"


@pytest.mark.parametrize(
    "sent",
    [
        request("/hello.txt", "Connection: close", "Content-Length: 5", method="POST"),
        b"GET /hello.txt HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"SSH-2.0-x\r\n",
    ],
    ids=["content", "no-host", "other-protocol"],
)
def test_who_may_send_on_is_waited_for(server: Server, sent: bytes) -> None:
    """A close with bytes on their way to it is a reset, which can destroy the response."""
    with server.peer() as peer:
        peer.send(sent)
        assert peer.reply().status >= 400
        assert peer.leftover() == b""
        for _ in range(3):
            assert not meets_reset(peer, 0)
        assert server.ask(request("/hello.txt")).status == 200
        assert not meets_reset(peer, 0)


def test_who_breaks_its_word_gets_the_whole_response(server: Server) -> None:
    for path in (b"hello.txt", b"64k.bin", b"1m.bin"):
        with server.peer() as peer:
            peer.send(request(b"/" + path, "Connection: close") + b"x" * 300_000)
            assert peer.reply().body == FILES[path]
            assert peer.leftover() == b""
            assert not peer.reset


@pytest.mark.parametrize("path", ["/cached", "/streamed"])
def test_a_slow_reader_gets_all_that_was_sent_before_the_close(
    large: Path, kind: tuple[str, str], path: str
) -> None:
    engine, send_mode = kind
    with serving(large, engine=engine, send_mode=send_mode) as server:
        content = pattern(2 * MIB if path == "/cached" else LARGE)
        for half_closed in (False, True):
            peers = [server.peer(receive_buffer=SLOW_BUFFER) for _ in range(4)]
            for peer in peers:
                peer.send(request(path, "Connection: close"))
                if half_closed:
                    peer.half_close()
            for peer in peers:
                assert peer.reply().body == content
                assert peer.leftover() == b""
                assert not peer.reset
                peer.socket.close()
        server.wait_for_rest()


def test_a_unix_socket_is_closed_at_once(kind: tuple[str, str], large: Path) -> None:
    engine, send_mode = kind
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "socket"
        with serving(large, engine=engine, send_mode=send_mode, unix=place) as server, server.peer() as peer:
            assert peer.socket.family == socket.AF_UNIX
            peer.send(request("/cached", "Connection: close"))
            assert peer.reply().body == pattern(2 * MIB)
            assert peer.leftover() == b""
            assert meets_reset(peer, 20_000)

"""Other listeners than a TCP port: unix sockets, and what a service manager passes; and what it is told."""

from __future__ import annotations

import os
import signal
import socket
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from .client import eventually, refused, request
from .servers import Server, serving
from .streams import pattern, write_patterns
from .test_life import assert_one_line, refuse
from .tree import MIB

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {"small": 100, "cached": MIB, "streamed": 9 * MIB + 1}


@pytest.fixture(scope="module")
def www(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patterns(tmp_path_factory.mktemp("listeners"), SIZES)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


def test_a_unix_socket(www: Path, path: str, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    options = {"engine": engine, "send_mode": send_mode, "memory": 8 * MIB, "stream_memory": 4 * MIB}
    with serving(www, unix=path, **options) as server:
        assert f" at unix:{path} " in server.stdout().splitlines()[0]
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
        with server.peer() as peer:
            for _ in range(2):
                for name, size in SIZES.items():
                    assert peer.ask(request(f"/{name}")).body == pattern(size)
            part = peer.ask(request("/streamed", "Range: bytes=1000-2000000"))
            assert part.body == pattern(SIZES["streamed"])[1000:2000001]
        # The kernel has no zero copy there, and each body that was copied for that is counted.
        unsupported = server.metric('zerocopy_fallbacks_total{reason="unsupported"}')
        assert (unsupported > 0) is (send_mode != "plain")
        assert server.metric('zerocopy_notifications_total{usage="zero_copied"}') == 0
    assert not os.path.lexists(path)


def test_a_slow_reader_of_a_unix_socket(www: Path, path: str, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    options = {"engine": engine, "send_mode": send_mode, "memory": 8 * MIB, "stream_memory": 4 * MIB}
    with serving(www, unix=path, stall_ms_max=2000, **options) as server, server.peer() as idle:
        idle.send(request("/streamed"))
        with server.peer() as reader:
            assert reader.ask(request("/streamed")).body == pattern(SIZES["streamed"])
        eventually("who does not read is reset", lambda: server.metric("connections_open") == 0)


def test_workers_share_a_unix_socket(www: Path, path: str, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    options = {"engine": engine, "send_mode": send_mode, "unix": path, "workers": 2}
    with serving(www, complaint="was killed by SIGKILL", **options) as server:
        pids = server.pids()
        lost = next(pid for pid in pids if pid != server.pid)
        os.kill(lost, signal.SIGKILL)
        eventually("another worker", lambda: len(server.pids()) == 3 and lost not in server.pids())
        for _ in range(20):
            assert server.ask(request("/small")).body == pattern(SIZES["small"])


def test_a_socket_that_was_left_behind_is_replaced(www: Path, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with serving(www, engine="portable", unix=path) as server:
        assert server.ask(request("/small")).status == 200


def test_what_cannot_be_a_unix_socket(www: Path, path: str, tmp_path: Path) -> None:
    def start(where: str) -> tuple[int, list[str], str]:
        return refuse("--root", str(www), "--unix", where)

    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        assert_one_line(start(path), path, "already in use", "ss -lxp")
    (tmp_path / "file").write_bytes(b"mine")
    assert_one_line(start(str(tmp_path / "file")), "no socket")
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert_one_line(start(str(tmp_path / "none" / "socket")), "No such file")
    assert_one_line(start("x" * 108), "--unix", "too long", "107")


def test_the_name_of_a_successor_is_left(www: Path, path: str) -> None:
    """A server that drains must not take away the socket of the one that has been started in its place."""
    first = Server(www, engine="portable", unix=path)
    try:
        with first.peer() as peer:
            peer.send(b"GET / HTTP/1.1\r\n")
            os.unlink(path)
            with serving(www, engine="portable", unix=path) as second:
                first.terminate()
                peer.abort()
                assert first.wait() == 0
                assert second.ask(request("/small")).status == 200
    finally:
        first.kill()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
def test_a_socket_that_was_passed(
    www: Path, path: str, kind: tuple[str, str], family: socket.AddressFamily
) -> None:
    engine, send_mode = kind
    with closing(socket.socket(family)) as listener:
        listener.bind(("127.0.0.1", 0) if family == socket.AF_INET else path)
        listener.listen()
        # As systemd leaves it.
        listener.setblocking(False)
        options = {"engine": engine, "send_mode": send_mode, "workers": 2, "passed": listener}
        server = Server(www, **options)
        try:
            assert server.address == listener.getsockname()
            for _ in range(10):
                assert server.ask(request("/cached")).body == pattern(MIB)
            server.wait_for_rest()
            server.terminate()
            assert (server.wait(), server.stderr()) == (0, "")
            # It is the manager's: it stays open for the next start.
            assert not refused(server.address)
        finally:
            server.kill()


def test_a_socket_that_does_not_listen(www: Path) -> None:
    with closing(socket.socket()) as idle, pytest.raises(AssertionError, match="does not listen"):
        Server(www, passed=idle)


def test_the_manager_is_told(www: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with serving(www, engine="portable"):
            assert manager.recv(1024) == b"READY=1"
        assert manager.recv(1024) == b"STOPPING=1"

"""The fixture `static_server`: faults as a client sees them, and bugs of downloaders that they find."""

from __future__ import annotations

import contextlib
import random
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from zchttpd.testing import (
    Corrupt,
    Cut,
    Drip,
    Fault,
    IgnoreRange,
    Replace,
    Reset,
    Stall,
    StaticServer,
    Unavailable,
    Unsatisfiable,
    WrongLength,
)

from .client import Peer, ProtocolError, Reply, refused, request

if TYPE_CHECKING:
    from pathlib import Path

    from zchttpd.testing.plugin import StartServer

pytest_plugins = ("zchttpd.testing.plugin",)

OLD, NEW = (random.Random(seed).randbytes(100_000) for seed in (1, 2))
FILES = {"a.bin": OLD, "deep/b.txt": "text"}


def peer_of(server: StaticServer) -> Peer:
    return Peer(("127.0.0.1", int(server.url.rpartition(":")[2])))


def ask(server: StaticServer, *lines: str, path: str = "/a.bin") -> Reply:
    with peer_of(server) as peer:
        return peer.ask(request(path, *lines))


def received(server: StaticServer) -> tuple[bytes, Peer]:
    """All bytes of the body that come before the connection ends."""
    with peer_of(server) as peer:
        peer.send(request("/a.bin"))
        raw = b"".join(iter(peer.receive, b""))
    return raw.partition(b"\r\n\r\n")[2], peer


def test_without_faults_it_is_the_server(static_server: StartServer, tmp_path: Path) -> None:
    server = static_server(FILES, cors=True)
    with peer_of(server) as peer:
        # Several on one connection, pipelined too.
        peer.send(request("/a.bin") + request("/deep/b.txt"))
        assert peer.reply().body == OLD
        assert peer.reply().body == b"text"
        part = peer.ask(request("/a.bin", "Range: bytes=10-19"))
    assert (part.status, part.body) == (206, OLD[10:20])
    assert part.field(b"access-control-allow-origin") == b"*"
    assert ask(server, path="/none").status == 404
    (tmp_path / "c").write_text("of a directory")
    assert ask(static_server(tmp_path), path="/c").body == b"of a directory"
    assert [each.status for each in server.requests] == [200, 200, 206, 404]
    assert server.requests[2].request.field("Range") == "bytes=10-19"


@pytest.mark.parametrize("fault", [Cut(1000), Reset(1000)])
def test_exactly_so_many_bytes_come(static_server: StartServer, fault: Fault) -> None:
    server = static_server(FILES)
    server.fault("a.bin", fault)
    body, peer = received(server)
    assert body == OLD[:1000]
    assert peer.reset is isinstance(fault, Reset)
    assert ask(server).body == OLD


def test_a_stall_lasts_until_the_client_goes(static_server: StartServer) -> None:
    server = static_server(FILES)
    server.fault("a.bin", Stall(1000))
    with peer_of(server) as peer:
        peer.send(request("/a.bin"))
        raw = b""
        while len(raw.partition(b"\r\n\r\n")[2]) < 1000:
            raw += peer.receive()
        peer.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.socket.recv(1)


def test_drips_arrive_in_pieces(static_server: StartServer) -> None:
    server = static_server({"a.bin": OLD[:10]})
    server.fault("a.bin", Drip(size=4, pause_s=0.001))
    assert ask(server).body == OLD[:10]


def test_ranges_that_are_ignored_or_refused(static_server: StartServer) -> None:
    server = static_server(FILES)
    server.fault("a.bin", IgnoreRange(), nth=1)
    server.fault("a.bin", Unsatisfiable(), nth=2)
    whole, none = ask(server, "Range: bytes=5-"), ask(server, "Range: bytes=5-")
    assert (whole.status, whole.body) == (200, OLD)
    assert (none.status, none.field(b"content-range")) == (416, b"bytes */100000")


def test_a_length_that_is_too_long(static_server: StartServer) -> None:
    server = static_server(FILES)
    server.fault("a.bin", WrongLength(+5))
    with pytest.raises(ProtocolError, match="h11 refuses"):
        ask(server)


def test_a_byte_that_is_another(static_server: StartServer) -> None:
    server = static_server(FILES)
    server.fault("a.bin", Corrupt())
    body = ask(server).body
    assert len(body) == len(OLD)
    assert body != OLD


def test_a_file_becomes_another_version(static_server: StartServer) -> None:
    server = static_server(FILES)
    server.fault("a.bin", Replace(NEW), nth=2)
    tag = ask(server).field(b"etag")
    assert tag is not None
    resumed = ask(server, "Range: bytes=1000-", f"If-Range: {tag.decode()}")
    assert (resumed.status, resumed.body) == (200, NEW)
    assert resumed.field(b"etag") != tag


def test_several_faults_of_one_request(static_server: StartServer) -> None:
    server = static_server(FILES)
    server.fault("a.bin", Replace(NEW), Cut(10))
    assert received(server)[0] == NEW[:10]


def test_unavailable(static_server: StartServer) -> None:
    server = static_server(FILES)
    server.fault("*", Unavailable(retry_after=1), nth=None)
    reply = ask(server)
    assert (reply.status, reply.field(b"retry-after")) == (503, b"1")


def test_a_directory_is_never_written_to(static_server: StartServer, tmp_path: Path) -> None:
    server = static_server(tmp_path)
    with pytest.raises(ValueError, match="Give a dict"):
        server.fault("a", Replace())
    with pytest.raises(ValueError, match="Give a dict"):
        server.replace("a", b"")
    server.at_random()


def test_it_is_gone_with_its_last_byte() -> None:
    with StaticServer(FILES) as server:
        server.fault("a.bin", Stall(10))
        silent = peer_of(server)
        silent.send(request("/a.bin"))
        assert silent.receive()
    with silent:
        # Whoever was kept waiting is let go.
        assert len(b"".join(iter(silent.receive, b""))) < 1000
    assert refused(("127.0.0.1", int(server.url.rpartition(":")[2])))


def resumed(url: str) -> bytes:
    """A downloader that resumes, as RFC 9110 section 13.1.5 wants it."""
    body, tag = b"", None
    for _ in range(10):
        asked = urllib.request.Request(url)
        if tag and body:
            asked.add_header("Range", f"bytes={len(body)}-")
            asked.add_header("If-Range", tag)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                if answer.status == 200:
                    body = b""
                tag = answer.headers["ETag"]
                length = len(body) + int(answer.headers["Content-Length"])
                with contextlib.suppress(ConnectionResetError):
                    while piece := answer.read1():
                        body += piece
                if len(body) == length:
                    return body
        except urllib.error.HTTPError as error:
            error.close()
    raise AssertionError("no more attempts")


@pytest.mark.parametrize("seed", range(20))
def test_a_downloader_that_is_right(static_server: StartServer, seed: int) -> None:
    """Whatever comes, it has one version of the file in the end, and the last one."""
    server = static_server(FILES, seed=seed)
    server.at_random("a.bin", rate=0.8)
    body = resumed(server.url + "/a.bin")
    assert body == server.read("a.bin")


def resumed_wrongly(url: str) -> bytes:
    """What is found in many a program: it resumes without If-Range."""
    body = urllib.request.urlopen(url).read1(1000)
    rest = urllib.request.Request(url, headers={"Range": f"bytes={len(body)}-"})
    return body + urllib.request.urlopen(rest).read()


# Ten lines that find a bug of a downloader.
def test_a_downloader_that_is_wrong(static_server: StartServer) -> None:
    old, new = b"a" * 5000, b"b" * 5000
    server = static_server({"file": old})
    server.fault("file", Replace(new), nth=2)
    body = resumed_wrongly(server.url + "/file")
    with pytest.raises(AssertionError, match="neither"):
        assert body in (old, new), "it is neither the one version nor the other"

"""A mount that hangs beneath the root: it harms those who ask for what lies there, and nobody else."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .client import ProtocolError, eventually, request
from .hanging import Hanging, hanging
from .servers import serving
from .streams import SLOW_BUFFER, pattern
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .client import Peer
    from .servers import Server

CLIENTS = 40
ANSWERS = 'requests_total{status="200"}'
SMALL, FIRST, LARGE = 3000, 100_000, 5 * MIB
# Of what is kept for those who find the pool full, a device that hangs may have half.
STREAMED = 32 * MIB
# What may go wrong with those who ask there: a file of it could not be had.
COMPLAINT = "could not be read|could not be answered|does not answer"


@contextmanager
def served(tmp_path: Path, kind: tuple[str, str], **options: object) -> Iterator[tuple[Server, Hanging]]:
    """A healthy tree, with a mount beneath it that can hang."""
    root, behind = tmp_path / "root", tmp_path / "behind"
    place = root / "shared"
    for directory in (place, behind / "deeper"):
        directory.mkdir(parents=True)
    for directory in (root, behind):
        (directory / "small.txt").write_bytes(pattern(SMALL))
        (directory / "large.bin").write_bytes(pattern(LARGE))
    for number in range(CLIENTS):
        (behind / f"{number}.txt").write_bytes(pattern(SMALL))
        (root / f"{number}.txt").write_bytes(pattern(SMALL))
    (root / "links").mkdir()
    (root / "links" / "small.txt").symlink_to("../shared/small.txt")
    engine, send_mode = kind
    chosen = {"memory": 16 * MIB, "stream_memory": STREAMED, "listing": True, **options}
    with (
        hanging(behind, place) as mount,
        serving(root, complaint=COMPLAINT, engine=engine, send_mode=send_mode, **chosen) as server,
    ):
        yield server, mount


def threads(server: Server) -> int:
    """Of the worker."""
    [worker] = [pid for pid in server.pids() if pid != server.pid]
    return sum(1 for _ in Path(f"/proc/{worker}/task").iterdir())


def check_healthy(server: Server, name: str = "small.txt") -> None:
    """Whoever asks for nothing of the mount is answered: files and listings."""
    for path, size in ((f"/{name}", SMALL), ("/large.bin", LARGE)):
        reply = server.ask(request(path))
        assert (reply.status, len(reply.body)) == (200, size)
    assert server.ask(request("/absent")).status == 404
    assert b"shared/" in server.ask(request("/")).body


def leave(peers: list[Peer]) -> None:
    """Without waiting for anything."""
    for peer in peers:
        peer.abort()


PATHS = {
    "small": lambda number: "/shared/small.txt",
    "large": lambda number: "/shared/large.bin",
    "new": lambda number: f"/shared/{number}.txt",
    "absent": lambda number: f"/shared/absent/{number}",
    "directory": lambda number: "/shared/deeper/",
    "link": lambda number: "/links/small.txt",
}


@pytest.mark.parametrize("path", PATHS)
def test_who_asks_elsewhere_is_answered(tmp_path: Path, kind: tuple[str, str], path: str) -> None:
    with served(tmp_path, kind) as (server, mount), ExitStack() as stack:
        check_healthy(server)
        mount.hang()
        peers = [stack.enter_context(server.peer()) for _ in range(CLIENTS)]
        for number, peer in enumerate(peers):
            peer.send(request(PATHS[path](number)))
        for number in range(3):
            check_healthy(server, f"{number}.txt")
        assert not any(peer.readable(0) for peer in peers)
        mount.go_on()
        statuses = {peer.reply().status for peer in peers}
        assert statuses == {404 if path == "absent" else 200}


def test_what_hangs_while_it_streams_harms_nobody(tmp_path: Path, kind: tuple[str, str]) -> None:
    """All have the head, and their windows are being read."""
    with served(tmp_path, kind, memory=4 * MIB) as (server, mount), ExitStack() as stack:
        check_healthy(server)
        assert len(server.ask(request("/shared/large.bin")).body) == LARGE
        before = threads(server)
        peers = [stack.enter_context(server.peer(receive_buffer=64 * 1024)) for _ in range(CLIENTS)]
        for peer in peers:
            peer.send(request("/shared/large.bin"))
        eventually("all have their heads", lambda: all(peer.readable(1.0) for peer in peers))
        mount.hang()
        readers = peers[: CLIENTS // 2]
        check_healthy(server)
        mount.go_on()
        for peer in readers:
            assert peer.reply().body == pattern(LARGE)
        leave(peers)
        server.wait_for_rest()
        assert server.metric("pool_bytes") <= STREAMED
        assert threads(server) <= before + 64


def test_all_comes_back_when_it_goes_on(tmp_path: Path, kind: tuple[str, str]) -> None:
    with served(tmp_path, kind) as (server, mount), ExitStack() as stack:
        check_healthy(server)
        for path in PATHS.values():
            server.ask(request(path(0)))
        server.wait_for_rest()
        before = server.fds_but_pipes()
        mount.hang()
        peers = [stack.enter_context(server.peer()) for _ in range(CLIENTS)]
        for number, peer in enumerate(peers):
            peer.send(request(list(PATHS.values())[number % len(PATHS)](number)))
        check_healthy(server)
        leave(peers)
        mount.go_on()
        server.wait_for_rest()
        assert server.ask(request("/shared/large.bin")).body == pattern(LARGE)
        eventually("descriptors are given back", lambda: server.fds_but_pipes() <= before + 2)


def test_a_mount_that_dies_is_told_as_an_error(tmp_path: Path, kind: tuple[str, str]) -> None:
    with served(tmp_path, kind) as (server, mount), ExitStack() as stack:
        check_healthy(server)
        mount.hang()
        peers = [stack.enter_context(server.peer()) for _ in range(CLIENTS)]
        for number, peer in enumerate(peers):
            peer.send(request(f"/shared/{number}.txt"))
        check_healthy(server)
        mount.die()
        assert {peer.reply().status for peer in peers} == {503}
        check_healthy(server, "1.txt")
        assert server.ask(request("/shared/small.txt")).status == 503


def test_the_answer_before_one_that_is_broken_off_arrives(tmp_path: Path, kind: tuple[str, str]) -> None:
    """A reset would destroy what is on its way of it."""
    with served(tmp_path, kind, revalidate_ms=600_000) as (server, mount):
        (tmp_path / "root" / "first.bin").write_bytes(pattern(FIRST))
        requests = [request(path) for path in ("/first.bin", "/shared/large.bin")]
        for each in requests:
            assert server.ask(each).status == 200
        mount.hang()
        before = server.metrics()
        with server.peer(receive_buffer=SLOW_BUFFER) as peer:
            peer.send(b"".join(requests))
            eventually("the second has begun", lambda: server.metric(ANSWERS) == before[ANSWERS] + 2)
            mount.die()
            eventually("it is broken off", lambda: server.metric("aborts_total") > before["aborts_total"])
            assert peer.reply().body == pattern(FIRST)
            with pytest.raises(ProtocolError):
                peer.reply()
            assert not peer.reset


def test_what_is_cached_of_it_is_looked_at_aside(tmp_path: Path, kind: tuple[str, str]) -> None:
    with served(tmp_path, kind, revalidate_ms=1) as (server, mount), server.peer() as peer:
        for _ in range(3):
            assert server.ask(request("/shared/small.txt")).body == pattern(SMALL)
        mount.hang()
        peer.send(request("/shared/small.txt"))
        while peer.readable(0.5):
            # It had been looked at a moment before.
            assert peer.reply().body == pattern(SMALL)
            peer.send(request("/shared/small.txt"))
        check_healthy(server)
        mount.go_on()
        assert peer.reply().body == pattern(SMALL)

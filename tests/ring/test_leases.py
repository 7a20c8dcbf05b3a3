"""What ends a lease on this kernel, seen through the whole server: a notification, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ..wire.client import eventually, request
from ..wire.servers import Server, serving
from ..wire.streams import SLOW_BUFFER, Digest, begin, cache, digest_of, pattern, publish
from ..wire.tree import MIB

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.locked


@pytest.fixture(params=[pytest.param("uring", marks=pytest.mark.uring), "portable"])
def engine(request: pytest.FixtureRequest) -> str:
    """How zero-copy sends are made, and where their notifications come from."""
    name: str = request.param
    return name


# More than a socket takes for a reader that does not read.
LARGE = pattern(24 * MIB)
# Little enough to be queued whole, too much for the reader's buffer. Below the size of a huge page.
QUEUED = pattern(MIB, seed=1)


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is overwritten as soon as its last lease has ended: what is read later shows at the receiver."""
    monkeypatch.setenv("ZC_POISON", str(0xDB))


def pinned(server: Server) -> bool:
    return server.metric("leases_open") > 0


def test_reset_ends_them(tmp_path: Path, engine: str) -> None:
    """As long as the peer lives and does not read they stay; its reset frees them."""
    (tmp_path / "large").write_bytes(LARGE)
    with serving(tmp_path, engine=engine, send_mode="zerocopy") as server:
        peer = begin(server, "/large")
        eventually("a lease is open", lambda: pinned(server))
        peer.abort()
        server.wait_for_rest()


def test_close_does_not_end_them(tmp_path: Path, engine: str) -> None:
    """The connection is closed and forgotten, the kernel still reads: the reader gets every byte."""
    (tmp_path / "queued").write_bytes(QUEUED)
    with serving(tmp_path, engine=engine, send_mode="zerocopy") as server:
        cache(server, "/queued")
        server.wait_for_rest()
        before = server.metric("connections_total")
        with server.peer(receive_buffer=SLOW_BUFFER) as peer:
            peer.send(request("/queued"))
            peer.half_close()
            # Where the notification comes by the socket, that has to stay.
            expected = (before + 1, engine == "portable")
            eventually(
                "it is closed on our side",
                lambda: (server.metric("connections_total"), server.metric("connections_open")) == expected,
            )
            assert pinned(server)
            digest = Digest()
            assert peer.reply(sink=digest).status == 200
            assert digest.result == digest_of(QUEUED)
        server.wait_for_rest()


def test_mapping_outlives_its_file(tmp_path: Path, engine: str) -> None:
    """Replaced and retired, its bytes stay until the last lease on them has ended; then they are unmapped."""
    publish(tmp_path / "large", LARGE)
    other = pattern(len(LARGE), seed=2)
    with serving(tmp_path, engine=engine, send_mode="zerocopy", revalidate_ms=10, memory=128 * MIB) as server:
        cache(server, "/large")
        with begin(server, "/large") as peer:
            publish(tmp_path / "large", other)

            def replaced() -> bool:
                digest = Digest()
                with server.peer() as quick:
                    quick.ask(request("/large"), digest)
                return digest.result == digest_of(other)

            eventually("the new file is served", replaced)
            assert server.metric("zombie_mappings_open") == 1
            assert pinned(server)
            eventually(
                "the new one is cached, and no window is out", lambda: server.metric("mappings_open") == 2
            )
            digest = Digest()
            peer.reply(sink=digest)
            assert digest.result == digest_of(LARGE)
        eventually(
            "the old one is unmapped",
            lambda: server.metric("zombie_mappings_open") == 0 and server.metric("mappings_open") == 1,
        )


def test_evicted_bytes_count_against_the_budget(tmp_path: Path, engine: str) -> None:
    """Readers that do not read, each of another file, make the server hold at most half a budget on top."""
    memory, size = 8 * MIB, 2 * MIB
    names = [f"file{number}" for number in range(24)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(pattern(size, seed=number))
    with serving(
        tmp_path, engine=engine, send_mode="zerocopy", memory=memory, stream_memory=MIB, window_size=MIB // 16
    ) as server:
        peers = []
        for name in names:
            peer = server.peer(receive_buffer=SLOW_BUFFER)
            peer.send(request("/" + name))
            assert peer.readable(10)
            peers.append(peer)
        assert server.metric("mapped_bytes") <= memory * 3 // 2 + MIB
        for number, peer in enumerate(peers):
            with peer:
                digest = Digest()
                assert peer.reply(sink=digest).status == 200
                assert digest.result == digest_of(pattern(size, seed=number))


def test_windows_are_used_again_only_when_nobody_reads_them(tmp_path: Path, engine: str) -> None:
    """A few windows for many readers, of files that are read from the disk."""
    names = [f"file{number}" for number in range(6)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(pattern(6 * MIB, seed=number))
    options = {"memory": 8 * MIB, "stream_memory": MIB, "window_size": MIB // 16}
    with serving(tmp_path, engine=engine, send_mode="zerocopy", **options) as server:
        peers = []
        for name in names:
            with open(tmp_path / name, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            peers.append(begin(server, "/" + name))
        for number, peer in enumerate(peers):
            with peer:
                digest = Digest()
                peer.reply(sink=digest)
                assert digest.result == digest_of(pattern(6 * MIB, seed=number))
        server.wait_for_rest()
        assert server.metric("pool_bytes") > 0

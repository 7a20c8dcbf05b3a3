"""What the portable engine does by itself: its splices, its descriptors, what it says."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from .client import eventually, request
from .servers import SENDS_ZEROCOPY, serving
from .streams import SLOW_BUFFER, cache, digest_of, download, pattern, write_patterns
from .tree import KIB, MIB

if TYPE_CHECKING:
    from pathlib import Path

    from .servers import Server

# What the gauge says of a route that `auto` has given up.
GIVEN_UP = 2
SPLICE_BYTES = 'send_bytes_total{mode="splice"}'
PLAIN_BYTES = 'send_bytes_total{mode="plain"}'
ZEROCOPY_BYTES = 'send_bytes_total{mode="zerocopy"}'
# Joined to its head, held as a snapshot, and too large for that with 8 MiB of memory.
SIZES = {"small": 4 * KIB, "cached": MIB, "streamed": 5 * MIB}


def decided(server: Server, path: str) -> None:
    """Ask until `auto` knows that loopback copies."""

    def is_given_up() -> bool:
        assert server.ask(request(path)).status == 200
        return server.metric('zerocopy_active{route="loopback"}') == GIVEN_UP

    eventually("zero copy is given up", is_given_up)


def test_cached_files_leave_by_splice_and_small_ones_with_their_head(tmp_path: Path) -> None:
    root = write_patterns(tmp_path, SIZES)
    with serving(root, engine="portable", memory=8 * MIB, stream_memory=4 * MIB) as server:
        assert "(portable (" in server.stdout()
        cache(server, "/cached")
        decided(server, "/cached")
        server.wait_for_rest()
        before = server.metrics()
        for name, size in SIZES.items():
            assert download(server, f"/{name}")[1] == digest_of(pattern(size)), name
        now = server.metrics()
        assert now[SENDS_ZEROCOPY] == before[SENDS_ZEROCOPY] > 0
        assert now[SPLICE_BYTES] - before[SPLICE_BYTES] == MIB
        assert now[PLAIN_BYTES] - before[PLAIN_BYTES] > SIZES["streamed"]
        assert now["mapped_bytes"] >= MIB


def test_plain_copies(tmp_path: Path) -> None:
    root = write_patterns(tmp_path, SIZES)
    with serving(root, engine="portable", send_mode="plain", memory=8 * MIB) as server:
        assert "send mode plain" in server.stdout()
        for name, size in SIZES.items():
            assert download(server, f"/{name}")[1] == digest_of(pattern(size)), name
        assert server.metric(SPLICE_BYTES) == 0


def test_multipart_is_spliced_too(tmp_path: Path) -> None:
    content = pattern(MIB)
    (tmp_path / "file").write_bytes(content)
    with serving(tmp_path, engine="portable") as server:
        cache(server, "/file")
        decided(server, "/file")
        server.wait_for_rest()
        before = server.metric(SPLICE_BYTES)
        reply = server.ask(request("/file", "Range: bytes=0-9,100000-899999"))
        assert reply.status == 206
        assert content[:10] in reply.body
        assert content[100_000:900_000] in reply.body
        server.wait_for_rest()
        assert server.metric(SPLICE_BYTES) - before == 800_000


def test_where_there_are_few_descriptors_the_rest_is_copied(tmp_path: Path) -> None:
    """Each snapshot wants one; those above that are cached without, and pushed out by nothing."""
    for number in range(80):
        (tmp_path / f"{number}").write_bytes(pattern(64 * KIB))
    with serving(tmp_path, engine="portable", nofile=256) as server:
        decided(server, "/0")
        for number in range(80):
            assert server.ask(request(f"/{number}")).body == pattern(64 * KIB)
        assert server.metric(SPLICE_BYTES) > 0
        assert server.metric("mappings_open") == 80


@pytest.mark.parametrize("end", ["reads", "resets"])
def test_a_closed_connection_keeps_its_descriptor_until_nothing_of_it_is_out(
    tmp_path: Path, end: str
) -> None:
    """Notifications come by the socket: it counts, and its memory stays, until the last of them has come."""
    (tmp_path / "file").write_bytes(pattern(MIB))
    with serving(tmp_path, engine="portable", send_mode="zerocopy") as server:
        cache(server, "/file")
        server.wait_for_rest()
        idle = server.fds_but_pipes()
        with server.peer(receive_buffer=SLOW_BUFFER) as peer:
            peer.send(request("/file", "Connection: close"))
            eventually("all of it is on its way", lambda: server.metric(ZEROCOPY_BYTES) >= 3 * MIB)
            now = server.metrics()
            assert (now["leases_open"] > 0, now["connections_open"]) == (True, 1)
            assert server.fds_but_pipes() == idle + 1
            if end == "reads":
                assert peer.reply().body == pattern(MIB)
                assert peer.leftover() == b""
            else:
                peer.abort()
        server.wait_for_rest()
        assert server.fds_but_pipes() == idle


def test_those_that_stay_count_against_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pattern(MIB))
    (tmp_path / "small").write_bytes(b"small")
    with serving(tmp_path, engine="portable", send_mode="zerocopy", connections_max=4) as server:
        cache(server, "/file")
        server.wait_for_rest()
        before = server.metric(ZEROCOPY_BYTES)
        with ExitStack() as stack:
            peers = [stack.enter_context(server.peer(receive_buffer=SLOW_BUFFER)) for _ in range(4)]
            for peer in peers:
                peer.send(request("/file", "Connection: close"))
            eventually("they are on their way", lambda: server.metric(ZEROCOPY_BYTES) == before + 4 * MIB)
            assert server.ask(request("/small")).status == 503
            assert peers[0].reply().body == pattern(MIB)
            eventually("there is a place", lambda: server.ask(request("/small")).status == 200)
            for peer in peers[1:]:
                assert peer.reply().body == pattern(MIB)

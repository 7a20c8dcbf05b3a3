"""Whole files of every size class in every mode: right bytes, bounded memory, honest counters."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .client import request
from .servers import SENDS_ZEROCOPY, Server, serving
from .streams import begin, cache, digest_of, download, pattern, write_patterns
from .tree import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

# How bytes are sent decides here.
EVERY_MODE = True

each_engine = pytest.mark.parametrize("engine", [pytest.param("uring", marks=pytest.mark.uring), "portable"])

ZC_SIZE_MIN = 16 * KIB
SIZES = {"64k": 64 * KIB, "1m": MIB, "5m": 5 * MIB + 4321, "16m": 16 * MIB, "64m": 64 * MIB}
MEMORY = 8 * MIB
STREAM_MEMORY = 4 * MIB
# What the gauge says of a route that `auto` has given up.
GIVEN_UP = 2
HUGE_PAGE = 2 * MIB


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one file of each size."""
    return write_patterns(tmp_path_factory.mktemp("downloads"), SIZES)


@pytest.fixture
def small(files: Path, kind: tuple[str, str]) -> Iterator[Server]:
    """A server whose cache is smaller than the larger files."""
    engine, send_mode = kind
    with serving(
        files, engine=engine, send_mode=send_mode, memory=MEMORY, stream_memory=STREAM_MEMORY
    ) as server:
        yield server


def test_every_size_arrives_whole_in_bounded_memory(small: Server) -> None:
    download(small, "/64k")
    before = small.resident()
    for _ in range(2):
        for name, size in SIZES.items():
            reply, got = download(small, f"/{name}")
            assert (reply.status, got) == (200, digest_of(pattern(size))), name
    # Twice the budget leaves room for the allocator and for the socket buffers' bookkeeping, not for the 64
    # MiB file.
    grown = small.resident("VmHWM") - before
    assert grown <= 2 * (MEMORY + STREAM_MEMORY), (
        f"grew by {grown} bytes on a budget of {MEMORY + STREAM_MEMORY}"
    )


def test_copying_everything_keeps_memory_bounded(files: Path, kind: tuple[str, str]) -> None:
    """What is copied because of --zc-size-min is no exception from --memory."""
    engine, send_mode = kind
    name, size = max(SIZES.items(), key=lambda item: item[1])
    with serving(
        files,
        engine=engine,
        send_mode=send_mode,
        memory=MEMORY,
        stream_memory=STREAM_MEMORY,
        zc_size_min="1G",
    ) as server:
        download(server, "/64k")
        before = server.resident()
        for _ in range(2):
            reply, got = download(server, f"/{name}")
            assert (reply.status, got) == (200, digest_of(pattern(size)))
        grown = server.resident("VmHWM") - before
        assert grown <= 2 * (MEMORY + STREAM_MEMORY), f"grew by {grown} bytes"


def test_ranges_of_a_streamed_file(small: Server) -> None:
    content = pattern(SIZES["64m"])
    for first, last in (
        (0, 0),
        (1, 4 * MIB),
        (33 * MIB - 1, 41 * MIB + 1),
        (len(content) - 3, len(content) - 1),
    ):
        reply, got = download(small, "/64m", f"Range: bytes={first}-{last}")
        assert (reply.status, got) == (206, digest_of(content[first : last + 1])), (first, last)


def test_several_downloads_on_one_connection(small: Server) -> None:
    asked = ["5m", "64k", "16m", "1m", "16m", "64k"]
    with small.peer() as peer:
        peer.send(b"".join(request(f"/{name}") for name in asked))
        for name in asked:
            assert peer.reply().body == pattern(SIZES[name]), name


def test_sixteen_slow_readers_do_not_block_a_fast_one(small: Server) -> None:
    """More slow readers than the pool has windows: they wait for each other at most, never for the reader
    that reads.
    """
    slow = [begin(small, "/64m") for _ in range(16)]
    for name in ("64m", "16m", "64k"):
        assert download(small, f"/{name}")[1] == digest_of(pattern(SIZES[name])), name
    for peer in slow:
        peer.abort()


def test_slow_readers_get_all_their_bytes_too(small: Server) -> None:
    slow = [begin(small, "/16m") for _ in range(6)]
    got: list[bytes | None] = [None] * len(slow)

    def finish(at: int) -> None:
        got[at] = slow[at].reply().body

    readers = [threading.Thread(target=finish, args=(at,)) for at in range(len(slow))]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    for peer, body in zip(slow, got, strict=True):
        assert body == pattern(SIZES["16m"])
        peer.socket.close()


def test_a_burst_of_downloads_at_once(small: Server) -> None:
    wanted = digest_of(pattern(SIZES["5m"]))
    results: list[tuple[int, str]] = []
    readers = [threading.Thread(target=lambda: results.append(download(small, "/5m")[1])) for _ in range(12)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert results == [wanted] * 12


@each_engine
def test_zerocopy_sends_without_copying_and_tells_what_the_kernel_did(files: Path, engine: str) -> None:
    with serving(files, engine=engine, send_mode="zerocopy", zc_size_min=ZC_SIZE_MIN) as server:
        before = server.metrics()
        for name, size in SIZES.items():
            assert download(server, f"/{name}")[1] == digest_of(pattern(size))
        server.wait_for_rest()
        now = server.metrics()
        sends = now[SENDS_ZEROCOPY] - before[SENDS_ZEROCOPY]
        usage = {
            name: value for name, value in now.items() if name.startswith("zerocopy_notifications_total")
        }
        assert sends > 0
        assert sum(usage.values()) == sends
        # Loopback copies every zero-copy send; where the kernel can tell, the server must say so.
        assert usage['zerocopy_notifications_total{usage="zero_copied"}'] == 0
        # What is left of a body may be copied on purpose when it is less than --zc-size-min.
        copied = sum(SIZES.values()) - now['send_bytes_total{mode="zerocopy"}']
        assert copied < ZC_SIZE_MIN * len(SIZES)
        assert now["lease_seconds_count"] == sends


@each_engine
def test_plain_never_sends_zerocopy(files: Path, engine: str) -> None:
    with serving(files, engine=engine, send_mode="plain") as server:
        for name in SIZES:
            download(server, f"/{name}")
        now = server.metrics()
        assert now[SENDS_ZEROCOPY] == 0
        assert (
            sum(value for name, value in now.items() if name.startswith("zerocopy_notifications_total")) == 0
        )
        assert now['send_bytes_total{mode="plain"}'] >= sum(SIZES.values())


@each_engine
def test_auto_gives_zerocopy_up_where_the_kernel_copies(files: Path, engine: str) -> None:
    """On loopback every notification says COPIED: `auto` must notice, say so, and go on by reference."""
    with serving(files, engine=engine, send_mode="auto") as server:
        for _ in range(400):
            assert download(server, "/1m")[1] == digest_of(pattern(MIB))
            if server.metric('zerocopy_active{route="loopback"}') == GIVEN_UP:
                break
        cache(server, "/5m")
        server.wait_for_rest()
        before = server.metrics()
        assert before['zerocopy_active{route="loopback"}'] == GIVEN_UP
        assert before[SENDS_ZEROCOPY] > 0, "it gave up without having tried"
        assert download(server, "/5m")[1] == digest_of(pattern(SIZES["5m"]))
        after = server.metrics()
        assert after[SENDS_ZEROCOPY] == before[SENDS_ZEROCOPY]
        assert (
            after['send_bytes_total{mode="splice"}']
            == before['send_bytes_total{mode="splice"}'] + SIZES["5m"]
        )
        assert (
            after['zerocopy_fallbacks_total{reason="copied"}']
            == before['zerocopy_fallbacks_total{reason="copied"}']
        )


@each_engine
def test_what_auto_cached_before_it_knew_is_made_anew_of_huge_pages(files: Path, engine: str) -> None:
    with serving(files, engine=engine, revalidate_ms=10, send_mode="auto") as server:
        for _ in range(1000):
            assert download(server, "/1m")[1] == digest_of(pattern(MIB))
            server.wait_for_rest()
            if server.metric("mapped_bytes") == HUGE_PAGE:
                break
        assert server.metric('zerocopy_active{route="loopback"}') == GIVEN_UP
        assert server.metric("mapped_bytes") == HUGE_PAGE, "its only snapshot lies in one"


def test_a_small_receive_buffer_is_no_standstill(tmp_path: Path) -> None:
    """In huge pages a zero-copy send is charged for far more than its bytes, and such a client starves."""
    content = pattern(4 * MIB)
    (tmp_path / "file").write_bytes(content)
    with serving(tmp_path, send_mode="zerocopy") as server, server.peer(receive_buffer=64 * KIB) as peer:
        assert peer.ask(request("/file")).body == content


@pytest.mark.parametrize("root", ["/proc/sys/kernel", "/sys/kernel"])
def test_what_is_made_when_it_is_read_is_no_file_to_serve(kind: tuple[str, str], root: str) -> None:
    """Its size is a lie: neither nothing with 200, nor a 503 for ever, nor advice on how to write files."""
    engine, send_mode = kind
    name = {"/proc/sys/kernel": "ostype", "/sys/kernel": "uevent_seqnum"}[root]
    if not Path(root, name).exists():
        pytest.skip(f"there is no {root}/{name} here")
    complaint = f"answering 404: /{name} has"
    with serving(Path(root), engine=engine, send_mode=send_mode, complaint=complaint) as server:
        assert [server.ask(request(f"/{name}")).status for _ in range(3)] == [404] * 3
        assert server.stderr().count(complaint) == 1
        assert "Copy it to a file" in server.stderr()

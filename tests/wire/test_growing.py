"""Files that grow while they are served: append is not replacement. And files of which a part is wanted."""

from __future__ import annotations

import ctypes
import os
import re
import time
from typing import TYPE_CHECKING

import pytest

from .client import ProtocolError, eventually, request
from .conftest import Fleet
from .growth import appending, before_reads, stretch
from .servers import Corner, Server, serving
from .streams import begin, cache, is_old_but_for_sends, pattern, publish
from .tree import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMORY = 8 * MIB
SMALL, CACHED, STREAMED = 8 * KIB, MIB, 6 * MIB
ROUNDS = 5


@pytest.fixture(scope="module")
def growing_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Servers that look often, and stream what is above 2 MiB."""
    root = tmp_path_factory.mktemp("growing")
    fleet = Fleet(root, memory=MEMORY, stream_memory=4 * MIB, revalidate_ms=20)
    yield fleet
    fleet.leave()


@pytest.fixture
def growing(growing_fleet: Fleet, kind: tuple[str, str]) -> Corner:
    return growing_fleet.corner(kind)


def check(corner: Corner, *lines: str) -> None:
    """Ask once: the answer is whole, and what it has belongs where it says."""
    reply = corner.ask("/log", *lines)
    length = int(reply.field(b"content-length") or b"-1")
    assert len(reply.body) == length
    if not lines:
        assert reply.status == 200
        assert reply.body == stretch(0, length)
        return
    found = re.fullmatch(rb"bytes (\d+)-(\d+)/(\d+)", reply.field(b"content-range") or b"")
    assert reply.status == 206
    assert found
    first, last, size = map(int, found.groups())
    assert last - first + 1 == length
    assert reply.body == stretch(first, length)
    if lines == ("Range: bytes=-1000",):
        assert (last + 1, length) == (size, 1000)


@pytest.mark.parametrize("every_s", [0.05, 0.002, 0.0001])
@pytest.mark.parametrize("size", [SMALL, CACHED, STREAMED], ids=["small", "cached", "streamed"])
def test_every_answer_is_whole(growing: Corner, size: int, every_s: float) -> None:
    (growing.path / "log").write_bytes(stretch(0, size))
    with appending(growing.path / "log", every_s) as times:
        for _ in range(ROUNDS):
            check(growing)
            check(growing, "Range: bytes=-1000")
            check(growing, f"Range: bytes={size // 3}-{size // 2}")
            check(growing, f"Range: bytes={size // 4}-")
        begun = times()
        eventually("it has grown meanwhile", lambda: times() > begun)


@pytest.mark.parametrize("size", [CACHED, STREAMED], ids=["cached", "streamed"])
def test_a_slow_download_goes_on_to_its_announced_end(growing: Corner, size: int) -> None:
    (growing.path / "log").write_bytes(stretch(0, size))
    with begin(growing.server, growing.url + "/log") as peer, appending(growing.path / "log", 0.002) as times:
        eventually("it grows", lambda: times() > 3)
        reply = peer.reply()
        assert reply.body == stretch(0, size)
        # The same connection is told of more next.
        eventually(
            "the new length is announced", lambda: len(peer.ask(request(growing.url + "/log")).body) > size
        )


@pytest.mark.parametrize("size", [CACHED, STREAMED], ids=["cached", "streamed"])
def test_emptied_and_grown_again_during_a_slow_download(growing: Corner, size: int) -> None:
    """As logrotate's copytruncate does: longer than what was announced when the server looks again."""
    old, new = pattern(size), pattern(size + 4 * KIB, seed=1)
    publish(growing.path / "log", old)
    with begin(growing.server, growing.url + "/log") as peer:
        with open(growing.path / "log", "r+b") as file:
            file.truncate(0)
            file.write(new)
        got = bytearray()
        try:
            peer.reply(sink=got.extend)
        except ProtocolError:
            assert peer.ended
            assert is_old_but_for_sends(bytes(got), old, new, copied="plain" in growing.server.name)
        else:
            assert bytes(got) == old


# ---- descriptors of files that nobody reads ----


def test_a_deleted_file_is_closed(growing: Corner) -> None:
    path = growing.path / "log"
    publish(path, pattern(STREAMED))
    for lines in ((), ("Range: bytes=5-2000000",)):
        assert growing.ask("/log", *lines).status in (200, 206)
    path.unlink()

    def held() -> list[str]:
        links = []
        for pid in growing.server.pids():
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
                except FileNotFoundError:
                    continue
        return [link for link in links if str(path) in link]

    eventually("nobody holds it any more", lambda: not held())


@pytest.mark.parametrize("lines", [(), ("Range: bytes=5-900000",)], ids=["whole", "part"])
def test_its_file_system_can_be_unmounted(growing: Corner, lines: tuple[str, ...]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    place = growing.path / "volume"
    place.mkdir()
    if libc.mount(b"none", os.fsencode(place), b"tmpfs", 0, b"size=32m"):
        pytest.skip(f"mount is not permitted here: {os.strerror(ctypes.get_errno())}")
    try:
        (place / "large").write_bytes(pattern(STREAMED))
        (place / "middle").write_bytes(pattern(CACHED))
        for name in ("large", "middle"):
            assert growing.ask(f"/volume/{name}", *lines).status in (200, 206)
        eventually("it is not busy", lambda: libc.umount(os.fsencode(place)) == 0)
    finally:
        libc.umount2(os.fsencode(place), 2)


# ---- parts ----


@pytest.fixture
def roomy(tmp_path: Path, kind: tuple[str, str]) -> Iterator[Server]:
    """A server that has room for a file of 8 MiB, and does not look again during a test."""
    engine, send_mode = kind
    with serving(
        tmp_path, engine=engine, send_mode=send_mode, memory=64 * MIB, revalidate_ms=60_000
    ) as server:
        yield server


def test_a_part_does_not_have_the_whole_read(roomy: Server, tmp_path: Path) -> None:
    """As long as less was sent of it than asking for it twice would have."""
    content = pattern(8 * MIB)
    (tmp_path / "file").write_bytes(content)
    before = roomy.metric("mapped_bytes")
    last = len(content) - 1
    spans = [(0, 0), (5, 70_000), (4 * MIB, 5 * MIB), (1, 2 * MIB), (last - 9, last)]
    several = ",".join(f"{first}-{last}" for first, last in spans[:2])
    for _ in range(3):
        for first, last in spans:
            reply = roomy.ask(request("/file", f"Range: bytes={first}-{last}"))
            assert (reply.status, reply.body) == (206, content[first : last + 1])
        reply = roomy.ask(request("/file", f"Range: bytes={several}"))
        assert reply.status == 206
        assert all(content[first : last + 1] in reply.body for first, last in spans[:2])
        assert roomy.ask(request("/file", method="HEAD")).status == 200
        assert roomy.ask(request("/file", "Range: bytes=0-9", method="HEAD")).status == 200
    eventually("no window is out", lambda: roomy.metric("mapped_bytes") == before)
    assert roomy.metric("fills_total") == 0
    # Whoever wants the whole again has it cached, and then parts come from there too.
    cache(roomy, "/file")
    eventually("no window is out", lambda: roomy.metric("windows_open") == 0)
    cached = roomy.metric("mapped_bytes")
    assert cached >= len(content)
    (tmp_path / "file").write_bytes(b"")
    for first, last in spans:
        reply = roomy.ask(request("/file", f"Range: bytes={first}-{last}"))
        assert (reply.status, reply.body) == (206, content[first : last + 1])
    assert roomy.metric("mapped_bytes") == cached


def test_a_part_of_what_was_written_to_in_place_is_of_the_new(roomy: Server, tmp_path: Path) -> None:
    """Also before the entry is due: no byte has left, so the file is looked at again."""
    old, new = pattern(MIB, seed=1), pattern(MIB, seed=2)
    path = tmp_path / "file"
    asked = request("/file", "Range: bytes=100-600000")
    path.write_bytes(old)
    for _ in range(3):
        assert roomy.ask(asked).body == old[100:600_001]
    with open(path, "r+b") as file:
        file.write(new)
    os.utime(path, ns=(0, 10**18))
    for _ in range(3):
        assert roomy.ask(asked).body == new[100:600_001]
    assert roomy.ask(request("/file")).body == new


@pytest.mark.parametrize("longer", [0, 10], ids=["same size", "longer"])
def test_written_anew_while_it_is_being_filled(roomy: Server, tmp_path: Path, longer: int) -> None:
    """Before each of the reads that a fill consists of, in turn, and those of who is served meanwhile: no
    answer that is complete has bytes of both.
    """
    size = 1536 * KIB
    for when in range(1, 30):
        old, new = pattern(size, seed=when), pattern(size + longer, seed=when + 100)
        path = tmp_path / f"file{when}"
        publish(path, old)

        def rewrite(number: int, path: Path = path, new: bytes = new, when: int = when) -> None:
            if number == when:
                with open(path, "r+b", buffering=0) as file:
                    file.write(new)
                os.utime(path, ns=(0, time.time_ns() - 10**9))

        roomy.ask(request(f"/{path.name}"))
        fills = roomy.metric("fills_total")
        with before_reads(path, rewrite):
            got = [body_of(roomy, path.name) for _ in range(2)]
            assert roomy.metric("fills_total") > fills
        for body in got:
            assert body in (old, new, None), f"mixed when it was written to before read {when}"


def body_of(server: Server, name: str) -> bytes | None:
    """What comes; None if it is broken off."""
    got = bytearray()
    with server.peer() as peer:
        peer.send(request(f"/{name}"))
        try:
            peer.reply(sink=got.extend)
        except ProtocolError:
            return None
    return bytes(got)

"""Files that change while they are served: one response is one version of one file, whatever happens to the
file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from .client import ProtocolError, eventually, request
from .conftest import Fleet
from .servers import Corner, Server, serving
from .streams import begin, is_old_but_for_sends, pattern, publish
from .tree import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# How bytes are sent decides here.
EVERY_MODE = True

CACHED = MIB
STREAMED = 24 * MIB
REVALIDATE_MS = 50


@pytest.fixture(scope="module")
def changing_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Servers that look for changes often, and stream what is above 8 MiB."""
    root = tmp_path_factory.mktemp("changing")
    fleet = Fleet(root, memory=8 * MIB, stream_memory=4 * MIB, revalidate_ms=REVALIDATE_MS)
    yield fleet
    fleet.leave()


@pytest.fixture
def changing(changing_fleet: Fleet, kind: tuple[str, str]) -> Corner:
    return changing_fleet.corner(kind)


def until_new(server: Server, path: str, old: bytes, new: bytes) -> None:
    """Ask until the new version comes; every answer on the way is one version, whole."""

    def is_new() -> bool:
        body = server.ask(request(path)).body
        assert body in (old, new), "neither the old version nor the new one"
        return body == new

    eventually("the new version is served", is_new)


@pytest.mark.parametrize("size", [CACHED, STREAMED], ids=["cached", "streamed"])
def test_replaced_by_rename_during_a_slow_download(changing: Corner, size: int) -> None:
    old, new = pattern(size, 1), pattern(size + 1, 2)
    publish(changing.path / "file", old)
    with begin(changing.server, changing.url + "/file") as peer:
        publish(changing.path / "file", new)
        until_new(changing.server, changing.url + "/file", old, new)
        assert peer.reply().body == old
        # The same connection too gets the new version next.
        assert peer.ask(request(changing.url + "/file")).body == new


def test_replaced_by_one_of_the_same_size_and_second(changing: Corner) -> None:
    old, new = pattern(CACHED, 1), pattern(CACHED, 2)
    publish(changing.path / "file", old)
    assert changing.ask("/file").body == old
    publish(changing.path / "file", new)
    until_new(changing.server, changing.url + "/file", old, new)


def test_old_tag_no_longer_matches(changing: Corner) -> None:
    publish(changing.path / "file", b"old")
    tag = changing.ask("/file").field(b"etag")
    assert tag is not None
    asked = request(changing.url + "/file", b"If-None-Match: " + tag)
    assert changing.server.ask(asked).status == 304
    publish(changing.path / "file", b"new")
    eventually("the tag is outdated", lambda: changing.server.ask(asked).status == 200)
    assert changing.ask("/file", b"If-Range: " + tag, "Range: bytes=0-0").status == 200


def test_appears_and_disappears(changing: Corner) -> None:
    path = changing.path / "file"
    assert changing.ask("/file").status == 404
    publish(path, b"here")
    eventually("the file is found", lambda: changing.ask("/file").status == 200)
    path.unlink()
    eventually("the file is missed", lambda: changing.ask("/file").status == 404)
    path.mkdir()
    eventually("the directory is seen", lambda: changing.ask("/file").status in (301, 308, 403))


def test_deleted_during_a_slow_download(changing: Corner) -> None:
    content = pattern(STREAMED)
    publish(changing.path / "file", content)
    with begin(changing.server, changing.url + "/file") as peer:
        (changing.path / "file").unlink()
        assert peer.reply().body == content


def test_a_sidecar_appears(changing: Corner) -> None:
    asked = request(changing.url + "/app.js", "Accept-Encoding: br")
    publish(changing.path / "app.js", b"plain" * 100)
    assert changing.server.ask(asked).field(b"content-encoding") is None
    publish(changing.path / "app.js.br", b"pretend")
    eventually("the sidecar is used", lambda: changing.server.ask(asked).body == b"pretend")


def test_the_root_is_swapped_by_a_link(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "file").write_bytes(release.encode())
    link = tmp_path / "current"
    link.symlink_to("one")
    with serving(link, engine=engine, send_mode=send_mode, revalidate_ms=REVALIDATE_MS) as server:
        assert server.ask(request("/file")).body == b"one"
        (tmp_path / "fresh").symlink_to("two")
        os.replace(tmp_path / "fresh", link)
        until_new(server, "/file", b"one", b"two")


def overwrite(path: Path) -> None:
    """Write other bytes over the second half, in place."""
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(pattern(path.stat().st_size // 2, 7))


def cut_to_nothing(path: Path) -> None:
    """Truncate to nothing."""
    os.truncate(path, 0)


def cut_in_half(path: Path) -> None:
    """Truncate in the middle."""
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    """Append."""
    with open(path, "ab") as file:
        file.write(b"more" * 64 * KIB)


def rewrite(path: Path) -> None:
    """Empty the file and write a new version of the same size, as many editors and `cp` do."""
    size = path.stat().st_size
    path.write_bytes(pattern(size, 9))


@pytest.mark.parametrize("change", [overwrite, cut_to_nothing, cut_in_half, grow, rewrite])
@pytest.mark.parametrize("size", [CACHED, STREAMED], ids=["cached", "streamed"])
def test_changed_in_place_during_a_slow_download(
    changing: Corner, size: int, change: Callable[[Path], None]
) -> None:
    """Either the old version arrives whole, or the connection ends short: never other bytes under the old
    length and tag.
    """
    old = pattern(size)
    publish(changing.path / "file", old)
    with begin(changing.server, changing.url + "/file") as peer:
        change(changing.path / "file")
        got = bytearray()
        try:
            reply = peer.reply(sink=got.extend)
        except ProtocolError:
            assert peer.ended
            assert len(got) < size
            new = (changing.path / "file").read_bytes().ljust(size, b"\0")
            assert is_old_but_for_sends(bytes(got), old, new, copied="plain" in changing.server.name)
        else:
            assert reply.status == 200
            assert bytes(got) == old
    now = (changing.path / "file").read_bytes()
    eventually("the version of now is served", lambda: _body(changing.server, changing.url + "/file") == now)


def _body(server: Server, path: str) -> bytes | None:
    """What a new request gets; None when it met the entry before its revalidation and was cut off."""
    body = bytearray()
    with server.peer() as peer:
        try:
            peer.ask(request(path), body.extend)
        except ProtocolError:
            assert peer.reset, "cut off, but in a way that looks complete"
            return None
    return bytes(body)


def test_no_request_is_lost_after_an_overwrite(tmp_path: Path, kind: tuple[str, str]) -> None:
    """Also before the entry is due: no byte has left, so the file is looked at again."""
    engine, send_mode = kind
    path, size = tmp_path / "file", 8 * MIB
    publish(path, pattern(size))
    asks = (request("/file"), request("/file", "Range: bytes=1000-7000000"))
    options = {"memory": 8 * MIB, "stream_memory": 4 * MIB, "revalidate_ms": 60_000}
    with (
        serving(tmp_path, engine=engine, send_mode=send_mode, **options) as server,
        server.peer() as kept,
    ):
        for seed in range(3):
            if seed:
                with open(path, "r+b", buffering=0) as file:
                    file.write(pattern(size, seed))
            now = path.read_bytes()
            for ask in (kept.ask, kept.ask, server.ask):
                for asked, body in zip(asks, (now, now[1000:7_000_001]), strict=True):
                    reply = ask(asked)
                    assert reply.status in (200, 206)
                    assert reply.body == body


def test_what_nobody_writes_to_leaves_by_reference(tmp_path: Path, kind: tuple[str, str]) -> None:
    """Where the server may choose; and what is replaced meanwhile is sent to its end."""
    engine, send_mode = kind
    old, new = pattern(STREAMED, 1), pattern(STREAMED, 2)
    publish(tmp_path / "file", old)
    options = {"memory": 8 * MIB, "stream_memory": 4 * MIB, "revalidate_ms": REVALIDATE_MS, "frozen": True}
    with serving(tmp_path, engine=engine, send_mode=send_mode, **options) as server:
        # The first sends show whether zero copy saves anything.
        for _ in range(2):
            assert server.ask(request("/file")).body == old
        before = server.metric('send_bytes_total{mode="splice"}')
        with begin(server, "/file") as peer:
            publish(tmp_path / "file", new)
            until_new(server, "/file", old, new)
            assert peer.reply().body == old
        spliced = server.metric('send_bytes_total{mode="splice"}') - before
        # What is left for a last piece may be too little for one.
        assert spliced >= 2 * STREAMED - MIB if send_mode == "auto" else spliced == 0

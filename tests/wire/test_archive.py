"""A folder as a zip, over the wire: whole, cut anywhere, and broken off when what is in it changes."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from zchttpd.files.archives import JOBS_MAX
from zchttpd.files.checksums import LARGE_SIZE

from .client import Peer, ProtocolError, eventually, request
from .conftest import Fleet
from .servers import serving
from .streams import begin, pattern
from .tree import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .servers import Server

# How bytes are sent decides here.
EVERY_MODE = True

ZIP = "/d/?zip"
CONTENT = {
    "empty": b"",
    "folder/": b"",
    "large": pattern(3 * MIB),
    "small": b"some bytes",
    "sub/": b"",
    "sub/middle": pattern(100 * KIB),
    "sub/ü": b"named so",
}


def build(root: Path) -> Path:
    for name, content in CONTENT.items():
        path = root / "d" / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(content)
    (root / "d" / "sub" / ".hidden").write_bytes(b"hidden")
    (root / "file").write_bytes(b"a file")
    return root


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(build(tmp_path_factory.mktemp("zip")), zip=True, listing=True)
    yield fleet
    fleet.leave()


@pytest.fixture
def zipping(fleets: Fleet, kind: tuple[str, str]) -> Server:
    return fleets.server(*kind)


def read(body: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_is_the_folder(zipping: Server) -> None:
    reply = zipping.ask(request(ZIP))
    assert reply.status == 200
    assert reply.field(b"content-type") == b"application/zip"
    assert reply.field(b"content-disposition") == b"attachment; filename*=UTF-8''d.zip"
    assert read(reply.body) == CONTENT
    told = zipping.ask(request(ZIP, method="HEAD"))
    for name in (b"content-length", b"etag", b"accept-ranges", b"content-disposition"):
        assert told.field(name) == reply.field(name)
    again = zipping.ask(request(ZIP, b"If-None-Match: " + (reply.field(b"etag") or b"")))
    assert (again.status, again.body) == (304, b"")
    zipping.wait_for_rest()


def test_a_range_is_cut_at_every_boundary(zipping: Server) -> None:
    """Those of the members, of their headers, and a byte to either side."""
    whole = zipping.ask(request(ZIP)).body
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        starts = [info.header_offset for info in archive.infolist()]
        sizes = [len(info.filename.encode()) + info.file_size for info in archive.infolist()]
        central = archive.start_dir
    places = {central, len(whole) - 22}
    for start, size in zip(starts, sizes, strict=True):
        places |= {start, start + 30, start + 39 + size, start + 39 + size + 16}
    cuts = sorted({place + by for place in places for by in (-1, 0, 1) if 0 < place + by < len(whole)})
    with zipping.peer() as peer:
        for at in cuts:
            reply = peer.ask(request(ZIP, f"Range: bytes={at - 1}-{at}"))
            assert (reply.status, reply.body) == (206, whole[at - 1 : at + 1]), at
        reply = peer.ask(request(ZIP, f"Range: bytes={cuts[1]}-"))
        assert reply.body == whole[cuts[1] :]
        reply = peer.ask(request(ZIP, "Range: bytes=-100"))
        assert reply.body == whole[-100:]
        reply = peer.ask(request(ZIP, f"Range: bytes={len(whole)}-"))
        assert reply.status == 416
    zipping.wait_for_rest()


def test_several_ranges_at_once(zipping: Server) -> None:
    whole = zipping.ask(request(ZIP)).body
    reply = zipping.ask(request(ZIP, f"Range: bytes=0-9,{MIB}-{2 * MIB},-50"))
    assert reply.status == 206
    for part in (whole[:10], whole[MIB : 2 * MIB + 1], whole[-50:]):
        assert part in reply.body


def test_a_tag_of_another_version_gets_all(zipping: Server) -> None:
    reply = zipping.ask(request(ZIP, "Range: bytes=5-", 'If-Range: "other"'))
    assert reply.status == 200
    tag = reply.field(b"etag") or b""
    assert zipping.ask(request(ZIP, "Range: bytes=5-", b"If-Range: " + tag)).body == reply.body[5:]


def test_one_connection_many_archives(zipping: Server) -> None:
    with zipping.peer() as peer:
        peer.send(request(ZIP) + request("/file") + request(ZIP, method="HEAD") + request("/d/sub/?zip"))
        assert read(peer.reply().body) == CONTENT
        assert peer.reply().body == b"a file"
        assert peer.reply(b"HEAD").status == 200
        assert set(read(peer.reply().body)) == {"middle", "ü"}


def test_what_is_no_folder_is_what_it_was(zipping: Server) -> None:
    assert zipping.ask(request("/file?zip")).body == b"a file"
    assert zipping.ask(request("/nothing/?zip")).status == 404
    reply = zipping.ask(request("/d?zip"))
    assert (reply.status, reply.field(b"location")) == (301, b"d/?zip")


def test_listings_lead_to_it(zipping: Server) -> None:
    page = zipping.ask(request("/d/", "Accept: text/html")).body
    assert b'<button form="zip" name="zip" value="">' in page
    assert read(zipping.ask(request("/d/?zip=")).body) == CONTENT


def test_it_is_off_unless_it_is_asked_for(kind: tuple[str, str], tmp_path: Path) -> None:
    engine, send_mode = kind
    with serving(build(tmp_path), engine=engine, send_mode=send_mode, listing=True) as server:
        page = server.ask(request(ZIP))
        assert page.field(b"content-type") == b"text/html; charset=utf-8"
        assert b"zip" not in page.body


@pytest.mark.parametrize("change", ["written", "replaced", "gone"])
def test_a_member_that_changes_breaks_it_off(kind: tuple[str, str], tmp_path: Path, change: str) -> None:
    engine, send_mode = kind
    folder = build(tmp_path) / "d"
    (folder / "first").write_bytes(pattern(24 * MIB))
    late = folder / "late"
    late.write_bytes(pattern(MIB))
    with serving(tmp_path, engine=engine, send_mode=send_mode, zip=True, revalidate_ms=50) as server:
        tag = server.ask(request(ZIP, method="HEAD")).field(b"etag")
        with begin(server, ZIP) as peer:
            if change == "gone":
                late.unlink()
            elif change == "written":
                late.write_bytes(pattern(MIB, 1))
            else:
                (tmp_path / "new").write_bytes(pattern(MIB, 1))
                (tmp_path / "new").rename(late)
            with pytest.raises((ProtocolError, ConnectionError)):
                peer.reply()
        fresh = server.ask(request(ZIP))
        assert fresh.field(b"etag") != tag
        assert ("late" in read(fresh.body)) == (change != "gone")
        server.wait_for_rest()


def test_a_large_member_that_changes_under_way_breaks_it_off(kind: tuple[str, str], tmp_path: Path) -> None:
    engine, send_mode = kind
    folder = build(tmp_path) / "d"
    (folder / "first").write_bytes(pattern(24 * MIB))
    with serving(tmp_path, engine=engine, send_mode=send_mode, zip=True) as server:
        with begin(server, ZIP) as peer:
            with (folder / "first").open("r+b") as file:
                file.seek(20 * MIB)
                file.write(b"others")
            with pytest.raises((ProtocolError, ConnectionError)):
                peer.reply()
        server.wait_for_rest()


def test_who_leaves_leaves_nothing_behind(zipping: Server, fleets: Fleet) -> None:
    for _ in range(5):
        begin(zipping, ZIP, 100).abort()
    zipping.wait_for_rest()
    assert read(zipping.ask(request(ZIP)).body) == CONTENT


def test_who_leaves_has_nothing_hashed_any_more(kind: tuple[str, str], tmp_path: Path) -> None:
    """Files of this size are hashed one after the other: who comes next would wait for minutes."""
    engine, send_mode = kind
    for name, size in (("huge", 1 << 40), ("large", LARGE_SIZE + 1)):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "file").open("wb") as file:
            file.truncate(size)
    with serving(tmp_path, engine=engine, send_mode=send_mode, zip=True) as server:
        begin(server, "/huge/?zip", 100).abort()
        assert list(read(server.ask(request("/large/?zip")).body)) == ["file"]
        server.wait_for_rest()
        assert server.metric("digest_bytes_total") < 1 << 40


def test_many_small_files(kind: tuple[str, str], tmp_path: Path) -> None:
    engine, send_mode = kind
    (tmp_path / "d").mkdir()
    content = {f"{number:04}": b"%d" % number * 50 for number in range(2000)}
    for name, each in content.items():
        (tmp_path / "d" / name).write_bytes(each)
    with serving(tmp_path, engine=engine, send_mode=send_mode, zip=True) as server:
        assert read(server.ask(request(ZIP)).body) == content


def test_a_crowd_that_only_asks_has_nothing_hashed(kind: tuple[str, str], tmp_path: Path) -> None:
    """Ever other folders by HEAD, and GETs that are given up: what is hashed is what is about to be sent."""
    engine, send_mode = kind
    for number in range(50):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "large").write_bytes(pattern(MIB))
    with serving(tmp_path, engine=engine, send_mode=send_mode, zip=True) as server:
        for number in range(50):
            path = f"/{number}/?zip"
            reply = server.ask(request(path, method="HEAD"))
            assert reply.status == 200
            assert server.ask(request(path, "Range: bytes=0-99")).status == 206
        assert server.metric("digest_bytes_total") == 0
        whole = server.ask(request("/0/?zip")).body
        assert read(whole) == {"large": pattern(MIB)}
        assert server.ask(request("/0/?zip")).body == whole
        eventually("made once", lambda: server.metric("digest_bytes_total") == MIB)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large folders `l0` to `l23`, which are one, and small ones `s0` to `s15`."""
    root = tmp_path_factory.mktemp("crowd")
    (root / "large").mkdir()
    for number in range(9000):
        (root / "large" / f"{number}").touch()
    for number in range(24):
        (root / f"l{number}").symlink_to("large")
    for number in range(JOBS_MAX):
        (root / f"s{number}").mkdir()
    return root


def asking(server: Server, letter: str, count: int, source: str | None = None) -> list[Peer]:
    """Connections that ask for folders that nobody has looked at, each for its own."""
    peers = [server.peer(source=source) for _ in range(count)]
    for number, peer in enumerate(peers):
        peer.send(request(f"/{letter}{number}/?zip", method="HEAD"))
    return peers


@pytest.mark.parametrize("leaves", ["reset", "closed"])
def test_who_leaves_has_nothing_looked_at_any_more(kind: tuple[str, str], crowd: Path, leaves: str) -> None:
    """Or others would be told 503 for as long as that takes. Who has closed may only have no more to ask."""
    engine, send_mode = kind
    options = {"engine": engine, "send_mode": send_mode, "zip": True, "complaint": "too many folders"}
    with serving(crowd, **options) as server:
        leaving = asking(server, "l", 24)
        eventually("there is no room", lambda: server.says("too many folders"))
        for peer in leaving:
            if leaves == "reset":
                peer.abort()
            else:
                peer.socket.close()
        # One that is being looked at ends, and has its place until then.
        others = asking(server, "s", JOBS_MAX - 1)
        assert {peer.reply(b"HEAD").status for peer in others} == {200}
        for peer in others:
            peer.socket.close()
        server.wait_for_rest()


def test_who_has_no_more_to_ask_is_answered(kind: tuple[str, str], crowd: Path) -> None:
    engine, send_mode = kind
    with serving(crowd, engine=engine, send_mode=send_mode, zip=True) as server:
        halves = asking(server, "l", 2)
        for peer in halves:
            peer.half_close()
        others = asking(server, "s", 2)
        assert {peer.reply(b"HEAD").status for peer in (*others, *halves)} == {200}
        for peer in (*halves, *others):
            peer.socket.close()
        server.wait_for_rest()


def test_a_limit_of_connections_is_one_of_folders(kind: tuple[str, str], crowd: Path) -> None:
    """One address that stays keeps nobody else out."""
    engine, send_mode = kind
    options = {"engine": engine, "send_mode": send_mode, "zip": True, "connections_per_address": 3}
    with serving(crowd, **options) as server:
        staying = asking(server, "l", 24)
        others = asking(server, "s", 3, source="127.0.0.2")
        assert {peer.reply(b"HEAD").status for peer in others} == {200}
        for peer in (*staying, *others):
            peer.abort()
        server.wait_for_rest()


def test_too_many_names_are_refused(kind: tuple[str, str], tmp_path: Path) -> None:
    engine, send_mode = kind
    for number in range(10_001):
        (tmp_path / f"{number}").touch()
    with serving(tmp_path, engine=engine, send_mode=send_mode, zip=True) as server:
        reply = server.ask(request("/?zip"))
        assert reply.status == 403
        assert b"10000" in reply.body

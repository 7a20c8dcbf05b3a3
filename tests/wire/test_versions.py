"""Files whose times were set: tags of their content, and dates that promise nothing false."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from .client import eventually, request
from .conftest import Fleet
from .servers import Corner, Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REVALIDATE_MS = 50
# Of the year 2300: in 64 bits there is no room for its nanoseconds.
NANOSECONDS_DO_NOT_FIT = 10_413_792_000
# Hashing it takes hours, sending it is up to nobody here.
ENDLESS = 1 << 40
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.fixture(scope="module")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("versions"), revalidate_ms=REVALIDATE_MS)
    yield fleet
    fleet.leave()


@pytest.fixture
def shared(shared_fleet: Fleet, kind: tuple[str, str]) -> Corner:
    return shared_fleet.corner(kind)


@pytest.fixture
def changing(tmp_path: Path, kind: tuple[str, str]) -> Iterator[Server]:
    """A server of one test, as a hash that takes for ever is in nobody else's way there."""
    engine, send_mode = kind
    with serving(tmp_path, engine=engine, send_mode=send_mode, revalidate_ms=REVALIDATE_MS) as server:
        yield server


def put(place: Path, name: str, text: bytes, mtime_s: int, size: int | None = None) -> None:
    with open(place / "new", "wb") as file:
        file.write(text)
        if size is not None:
            file.truncate(size)
    os.utime(place / "new", (mtime_s, mtime_s))
    os.replace(place / "new", place / name)


@pytest.mark.parametrize("size", [8, 3 << 20], ids=["at-once", "in-a-thread"])
@pytest.mark.parametrize("mtime_s", [315_532_801, 499_162_500, 1_700_000_000, NANOSECONDS_DO_NOT_FIT])
def test_other_bytes_of_equal_length_under_a_set_time(shared: Corner, mtime_s: int, size: int) -> None:
    put(shared.path, "file", b"old", mtime_s, size)
    tag = shared.ask("/file").field(b"etag")
    assert tag is not None
    asked = request(shared.url + "/file", b"If-None-Match: " + tag)
    assert shared.server.ask(asked).status == 304
    put(shared.path, "file", b"new", mtime_s, size)
    eventually("the tag is outdated", lambda: shared.server.ask(asked).status == 200)
    assert shared.ask("/file", b"If-Range: " + tag, "Range: bytes=0-0").status == 200
    # The same bytes have the same tag again.
    put(shared.path, "file", b"old", mtime_s, size)
    eventually("the tag holds", lambda: shared.server.ask(asked).status == 304)


def test_other_bytes_under_the_same_date(shared: Corner) -> None:
    put(shared.path, "file", b"old", 1_700_000_000)
    reply = shared.ask("/file")
    assert reply.field(b"last-modified") == DATE.encode()
    asked = request(shared.url + "/file", f"If-Modified-Since: {DATE}")
    assert shared.server.ask(asked).status == 304
    assert shared.ask("/file", f"If-Range: {DATE}", "Range: bytes=0-0").status == 206
    put(shared.path, "file", b"new", 1_700_000_000)
    eventually("the date is outdated", lambda: shared.server.ask(asked).status == 200)
    assert shared.ask("/file", f"If-Range: {DATE}", "Range: bytes=0-0").status == 200


def test_a_huge_file_is_sent_without_a_tag_while_it_is_hashed(changing: Server, tmp_path: Path) -> None:
    put(tmp_path, "huge", b"huge", 315_532_801, ENDLESS)
    put(tmp_path, "small", b"small", 315_532_801, 1 << 20)
    (tmp_path / "lived").write_bytes(b"lived")
    for fields in ((), ('If-None-Match: "x"',), ("If-Modified-Since: " + DATE,)):
        reply = changing.ask(request("/huge", *fields, method="HEAD"))
        assert (reply.status, reply.field(b"etag"), reply.field(b"last-modified")) == (200, None, None)
        assert reply.field(b"content-length") == b"%d" % ENDLESS
    part = changing.ask(request("/huge", "Range: bytes=0-3"))
    assert (part.status, part.body, part.field(b"etag")) == (206, b"huge", None)
    # Others do not wait for it.
    for path in ("/small", "/lived"):
        reply = changing.ask(request(path))
        tag = reply.field(b"etag")
        assert reply.status == 200
        assert tag is not None
        assert changing.ask(request(path, b"If-None-Match: " + tag)).status == 304

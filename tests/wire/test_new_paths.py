"""Many small files that nobody has written to lately, over a socket: what is there is what is sent."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from .client import eventually, request
from .conftest import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .servers import Corner

FILES = 40
REVALIDATE_MS = 50
AGE_S = 100


@pytest.fixture(scope="module")
def small_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Servers that remember fewer heads than there are files."""
    fleet = Fleet(tmp_path_factory.mktemp("small"), revalidate_ms=REVALIDATE_MS, plans_max=16)
    yield fleet
    fleet.leave()


@pytest.fixture
def small(small_fleet: Fleet, kind: tuple[str, str]) -> Corner:
    corner = small_fleet.corner(kind)
    for number in range(FILES):
        write(corner.path / f"{number}.txt", b"content of %d" % number)
    return corner


def write(path: Path, content: bytes, age_s: float = AGE_S) -> None:
    """Written some time ago, it seems, but not by anybody who has set the time to a whole second."""
    path.write_bytes(content)
    mtime_ns = time.time_ns() - round(age_s * 1e9)
    os.utime(path, ns=(mtime_ns | 1, mtime_ns | 1))


def test_each_is_what_is_there(small: Corner) -> None:
    with small.server.peer() as peer:
        for _ in range(3):
            for number in range(FILES):
                reply = peer.ask(request(f"{small.url}/{number}.txt"))
                assert (reply.status, reply.body) == (200, b"content of %d" % number)
                stat = (small.path / f"{number}.txt").stat()
                assert reply.field(b"etag") == f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'.encode()
                assert reply.field(b"content-type") == b"text/plain; charset=utf-8"


def test_in_a_pipeline_they_come_in_order(small: Corner) -> None:
    paths = [f"{small.url}/{number}.txt" for number in range(FILES)]
    with small.server.peer() as peer:
        peer.send([request(path) for path in paths])
        for number in range(FILES):
            assert peer.reply().body == b"content of %d" % number


@pytest.mark.parametrize("age_s", [AGE_S - 10, AGE_S + 10], ids=["newer", "older"])
def test_a_change_is_seen(small: Corner, age_s: float) -> None:
    first = [small.ask(f"/{number}.txt") for number in range(4)]
    fresh = small.path / "fresh"
    write(fresh, b"replaced", age_s)
    fresh.rename(small.path / "0.txt")
    (small.path / "1.txt").unlink()
    (small.path / "2.txt").unlink()
    (small.path / "2.txt").symlink_to("/etc/passwd")
    write(small.path / "3.txt.gz", b"zipped", AGE_S - 10)
    eventually("the new file is there", lambda: small.ask("/0.txt").body == b"replaced")
    eventually("what is gone is gone", lambda: small.ask("/1.txt").status == 404)
    eventually("no symlink leads out", lambda: small.ask("/2.txt").status == 404)
    eventually("an encoding is chosen", lambda: small.ask("/3.txt").field(b"vary") == b"Accept-Encoding")
    tag = first[0].field(b"etag") or b""
    assert small.ask("/0.txt", b"If-None-Match: " + tag).status == 200
    date = first[0].field(b"last-modified") or b""
    assert small.ask("/0.txt", b"If-Modified-Since: " + date).status == 200

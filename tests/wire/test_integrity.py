"""Digests of what is sent (RFC 9530), checked by hashlib: of files, of parts, and while files change."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import os
import threading
from typing import TYPE_CHECKING

import pytest

from .client import ProtocolError, Reply, eventually, request
from .conftest import Fleet
from .streams import publish
from .tree import KIB, MIB, noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from .servers import Corner, Server

WANT, CONTENT = "Want-Repr-Digest: sha-256=10", "Want-Content-Digest: sha-256=5"
REFUSE = "Want-Repr-Digest: sha-256=0"
# At once, joined to its head, in memory, waited for, streamed.
SIZES = {"1k": KIB, "16k": 16 * KIB, "65k": 65 * KIB, "3m": 3 * MIB, "streamed": 17 * MIB}
REVALIDATE_MS = 20
ROUNDS = 60


def value(content: bytes) -> bytes:
    return b"sha-256=:%b:" % base64.b64encode(hashlib.sha256(content).digest())


def told(reply: Reply) -> tuple[bytes | None, bytes | None]:
    """Repr-Digest and Content-Digest."""
    return reply.field(b"repr-digest"), reply.field(b"content-digest")


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fleet]]:
    """Servers that tell a digest to who wants one, and to all."""
    root = tmp_path_factory.mktemp("digests")
    options = {"memory": 16 * MIB, "stream_memory": 4 * MIB, "revalidate_ms": REVALIDATE_MS}
    fleets = {"wanted": Fleet(root, **options), "all": Fleet(root, digest=True, **options)}
    yield fleets
    for fleet in fleets.values():
        fleet.leave(complaint="a file could not be read: (the file was replaced|Stale)")


@pytest.fixture
def wanted(fleets: dict[str, Fleet], kind: tuple[str, str]) -> Corner:
    return fleets["wanted"].corner(kind)


@pytest.fixture
def to_all(fleets: dict[str, Fleet], kind: tuple[str, str]) -> Corner:
    return fleets["all"].corner(kind)


def made(server: Server) -> float:
    return server.metric('digests_total{result="made"}')


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_who_wants_one_gets_one(wanted: Corner, size: int) -> None:
    content = noise(size)
    publish(wanted.path / "f", content)
    assert told(wanted.ask("/f")) == (None, None)

    def is_told() -> bool:
        reply = wanted.ask("/f", WANT, CONTENT)
        assert reply.body == content
        assert told(reply) in ((value(content),) * 2, (None, None))
        return told(reply) != (None, None)

    # What takes longer than milliseconds is not waited for.
    eventually("the digest is there", is_told)
    hashed = made(wanted.server)
    for _ in range(3):
        assert is_told()
        head = wanted.ask("/f", WANT, CONTENT, method="HEAD")
        assert told(head) == (value(content), None)
        part = wanted.ask("/f", WANT, "Range: bytes=100-199")
        assert (part.status, *told(part)) == (206, value(content), None)
        assert told(wanted.ask("/f")) == told(wanted.ask("/f", REFUSE)) == (None, None)
    assert made(wanted.server) == hashed, "it is made once"


@pytest.mark.parametrize("length", [1, 1000, 70 * KIB, 4 * MIB])
def test_a_part_has_one_of_its_own(wanted: Corner, length: int) -> None:
    content = noise(17 * MIB)
    publish(wanted.path / "f", content)
    for first in (0, 12345):
        part = wanted.ask("/f", CONTENT, f"Range: bytes={first}-{first + length - 1}")
        assert part.body == content[first : first + length]
        assert told(part) == (None, value(part.body))
    hashed = made(wanted.server)
    for _ in range(3):
        assert told(wanted.ask("/f", CONTENT, f"Range: bytes=0-{length - 1}"))[1] == value(content[:length])
    assert made(wanted.server) == hashed


def test_a_part_that_is_too_large_has_none(wanted: Corner) -> None:
    content = noise(17 * MIB)
    publish(wanted.path / "f", content)
    part = wanted.ask("/f", CONTENT, f"Range: bytes=0-{16 * MIB}")
    assert part.body == content[: 16 * MIB + 1]
    assert told(part) == (None, None)


def test_one_connection_that_wants_different_things(wanted: Corner) -> None:
    """What is remembered for one is not replayed to the other."""
    content = noise(2 * KIB)
    publish(wanted.path / "f", content)
    whole = value(content)
    asks = {(): (None, None), (WANT,): (whole, None), (REFUSE,): (None, None), (CONTENT,): (None, whole)}
    with wanted.server.peer() as peer:
        for lines, expected in [*asks.items()] * 4:
            assert told(peer.ask(request(wanted.url + "/f", *lines))) == expected


def test_an_encoding_has_one_of_its_own(wanted: Corner) -> None:
    stored = gzip.compress(noise(KIB))
    publish(wanted.path / "f.js", noise(KIB))
    publish(wanted.path / "f.js.gz", stored)
    reply = wanted.ask("/f.js", WANT, "Accept-Encoding: gzip")
    assert reply.field(b"content-encoding") == b"gzip"
    assert reply.body == stored
    assert told(reply) == (value(stored), None)
    assert told(wanted.ask("/f.js", WANT)) == (value(noise(KIB)), None)


def test_small_files_tell_all_at_once(to_all: Corner) -> None:
    for number in range(12):
        content = noise(1000 + number)
        publish(to_all.path / f"{number}.txt", content)
        for _ in range(3):
            assert told(to_all.ask(f"/{number}.txt")) == (value(content), None)
        assert told(to_all.ask(f"/{number}.txt", REFUSE)) == (None, None)
    tag = to_all.ask("/0.txt").field(b"etag")
    assert tag is not None
    same = to_all.ask("/0.txt", b"If-None-Match: " + tag)
    assert (same.status, *told(same)) == (304, None, None)


def test_large_files_tell_all_as_soon_as_it_is_known(to_all: Corner) -> None:
    content = noise(17 * MIB)
    publish(to_all.path / "f", content)

    def is_told() -> bool:
        reply = to_all.ask("/f")
        assert reply.body == content
        assert told(reply)[0] in (None, value(content))
        return told(reply)[0] is not None

    eventually("the digest is there", is_told)


class Changes:
    """Versions of a file, one after the other, by rename or written in place, until the end.

    Each comes a few answers after the one before it, or at once: however long an answer takes, some versions
    last until their digest is known.
    """

    def __init__(self, path: Path, size: int, *, in_place: bool) -> None:
        self._path, self._size, self._in_place = path, size, in_place
        self._answers = 0
        self._answered = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._change)
        publish(path, noise(size))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._answered:
            self._over = True
            self._answered.notify()
        self._thread.join()

    def answered(self) -> None:
        """An answer has come."""
        with self._answered:
            self._answers += 1
            self._answered.notify()

    def _wait(self, answers: int) -> bool:
        """Wait for so many; whether it is over."""
        with self._answered:
            due = self._answers + answers
            self._answered.wait_for(lambda: self._over or self._answers >= due)
            return self._over

    def _change(self) -> None:
        for number in itertools.count():
            if self._wait(number % 5):
                return
            content = bytes([number % 251]) * (self._size + (0 if self._in_place else number % 7))
            if not self._in_place:
                publish(self._path, content)
                continue
            with open(self._path, "r+b", buffering=0) as file:
                os.pwrite(file.fileno(), content, 0)


@pytest.mark.parametrize("in_place", [False, True], ids=["renamed", "in-place"])
@pytest.mark.parametrize("size", [4 * KIB, MIB], ids=["small", "large"])
@pytest.mark.parametrize("options", ["wanted", "all"])
def test_a_digest_is_of_the_bytes_that_it_comes_with(
    fleets: dict[str, Fleet], kind: tuple[str, str], options: str, size: int, in_place: bool
) -> None:
    corner = fleets[options].corner(kind)
    asks = itertools.cycle(
        [(WANT,), (), (WANT, CONTENT), (CONTENT, "Range: bytes=5-999"), (CONTENT, "Range: bytes=-3000")]
    )
    seen = dict.fromkeys(("whole", "part"), 0)
    with Changes(corner.path / "f", size, in_place=in_place) as changes:
        for lines in itertools.islice(asks, 5 * ROUNDS):
            try:
                reply = corner.ask("/f", *lines)
            except ProtocolError:
                # Broken off, as it may be where it was written to in place.
                continue
            finally:
                changes.answered()
            assert reply.status in (200, 206, 503)
            whole, content = told(reply)
            if reply.status == 200 and whole is not None:
                assert whole == value(reply.body)
                seen["whole"] += 1
            if content is not None:
                assert content == value(reply.body)
                seen["part"] += 1
    # What is written to all the time is left alone, and may have none.
    assert in_place or all(seen.values()), seen
    publish(corner.path / "f", noise(size))
    eventually("it is told again", lambda: told(corner.ask("/f", WANT, CONTENT)) == (value(noise(size)),) * 2)


def test_a_log_is_served_all_the_same(wanted: Corner) -> None:
    """It grows while it is hashed, so it may have no digest; it must not be refused for that."""
    over = threading.Event()
    path = wanted.path / "log"
    publish(path, noise(2 * MIB))

    def write() -> None:
        with open(path, "ab", buffering=0) as file:
            while not over.wait(0.001):
                file.write(b"a line\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(ROUNDS):
            reply = wanted.ask("/log", WANT)
            assert reply.status == 200
            assert told(reply)[0] in (None, value(reply.body))
    finally:
        over.set()
        writer.join()

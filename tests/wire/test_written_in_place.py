"""Files that are written to in place while they are asked for: complete answers have bytes of one version."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

import pytest

from .client import ProtocolError, eventually, request
from .conftest import Fleet
from .streams import publish
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .servers import Corner

STREAMED = 8 * MIB
MEMORY = 16 * MIB  # a quarter of it is what is cached


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fleet]]:
    """Servers that stream a file of STREAMED bytes, and that cache it."""
    root = tmp_path_factory.mktemp("written")
    fleets = {
        name: Fleet(root, memory=memory, stream_memory=4 * MIB, revalidate_ms=20)
        for name, memory in (("streamed", MEMORY), ("cached", 16 * MEMORY))
    }
    yield fleets
    for fleet in fleets.values():
        fleet.leave(complaint="a file could not be read: (the file was replaced|Stale)")


@pytest.fixture(params=["streamed", "cached"])
def written(request: pytest.FixtureRequest, fleets: dict[str, Fleet], kind: tuple[str, str]) -> Corner:
    return fleets[request.param].corner(kind)


@pytest.mark.parametrize("wanted", [MIB, 1000], ids=["part", "few bytes"])
def test_what_is_just_being_written_is_not_read(written: Corner, wanted: int) -> None:
    """A write sets the time when it begins: by then its last bytes are still the old ones."""
    size = 32 * MIB
    path = written.path / "file"
    publish(path, bytes(size))
    tags = [written.ask("/file", method="HEAD").field(b"etag")]

    def seen() -> bool:
        """For a moment the server trusts what it knew (--revalidate-ms)."""
        tag = written.ask("/file", method="HEAD").field(b"etag")
        if tag != tags[-1]:
            tags.append(tag)
            return True
        return False

    with open(path, "r+b", buffering=0) as file:
        asked_meanwhile = 0
        for number in range(1, 100):
            before = path.stat().st_mtime_ns
            new = bytes([number]) * size
            writer = threading.Thread(target=os.pwrite, args=(file.fileno(), new, 0))
            writer.start()
            while path.stat().st_mtime_ns == before and writer.is_alive():
                pass
            asked_meanwhile += writer.is_alive()
            reply = written.ask("/file", f"Range: bytes=-{wanted}")
            writer.join()
            assert reply.status == 206
            eventually("the new version is seen", seen)
            if reply.field(b"etag") == tags[-1]:
                assert reply.body == new[:wanted]
            if asked_meanwhile == 3:
                return
    pytest.fail(f"asked {asked_meanwhile} times while it was being written")


class Writer:
    """Writes the file anew in place, again and again, all of it in one call and with other bytes.

    Now and then it rests until a request has had its answer from beginning to end, which it may need.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rng = random.Random(1)
        self._answers = threading.Semaphore(0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        while self._thread.is_alive():
            # It may have begun to rest since.
            self.answered(2)
            self._thread.join(0.1)

    def answered(self, count: int = 1) -> None:
        """So many more requests have had their answers."""
        self._answers.release(count)

    def _write(self) -> None:
        with open(self._path, "r+b", buffering=0) as file:
            number = 0
            while not self._over.wait(self._rng.uniform(0, 0.03)):
                number += 1
                os.pwrite(file.fileno(), bytes([number % 251]) * STREAMED, 0)
                if self._rng.random() < 0.2:
                    self._rest()

    def _rest(self) -> None:
        while self._answers.acquire(blocking=False):
            pass
        # The first may have been under way.
        for _ in range(2):
            self._answers.acquire()


def outcome(written: Corner) -> str:
    """What becomes of a request for a file of which each version has one value in all bytes."""
    versions: set[int] = set()

    def note(piece: bytes) -> None:
        versions.update(piece[:1] if piece.count(piece[:1]) == len(piece) else piece)

    with written.server.peer() as peer:
        try:
            reply = peer.ask(request(written.url + "/file"), note)
        except ProtocolError:
            assert peer.ended
            return "broken off"
    if reply.status == 503:
        return "refused"
    return "mixed" if len(versions) > 1 else "complete"


@pytest.fixture(params=["few", pytest.param("all", marks=pytest.mark.slow)])
def complete(request: pytest.FixtureRequest) -> int:
    """How many answers: a thousand of all engines and ways together; with --matrix, of each."""
    if request.param == "few":
        return 8
    return 1000 if request.config.getoption("--matrix") else 250


def test_no_complete_answer_is_mixed(written: Corner, complete: int) -> None:
    publish(written.path / "file", bytes(STREAMED))
    seen: Counter[str] = Counter()
    with Writer(written.path / "file") as writer:
        while seen["complete"] < complete and seen.total() < 20 * complete:
            seen[outcome(written)] += 1
            writer.answered()
    assert not seen["mixed"], seen
    assert seen["complete"] == complete, seen

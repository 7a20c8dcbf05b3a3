"""Checksums of files in archives: each made once, in turn, and only for as long as somebody wants it."""

from __future__ import annotations

import errno
import os
import zlib
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from zchttpd.files import checksums as module
from zchttpd.files.checksums import Checksums
from zchttpd.files.digests import RESULTS, Counts
from zchttpd.files.singleflight import Pending

from .test_listing_cache import Loop, pending
from .zipped import archive_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zchttpd.files.root import Root
    from zchttpd.files.singleflight import Job
    from zchttpd.files.version import Representation

MIB = 1 << 20
ANN, BOB = "ann", "bob"


def counted() -> tuple[Counts, memoryview]:
    cells = memoryview(bytearray(8 * (len(RESULTS) + 1))).cast("Q")
    return Counts(cells[:-1], cells[-1:]), cells


def test_a_checksum_is_made_once_a_version(site: Path, root: Root) -> None:
    loop = Loop()
    counts, cells = counted()
    checksums = Checksums(loop.post, counts)
    (site / "a").write_bytes(b"some bytes")
    found = archive_of(root).representation(0)
    job = pending(lambda: checksums.of(found, ANN))
    assert pending(lambda: checksums.of(found, ANN)) is job
    assert loop.wait(job) is None
    assert checksums.of(found, ANN) == zlib.crc32(b"some bytes")
    assert checksums.of(archive_of(root).representation(0), ANN) == zlib.crc32(b"some bytes")
    assert (cells[RESULTS.index("made")], cells[-1]) == (1, 10)


def test_none_is_made_of_what_has_changed(site: Path, root: Root) -> None:
    loop = Loop()
    checksums = Checksums(loop.post)
    (site / "a").write_bytes(b"some bytes")
    found = archive_of(root).representation(0)
    (site / "a").write_bytes(b"others")
    error = loop.wait(pending(lambda: checksums.of(found, ANN)))
    assert error is not None
    assert error.errno == errno.ESTALE
    assert loop.wait(pending(lambda: checksums.of(found, ANN))) is not None, "nor remembered"


def test_bytes_that_are_at_hand_are_checked(site: Path, root: Root) -> None:
    checksums = Checksums(Loop().post)
    (site / "a").write_bytes(b"some bytes")
    found = archive_of(root).representation(0)
    assert checksums.check(found, b"some bytes")
    assert checksums.of(found, ANN) == zlib.crc32(b"some bytes")
    assert not checksums.check(found, b"some bytez")


def test_a_crowd_waits_its_turn(site: Path, root: Root) -> None:
    """Who asks for the checksums of ever other files: no more are read than there is room for, in order."""
    loop = Loop()
    counts, cells = counted()
    checksums = Checksums(loop.post, counts)
    for number in range(module.JOBS_MAX + 2):
        (site / f"{number:04}").write_bytes(b"%d" % number)
    archive = archive_of(root)
    files = [archive.representation(number) for number in range(len(archive.members))]
    jobs = [pending(partial(checksums.of, found, ANN)) for found in files[: module.JOBS_MAX]]
    assert len({*map(id, jobs)}) == module.JOBS_MAX
    for late in files[module.JOBS_MAX :]:
        checksums.prepare(late, ANN)
    turn = pending(lambda: checksums.of(files[-1], ANN))
    assert turn not in jobs
    assert loop.wait(turn) is None, "there is room again"
    assert cells[RESULTS.index("made")] < module.JOBS_MAX
    assert loop.wait(pending(lambda: checksums.of(files[-1], ANN))) is None
    assert checksums.of(files[-1], ANN) == zlib.crc32(b"%d" % (module.JOBS_MAX + 1))


def test_a_large_file_does_not_hold_up_small_ones(
    site: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop()
    checksums = Checksums(loop.post)
    (site / "large").write_bytes(b"")
    os.truncate(site / "large", module.LARGE_SIZE + 1)
    (site / "small").write_bytes(b"small")
    archive = archive_of(root)
    reading, real = os.pipe(), module.read_pieces

    def slow(fd: int, found: object, *arguments: object) -> object:
        if found is large:
            os.read(reading[0], 1)
        return real(fd, found, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_pieces", slow)
    large, small = archive.representation(0), archive.representation(1)
    waits = pending(lambda: checksums.of(large, ANN))
    assert loop.wait(pending(lambda: checksums.of(small, ANN))) is None
    assert checksums.of(small, ANN) == zlib.crc32(b"small")
    os.write(reading[1], b"x")
    assert loop.wait(waits) is None
    for end in reading:
        os.close(end)


def test_who_ends_does_not_wait_for_them(site: Path, root: Root) -> None:
    loop = Loop()
    checksums = Checksums(loop.post)
    (site / "a").write_bytes(b"some bytes")
    found = archive_of(root).representation(0)
    checksums.close()
    with pytest.raises(Pending) as raised:
        checksums.of(found, ANN)
    error = loop.wait(raised.value.job)
    assert error is not None
    assert error.errno == errno.ECANCELED


class Reading:
    """A file that is read piece by piece, as it is told."""

    def __init__(self, site: Path, root: Root, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        self.loop = Loop()
        self.counts, self.cells = counted()
        self.checksums = Checksums(self.post, self.counts)
        self.content = os.urandom(size)
        (site / "a").write_bytes(self.content)
        self.found = archive_of(root).representation(0)
        self.begun: list[int] = []
        self.read, self.go_on, self.stopped = Event(), Event(), Event()
        real = module.read_pieces

        def one_by_one(fd: int, found: Representation, offset: int, *more: Any) -> Iterator[memoryview]:
            self.begun.append(offset)
            for piece in real(fd, found, offset, *more):
                yield piece
                self.read.set()
                assert self.go_on.wait(60)

        monkeypatch.setattr(module, "read_pieces", one_by_one)

    def post(self, act: Callable[[], None]) -> None:
        self.loop.post(act)
        self.stopped.set()

    def ask(self, who: str) -> Job:
        return pending(lambda: self.checksums.of(self.found, who))

    def begun_and_left(self) -> Job:
        """Ann asks, and leaves when a piece has been read."""
        job = self.ask(ANN)
        assert self.read.wait(60)
        self.checksums.leave(ANN)
        self.go_on.set()
        return job

    @property
    def made(self) -> tuple[int, int]:
        """Checksums, and bytes."""
        return self.cells[RESULTS.index("made")], self.cells[-1]


@pytest.fixture
def reading(site: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> Reading:
    return Reading(site, root, monkeypatch, 8 * MIB)


def test_reading_stops_when_nobody_wants_it_any_more(reading: Reading) -> None:
    job = reading.begun_and_left()
    assert reading.loop.wait(job) is None
    assert reading.made == (0, MIB)


def test_who_asks_again_is_further(reading: Reading) -> None:
    """Or a file on a slow disk would never have one: who waits for too long is told to go."""
    job = reading.begun_and_left()
    assert reading.loop.wait(job) is None
    assert reading.loop.wait(reading.ask(ANN)) is None
    assert reading.begun == [0, MIB]
    assert reading.checksums.of(reading.found, ANN) == zlib.crc32(reading.content)
    assert reading.made == (1, len(reading.content))


def test_who_comes_while_it_stops_has_it_all_the_same(reading: Reading) -> None:
    job = reading.begun_and_left()
    assert reading.stopped.wait(60), "and the loop has not heard"
    assert reading.ask(BOB) is job
    assert reading.loop.wait(job) is None
    assert reading.loop.wait(reading.ask(BOB)) is None
    assert reading.checksums.of(reading.found, BOB) == zlib.crc32(reading.content)


def test_reading_goes_on_for_who_still_wants_it(reading: Reading) -> None:
    job = reading.ask(ANN)
    assert reading.ask(BOB) is job
    assert reading.read.wait(60)
    reading.checksums.leave(ANN)
    reading.go_on.set()
    assert reading.loop.wait(job) is None
    assert reading.checksums.of(reading.found, BOB) == zlib.crc32(reading.content)
    assert reading.begun == [0]


def test_what_waits_for_its_turn_is_not_even_opened_for_who_has_left(
    reading: Reading, site: Path, root: Root
) -> None:
    (site / "b").write_bytes(b"some bytes")
    job = reading.ask(ANN)
    assert reading.read.wait(60)
    late = archive_of(root).representation(1)
    waits = pending(lambda: reading.checksums.of(late, BOB))
    reading.checksums.leave(BOB)
    reading.go_on.set()
    assert reading.loop.wait(job) is None
    assert reading.loop.wait(waits) is None
    assert reading.begun == [0]

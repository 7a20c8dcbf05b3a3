"""The cache of archives, and of checksums: each made once, in turn, and no more than that."""

from __future__ import annotations

import errno
import os
import zlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from zchttpd.files import archives as archives_module
from zchttpd.files import checksums as module
from zchttpd.files.archive import Archive
from zchttpd.files.archives import JOBS_MAX, REST, Archives
from zchttpd.files.checksums import Checksums
from zchttpd.files.digests import RESULTS, Counts
from zchttpd.files.singleflight import Pending
from zchttpd.files.tree import Refusal

from .test_listing_cache import Loop, pending
from .zipped import archive_of, everything

if TYPE_CHECKING:
    from pathlib import Path

    from zchttpd.files.root import Root


class Clock:
    """Seconds, that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(archives: Archives, loop: Loop, *segments: bytes) -> Archive | Refusal:
    job = pending(lambda: archives.find(segments, everything))
    assert loop.wait(job) is None
    return archives.find(segments, everything)


def test_a_folder_is_looked_at_once_for_a_while(site: Path, root: Root) -> None:
    loop, clock = Loop(), Clock()
    archives = Archives(root, loop.post, 2000, clock=clock)
    (site / "a").write_bytes(b"a")
    first = pending(lambda: archives.find((), everything))
    assert pending(lambda: archives.find((), everything)) is first, "who comes meanwhile waits for the same"
    assert loop.wait(first) is None
    found = archives.find((), everything)
    clock.now += 1.9
    assert archives.find((), everything) is found
    clock.now += 0.2
    assert made(archives, loop) is found, "nothing has changed"
    (site / "a").write_bytes(b"b")
    clock.now += 3
    assert made(archives, loop) is not found


def test_a_look_that_takes_long_is_not_repeated_soon(
    site: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, clock = Loop(), Clock()
    archives = Archives(root, loop.post, 0, clock=clock)
    walk = archives_module.Tree.walk

    def slow(*arguments: object) -> object:
        clock.now += 3
        return walk(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(archives_module.Tree, "walk", slow)
    found = made(archives, loop)
    clock.now += 3 * REST - 0.1
    assert archives.find((), everything) is found
    clock.now += 0.2
    assert loop.wait(pending(lambda: archives.find((), everything))) is None


def test_what_is_known_to_be_outdated_is_looked_at_anew(site: Path, root: Root) -> None:
    loop = Loop()
    archives = Archives(root, loop.post, 1_000_000)
    found = made(archives, loop)
    assert isinstance(found, Archive)
    found.outdated = True
    assert made(archives, loop) is not found


def test_refusals_are_remembered_too(site: Path, root: Root) -> None:
    loop = Loop()
    archives = Archives(root, loop.post, 1_000_000)
    told = made(archives, loop, b"nothing")
    assert isinstance(told, Refusal)
    assert archives.find((b"nothing",), everything) is told


def test_not_too_many_wait(site: Path, root: Root) -> None:
    loop = Loop()
    archives = Archives(root, loop.post, 1_000_000)
    jobs = [pending(partial(archives.find, (b"%d" % number,), everything)) for number in range(JOBS_MAX)]
    with pytest.raises(OSError, match="too many") as raised:
        archives.find((b"one more",), everything)
    assert raised.value.errno == errno.EBUSY
    for job in jobs:
        loop.wait(job)


def counted() -> tuple[Counts, memoryview]:
    cells = memoryview(bytearray(8 * (len(RESULTS) + 1))).cast("Q")
    return Counts(cells[:-1], cells[-1:]), cells


def test_a_checksum_is_made_once_a_version(site: Path, root: Root) -> None:
    loop = Loop()
    counts, cells = counted()
    checksums = Checksums(loop.post, counts)
    (site / "a").write_bytes(b"some bytes")
    found = archive_of(root).representation(0)
    job = pending(lambda: checksums.of(found))
    assert pending(lambda: checksums.of(found)) is job
    assert loop.wait(job) is None
    assert checksums.of(found) == zlib.crc32(b"some bytes")
    assert checksums.of(archive_of(root).representation(0)) == zlib.crc32(b"some bytes")
    assert (cells[RESULTS.index("made")], cells[-1]) == (1, 10)


def test_none_is_made_of_what_has_changed(site: Path, root: Root) -> None:
    loop = Loop()
    checksums = Checksums(loop.post)
    (site / "a").write_bytes(b"some bytes")
    found = archive_of(root).representation(0)
    (site / "a").write_bytes(b"others")
    error = loop.wait(pending(lambda: checksums.of(found)))
    assert error is not None
    assert error.errno == errno.ESTALE
    assert loop.wait(pending(lambda: checksums.of(found))) is not None, "nor remembered"


def test_bytes_that_are_at_hand_are_checked(site: Path, root: Root) -> None:
    checksums = Checksums(Loop().post)
    (site / "a").write_bytes(b"some bytes")
    found = archive_of(root).representation(0)
    assert checksums.check(found, b"some bytes")
    assert checksums.of(found) == zlib.crc32(b"some bytes")
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
    jobs = [pending(partial(checksums.of, found)) for found in files[: module.JOBS_MAX]]
    assert len({*map(id, jobs)}) == module.JOBS_MAX
    for late in files[module.JOBS_MAX :]:
        checksums.prepare(late)
    turn = pending(lambda: checksums.of(files[-1]))
    assert turn not in jobs
    assert loop.wait(turn) is None, "there is room again"
    assert cells[RESULTS.index("made")] < module.JOBS_MAX
    assert loop.wait(pending(lambda: checksums.of(files[-1]))) is None
    assert checksums.of(files[-1]) == zlib.crc32(b"%d" % (module.JOBS_MAX + 1))


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
    waits = pending(lambda: checksums.of(large))
    assert loop.wait(pending(lambda: checksums.of(small))) is None
    assert checksums.of(small) == zlib.crc32(b"small")
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
        checksums.of(found)
    error = loop.wait(raised.value.job)
    assert error is not None
    assert error.errno == errno.ECANCELED

"""Digests of file versions: made once, beside the loop, and of one version."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
from functools import partial
from threading import Barrier, Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from zchttpd.config.names import IDENTITY
from zchttpd.config.settings import Settings
from zchttpd.files import digests as module
from zchttpd.files.digests import NO_DIGEST, Digests, Wait
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root

from .test_listing_cache import Loop, pending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zchttpd.files.version import Representation

SMALL, LARGE = 10, module.WAITED_SIZE_MAX + 1


class Files:
    """Files with times that were set, and digests on a loop of the test's own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.loop = Loop()
        self.digests = Digests(self.loop.post, 9)
        self._now_ms = 0
        self._root = Root(place)
        self._cache = EntryCache(self._root, Settings(root=place))

    def put(self, name: str, size: int, text: bytes = b"x", *, young: bool = False) -> Representation:
        with open(self.place / name, "wb") as file:
            file.write(text)
            file.truncate(size)
        if not young:
            os.utime(self.place / name, (0, 0))
        self._now_ms += 10_000
        return self._cache.lookup((name.encode(),), False, self._now_ms).representations[IDENTITY]

    def close(self) -> None:
        # What was begun has a descriptor open until it ends.
        for jobs in (self.digests._small, self.digests._large, self.digests._wanted):
            while jobs._jobs:
                self.loop.turn()
        self._root.close()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    yield made
    made.close()


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Hashing in a thread waits for this."""
    go = Event()
    real = module.hash_through

    def hash_through(*arguments: Any) -> bytes:
        assert go.wait(20)
        return real(*arguments)

    monkeypatch.setattr(module, "hash_through", hash_through)
    monkeypatch.setattr(module, "AT_ONCE_SIZE_MAX", -1)
    yield go
    go.set()


def test_what_is_small_and_in_memory_is_hashed_on_the_spot(
    files: Files, blocked: Event, tmp_path: Path
) -> None:
    module.AT_ONCE_SIZE_MAX = 64 << 10
    found = files.put("a", SMALL)
    with open(tmp_path / "a", "rb") as file:
        file.read()
    assert files.digests.tag_of(found) == Digests(None, 9).tag_of(found)


def test_a_small_file_is_waited_for_beside_the_loop(files: Files, blocked: Event) -> None:
    a, b = files.put("a", SMALL), files.put("b", SMALL, b"y")
    waiting_for_a = pending(lambda: files.digests.tag_of(a))
    assert pending(lambda: files.digests.tag_of(a)) is waiting_for_a
    waiting_for_b = pending(lambda: files.digests.tag_of(b))
    assert waiting_for_b is not waiting_for_a
    blocked.set()
    assert files.loop.wait(waiting_for_a) is None
    if files.digests._small.find(b.version) is not None:
        assert files.loop.wait(waiting_for_b) is None
    tags = [files.digests.tag_of(found) for found in (a, b)]
    assert tags == [Digests(None, 9).tag_of(found) for found in (a, b)]
    assert None not in tags
    assert tags[0] != tags[1]


def test_two_small_files_are_hashed_at_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Barrier(module.SMALL_THREADS)

    def met(*_: object) -> bytes:
        both.wait(20)
        return b"digest"

    monkeypatch.setattr(module, "hash_through", met)
    monkeypatch.setattr(module, "AT_ONCE_SIZE_MAX", -1)
    each = [files.put(f"{number}", SMALL + number) for number in range(2 * module.SMALL_THREADS)]
    started = [pending(partial(files.digests.tag_of, found)) for found in each]
    assert files.loop.wait(started[-1]) is None


def test_a_large_file_is_not_waited_for_unless_that_is_asked(files: Files, blocked: Event) -> None:
    large, small = files.put("large", LARGE), files.put("small", SMALL)
    assert files.digests.tag_of(large) is None
    assert files.digests.tag_of(large) is None
    job = pending(lambda: files.digests.tag_of(large, wait=True))
    # It holds up no small one.
    assert pending(lambda: files.digests.tag_of(small)) is not job
    blocked.set()
    if files.digests._large.find(large.version) is not None:
        assert files.loop.wait(job) is None
    tag = files.digests.tag_of(large)
    assert tag is not None
    assert tag == files.digests.tag_of(large, wait=True) == Digests(None, 9).tag_of(large)


def test_a_digest_is_of_one_version(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    found = files.put("a", 3 * (1 << 20))
    read = os.preadv
    pieces: list[int] = []

    def preadv(fd: int, buffers: list[memoryview], at: int) -> int:
        pieces.append(at)
        files.put("a", 3 * (1 << 20), b"y")
        return read(fd, buffers, at)

    monkeypatch.setattr(os, "preadv", preadv)
    error = files.loop.wait(pending(lambda: files.digests.tag_of(found)))
    assert error is not None
    assert error.errno == errno.ESTALE
    assert pieces == [0], "what will come to nothing is given up"
    monkeypatch.undo()
    error = files.loop.wait(pending(lambda: files.digests.tag_of(found)))
    assert error is not None
    assert error.errno == errno.ESTALE


def test_a_file_that_cannot_be_read_has_no_tag_and_is_told_once(
    files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = files.put("a", SMALL)
    monkeypatch.setattr(module, "AT_ONCE_SIZE_MAX", -1)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", broken)
    assert files.loop.wait(pending(lambda: files.digests.tag_of(found))) is None
    for wait in (False, True):
        assert files.digests.tag_of(found, wait=wait) is None
    assert [record.getMessage() for record in caplog.records] == ["no digest of /a: Input/output error"]


def test_no_more_than_so_many_wait(files: Files, blocked: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE_MAX", 2)
    files.digests = Digests(files.loop.post, 9)
    each = [files.put(f"{number}", LARGE + number) for number in range(3)]
    assert [files.digests.tag_of(found) for found in each] == [None] * 3
    assert files.digests._large.find(each[2].version) is None
    with pytest.raises(OSError, match="too many") as refused:
        files.digests.tag_of(each[2], wait=True)
    assert refused.value.errno == errno.EBUSY
    last = pending(lambda: files.digests.tag_of(each[1], wait=True))
    blocked.set()
    assert files.loop.wait(last) is None
    assert files.digests.tag_of(each[0]) is not None


def test_a_disk_that_does_not_answer_holds_up_no_request_but_the_first(
    files: Files, blocked: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = files.put("a", SMALL), files.put("b", SMALL, b"y")
    job = pending(lambda: files.digests.tag_of(a))
    monkeypatch.setattr(module, "PATIENCE_S", -1.0)
    assert files.digests.tag_of(a) is None
    assert files.digests.tag_of(b) is None
    monkeypatch.undo()
    monkeypatch.setattr(module, "AT_ONCE_SIZE_MAX", -1)
    blocked.set()
    if files.digests._small.find(a.version) is not None:
        assert files.loop.wait(job) is None
    assert files.digests.tag_of(a) is not None


def test_what_is_kept_is_bounded(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = module.hash_through

    def counted(fd: int, found: Representation, *more: Any) -> bytes:
        made.append(os.fsdecode(found.segments[0]))
        return real(fd, found, *more)

    monkeypatch.setattr(module, "hash_through", counted)
    monkeypatch.setattr(module, "AT_ONCE_SIZE_MAX", -1)
    a, b, c = (files.put(name, SMALL, name.encode()) for name in "abc")
    at_once = Digests(None, 2)
    for found in (a, b, a, c, a, b):
        assert at_once.tag_of(found) is not None
    assert made == ["a", "b", "c", "b"]


# What a response tells


def sha256(files: Files, name: str, offset: int = 0, length: int | None = None) -> bytes:
    end = None if length is None else offset + length
    return hashlib.sha256((files.place / name).read_bytes()[offset:end]).digest()


def test_a_digest_is_that_of_the_bytes(files: Files, blocked: Event) -> None:
    blocked.set()
    for name, size in (("empty", 0), ("small", SMALL), ("large", LARGE)):
        found = files.put(name, size, b"x" if size else b"")
        files.loop.wait(pending(partial(files.digests.tag_of, found, wait=True)))
        assert files.digests.whole(found, Wait.NEVER) == sha256(files, name)


def test_nothing_is_waited_for_where_nobody_wants_to(files: Files, blocked: Event) -> None:
    a = files.put("a", SMALL)
    assert files.digests.whole(a, Wait.NEVER) is None
    job = pending(lambda: files.digests.whole(a, Wait.BRIEFLY))
    blocked.set()
    assert files.loop.wait(job) is None
    assert files.digests.whole(a, Wait.NEVER) == sha256(files, "a")


def test_bytes_that_have_been_read_are_not_read_again(files: Files, blocked: Event) -> None:
    a = files.put("a", SMALL)
    content = (files.place / "a").read_bytes()
    assert files.digests.whole(a, Wait.NEVER, content) == sha256(files, "a")


@pytest.mark.parametrize("content", [None, b"x" * SMALL])
def test_the_bytes_of_a_young_version_are_hashed_when_they_have_settled(
    files: Files, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    settled: list[int] = []

    def settle(fd: int, mtime_ns: int) -> None:
        settled.append(mtime_ns)
        (files.place / "a").write_bytes(b"y" * SMALL)
        os.utime(files.place / "a", ns=(mtime_ns, mtime_ns))

    monkeypatch.setattr(module, "settle", settle)
    monkeypatch.setattr(module, "is_young", lambda _: True)
    found = files.put("a", SMALL, young=True)
    job = pending(lambda: files.digests.whole(found, Wait.BRIEFLY, content))
    error = files.loop.wait(job)
    assert settled == [found.mtime_ns]
    # Its change time tells.
    assert error is not None
    assert error.errno == errno.ESTALE


def test_a_part_is_hashed_by_itself(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    found = files.put("a", 300, b"0123456789")
    assert files.digests.part(found, 3, 5) in (sha256(files, "a", 3, 5), None)
    monkeypatch.setattr(module, "AT_ONCE_SIZE_MAX", -1)
    assert files.loop.wait(pending(lambda: files.digests.part(found, 1, 250))) is None
    assert files.digests.part(found, 1, 250) == sha256(files, "a", 1, 250)
    assert files.digests.part(found, 0, module.WAITED_SIZE_MAX + 1) == NO_DIGEST


def test_parts_of_two_representations_are_two(files: Files) -> None:
    """An encoding that was made has the version of its file."""
    found = files.put("a", 300, b"0123456789")
    at_once = Digests(None, 9)
    other = dataclasses.replace(found, encoding="gzip")
    assert at_once.part(found, 0, 4) == at_once.part(other, 0, 4)
    assert len(at_once._known_parts) == 2


def test_too_large_a_file_has_a_tag_and_no_digest(files: Files) -> None:
    found = files.put("a", SMALL)
    at_once = Digests(None, 9, SMALL - 1)
    assert at_once.tag_of(found) is not None
    assert at_once.whole(found, Wait.BRIEFLY) == at_once.part(found, 0, 1) == NO_DIGEST


def test_a_file_that_changes_all_the_time_is_left_alone_for_a_while(
    files: Files, blocked: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = files.put("log", SMALL)
    job = pending(lambda: files.digests.whole(found, Wait.BRIEFLY))
    os.truncate(files.place / "log", SMALL + 1)
    blocked.set()
    error = files.loop.wait(job)
    assert error is not None
    assert error.errno == errno.ESTALE
    found = files.put("log", SMALL + 1, b"y")
    assert files.digests.whole(found, Wait.BRIEFLY) is None
    assert files.digests.part(found, 0, 1) is None
    assert not files.digests._wanted._jobs
    monkeypatch.setattr(module.time, "monotonic", lambda: float("inf"))
    assert files.loop.wait(pending(lambda: files.digests.whole(found, Wait.BRIEFLY))) is None
    assert files.digests.whole(found, Wait.BRIEFLY) == sha256(files, "log")


def test_what_is_hashed_is_counted(files: Files, blocked: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = memoryview(bytearray(8 * 5)).cast("Q")
    monkeypatch.setattr(module, "WANTED_MAX", 2)
    files.digests = Digests(files.loop.post, 9, counts=module.Counts(cells[:4], cells[4:]))
    found, other = files.put("a", 300), files.put("b", SMALL)
    pending(lambda: files.digests.part(found, 0, 200))
    pending(lambda: files.digests.whole(other, Wait.BRIEFLY))
    assert files.digests.part(found, 0, 100) is None
    (files.place / "b").unlink()
    blocked.set()
    while files.digests._small._jobs or files.digests._wanted._jobs:
        files.loop.turn()
    assert dict(zip(module.RESULTS, cells, strict=False)) == {
        "made": 1,
        "stale": 1,
        "failed": 0,
        "postponed": 1,
    }
    assert cells[4] == 200


def test_whoever_closes_waits_for_no_file(files: Files, blocked: Event) -> None:
    found = files.put("large", LARGE)
    assert files.digests.whole(found, Wait.NEVER) is None
    job = pending(lambda: files.digests.tag_of(found, wait=True))
    files.digests.close()
    blocked.set()
    error = files.loop.wait(job)
    assert error is not None
    assert error.errno == errno.ECANCELED


def test_a_tag_and_a_digest_of_one_version_are_made_once(
    files: Files, blocked: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = files.put("a", SMALL), files.put("b", SMALL, b"y")
    for first, second in (
        (lambda: files.digests.tag_of(a), lambda: files.digests.whole(a, Wait.BRIEFLY)),
        (lambda: files.digests.whole(b, Wait.BRIEFLY), lambda: files.digests.tag_of(b)),
    ):
        job = pending(first)
        assert pending(second) is job
    blocked.set()
    while files.digests._small._jobs or files.digests._wanted._jobs:
        files.loop.turn()
    assert files.digests.whole(a, Wait.NEVER) == sha256(files, "a")


def test_without_a_thread_nothing_is_waited_for_but_what_must_be(
    files: Files, blocked: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    found = files.put("a", SMALL)
    assert files.digests.tag_of(found) is None
    with pytest.raises(OSError, match="no thread"):
        files.digests.tag_of(found, wait=True)

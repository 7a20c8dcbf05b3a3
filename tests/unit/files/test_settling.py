"""Versions that somebody may still be writing."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.names import IDENTITY
from zchttpd.config.settings import Settings
from zchttpd.files import settling
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.files.settling import TICK_NS, YOUNG_NS, Settling, is_young, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zchttpd.files.version import Representation

SIZE = 64 << 20


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept, without having to wait for it."""
    times: list[float] = []
    monkeypatch.setattr(time, "sleep", times.append)
    return times


def test_a_write_that_goes_on_is_waited_for(opened: int) -> None:
    os.truncate(opened, SIZE)
    met = 0
    for number in range(1, 256):
        before = os.fstat(opened).st_mtime_ns
        writer = threading.Thread(target=os.pwrite, args=(opened, bytes([number]) * SIZE, 0))
        writer.start()
        while os.fstat(opened).st_mtime_ns == before and writer.is_alive():
            pass
        # A machine that is busy may not let this thread look before the write has ended.
        met += writer.is_alive()
        settle(opened, os.fstat(opened).st_mtime_ns)
        assert os.pread(opened, 1, SIZE - 1) == bytes([number])
        writer.join()
        if met == 3:
            return
    pytest.fail("no write was met while it went on")


def test_an_old_version_is_not_waited_for(opened: int, slept: list[float]) -> None:
    old_ns = time.time_ns() - YOUNG_NS
    assert is_young(time.time_ns())
    assert is_young(time.time_ns() + YOUNG_NS // 2)
    assert not is_young(old_ns)
    settle(opened, old_ns)
    assert not slept


@pytest.mark.parametrize(
    ("system", "release", "least_ns"),
    [
        (settling._EXT4, "6.13.0", 0),
        (settling._EXT4, "6.1.0-18-amd64", TICK_NS),
        (settling._F2FS, "6.13.0", TICK_NS),
        (0x4D44, "6.13.0", YOUNG_NS),  # FAT
    ],
)
def test_time_must_do_where_times_are_coarse_or_nothing_locks(
    opened: int,
    slept: list[float],
    monkeypatch: pytest.MonkeyPatch,
    system: int,
    release: str,
    least_ns: int,
) -> None:
    monkeypatch.setattr(settling, "_file_system", lambda _fd: system)
    monkeypatch.setattr(settling.platform, "release", lambda: release)
    now_ns = time.time_ns()
    settle(opened, now_ns)
    assert least_ns * 0.5 <= sum(slept) * 1e9 <= least_ns


def test_an_empty_file_is_settled(opened: int) -> None:
    os.truncate(opened, 0)
    settle(opened, os.fstat(opened).st_mtime_ns)


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Callable[[], Representation]]:
    """The representation of the file as it is now."""
    root = Root(tmp_path)
    (tmp_path / "file").write_bytes(b"one")

    def find() -> Representation:
        entry = EntryCache(root, Settings(root=tmp_path)).lookup((b"file",), False, 0)
        return entry.representations[IDENTITY]

    yield find
    root.close()


def test_each_version_is_waited_for_once(tmp_path: Path, found: Callable[[], Representation]) -> None:
    posted: list[Callable[[], None]] = []
    done = threading.Event()
    ended: list[OSError | None] = []

    def post(act: Callable[[], None]) -> None:
        posted.append(act)
        done.set()

    waits = Settling(post)
    for content in (b"two", b"three"):
        (tmp_path / "file").write_bytes(content)
        version = found()
        job = waits.job(version)
        assert job is not None
        assert waits.job(version) is job
        job.waiting.append(ended.append)
        assert done.wait(60)
        done.clear()
        posted.pop()()
        assert ended.pop() is None
        assert waits.job(version) is None


def test_a_file_that_has_gone_holds_nobody_up(tmp_path: Path, found: Callable[[], Representation]) -> None:
    posted: list[Callable[[], None]] = []
    done = threading.Event()
    waits = Settling(lambda act: (posted.append(act), done.set())[0])
    version = found()
    (tmp_path / "file").unlink()
    assert waits.job(version) is not None
    assert done.wait(60)
    posted.pop()()
    assert waits.job(version) is None

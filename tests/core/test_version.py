"""Whether announced bytes are still there: files/announced.py, and its twin without the GIL."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING, Protocol

import pytest

from zchttpd._core import testing_version
from zchttpd.files.announced import SAMPLE_COUNT, SAMPLE_SIZE, Announced, places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LARGE = 100_000
SIZES = [1, SAMPLE_SIZE, SAMPLE_SIZE + 1, SAMPLE_COUNT * SAMPLE_SIZE, SAMPLE_COUNT * SAMPLE_SIZE + 1, LARGE]


class Watch(Protocol):
    def hold(self, copy: bytes | None = None) -> bool: ...


class Reference:
    """The one in Python, with a copy as the twin takes it."""

    def __init__(self, fd: int, size: int, mtime_ns: int) -> None:
        self._announced = Announced(fd, size, mtime_ns)

    def hold(self, copy: bytes | None = None) -> bool:
        if copy is None:
            return self._announced.hold()
        return self._announced.hold(lambda length, offset: copy[offset : offset + length])


KINDS: tuple[Callable[[int, int, int], Watch], ...] = (Reference, testing_version.Announced)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def publish(fd: int, content: bytes) -> None:
    os.pwrite(fd, content, 0)
    # Long ago, so that what is written next has another time, and none is taken for an append under way.
    os.utime(fd, ns=(0, 10**18))


def watch(kind: Callable[[int, int, int], Watch], fd: int) -> Watch:
    facts = os.fstat(fd)
    return kind(fd, facts.st_size, facts.st_mtime_ns)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_an_append_takes_nothing_away(kind: Callable[[int, int, int], Watch], file: int, size: int) -> None:
    publish(file, random.Random(size).randbytes(size))
    announced = watch(kind, file)
    for _ in range(3):
        os.pwrite(file, b"more", os.fstat(file).st_size)
        assert announced.hold()
    assert announced.hold(os.pread(file, size, 0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seen", [True, False], ids=["seen growing before", "first look"])
def test_emptied_and_written_anew(
    kind: Callable[[int, int, int], Watch], file: int, size: int, seen: bool
) -> None:
    publish(file, random.Random(size).randbytes(size))
    announced = watch(kind, file)
    if seen:
        os.pwrite(file, b"more", size)
        assert announced.hold()
    os.ftruncate(file, 0)
    os.pwrite(file, random.Random(size + 1).randbytes(size + 5), 0)
    assert not announced.hold()


@pytest.mark.parametrize("kind", KINDS)
def test_shrunk_or_written_to_in_place(kind: Callable[[int, int, int], Watch], file: int) -> None:
    old = random.Random(1).randbytes(LARGE)

    def cut() -> None:
        os.ftruncate(file, LARGE - 1)

    def overwrite() -> None:
        os.pwrite(file, b"other", LARGE // 2)
        os.utime(file, ns=(0, 10**18 + 1))

    for change in (cut, overwrite):
        publish(file, old)
        announced = watch(kind, file)
        assert announced.hold()
        change()
        assert not announced.hold()
        publish(file, old)
        os.pwrite(file, b"more", LARGE)
        assert not announced.hold(), "lost once, lost for good"
        os.ftruncate(file, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_must_be_of_what_was_announced(kind: Callable[[int, int, int], Watch], file: int) -> None:
    """As when the file is written anew, and longer, before or while the copy is made."""
    publish(file, b"a" * LARGE)
    announced = watch(kind, file)
    os.pwrite(file, b"b" * (LARGE + 1), 0)
    assert not announced.hold(b"b" * LARGE)
    publish(file, b"a" * LARGE)
    os.ftruncate(file, LARGE)
    announced = watch(kind, file)
    os.pwrite(file, b"more", LARGE)
    assert not announced.hold(b"a" * (LARGE // 2) + b"b" * (LARGE // 2))


@pytest.mark.parametrize("kind", KINDS)
def test_an_append_whose_time_is_set_and_whose_size_is_not_yet(
    kind: Callable[[int, int, int], Watch], file: int
) -> None:
    publish(file, b"a" * LARGE)
    announced = watch(kind, file)
    now = time.time_ns()
    os.utime(file, ns=(now, now))
    looks: list[bool] = []
    looking = threading.Thread(target=lambda: looks.append(announced.hold()))
    looking.start()
    os.pwrite(file, b"more", LARGE)
    looking.join()
    if looks == [True]:
        assert announced.hold()
    else:
        # This machine did not come to the append in the two milliseconds that it is waited for.
        assert not announced.hold()


@pytest.mark.parametrize("size", [*SIZES, 0, 2, SAMPLE_COUNT * SAMPLE_SIZE - 1])
def test_samples_reach_from_the_first_byte_to_the_last(size: int) -> None:
    found = places(size)
    assert len(found) <= SAMPLE_COUNT
    assert all(0 < length <= SAMPLE_SIZE and offset + length <= size for offset, length in found)
    if size:
        assert found[0][0] == 0
        assert sum(found[-1]) == size
    if size <= SAMPLE_COUNT * SAMPLE_SIZE:
        assert sum(length for _, length in found) == size


def test_both_say_the_same(file: int) -> None:
    """Whatever happens to a file, seed by seed."""
    for seed in range(60):
        rng = random.Random(seed)
        os.ftruncate(file, 0)
        publish(file, rng.randbytes(rng.choice(SIZES)))
        watched = [watch(kind, file) for kind in KINDS]
        for step in range(6):
            size = os.fstat(file).st_size
            act = rng.randrange(5)
            if act < 2:
                os.pwrite(file, rng.randbytes(rng.randint(1, 200)), size)
            elif act == 2:
                os.pwrite(file, rng.randbytes(rng.randint(1, 200)), rng.randrange(size + 1))
            elif act == 3 and rng.random() < 0.3:
                os.ftruncate(file, rng.randrange(size + 1))
            if rng.random() < 0.7:
                # So that no look waits for an append that is under way.
                os.utime(file, ns=(0, 10**18 + rng.randrange(3) * step))
            said = [each.hold() for each in watched]
            assert said[0] == said[1], (seed, step, said)

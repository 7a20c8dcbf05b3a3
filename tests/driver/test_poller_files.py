"""The poller's reads of files: at once from memory, else by threads that hold up nobody."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from .polling import is_quiet, results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zchttpd._core.testing_poller import Driver

# A read at this offset is one at the position that the file has, which a pipe allows: a disk that hangs.
HERE = 2**64 - 1
# What reads that are under way at the end still write to.
READ_INTO: list[bytearray] = []


def test_what_is_in_memory_is_read_at_once(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 40)
    into = bytearray(1000)
    with path.open("rb") as file:
        driver.push("read", file.fileno(), 7, memory=into, offset=300)
        driver.push("fill", file.fileno(), 8, memory=bytearray(1000), offset=10_000)
        driver.push("read", file.fileno(), 9, memory=bytearray(1000), offset=99_999)
        found: list[tuple[int, int]] = []
        # Where the file system cannot tell, a thread reads.
        while len(found) < 3:
            found += results(driver)
    assert sorted(found) == [(7, 1000), (8, 240), (9, 0)]
    assert into == path.read_bytes()[300:1300]


def test_a_read_that_fails(driver: Driver, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    driver.push("read", fd, 7, memory=bytearray(10))
    assert results(driver) == [(7, -errno.EISDIR)]
    os.close(fd)


def test_a_thread_makes_huge_pages(driver: Driver) -> None:
    """Whether there are any or not, there is an answer, and the bytes are what they were."""
    memory = bytearray(b"m") * 4096
    driver.push("collapse", -1, 7, memory=memory)
    found: list[tuple[int, int]] = []
    while not found:
        found = results(driver)
    assert found == [(7, -errno.EINVAL)]
    assert memory == bytearray(b"m") * 4096


@pytest.fixture
def hung() -> Iterator[Callable[[], tuple[int, int]]]:
    """Makes files whose reads do not return until something is written to the other end."""
    made: list[int] = []

    def make() -> tuple[int, int]:
        ends = os.pipe()
        made.extend(ends)
        return ends

    yield make
    for fd in made:
        os.close(fd)


def test_reads_that_hang_hold_up_nobody(driver: Driver, hung: Callable[[], tuple[int, int]]) -> None:
    ends = [hung() for _ in range(10)]
    memory = [bytearray(8) for _ in ends]
    READ_INTO.extend(memory)
    for token, (fd, _) in enumerate(ends):
        driver.push("read", fd, token, memory=memory[token], offset=HERE)
    assert is_quiet(driver)
    for token in (9, 0, 5):
        os.write(ends[token][1], b"at last!")
        assert results(driver) == [(token, 8)]
        assert memory[token] == b"at last!"
    assert driver.close() == 7
    # So that the threads end.
    for _, end in ends:
        os.write(end, b"the end.")


def test_threads_are_used_again(driver: Driver, hung: Callable[[], tuple[int, int]]) -> None:
    fd, end = hung()
    threads = []
    for token in range(5):
        driver.push("read", fd, token, memory=bytearray(8), offset=HERE)
        os.write(end, b"another.")
        assert results(driver) == [(token, 8)]
        threads.append(len(os.listdir("/proc/self/task")))
    # The first of them may not have come back when the second read was wanted.
    assert threads[1] == threads[-1]


def test_closing_with_nothing_under_way(driver: Driver) -> None:
    assert driver.close() == 0

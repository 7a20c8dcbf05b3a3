"""The soak finds what it looks for."""

from __future__ import annotations

import os
import random
import socket
import threading
from mmap import MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap
from typing import TYPE_CHECKING

import pytest

from .clients import FAREWELL_S, Timed
from .footprint import KIB, MAPPINGS_SPARE, MEMORY_SPARE, THREADS_MAX, Process
from .site import REPLACED, STEADY, WRITTEN, Site

if TYPE_CHECKING:
    from pathlib import Path

REPLACED_FILE, OTHER_FILE, WRITTEN_FILE = REPLACED[0], REPLACED[1], WRITTEN[0]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, random.Random(1))


def bytes_of(site: Site, path: str) -> bytes:
    return (site.root / path[1:]).read_bytes()


def changed(site: Site, path: str) -> tuple[bytes, bytes]:
    """Two versions of a file, neither of them short."""
    found: list[bytes] = []
    while len(found) < 2:
        site.change()
        body = bytes_of(site, path) if (site.root / path[1:]).exists() else b""
        if len(body) > 10 * KIB and body not in found:
            found.append(body)
    return found[0], found[1]


@pytest.mark.parametrize("path", [*STEADY, *REPLACED, *WRITTEN])
def test_what_there_is_has_no_fault(site: Site, path: str) -> None:
    body = bytes_of(site, path)
    assert site.fault_of(path, body) == ""
    assert site.fault_of(path, body[len(body) // 2 :], len(body) // 2, len(body)) == "" or len(body) < 100


@pytest.mark.parametrize("path", [REPLACED_FILE, WRITTEN_FILE])
def test_bytes_of_two_versions_are_found(site: Site, path: str) -> None:
    one, other = changed(site, path)
    half = 5 * KIB
    mixed = one[:half] + other[half : len(one)]
    mixed += one[len(mixed) :]
    assert site.fault_of(path, one) == ""
    assert "not all of version" in site.fault_of(path, mixed)


def test_bytes_of_another_file_are_found(site: Site) -> None:
    assert "not the bytes of any version" in site.fault_of(REPLACED_FILE, bytes_of(site, OTHER_FILE))
    assert "not all of version" in site.fault_of(STEADY[5], bytes_of(site, STEADY[6])[: 64 * KIB + 1])


def test_a_part_from_elsewhere_is_found(site: Site) -> None:
    body = bytes_of(site, STEADY[4])
    assert site.fault_of(STEADY[4], body[8 * KIB : 9 * KIB], 8 * KIB, len(body)) == ""
    assert site.fault_of(STEADY[4], body[8 * KIB : 9 * KIB], 0, len(body))


def test_an_answer_that_is_cut_is_found(site: Site) -> None:
    body = changed(site, REPLACED_FILE)[1]
    assert f"{len(body) - 1} bytes of version" in site.fault_of(REPLACED_FILE, body[:-1])


def test_who_asked_late_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    # Made; sent; waits for an answer; half a second after that received, within a quarter; looked at; sent.
    clock = iter((0.0, 0.5, 0.75, 1.0, 1.25, 1.75, 0.6 + FAREWELL_S))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = Timed(listener.getsockname())
        theirs, _ = listener.accept()
        with peer, theirs:
            theirs.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            peer.send(b"first")
            assert peer.silent_s == 0.5
            assert peer.reply().status == 204
            assert (peer.away_s, peer.waited_s) == (0.5, 0.25)
            assert peer.answered_s == 1.0
            # The server knows when its answer had left, and not how late that was read.
            peer.send(b"second")
            assert peer.silent_s > FAREWELL_S


def test_growth_is_found() -> None:
    before = Process.of(os.getpid())
    assert before.growth(before) == []
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(THREADS_MAX)]
    with socket.socket(), mmap(-1, 2 * MEMORY_SPARE, flags=MAP_PRIVATE) as memory:
        memory[:] = b"x" * len(memory)
        # Neighbours of other rights are mappings of their own.
        maps = [
            mmap(-1, 4096, flags=MAP_PRIVATE, prot=PROT_READ | number % 2 * PROT_WRITE)
            for number in range(2 * MAPPINGS_SPARE + 8 * THREADS_MAX)
        ]
        for thread in threads:
            thread.start()
        found = Process.of(os.getpid()).growth(before)
        over.set()
        for thread in threads:
            thread.join()
        for each in maps:
            each.close()
    kinds = {"descriptors of socket", "threads"}
    if before.resident:
        kinds |= {"mappings", "resident", "proportional"}
    assert {what.partition(":")[0] for what in found} == kinds

"""The cache of archives: each folder looked at in turn, at a pace, and what is kept of that."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from zchttpd.files import archives as archives_module
from zchttpd.files.archive import Archive
from zchttpd.files.archives import ADVANCE_S, JOBS_MAX, KNOWN_SIZE, PACE, REST, Archives, Looks
from zchttpd.files.tree import Refusal

from .test_listing_cache import Loop, pending
from .zipped import everything

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
    archives = Archives(root, Looks(loop.post, clock=clock), 2000)
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
    archives = Archives(root, Looks(loop.post, clock=clock), 0)
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
    archives = Archives(root, Looks(loop.post), 1_000_000)
    found = made(archives, loop)
    assert isinstance(found, Archive)
    found.outdated = True
    assert made(archives, loop) is not found


def test_refusals_are_remembered_too(site: Path, root: Root) -> None:
    loop = Loop()
    archives = Archives(root, Looks(loop.post), 1_000_000)
    told = made(archives, loop, b"nothing")
    assert isinstance(told, Refusal)
    assert archives.find((b"nothing",), everything) is told


def test_not_too_many_wait(site: Path, root: Root) -> None:
    loop = Loop()
    archives = Archives(root, Looks(loop.post), 1_000_000)
    jobs = [pending(partial(archives.find, (b"%d" % number,), everything)) for number in range(JOBS_MAX)]
    with pytest.raises(OSError, match="too many") as raised:
        archives.find((b"one more",), everything)
    assert raised.value.errno == errno.EBUSY
    for job in jobs:
        loop.wait(job)


def folders(site: Path, count: int, files: int, first: int = 0) -> list[bytes]:
    names = [b"%02d" % number for number in range(first, first + count)]
    for name in names:
        (site / os.fsdecode(name)).mkdir()
        for number in range(files):
            (site / os.fsdecode(name) / f"{number}").write_bytes(b"")
    return names


def test_what_is_kept_is_bounded_by_its_size(site: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a number: many small folders that are asked for in turn are looked at once each."""
    loop, clock = Loop(), Clock()
    archives = Archives(root, Looks(loop.post, clock=clock), 1_000_000)
    names = folders(site, 30, 3)
    found = {name: made(archives, loop, name) for name in names}
    assert all(archives.find((name,), everything) is found[name] for name in names)
    small = found[names[0]]
    assert isinstance(small, Archive)
    monkeypatch.setattr(archives_module, "KEPT_SIZE", 10 * (KNOWN_SIZE + small.weight))
    folders(site, 1, 3, first=30)
    made(archives, loop, b"30")
    assert all(archives.find((name,), everything) is found[name] for name in names[-9:])
    for name in names[:-9]:
        assert pending(lambda name=name: archives.find((name,), everything))
        loop.turn()


def test_looks_keep_a_pace_whatever_is_looked_at(
    site: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ever other folders asked for in turn: all looks together take a part of the time, after a burst."""
    loop, clock = Loop(), Clock()
    paused: list[float] = []

    def pause(seconds: float) -> bool:
        paused.append(seconds)
        clock.now += seconds
        return False

    looks = Looks(loop.post, clock=clock, pause=pause)
    sites = [Archives(root, looks, 0, number) for number in range(2)]
    walk = archives_module.Tree.walk

    def slow(*arguments: object) -> object:
        clock.now += 1
        return walk(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(archives_module.Tree, "walk", slow)
    names = folders(site, 12, 1)
    began = clock.now
    for number, name in enumerate(names):
        made(sites[number % 2], loop, name)
    took = clock.now - began
    assert paused
    assert len(names) * PACE - ADVANCE_S - PACE <= took <= len(names) * PACE
    # Who was quiet has it in advance again.
    clock.now += 1000
    paused.clear()
    clock.now += ADVANCE_S
    made(sites[0], loop)
    assert not paused


def test_sites_do_not_share_what_they_know(site: Path, root: Root) -> None:
    """What is given of one folder differs with the password that it wants."""
    loop = Loop()
    looks = Looks(loop.post)
    first, second = (Archives(root, looks, 1_000_000, number) for number in range(2))
    (site / "a").write_bytes(b"a")
    assert isinstance(made(first, loop), Archive)
    job = pending(lambda: second.find((), lambda _segments, _folder: False))
    assert loop.wait(job) is None
    told = second.find((), everything)
    assert isinstance(told, Archive)
    assert told.members == ()


def test_who_ends_does_not_wait_for_its_turn(site: Path, root: Root) -> None:
    loop = Loop()

    def pause(_: float) -> bool:
        looks.close()
        return True

    looks = Looks(loop.post, pause=pause)
    archives = Archives(root, looks, 0)
    looks._rested_s = float("inf")
    error = loop.wait(pending(lambda: archives.find((), everything)))
    assert error is not None
    assert error.errno == errno.ECANCELED

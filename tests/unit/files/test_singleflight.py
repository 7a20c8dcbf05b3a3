"""Slow work in threads, where no thread can be had for a while."""

from __future__ import annotations

import errno
import queue
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from zchttpd.files.compressor import PENDING_MAX, Unavailable
from zchttpd.files.singleflight import SingleFlight

from .test_compressor import DECODERS, TEXT, Bench, content_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STUCK_S = 60.0


def refuse(_: threading.Thread) -> None:
    """What `Thread.start` says where pthread_create(3) fails: pids.max, ulimit -u."""
    raise RuntimeError("can't start new thread")


def test_what_no_thread_could_be_started_for_is_made_when_it_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    jobs = SingleFlight(posted.put, jobs_max=2)
    made: list[str] = []
    stored: list[str] = []

    def make() -> str:
        made.append("made")
        return "made"

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        # More often than jobs may wait: those that were refused are not among them.
        for _ in range(3):
            with pytest.raises(OSError, match="no thread") as refused:
                jobs.start("key", make, stored.append)
            assert refused.value.errno == errno.EAGAIN
            assert jobs.find("key") is None
    told: list[OSError | None] = []
    jobs.start("key", make, stored.append).waiting.append(told.append)
    posted.get(timeout=STUCK_S)()
    assert (told, made, stored) == ([None], ["made"], ["made"])


def test_what_nobody_waits_for_is_done_without_a_thread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[int] = []
    SingleFlight(None).away(lambda: done.append(1))
    assert done == [1]


def test_what_could_not_be_compressed_is_begun_by_who_asks_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Bench(tmp_path)) as bench:
        base = bench.put("a.txt", TEXT)
        compressor = bench.compressor()
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            # Or else nothing would ever be begun again.
            for _ in range(PENDING_MAX + 1):
                assert compressor.find(base, "br", start=True) is Unavailable.PENDING
        assert bench.cells.ended("br", "postponed") == PENDING_MAX + 1
        assert DECODERS["br"](content_of(bench.made(compressor, base))) == TEXT
        # And once alone, however often that was.
        assert bench.cells.ended("br", "made") == 1

"""What tests of the portable engine share: its store over a directory, without loop, threads or sockets."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from zchttpd.config.settings import Settings
from zchttpd.engines.portable_store import Store
from zchttpd.engines.portable_tally import Tally
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.handler.handler import Handler
from zchttpd.http.cache_key import cache_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zchttpd.engines.portable_plan import Plan

KIB = 1024
SMALL, MIDDLE, LARGE = 1 * KIB, 100 * KIB, 2048 * KIB
MEMORY = 4 * MIDDLE + SMALL * 8


def fill(root: Path) -> None:
    """One file of each kind: held here, held as a snapshot, and sent from where it is."""
    for name, size in (("small", SMALL), ("middle", MIDDLE), ("large", LARGE)):
        (root / name).write_bytes(os.urandom(size))


class Places(dict[str, tuple[int, int]]):
    """As many cells for each counter as the one with the most has."""

    def __missing__(self, name: str) -> tuple[int, int]:
        self[name] = (600 * len(self), 600)
        return self[name]


class Hand:
    """A loop and an executor in one: what would run in a thread runs when the test says so."""

    def __init__(self) -> None:
        self._jobs: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.later: list[Callable[[], None]] = []  # what a timer would call

    def run_in_executor(self, _executor: object, work: Callable[..., Any], *subject: object) -> Future[Any]:
        future: Future[Any] = Future()
        self._jobs.append((future, work, subject))
        return future

    def call_later(self, _delay_s: float, act: Callable[[], None]) -> None:
        self.later.append(act)

    def work(self) -> int:
        """Do what waits, and tell; how many jobs that was."""
        jobs, self._jobs = self._jobs, []
        for future, work, subject in jobs:
            try:
                result = work(*subject)
            except OSError as error:
                future.set_exception(error)
            else:
                future.set_result(result)
        return len(jobs)


class Bench:
    """A store over a directory, with a clock that stands still."""

    def __init__(self, root: Path, **options: object) -> None:
        chosen: dict[str, Any] = {"zc_size_min": 16 * KIB, "memory": MEMORY, "revalidate_ms": 1000, **options}
        settings = Settings(root=root, **chosen)
        self.hand = Hand()
        self.places = Places()
        self.stats = Tally(memoryview(bytearray(8 * 600 * 32)), self.places)
        self.now_ms = 1000
        self.site = root
        self.root = Root(root)
        cache = EntryCache(self.root, settings)
        self.store = Store(
            settings,
            Handler(settings, cache),
            cache,
            self.stats,
            self.hand,  # type: ignore[arg-type]
            self.hand,  # type: ignore[arg-type]
            files_max=8,
            clock=lambda: self.now_ms,
        )
        self.resumed: list[Plan] = []

    def ask(self, target: str, *fields: str) -> Plan | None:
        """The plan for a GET: a remembered one, else a new one; None while its file is being read."""
        head = (
            "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", "Host: h", *fields)).encode()
            + b"\r\n"
        )
        key = cache_key(head)
        found = None if key is None else self.store.find(key, self.now_ms)
        return found or self.store.answer(head, self.now_ms, self.resumed.append)

    def plan(self, target: str, *fields: str) -> Plan:
        plan = self.ask(target, *fields)
        assert plan is not None
        return plan

    def cell(self, name: str) -> int:
        return self.stats.cells[self.places[name][0]]

    def close(self) -> None:
        """Give everything back, and see that it was everything."""
        self.store.close()
        for gauge in ("mappings_open", "mapped_bytes", "entries_open", "plans_open", "zombies_open"):
            assert self.cell(gauge) == 0, gauge
        self.root.close()


def body_of(plan: Plan) -> bytes:
    """Every byte behind the head."""
    got = plan.tail
    for piece in plan.rest:
        if isinstance(piece, bytes):
            got += piece
        else:
            assert plan.body is not None
            got += os.pread(plan.body.fd, piece.length, piece.offset)
    return got

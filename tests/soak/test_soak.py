"""Traffic of all kinds for minutes or hours, while files, options and versions change: nothing is left.

`SOAK_MINUTES=60 pytest -s tests/soak`. The choices of a failing run again: `SOAK_SEED=123`.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ..wire.client import STUCK_S, Peer, eventually, request
from ..wire.servers import Server, serving
from .clients import DRAIN_MS_MAX, Books, Client
from .footprint import GAUGES, HEADER, Footprint
from .hostile import Hostile
from .site import FILES, PASSING, Site, passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Of both engines together.
MINUTES = float(os.environ.get("SOAK_MINUTES", "1"))
SEED = int(os.environ.get("SOAK_SEED", random.randrange(2**32)))
ENGINES = (pytest.param("uring", marks=pytest.mark.uring), "portable")
SEND_MODES = ("zerocopy", "plain", "auto")
CLIENTS, HOSTILES = 6, 6
WORKERS = 2
# What each client asks before anything is measured: caches and threads are there then.
WARM_UP = 400

# Small budgets, so that all of them are used up, and short times, so that they run out.
OPTIONS: dict[str, Any] = {
    "memory": "8M",
    "stream_memory": "4M",
    "plans_max": 512,
    "compress": "auto",
    "compress_size_max": "1M",
    "compress_memory": "2M",
    "revalidate_ms": 100,
    "head_ms_max": 2000,
    "stall_ms_max": 8000,
    "drain_ms_max": DRAIN_MS_MAX,
}
COMPLAINT = "killed by SIGKILL|not reloaded|a file could not be read"


class Options:
    """The file for --config: what a reload changes."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self._rng = rng

    def write(self, send_mode: str, workers: int = WORKERS, *lines: str) -> None:
        """What is measured before and after has these alone."""
        self.path.write_text("\n".join((f'send-mode = "{send_mode}"', f"workers = {workers}", *lines)))

    def write_others(self) -> None:
        """Some that are right."""
        rng = self._rng
        self.write(
            rng.choice(SEND_MODES),
            rng.randrange(WORKERS, WORKERS + 3),
            f"listing = {rng.choice(('true', 'false'))}",
            f"digest = {rng.choice(('true', 'false'))}",
            f"request-id = {rng.choice(('true', 'false'))}",
            f'header = ["* X-Number: {rng.random()}"]',
        )


class Soak:
    """One server, its load, and what is done to it."""

    def __init__(self, server: Server, site: Site, options: Options, rng: random.Random) -> None:
        self.books = Books(site, server.address)
        self._server = server
        self._site = site
        self._options = options
        self._rng = rng
        self.rows: list[str] = []

    def run(self, seconds: float) -> None:
        """A third for each send mode: half of it as it is, and half with everything changing."""
        for send_mode in SEND_MODES:
            self._begin(send_mode)
            before = self._at_rest(f"{send_mode}, begin")
            with self._load():
                self._last(seconds / 6, self._disturb)
            self._at_rest(f"{send_mode}, other traffic", before)
            with self._load():
                self._last(seconds / 6, self._renew)
            self._begin(send_mode)
            self._at_rest(f"{send_mode}, renewals", before)

    def _begin(self, send_mode: str) -> None:
        """New workers, warmed up."""
        self._options.write(send_mode)
        self._reload()
        eventually("the others have gone", lambda: len(self._server.pids()) == WORKERS + 1)
        with self._load():
            until = self.books.seen.total() + WARM_UP * CLIENTS
            eventually(
                "they are warm", lambda: self.books.seen.total() >= until or self.books.over.is_set(), 600
            )

    def _at_rest(self, when: str, before: Footprint | None = None) -> Footprint:
        """What is held without a client, without a file, and with nothing remembered of any.

        Fails where that is more than `before`, once what goes on for a moment has ended.
        """
        self._site.clear()
        eventually("all files are forgotten", self._forget, 120)
        found = Footprint.of(self._server)
        until = time.monotonic() + STUCK_S
        while before and (grown := found.growth(before)):
            assert time.monotonic() < until, f"{when}: {grown}"
            found = Footprint.of(self._server)
        self.rows.append(found.row(when))
        self._site.build()
        return found

    def _forget(self) -> bool:
        paths = (*FILES, *(passing(number) for number in range(PASSING)))
        with Peer(self._server.address) as peer:
            for path in paths:
                peer.ask(request(path))
        now = self._server.metrics()
        return not any(now[name] for name in GAUGES)

    # What goes on meanwhile

    @contextmanager
    def _load(self) -> Iterator[None]:
        books, rng = self.books, self._rng
        books.over.clear()

        def change() -> None:
            while not books.over.wait(rng_of_site.uniform(0, 0.3)):
                self._site.change()

        rng_of_site = random.Random(rng.random())
        targets: list[Callable[[], None]] = [change]
        targets += [Client(books, random.Random(rng.random())).run for _ in range(CLIENTS)]
        targets += [
            Hostile(books, random.Random(rng.random()), self._server.admin).run for _ in range(HOSTILES)
        ]
        threads = [threading.Thread(target=target) for target in targets]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            books.over.set()
            for thread in threads:
                thread.join()
        assert not books.failures, books.failures

    def _last(self, seconds: float, act: Callable[[], None]) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.books.over.wait(self._rng.uniform(0, 2)):
            act()

    def _disturb(self) -> None:
        """What makes no new process."""
        self._server.send(signal.SIGUSR1)
        assert self._server.metrics()["workers_alive"] == WORKERS

    def _renew(self) -> None:
        what = self._rng.random()
        self.books.renewals += 1
        if what < 0.15:
            self._kill()
        elif what < 0.3:
            self.books.count("upgrades")
            self._server.upgrade()
            eventually("it can be measured", self._server.metrics)
        elif what < 0.4:
            self.books.count("reloads that are refused")
            self._options.write("never")
            assert self._server.reload().startswith("not reloaded")
            # A new version would not start with them either.
            self._options.write_others()
        else:
            self._options.write_others()
            self._reload()
        self.books.renewals += 1

    def _reload(self) -> None:
        self.books.count("reloads")
        assert self._server.reload().startswith("reloaded")

    def _kill(self) -> None:
        self.books.count("workers killed")
        self.books.kills += 1
        worker = self._rng.choice([pid for pid in self._server.pids() if pid != self._server.pid])
        os.kill(worker, signal.SIGKILL)
        self._server.lost_workers = True

        def replaced() -> bool:
            now = self._server.metrics()
            return worker not in self._server.pids() and now["workers_alive"] == now["workers"]

        eventually("another one has its place", replaced)
        self.books.kills += 1


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_left_behind(tmp_path: Path, engine: str) -> None:
    rng = random.Random(f"{SEED} {engine}")
    root = tmp_path / "root"
    root.mkdir()
    site = Site(root, random.Random(rng.random()))
    options = Options(tmp_path / "site.toml", rng)
    options.write("auto")
    log = tmp_path / "access.log"
    chosen = {"engine": engine, "send_mode": None, "config": options.path, "access_log": log, **OPTIONS}
    with serving(root, complaint=COMPLAINT, **chosen) as server:
        soak = Soak(server, site, options, rng)
        try:
            soak.run(MINUTES * 60 / len(ENGINES))
        except BaseException as error:
            print(
                f"\n{error!r}\nThe same again: SOAK_SEED={SEED} SOAK_MINUTES={MINUTES:g} pytest -s tests/soak"
            )
            raise
        finally:
            print(f"\n{engine}: {MINUTES / len(ENGINES):g} minutes, seed {SEED}")
            print(f"{site.changes:8} changes of files")
            print(*(f"{count:8} {what}" for what, count in sorted(soak.books.seen.items())), sep="\n")
            print(HEADER, *soak.rows, sep="\n")

"""Ready, alive, complete: what a service manager is told, and why not."""

from __future__ import annotations

import runpy
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from zchttpd.process.generation import Child
from zchttpd.process.health import HANG_S, Health
from zchttpd.telemetry.shared_stats import DUE, SharedStats, cells_of

if TYPE_CHECKING:
    from collections.abc import Iterator

STUBS = runpy.run_path(str(Path(__file__).parents[1] / "stub_server.py"))


class Workers:
    """Two that serve, as Health sees them."""

    def __init__(self, listener: socket.socket) -> None:
        stats = SharedStats(0)
        self.children = [Child(worker, listener, stats.add(), pid=100 + worker) for worker in range(2)]
        self.serving: Any = SimpleNamespace(children=self.children)

    @property
    def are_alive(self) -> bool:
        return self.serving is not None and all(child.pid for child in self.children)

    def due_in(self, worker: int, s: float) -> None:
        cells_of(self.children[worker].stats, DUE)[0] = int((time.monotonic() + s) * 1000)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setitem(sys.modules, "zchttpd._core.stats", STUBS["stub_stats"]())
    with socket.socket() as listener:
        yield Workers(listener)


def told(workers: Any, *, stopping: bool = False) -> dict[bytes, str]:
    health = Health(workers)
    health.stopping = stopping
    return {path: why() for path, why in health.checks().items()}


def test_all_is_well(workers: Workers) -> None:
    workers.due_in(0, 3600)
    workers.due_in(1, 1 - HANG_S)
    assert told(workers) == {b"/healthz": "", b"/livez": "", b"/readyz": ""}


def test_it_is_alive_while_it_starts_and_while_it_drains_and_not_ready(workers: Workers) -> None:
    assert told(workers, stopping=True) == {
        b"/healthz": "not all workers are alive",
        b"/livez": "",
        b"/readyz": "it drains",
    }
    workers.serving = None
    assert told(workers) == {
        b"/healthz": "not all workers are alive",
        b"/livez": "",
        b"/readyz": "it starts",
    }


def test_a_worker_that_has_died_has_a_successor_soon_and_is_no_reason_to_start_anew(workers: Workers) -> None:
    workers.due_in(1, -HANG_S - 2)
    workers.children[1].pid = 0
    checks = told(workers)
    assert checks[b"/livez"] == ""
    assert checks[b"/readyz"] == "not all workers are alive"


def test_a_worker_that_hangs_is_named(workers: Workers) -> None:
    workers.due_in(1, -HANG_S - 2)
    checks = told(workers)
    assert checks[b"/livez"].startswith("worker 1 has not been in its loop for 7 s")
    assert checks[b"/readyz"] == checks[b"/livez"]
    assert checks[b"/healthz"] == ""

"""Workers that die and cannot be replaced at once: others serve on, and the place is filled later."""

from __future__ import annotations

import os
import resource
import signal
from typing import TYPE_CHECKING

import pytest

from .client import eventually, request
from .servers import Server, serving

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = 2


@pytest.fixture
def place(tmp_path: Path) -> Path:
    root = tmp_path / "www"
    root.mkdir()
    (root / "page.html").write_bytes(b"page\n")
    return root


def kill_one(server: Server) -> set[int]:
    """Have one worker of all end. Those that are left, and the supervisor; who comes to the other waits."""
    victim, *others = (pid for pid in server.pids() if pid != server.pid)
    os.kill(victim, signal.SIGKILL)
    return {server.pid, *others}


def is_whole(server: Server) -> bool:
    return len(server.pids()) == WORKERS + 1


def test_a_root_that_has_gone_ends_no_worker_that_serves(place: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    chosen = {"engine": engine, "send_mode": send_mode, "workers": WORKERS}
    with serving(place, complaint="supervisor: worker", **chosen) as server:
        place.rename(place.with_name("away"))
        left = kill_one(server)
        told = r"worker \d cannot start: .*No such file or directory.*; another one starts in (.*) s"
        eventually("it says why, again and again", lambda: len(server.says(told)) > 1)
        assert server.says(told)[:2] == ["0.2", "0.4"]
        assert left <= {*server.pids()}
        place.with_name("away").rename(place)
        eventually("the place is filled", lambda: is_whole(server))
        eventually("all serve", lambda: server.metric("workers_alive") == WORKERS)
        eventually("the file is there", lambda: server.ask(request("/page.html")).body == b"page\n")


def test_without_descriptors_a_worker_is_replaced_later(place: Path) -> None:
    with serving(place, complaint="supervisor: worker", workers=WORKERS) as server:
        before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        left = kill_one(server)
        told = r"worker \d cannot be made \(Too many open files\); another try in (.*) s"
        eventually("it says why, again and again", lambda: len(server.says(told)) > 1)
        assert server.says(told)[:2] == ["0.2", "0.4"]
        assert left <= {*server.pids()}
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
        eventually("the place is filled", lambda: is_whole(server))
        assert server.ask(request("/page.html")).body == b"page\n"


def test_without_descriptors_nothing_is_reloaded(place: Path) -> None:
    with serving(place, complaint="not reloaded", workers=WORKERS) as server:
        pids, used = server.pids(), [*map(int, os.listdir(f"/proc/{server.pid}/fd"))]
        # A pipe has two ends, of which one stays: so one worker can be made, and another cannot.
        limit = [fd for fd in range(len(used) + 2) if fd not in used][1] + 1
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        assert "a worker cannot be made (Too many open files)" in server.reload()
        eventually("only the old ones are left", lambda: server.pids() == pids)
        assert server.ask(request("/page.html")).body == b"page\n"

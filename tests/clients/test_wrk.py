"""wrk at full load while options, versions and workers change: it counts what fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..wire.client import eventually
from ..wire.servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..wire.servers import Server

pytestmark = pytest.mark.slow

CONNECTIONS = 32
SECONDS = 30
RELOADS = 10
WORKERS = 2
# One leaves with its head, one is copied, one is sent as it is.
SIZES = {"small": 100, "middle": 10_000, "large": 100_000}
# wrk has no other way to tell what it has counted but in words.
SCRIPT = """
local paths = {"/small", "/middle", "/large"}
local number = 0
request = function()
  number = number + 1
  return wrk.format("GET", paths[number % #paths + 1])
end
done = function(summary)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\\n',
    summary.requests, errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"""


@dataclass
class Counted:
    """What wrk tells in the end: how many requests were answered, and what failed, by kind."""

    requests: int = 0
    failed: dict[str, int] | None = None


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory that every user may enter; pytest's own are for their owner."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        root.chmod(0o755)
        for name, size in SIZES.items():
            (root / name).write_bytes(bytes(size))
        write_options(root, WORKERS, 0)
        yield root


def write_options(root: Path, workers: int, number: int) -> None:
    """A file for --config: `number` makes it another one."""
    (root / "site.toml").write_text(f'workers = {workers}\nheader = ["* X-Number: {number}"]\n')


@contextmanager
def loaded(server: Server, script: Path) -> Iterator[Counted]:
    """wrk, for as long as this lasts."""
    script.write_text(SCRIPT)
    counted = Counted()
    # A request may take long where two cores do all of this: what is late has not failed.
    words = ["wrk", "-t", "2", "-c", str(CONNECTIONS), "-d", "600s", "--timeout", "60s", "-s", str(script)]
    host, port = server.address
    with subprocess.Popen([*words, f"http://{host}:{port}"], stdout=subprocess.PIPE, text=True) as wrk:
        try:
            served = 'requests_total{status="200"}'
            eventually("it asks", lambda: server.metrics().get(served, 0) > 100 * CONNECTIONS)
            yield counted
            wrk.send_signal(signal.SIGINT)
            said, _ = wrk.communicate(timeout=60)
        finally:
            wrk.kill()
    failed = json.loads(said.splitlines()[-1])
    counted.requests, counted.failed = failed.pop("requests"), failed
    print(f"{server.name}: {counted}")


def renew(server: Server, root: Path, *, upgrades: int) -> None:
    """RELOADS and so many new versions, with a worker more now and then, and for SECONDS at least."""
    until = time.monotonic() + SECONDS
    number = upgraded = 0
    while number < RELOADS or time.monotonic() < until:
        number += 1
        write_options(root, WORKERS + number % 3 % 2, number)
        assert server.reload().startswith("reloaded: ")
        if number % 3 == 0 and upgraded < upgrades:
            upgraded += 1
            server.upgrade()
    assert upgraded == upgrades


def options_of(engine: str, root: Path, user: str | None) -> dict[str, Any]:
    return {"engine": engine, "config": root / "site.toml", "user": user}


# The new version is started as that user, who may not read the interpreter where it is in root's home.
@pytest.mark.parametrize(
    ("user", "upgrades"),
    [
        (None, 3),
        pytest.param(
            "nobody",
            0,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
        ),
    ],
)
def test_no_request_fails(root: Path, tmp_path: Path, engine: str, user: str | None, upgrades: int) -> None:
    with serving(root, **options_of(engine, root, user)) as server:
        with loaded(server, tmp_path / "wrk.lua") as counted:
            renew(server, root, upgrades=upgrades)
        assert counted.failed is not None
        assert not any(counted.failed.values()), counted


def test_a_worker_that_is_killed_costs_what_it_was_at(root: Path, tmp_path: Path, engine: str) -> None:
    """The kernel resets its connections, each with a request under way; who waits to be accepted waits on."""
    with serving(root, complaint="was killed by SIGKILL", **options_of(engine, root, None)) as server:
        with loaded(server, tmp_path / "wrk.lua") as counted:
            worker = next(pid for pid in server.pids() if pid != server.pid)
            os.kill(worker, signal.SIGKILL)

            def replaced() -> bool:
                return worker not in server.pids() and len(server.pids()) == WORKERS + 1

            eventually("another one has its place", replaced)
        assert counted.failed is not None
        assert counted.failed.pop("read") <= CONNECTIONS
        assert not any(counted.failed.values()), counted

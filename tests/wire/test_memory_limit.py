"""A server in a control group that allows less memory than the defaults would take."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zchttpd.process.memory_limit import Limit, memory_limit

from .client import ProtocolError, request
from .servers import ENGINES, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
LIMIT = 128 * MIB
FILES = 18
SIZE = 8_000_000


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of our own that allows LIMIT bytes."""
    for place, name in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        made = Path(place, f"zchttpd-test-{os.getpid()}")
        try:
            made.mkdir()
        except OSError:
            continue
        if (made / name).exists():
            break
        made.rmdir()
    else:
        pytest.skip("no control group with memory can be made here")
    try:
        (made / name).write_text(str(LIMIT))
        yield made
    finally:
        until = time.monotonic() + 10
        while made.exists():
            try:
                made.rmdir()
            except OSError:
                # Its last process is still on its way out.
                assert time.monotonic() < until, (made / "cgroup.procs").read_text()
                time.sleep(0.01)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large")
    for number in range(FILES):
        (root / str(number)).write_bytes(bytes([number]) * SIZE)
    return root


@pytest.mark.resident
@pytest.mark.parametrize(("engine", "send_mode"), ENGINES)
def test_more_files_than_fit_are_served_by_one_worker(
    group: Path, large: Path, engine: str, send_mode: str
) -> None:
    with serving(large, engine=engine, send_mode=send_mode, cgroup=group) as server:
        assert re.search(
            r"^memory: --memory is \d+M instead of 256M.* is 128M\.", server.stdout(), re.MULTILINE
        )
        workers = server.pids()
        for number in range(FILES):
            reply = server.ask(request(f"/{number}"))
            assert (reply.status, reply.body) == (200, bytes([number]) * SIZE)
        assert server.pids() == workers
        assert server.metric('worker_restarts_total{worker="0"}') == 0


@pytest.mark.resident
def test_a_worker_that_was_killed_for_its_memory_is_told_with_the_cure(group: Path, large: Path) -> None:
    complaint = "supervisor: worker 0 was killed"
    with serving(large, complaint=complaint, send_mode="plain", memory="256M", cgroup=group) as server:
        assert "may take 499M in all" in server.stdout()
        for number in range(FILES):
            # The one at which the worker is killed is cut.
            for _ in range(2):
                with contextlib.suppress(ProtocolError, OSError):
                    server.ask(request(f"/{number}"))
        told = re.search(r"worker 0 was killed because .*Type --memory (\d+)M", server.stderr())
        assert told, server.stderr()
        assert int(told[1]) * MIB < LIMIT // 2


def test_the_limit_of_the_machine_at_least_is_known() -> None:
    assert isinstance(memory_limit(), Limit)
    assert memory_limit().size > LIMIT

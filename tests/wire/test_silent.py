"""Clients that ask and do not read cost memory that is bounded, and no work, half-closed or not."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .client import eventually, request
from .servers import serving
from .streams import LARGE, SLOW_BUFFER, cached_and_streamed, pattern
from .tree import MIB

if TYPE_CHECKING:
    from .servers import Server

SILENT = 60
CALLS_MAX = 10  # a second
THREADS_MAX = 4
CACHED = 8 * MIB


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cached_and_streamed(tmp_path_factory.mktemp("silent"), CACHED)


def threads(server: Server) -> int:
    """Of the worker, those that the kernel made for its ring among them."""
    [worker] = [pid for pid in server.pids() if pid != server.pid]
    return sum(1 for _ in Path(f"/proc/{worker}/task").iterdir())


@pytest.mark.parametrize("path", ["/cached", "/streamed"])
@pytest.mark.parametrize("half_closed", [1, SILENT], ids=["one", "all"])
def test_those_that_do_not_read_cost_no_work(
    large: Path, kind: tuple[str, str], path: str, half_closed: int
) -> None:
    engine, send_mode = kind
    options = {"memory": 64 * MIB, "stream_memory": 4 * MIB}
    with serving(large, engine=engine, send_mode=send_mode, **options) as server, ExitStack() as stack:
        # `auto` decides about loopback first: each is 16 sends, and 32 are enough.
        for _ in range(4):
            assert server.ask(request("/cached")).status == 200
        before = threads(server)
        clock = stack.enter_context(server.peer())
        peers = [stack.enter_context(server.peer(receive_buffer=SLOW_BUFFER)) for _ in range(SILENT)]
        for peer in peers:
            peer.send(request(path))
        for peer in peers[:half_closed]:
            peer.half_close()

        def calls() -> float:
            """System calls and completions a second."""
            was, since = server.metrics(), time.monotonic()
            assert not clock.readable(1.0)
            now, seconds = server.metrics(), time.monotonic() - since
            names = ("enters_total", "completions_total")
            return sum(now[name] - was[name] for name in names) / seconds

        # Their sockets fill up first.
        eventually("they cost nothing", lambda: calls() <= CALLS_MAX)
        assert threads(server) <= before + THREADS_MAX
        # And those that read after all get every byte.
        content = pattern(CACHED if path == "/cached" else LARGE)
        for peer in peers[:4]:
            assert peer.reply().body == content

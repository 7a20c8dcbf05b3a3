"""Ten reloads, three new versions, one worker more, one killed: clients count what they lose."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from .client import STUCK_S, request
from .servers import serving
from .streams import digest_of, download, pattern
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .servers import Server

pytestmark = pytest.mark.slow

CLIENTS = 16
FILES = {"/small": b"small\n", "/middle": pattern(20_000), "/large": pattern(3 * MIB)}
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Load:
    """Clients that ask again as soon as they have an answer: on new connections, or on few."""

    def __init__(self, server: Server) -> None:
        self.done = 0
        self.failures: list[str] = []
        self._address = server.address
        self._ended = asyncio.Event()

    async def during(self, act: Callable[[], object]) -> None:
        """While `act` is called in a thread, and until they have had answers from what is there then."""
        clients = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]
        try:
            await asyncio.to_thread(act)
            before = self.done
            while self.done < before + 10 * CLIENTS and not all(client.done() for client in clients):
                await asyncio.sleep(0.01)
        finally:
            self._ended.set()
            await asyncio.gather(*clients)
            self._ended.clear()

    async def _client(self, number: int) -> None:
        keeps = (1, 20, 200)[number % 3]
        path, content = list(FILES.items())[number % len(FILES)]
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(STUCK_S):
                    await self._connection(request(path), content, keeps)
            except (OSError, EOFError, AssertionError) as error:
                self.failures.append(repr(error))

    async def _connection(self, head: bytes, content: bytes, keeps: int) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            for _ in range(keeps):
                writer.write(head)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(answer)
                assert length, answer
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert await reader.readexactly(int(length[1])) == content
                self.done += 1
                if b"connection: close" in answer.lower() or self._ended.is_set():
                    return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def test_no_request_fails(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    root, config = tmp_path / "root", tmp_path / "site.toml"
    root.mkdir()
    for path, content in FILES.items():
        (root / path[1:]).write_bytes(content)
    config.write_text("workers = 2")

    def renew(server: Server) -> None:
        for number, workers in enumerate((2, 3, 3, 1, 2, 4, 2, 2, 1, 2)):
            config.write_text(f'workers = {workers}\nheader = ["* X-Reload: {number}"]')
            assert server.reload().startswith("reloaded: ")
            if number % 3 == 2:
                server.upgrade()

    def kill(server: Server) -> None:
        workers = [pid for pid in server.pids() if pid != server.pid]
        os.kill(workers[0], signal.SIGKILL)

    async def run(server: Server) -> None:
        load = Load(server)
        await load.during(lambda: renew(server))
        assert load.failures == []
        # What a process that is killed had begun is lost, and nothing else: not what waits to be accepted.
        await load.during(lambda: kill(server))
        assert len(load.failures) <= CLIENTS
        lost = len(load.failures)
        await load.during(lambda: renew(server))
        assert len(load.failures) == lost

    options = {"engine": engine, "send_mode": send_mode, "config": config}
    with serving(root, complaint="was killed by SIGKILL", **options) as server:
        asyncio.run(run(server))
        assert download(server, "/large")[1] == digest_of(FILES["/large"])

"""A worker in the loop of a program that goes on afterwards: no signals, no process, nothing left behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zchttpd.engine.portable import LoopDriver
from zchttpd.engine.serve import assemble
from zchttpd.telemetry.metrics import StatsCollector, WorkerInfo, flat
from zchttpd.telemetry.shared_stats import SharedStats

if TYPE_CHECKING:
    import asyncio

    from zchttpd.config.settings import Settings
    from zchttpd.engine.listener import Listener
    from zchttpd.engine.tls import Tls


class Embedded:
    """Serves from when it is made, in a loop that runs or will; to be called on the thread of that loop.

    It takes the listener over. `ended` is done when it has drained, and given back every descriptor. Raises
    OSError where there is no descriptor, or no memory.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        loop: asyncio.AbstractEventLoop,
        tls: Tls | None,
    ) -> None:
        self.ended: asyncio.Future[None] = loop.create_future()
        self._stats = SharedStats(1)
        self._driver = LoopDriver(settings, loop, tls)
        self.send_mode = self._driver.send_mode
        self._assembly = assemble(self._driver, settings, [listener], self._stats.block(0))
        self._assembly.start_log()
        self._driver.begin(self._end)

    def metrics(self) -> dict[str, float]:
        """Every sample, by `name{label="value"}`; from any thread."""
        return dict(flat(StatsCollector(self._stats, self._workers).families()))

    def drain(self, *, replaced: bool = False) -> None:
        """Accept no more, and end when the responses under way have. `replaced`: another one serves."""
        if replaced:
            self._assembly.hand_over()
        else:
            self._assembly.drain()
        self._driver.turn()

    def _end(self) -> None:
        # It refers to the worker too.
        del self._driver
        self._assembly.close()
        self.ended.set_result(None)

    def _workers(self) -> list[WorkerInfo]:
        return [WorkerInfo(0, os.getpid(), 0.0, 0)]

"""The portable engine: a worker over plain system calls, in the loop of uvloop, or of asyncio without it.

The loop watches one descriptor for the worker, and keeps its time: all else the worker does itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from typing import TYPE_CHECKING, Any

from zchttpd._core.poll_driver import PollWorker
from zchttpd.engine.serve import serve as serve_with

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from zchttpd.config.settings import Settings

LOGGER = logging.getLogger("zchttpd")


class Portable:
    """A worker that somebody else's loop gives its turns."""

    def __init__(self, settings: Settings) -> None:
        self.memory_files = settings.send_mode != "plain"
        self._loop, self._name, self._notes = _new_loop()
        self._loop.set_exception_handler(_complain)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = math.inf
        self._worker: PollWorker

    def make(self, *, waker: int, listener: int, **options: Any) -> PollWorker:
        """See `serve.Driver`."""
        os.set_blocking(listener, False)
        self._worker = PollWorker(listener=listener, **options)
        return self._worker

    def on_signal(self, number: int, act: Callable[[], None]) -> None:
        """See `serve.Driver`."""
        self._loop.add_signal_handler(number, self._act, act)

    def report(self) -> dict[str, object]:
        """See `serve.Driver`."""
        return {
            "engine": f"portable ({self._name})",
            "send_mode": "splice" if self.memory_files else "plain",
            "missing": [],
            "notes": self._notes,
        }

    def run(self) -> None:
        """See `serve.Driver`."""
        try:
            self._loop.add_reader(self._worker.fileno(), self._turn)
            self._loop.call_soon(self._turn)
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _act(self, act: Callable[[], None]) -> None:
        act()
        self._turn()

    def _turn(self) -> None:
        pause_ms = self._worker.step()
        if pause_ms < 0:
            self._loop.remove_reader(self._worker.fileno())
            self._loop.stop()
        elif pause_ms < self._timer_ms:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_ms = pause_ms
            self._timer = self._loop.call_later(pause_ms / 1000, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_ms = math.inf
        self._turn()


def _new_loop() -> tuple[asyncio.AbstractEventLoop, str, list[str]]:
    """The loop, its name, and what the start report is to say of it."""
    try:
        import uvloop
    except ImportError:
        note = "uvloop is not installed; asyncio serves instead, with less speed. Fix: pip install uvloop"
        return asyncio.new_event_loop(), "asyncio", [note]
    return uvloop.new_event_loop(), "uvloop", []


def _complain(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    LOGGER.error("the loop: %s", context["message"], exc_info=context.get("exception"))


def serve(
    settings: Settings,
    listener: socket.socket,
    stats: memoryview,
    worker: int,
    *,
    ready: Callable[[dict[str, object]], None],
) -> None:
    """See `process.worker.Serve`."""
    serve_with(Portable(settings), settings, listener, stats, ready=ready)

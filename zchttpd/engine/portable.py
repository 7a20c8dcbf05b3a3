"""The portable engine: a worker over plain system calls, in the loop of uvloop, or of asyncio without it.

The loop watches one descriptor for the worker, and keeps its time: all else the worker does itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from zchttpd._core.poll_driver import PollWorker
from zchttpd.engine.serve import serve as serve_with
from zchttpd.telemetry.shared_stats import cells_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zchttpd.config.settings import Settings
    from zchttpd.engine.listener import Listener
    from zchttpd.engine.tls import Tls
    from zchttpd.engine.tls_transport import Transport

LOGGER = logging.getLogger("zchttpd")

NO_ZEROCOPY = (
    "without MSG_ZEROCOPY: no body is sent without a copy. Fix: Linux 4.14 or later, or another sandbox"
)


class LoopDriver:
    """Gives a worker its turns in a loop: when its descriptor is readable, and when one is due."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, tls: Tls | None) -> None:
        # As the io_uring engine has it.
        self.memory_files = settings.send_mode == "auto"
        self.send_mode = settings.send_mode
        self._loop = loop
        self._tls = tls
        self._shake_ms_max = settings.head_ms_max
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = math.inf
        self._worker: PollWorker
        self._ended: Callable[[], None]

    def make(self, *, waker: int, listeners: Sequence[tuple[int, str]], **options: Any) -> PollWorker:
        """See `serve.Maker`."""
        for fd, _ in listeners:
            os.set_blocking(fd, False)
        transport = self._transport(options["stats"]) if self._tls is not None else None
        self._worker = PollWorker(listeners=listeners, tls=transport, **options)
        return self._worker

    def _transport(self, stats: memoryview) -> Transport:
        # What it imports is of no use to a server without TLS.
        from zchttpd.engine.tls_transport import Transport

        assert self._tls is not None
        return Transport(self._tls, self._shake_ms_max, partial(cells_of, stats))

    def begin(self, ended: Callable[[], None]) -> None:
        """From now on the worker has turns; `ended` is called when it has drained."""
        self._ended = ended
        self._loop.add_reader(self._worker.fileno(), self.turn)
        self._loop.call_soon(self.turn)

    def turn(self) -> None:
        """One turn now."""
        pause_ms = self._worker.step()
        if pause_ms < 0:
            self._end()
        elif pause_ms < self._timer_ms:
            self._cancel_timer()
            self._timer_ms = pause_ms
            self._timer = self._loop.call_later(pause_ms / 1000, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_ms = math.inf
        self.turn()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self._cancel_timer()
        self._loop.remove_reader(self._worker.fileno())
        self._ended()


class Portable(LoopDriver):
    """A worker in a loop of its own, which is that of its process."""

    def __init__(self, settings: Settings, tls: Tls | None) -> None:
        loop, self._name, self._notes = new_loop()
        super().__init__(settings, loop, tls)
        loop.set_exception_handler(_complain)

    def on_signal(self, number: int, act: Callable[[], None]) -> None:
        """See `serve.Driver`."""
        # One that comes before the loop runs would be lost in uvloop: it waits until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        self._loop.add_signal_handler(number, self._act, act)
        self._loop.call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, {number})

    def report(self) -> dict[str, object]:
        """See `serve.Driver`."""
        return {
            "engine": f"portable ({self._name})",
            "send_mode": self.send_mode,
            "missing": [],
            "notes": self._notes + self._copies(),
        }

    def _copies(self) -> list[str]:
        if self._tls is not None:
            return [self._tls.note]
        return [] if self._worker.zerocopy else [NO_ZEROCOPY]

    def run(self) -> None:
        """See `serve.Driver`."""
        try:
            self.begin(self._loop.stop)
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _act(self, act: Callable[[], None]) -> None:
        act()
        self.turn()


def new_loop() -> tuple[asyncio.AbstractEventLoop, str, list[str]]:
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
    listeners: Sequence[Listener],
    stats: memoryview,
    worker: int,
    *,
    moved: Callable[[], None] | None,
    ready: Callable[[dict[str, object]], None],
    tls: Tls | None = None,
) -> None:
    """See `process.worker.Serve`. With `tls` it speaks that on all connections."""
    serve_with(Portable(settings, tls), settings, listeners, stats, moved=moved, ready=ready)

"""The io_uring engine: its ring is what the worker waits for."""

from __future__ import annotations

import errno
import signal
import time
from typing import TYPE_CHECKING, Any

from zchttpd._core.uring_driver import UringWorker
from zchttpd.engine.limits import registered_max
from zchttpd.engine.serve import serve as serve_with

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zchttpd.config.settings import Settings
    from zchttpd.engine.listener import Listener

MULTISHOT_ACCEPT = "multishot_accept"
# What a ring had locked, which counts for each user, is given back a while after its worker has gone.
ROOM_S_MAX = 5.0
ROOM_LOOK_S = 0.1


class Uring:
    """A worker that waits in the kernel. Signals and threads wake it through the pipe that it watches."""

    def __init__(self, settings: Settings, *, shared: bool, lockable: int) -> None:
        # Those of the two fixed modes are sent from memory that is registered, or copied from it.
        self.memory_files = settings.send_mode == "auto"
        self._settings = settings
        # Who waits on without a break stays the first of those that wait: the others are never woken.
        self._left_out = {MULTISHOT_ACCEPT} - set(settings.without) if shared else set()
        self._registered_max = registered_max(settings, lockable)
        self._worker: UringWorker

    def make(self, *, waker: int, **options: Any) -> UringWorker:
        """See `serve.Driver`."""
        without = (*self._settings.without, *self._left_out)
        until = time.monotonic() + ROOM_S_MAX
        while True:
            try:
                self._worker = UringWorker(without=without, registered_max=self._registered_max, **options)
                break
            except OSError as error:
                if error.errno != errno.ENOMEM or time.monotonic() >= until:
                    raise
            time.sleep(ROOM_LOOK_S)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        return self._worker

    def on_signal(self, number: int, act: Callable[[], None]) -> None:
        """See `serve.Driver`."""
        signal.signal(number, lambda *_: act())

    def report(self) -> dict[str, object]:
        """See `serve.Driver`."""
        return {
            "engine": "io_uring",
            "send_mode": self._settings.send_mode,
            "missing": [name for name in self._worker.missing if name not in self._left_out],
            "notes": [],
        }

    def run(self) -> None:
        """See `serve.Driver`."""
        self._worker.run()
        signal.set_wakeup_fd(-1)


def serve(
    settings: Settings,
    listeners: Sequence[Listener],
    stats: memoryview,
    worker: int,
    *,
    moved: Callable[[], None] | None,
    ready: Callable[[dict[str, object]], None],
    lockable: int,
) -> None:
    """See `process.worker.Serve`. `lockable`: bytes that all processes of this user may lock. Raises OSError
    when io_uring is refused.
    """
    shared = any(listener.shared for listener in listeners)
    driver = Uring(settings, shared=shared, lockable=lockable)
    serve_with(driver, settings, listeners, stats, moved=moved, ready=ready)

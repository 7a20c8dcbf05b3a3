"""The workers of one reading of the options: forked together, ready together, drained together."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zchttpd.config.settings import Settings
    from zchttpd.engine.listener import Listener
    from zchttpd.process.worker import Choice

DRAIN_MARGIN_S = 2.0
BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 10.0
STEADY_S = 30.0


@dataclass(slots=True, eq=False)
class Child:
    """One worker as the parent sees it. Times in monotonic seconds; `pid` 0: not running."""

    worker: int
    listeners: Sequence[Listener]
    stats: memoryview
    pid: int = 0
    report_fd: int = -1
    report: bytes = b""
    started_at: float = 0.0
    restart_at: float | None = None
    backoff_s: float = BACKOFF_S_MIN
    cpu_s_before: float = 0.0
    restarts: int = 0

    @property
    def said(self) -> dict[str, object]:
        """What it reported: see `worker.Serve`; empty before that."""
        return cast("dict[str, object]", json.loads(self.report)) if self.report else {}

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def schedule(self, now: float) -> float:
        """It has died: have it start again after a pause, which is returned and doubles each time."""
        if now - self.started_at >= STEADY_S:
            self.backoff_s = BACKOFF_S_MIN
        pause_s = self.backoff_s
        self.restart_at = now + pause_s
        self.backoff_s = min(pause_s * 2, BACKOFF_S_MAX)
        return pause_s


@dataclass(slots=True, eq=False)
class Generation:
    """Workers with one and the same `settings`.

    `leave_at`: when they are to begin to drain; `kill_at`: when those that have not drained are killed.
    """

    settings: Settings
    choice: Choice
    children: list[Child] = field(default_factory=list)
    leave_at: float | None = None
    kill_at: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether all of them accept. False too when one has died while starting."""
        return all(child.report_fd < 0 and "engine" in child.said for child in self.children)

    def leave(self, number: signal.Signals, now: float) -> None:
        """Have them drain: at once (SIGTERM), or while others go on to serve (SIGQUIT)."""
        self.leave_at = None
        self.kill_at = now + self.settings.drain_ms_max / 1000 + DRAIN_MARGIN_S
        for child in self.children:
            child.restart_at = None
            child.send(number)

    def kill(self) -> int:
        """End those that are left, without asking; how many that were."""
        left = [child for child in self.children if child.pid]
        for child in left:
            child.send(signal.SIGKILL)
        self.kill_at = None
        return len(left)

    def moments(self) -> Iterator[float]:
        """When something is to be done, in monotonic seconds."""
        for moment in (self.leave_at, self.kill_at, *(child.restart_at for child in self.children)):
            if moment is not None:
                yield moment

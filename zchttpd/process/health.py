"""What tells a service manager whether to send requests here, and whether to start this anew."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from zchttpd.telemetry.shared_stats import DUE, cells_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zchttpd.process.workers import Workers

# A loop is back in milliseconds, and says beforehand when it will be, if it has nothing to do.
HANG_S = 5.0


class Health:
    """Of the supervisor's `workers`. Each check tells why not; empty when all is well."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.stopping = False

    def checks(self) -> dict[bytes, Callable[[], str]]:
        """By their path at the admin listener."""
        return {b"/healthz": self.complete, b"/livez": self.alive, b"/readyz": self.ready}

    def complete(self) -> str:
        """All workers run, and nobody has asked them to go."""
        return "" if not self.stopping and self._workers.are_alive else "not all workers are alive"

    def alive(self) -> str:
        """No worker hangs. One that has died is started again here, and needs nobody else for it."""
        late = [*self._late(time.monotonic())]
        return "; ".join(f"worker {worker} has not been in its loop for {s:.0f} s" for worker, s in late)

    def ready(self) -> str:
        """Whoever comes now is served."""
        if self.stopping:
            return "it drains"
        if self._workers.serving is None:
            return "it starts"
        return self.complete() or self.alive()

    def _late(self, now: float) -> Iterator[tuple[int, float]]:
        serving = self._workers.serving
        for child in serving.children if serving is not None else ():
            [due_ms] = cells_of(child.stats, DUE)
            if child.pid and due_ms and now - due_ms / 1000 > HANG_S:
                yield child.worker, now - due_ms / 1000

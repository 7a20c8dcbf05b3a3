"""What the io_uring engine says of itself."""

from __future__ import annotations

import logging

from zchttpd._core.stats import ROUTES

LOGGER = logging.getLogger("zchttpd")


def log_route(route: int, zerocopy: bool, seen: int, copied: int) -> None:
    """One line on what `auto` decided about a route, and why."""
    outcome, emphasis = ("stays on", "") if zerocopy else ("given up", " all the same")
    LOGGER.info(
        "zero copy %s for the %s route: the kernel copied %d of %d sends%s",
        *(outcome, ROUTES[route], copied, seen, emphasis),
    )

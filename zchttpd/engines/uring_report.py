"""What the io_uring engine says of itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zchttpd._core.stats import ROUTES
from zchttpd.process import doctor

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings

LOGGER = logging.getLogger("zchttpd")


def notes(settings: Settings) -> list[str]:
    """Lines of the start report: what is too low, and the cure."""
    if settings.send_mode == "plain":
        return []
    finding = doctor.locked_memory(doctor.memory_needed(settings))
    return [f"{finding.subject}: {finding.text}. Cure: {finding.cure}"] if finding.cure else []


def log_route(route: int, zerocopy: bool, seen: int, copied: int) -> None:
    """One line on what `auto` decided about a route, and why."""
    verdict, emphasis = ("stays on", "") if zerocopy else ("given up", " all the same")
    LOGGER.info(
        "zero copy %s for the %s route: the kernel copied %d of %d sends%s",
        *(verdict, ROUTES[route], copied, seen, emphasis),
    )

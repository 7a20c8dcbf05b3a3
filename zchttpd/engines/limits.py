"""How the descriptors that one worker may have are shared out."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings

# A streamed file of the io_uring engine keeps its descriptor for as long as it is known: at most so many, and
# at most this part of the limit.
STREAMED_MAX = 192
STREAMED_PART = 8
# Descriptors for the loop, the listener, the log, and the files that are being opened.
FDS_SPARE = 32
# Connections above the limit that are told 503: at most so many, and at most this part of what there is for
# connections.
REFUSALS_MAX = 256
REFUSALS_PART = 4


def fds_max() -> int:
    """Descriptors that this worker may have (RLIMIT_NOFILE, getrlimit(2))."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if limit == resource.RLIM_INFINITY else limit


def streamed_max() -> int:
    """Descriptors for files that stream."""
    return max(1, min(STREAMED_MAX, fds_max() // STREAMED_PART))


def connections_max(settings: Settings, files: int) -> tuple[int, int]:
    """Connections that are served, and those above them that are told 503.

    Both together leave `files` descriptors for what they ask for.
    """
    left = max(2, fds_max() - files - FDS_SPARE)
    refusals = max(1, min(REFUSALS_MAX, left // REFUSALS_PART))
    return min(settings.connections_max, left - refusals), refusals

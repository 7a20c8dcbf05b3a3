"""How the io_uring engine shares the descriptors that a worker may have."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zchttpd.settings import Settings

# A streamed file keeps its descriptor for as long as it is known: at most so many, and at most this part
# of the limit.
STREAMED_MAX = 192
STREAMED_PART = 8
# Descriptors for the ring, the listener, the log, and the files that are being opened.
FDS_SPARE = 32


def _files_max() -> int:
    """Descriptors that this worker may have (RLIMIT_NOFILE, getrlimit(2))."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if limit == resource.RLIM_INFINITY else limit


def streamed_max() -> int:
    """Descriptors for files that stream."""
    return max(1, min(STREAMED_MAX, _files_max() // STREAMED_PART))


def connections_max(settings: Settings) -> int:
    """Connections that leave descriptors enough to open what they ask for."""
    return max(1, min(settings.connections_max, _files_max() - streamed_max() - FDS_SPARE))

from typing import Any

from zchttpd._core.site_worker import SiteWorker

class PollWorker(SiteWorker):
    # `options` are those of Worker.
    def __init__(
        self, *, recv_buffers: int, recv_buffer_size: int, send_mode: str, **options: Any
    ) -> None: ...
    @property
    def zerocopy(self) -> bool: ...
    def fileno(self) -> int: ...

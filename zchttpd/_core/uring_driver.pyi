from typing import Any

from zchttpd._core.site_worker import SiteWorker

class UringWorker(SiteWorker):
    # `options` are those of Worker.
    def __init__(
        self, *, recv_buffers: int, recv_buffer_size: int, without: tuple[str, ...] = (), **options: Any
    ) -> None: ...
    @property
    def missing(self) -> list[str]: ...

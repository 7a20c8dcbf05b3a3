from typing import Any

from typing_extensions import disjoint_base

from zchttpd._core.site_worker import SiteWorker

@disjoint_base
class UringWorker(SiteWorker):
    # `options` are those of Worker.
    def __init__(
        self,
        *,
        recv_buffers: int,
        recv_buffer_size: int,
        send_mode: str,
        registered_max: int,
        without: tuple[str, ...] = ...,
        **options: Any,
    ) -> None: ...
    @property
    def missing(self) -> list[str]: ...

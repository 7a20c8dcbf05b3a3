from collections.abc import Sequence
from typing import Any

from typing_extensions import disjoint_base

from zchttpd._core.site_worker import SiteWorker

@disjoint_base
class PollWorker(SiteWorker):
    # `options` are those of Worker.
    def __init__(
        self,
        *,
        recv_buffers: int,
        recv_buffer_size: int,
        send_mode: str,
        listeners: Sequence[tuple[int, str]],
        tls: Any = ...,
        **options: Any,
    ) -> None: ...
    @property
    def zerocopy(self) -> bool: ...
    def fileno(self) -> int: ...

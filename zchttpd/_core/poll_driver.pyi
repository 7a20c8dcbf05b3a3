from collections.abc import Callable

from zchttpd._core.worker import Filled, Work, Worker

class PollWorker(Worker):
    def __init__(
        self,
        *,
        listener: int,
        wake: int,
        handler: Callable[[Work, Filled, int], None],
        stats: memoryview,
        limits: dict[str, int],
        send_mode: str,
        plans_max: int,
        drain_ms_max: int,
        recv_buffers: int,
        recv_buffer_size: int,
        access_bytes: int = 0,
        access_event: int = -1,
    ) -> None: ...
    def fileno(self) -> int: ...

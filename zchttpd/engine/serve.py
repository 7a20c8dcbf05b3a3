"""One worker put together, whichever driver it has: cache, handler, loader, log, signals."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from zchttpd._core.stats import ROUTES
from zchttpd.config.listen import packed
from zchttpd.config.redirects import by_site
from zchttpd.engine.access_records import unpack_records
from zchttpd.engine.limits import (
    PIPE_FDS,
    connections_max,
    held_max,
    memory_files_max,
    parts_max,
    streamed_max,
)
from zchttpd.engine.loader import Loader
from zchttpd.engine.new_paths import NewPaths
from zchttpd.files.archives import Looks
from zchttpd.files.compressor import Compressor
from zchttpd.files.digests import Counts
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.files.singleflight import LoopMailbox
from zchttpd.handler.handler import Handler
from zchttpd.handler.sites import Sites
from zchttpd.telemetry import access_log
from zchttpd.telemetry.shared_stats import cells_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zchttpd._core.site_worker import SiteWorker
    from zchttpd.config.settings import Settings
    from zchttpd.engine.listener import Listener
    from zchttpd.files.digests import Digests
    from zchttpd.telemetry.access_log import AccessLog

LOGGER = logging.getLogger("zchttpd")

LINGER_MS_MAX = 5_000
LEASES_PER_CONNECTION = 256
LINE_SIZE_MAX = 8192
NO_LIMIT = 2**32 - 1
NO_RATE = 2**64 - 1
# How long a client that is idle may take for one more request, where another worker serves from now on.
HAND_OVER_MS = 2_000
# Well under a tenth of a millisecond of copying.
TURN_BYTES_MAX = 256 * 1024
# Tens of milliseconds of sending, and more than all sockets hold.
WAY_BYTES = 96 << 20


def log_route(route: int, zerocopy: bool, seen: int, copied: int) -> None:
    """One line on what `auto` decided about a route, and why."""
    outcome, emphasis = ("stays on", "") if zerocopy else ("given up", " all the same")
    LOGGER.info(
        "zero copy %s for the %s route: the kernel copied %d of %d sends%s",
        *(outcome, ROUTES[route], copied, seen, emphasis),
    )


class Maker(Protocol):
    """Makes workers whose ops are executed in its way.

    `memory_files`: they send file versions in memory by reference, and each takes a descriptor.
    """

    memory_files: bool

    def make(self, *, waker: int, listeners: Sequence[tuple[int, str]], **options: Any) -> SiteWorker:
        """The worker, with `listeners` and `options` as every Worker has them. What is written to `waker`
        wakes it.

        Raises OSError when it cannot be had here.
        """


class Driver(Maker, Protocol):
    """What engines differ in: how a worker's ops are executed, and who waits for it."""

    def on_signal(self, number: int, act: Callable[[], None]) -> None:
        """Have `act` called, between two turns, when the signal comes."""

    def report(self) -> dict[str, object]:
        """What the start line says (`process.worker.Serve`)."""

    def run(self) -> None:
        """Serve until the worker has drained."""


@dataclass(slots=True)
class Assembly:
    """One worker with all that belongs to it. It accepts as soon as it gets its turns."""

    worker: SiteWorker
    listeners: Sequence[Listener]
    log: AccessLog | None
    _loader: Loader
    _roots: Sequence[Root]
    _compressor: Compressor | None
    _hashing: Sequence[Digests | Looks]
    _wake: int
    _hand_over_ms: int

    def drain(self) -> None:
        """Accept no more; the worker ends when what is under way has."""
        self._drain(0)

    def hand_over(self) -> None:
        """The same where others serve: who is idle may have a request on its way, and has it answered."""
        self._drain(self._hand_over_ms)

    def _drain(self, idle_ms: int) -> None:
        # Which closes them, when the last accept has ended.
        for each in self.listeners:
            each.socket.detach()
        self.worker.drain(idle_ms)

    def start_log(self) -> None:
        """Begin to write the access log, if there is to be one."""
        if self.log is not None:
            worker = self.worker
            self.log.start(lambda: unpack_records(worker.take_records()), worker.drop_records)

    def close(self) -> None:
        """Give back every descriptor, in a process that lives on. Only when the worker has ended."""
        if self.log is not None:
            self.log.close()
        if self._compressor is not None:
            self._compressor.close()
        for hashing in self._hashing:
            hashing.close()
        self._loader.end()
        # The last references: files and memory go with them.
        del self.worker, self.log, self._loader, self._compressor, self._hashing
        for root in self._roots:
            root.close()
        os.close(self._wake)


def assemble(
    maker: Maker,
    settings: Settings,
    listeners: Sequence[Listener],
    stats: memoryview,
    *,
    moved: Callable[[], None] | None = None,
) -> Assembly:
    """A worker by `maker` that counts in `stats`. `moved`: as `files.root.Root` has it.

    Raises OSError where it cannot be had.
    """
    memory_files, files = 0, streamed_max() + len(settings.sites)
    if maker.memory_files:
        memory_files = memory_files_max(settings)
        files += memory_files + PIPE_FDS
    admitted, refused = connections_max(settings, files)
    log = access_log.make_log(settings)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    mailbox = LoopMailbox(waker)
    cells = partial(cells_of, stats)
    counts = Counts(cells("digests"), cells("digest_bytes"))
    compressor = Compressor.of(settings, cells)
    looks = Looks(mailbox.post, counts)
    roots, caches, handler = _sites(
        settings, compressor, moved, looks, post=mailbox.post, digest_counts=counts
    )
    new_paths = NewPaths(settings, roots[0], caches[0])
    loader = Loader(settings, handler, caches, mailbox, new_paths, cells)
    worker = maker.make(
        waker=waker,
        listeners=[(each.socket.fileno(), each.who) for each in listeners],
        proxies=packed(settings.proxy_from),
        wake=wake,
        handler=loader,
        on_route=log_route,
        stats=stats,
        limits=_limits(settings, admitted, refused, max(1, memory_files)),
        send_mode=settings.send_mode,
        plans_max=settings.plans_max,
        recv_buffers=settings.recv_buffers,
        recv_buffer_size=settings.recv_buffer_size,
        drain_ms_max=settings.drain_ms_max,
        access_bytes=0 if log is None else access_log.BUFFER_SIZE,
        access_event=-1 if log is None else log.event,
        request_ids=settings.request_id,
    )
    worker.believe(packed(settings.forwarded_from), settings.forwarded_field == "forwarded")
    if by_site(settings):
        worker.tell_schemes(bool(settings.tls_cert))
    loader.begin(worker)
    hand_over_ms = min(HAND_OVER_MS, settings.drain_ms_max // 2)
    return Assembly(
        worker,
        listeners,
        log,
        loader,
        roots,
        compressor,
        [*(cache.digests for cache in caches), looks],
        wake,
        hand_over_ms,
    )


def _limits(settings: Settings, admitted: int, refused: int, memory_files: int) -> dict[str, int]:
    """The fields of `Limits` (machine.pxd), with so many connections, so many more that are refused, and so
    many memory files.
    """
    return {
        "head_size_max": settings.head_size_max,
        "line_size_max": min(LINE_SIZE_MAX, settings.head_size_max),
        "head_ms_max": settings.head_ms_max,
        "idle_ms_max": settings.idle_ms_max,
        "stall_ms_max": settings.stall_ms_max,
        "linger_ms_max": LINGER_MS_MAX,
        "zc_size_min": max(1, settings.zc_size_min),
        "window_size": settings.window_size,
        "windows_per_connection": settings.windows_per_connection,
        "window_count": settings.stream_memory // settings.window_size,
        "connections_max": admitted,
        "refusals_max": refused,
        "connections_per_address": settings.connections_per_address or NO_LIMIT,
        "requests_per_second": settings.requests_per_second or NO_LIMIT,
        "requests_burst": settings.requests_burst or settings.requests_per_second or 1,
        "bytes_per_second": settings.bytes_per_second or NO_RATE,
        "leases_per_connection": LEASES_PER_CONNECTION,
        "memory_files_max": memory_files,
        "part_bytes_max": parts_max(settings),
        "held_bytes_max": held_max(settings),
        "turn_bytes_max": TURN_BYTES_MAX,
        "way_bytes": WAY_BYTES,
    }


def _sites(
    settings: Settings,
    compressor: Compressor | None,
    moved: Callable[[], None] | None,
    looks: Looks,
    *,
    post: Callable[[Callable[[], None]], None],
    digest_counts: Counts,
) -> tuple[list[Root], list[EntryCache], Handler | Sites]:
    """Of each site, that of the root first, what it has for itself; and who answers for all of them."""
    roots, caches, handlers = [], [], []
    for number, site in enumerate((settings, *(each.of(settings) for each in settings.sites))):
        roots.append(Root(site.root, links_into=site.links_into, moved=moved))
        cache = EntryCache(roots[-1], site, post=post, digest_counts=digest_counts, looks=looks, site=number)
        caches.append(cache)
        handlers.append(Handler(site, caches[-1], compressor, post))
    return roots, caches, Sites(settings, handlers) if settings.sites else handlers[0]


def serve(
    driver: Driver,
    settings: Settings,
    listeners: Sequence[Listener],
    stats: memoryview,
    *,
    moved: Callable[[], None] | None,
    ready: Callable[[dict[str, object]], None],
) -> None:
    """Serve on `listeners` until SIGTERM or SIGINT, or SIGQUIT where others go on to serve; drain, return.

    `moved`: as `process.worker.Serve` has it. Raises OSError where that cannot be.
    """
    assembly = assemble(driver, settings, listeners, stats, moved=moved)
    for number in (signal.SIGTERM, signal.SIGINT):
        driver.on_signal(number, assembly.drain)
    driver.on_signal(signal.SIGQUIT, assembly.hand_over)
    if assembly.log is not None:
        driver.on_signal(signal.SIGUSR1, assembly.log.reopen)
    assembly.start_log()
    ready(driver.report())
    driver.run()
    if assembly.log is not None:
        assembly.log.close()

"""The portable engine: the answers of the io_uring engine, on uvloop, or on asyncio where uvloop is missing.

Sockets are watched with the loop's add_reader and add_writer instead of transports: a response leaves in the
callback that read its request, and every partial send is seen, which the stall clock needs. It also is
faster, measured, on asyncio by half.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from zchttpd.engines.limits import connections_max, fds_max, files_needed, raise_limits
from zchttpd.engines.portable_access import Guest, KnownGuest, Visits
from zchttpd.engines.portable_conn import Connection
from zchttpd.engines.portable_room import Room
from zchttpd.engines.portable_store import Store
from zchttpd.engines.portable_tally import Tally
from zchttpd.files.compressor import Compressor
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.handler.handler import Handler
from zchttpd.http.dates import format_date
from zchttpd.telemetry import access_log
from zchttpd.telemetry.shared_stats import cells_of, stats_layout

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from zchttpd.config.settings import Settings
    from zchttpd.engines.portable_clock import Clocked

LOGGER = logging.getLogger("zchttpd")

TICK_MS = 100
ACCEPT_PAUSE_S = 0.1
ACCEPTS_PER_TURN = 64
READERS = 4
# Descriptors for files, snapshots or not: so many where the limit allows, and never less than a part of it.
FILES_MAX = 8192
FILES_PART = 8
_GONE_BEFORE_ACCEPT = (errno.ECONNABORTED, errno.EPROTO)
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)


class Portable:
    """One worker's loop: accepts, keeps time, drains. Connections call what has no underscore."""

    def __init__(
        self, settings: Settings, listener: socket.socket, stats: Tally, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.settings = settings
        self.stats = stats
        self.loop = loop
        self.executor = ThreadPoolExecutor(READERS, thread_name_prefix="read")
        files_max = _files_max(settings)
        cache = EntryCache(Root(settings.root, links_into=settings.links_into), settings, post=self._post)
        compressor = Compressor.of(settings, partial(cells_of, stats.block))
        self.store = Store(
            settings,
            Handler(settings, cache, compressor),
            cache,
            stats,
            loop,
            self.executor,
            files_max=files_max,
            clock=self.now_ms,
        )
        self.draining = False
        self._visits: Visits | None = None
        self.date = b""
        self._second = -1
        self._second_until_ms = 0
        self._listener = listener
        self.room = Room(*connections_max(settings, files_max))
        self._connections: set[Connection] = set()
        self._ticks: dict[int, set[Clocked]] = {}
        self._tick = 0
        self._ticking = False

    def run(self) -> None:
        """Serve until `drain` has been called and everything under way is done."""
        self._listener.setblocking(False)
        self._accept_again()
        self.loop.run_forever()
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.store.close()

    def keep(self, log: access_log.AccessLog) -> None:
        """Tell this log of every response."""
        self._visits = Visits(log, self.stats, self.loop)

    def drain(self) -> None:
        """Accept no more; end when the responses under way are done, or after drain_ms_max."""
        if self.draining:
            return
        self.draining = True
        self.loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for connection in [each for each in self._connections if each.idle]:
            connection.close()
        if self._connections:
            self.loop.call_later(self.settings.drain_ms_max / 1000, self._abort_all)
        else:
            self.loop.stop()

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        self.loop.stop()

    def _post(self, act: Callable[[], None]) -> None:
        """Have something called on the loop; from any thread."""
        # A loop that has been closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(act)

    # ---- time ----

    def now_ms(self) -> int:
        """Milliseconds of a monotonic clock."""
        return int(time.monotonic() * 1000)

    def second(self, now_ms: int) -> int:
        """The Unix second, which `date` shows."""
        if now_ms >= self._second_until_ms:
            now = time.time()
            self._second = int(now)
            self._second_until_ms = now_ms + max(1, int((self._second + 1 - now) * 1000))
            self.date = format_date(self._second)
        return self._second

    def file(self, connection: Clocked, deadline_ms: int) -> None:
        """Look at the connection when this deadline has passed, instead of when it was filed for."""
        self._unfile(connection)
        tick = deadline_ms // TICK_MS
        connection.filed_ms = tick * TICK_MS
        self._ticks.setdefault(tick, set()).add(connection)
        if not self._ticking:
            self._ticking = True
            self._tick = self.now_ms() // TICK_MS - 1
            self.loop.call_later(TICK_MS / 1000, self._on_tick)

    def _unfile(self, connection: Clocked) -> None:
        if connection.filed_ms == math.inf:
            return
        tick = int(connection.filed_ms) // TICK_MS
        filed = self._ticks[tick]
        filed.discard(connection)
        if not filed:
            del self._ticks[tick]
        connection.filed_ms = math.inf

    def _on_tick(self) -> None:
        now_ms = self.now_ms()
        # A tick is over when its last millisecond is.
        while self._tick < now_ms // TICK_MS - 1:
            self._tick += 1
            due = self._ticks.pop(self._tick, set())
            for connection in due:
                connection.filed_ms = math.inf
            for connection in due:
                deadline_ms = connection.expire(now_ms)
                if connection in self._connections and connection.filed_ms == math.inf:
                    self.file(connection, deadline_ms)
        self._ticking = bool(self._ticks)
        if self._ticking:
            self.loop.call_later(TICK_MS / 1000, self._on_tick)

    # ---- connections ----

    def closed(self, connection: Connection) -> None:
        """A connection has closed its socket."""
        self._unfile(connection)
        self._connections.remove(connection)
        self.room.give(connection)
        self.stats.cells[self.stats.connections_open] -= 1
        if self.draining and not self._connections:
            self.loop.stop()

    def _accept_again(self) -> None:
        if not self.draining:
            self.loop.add_reader(self._listener.fileno(), self._on_acceptable)

    def _on_acceptable(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _GONE_BEFORE_ACCEPT:
                    continue
                self.stats.cells[self.stats.accept_errors] += 1
                if error.errno in _OUT_OF_FILES:
                    self.room.shed(self.now_ms())
                # Out of descriptors, or of memory: trying at once would spin.
                self.loop.remove_reader(self._listener.fileno())
                self.loop.call_later(ACCEPT_PAUSE_S, self._accept_again)
                return
            self._welcome(accepted)

    def _welcome(self, accepted: socket.socket) -> None:
        """Above the limit an idle connection makes room, or the new one is told 503."""
        admitted = self.room.make(self.now_ms())
        if not admitted and not self.room.may_refuse():
            accepted.close()
            return
        accepted.setblocking(False)
        guest = Guest() if self._visits is None else KnownGuest(self._visits, accepted)
        connection = Connection(self, accepted, guest, turned_away=not admitted)
        self._connections.add(connection)
        self.room.take(connection)
        self.stats.cells[self.stats.connections_open] += 1
        self.stats.cells[self.stats.connections_total] += 1
        connection.start()


def _files_max(settings: Settings) -> int:
    """Descriptors for files: what the limit leaves beside connections."""
    needed = files_needed(settings)
    raise_limits(needed + FILES_MAX)
    return min(FILES_MAX, max(fds_max() - needed, fds_max() // FILES_PART))


def _new_loop() -> tuple[asyncio.AbstractEventLoop, str, list[str]]:
    """The loop, its name, and what the start report is to say of it."""
    try:
        import uvloop
    except ImportError:
        note = "uvloop is not installed; asyncio serves instead, with less speed. Fix: pip install uvloop"
        return asyncio.new_event_loop(), "asyncio", [note]
    return uvloop.new_event_loop(), "uvloop", []


def _complain(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    LOGGER.error("the loop: %s", context["message"], exc_info=context.get("exception"))


def serve(
    settings: Settings,
    listener: socket.socket,
    stats: memoryview,
    worker: int,
    *,
    ready: Callable[[dict[str, object]], None],
) -> None:
    """Serve on `listener` until SIGTERM or SIGINT, drain, return. Raises OSError when it cannot start."""
    loop, name, notes = _new_loop()
    loop.set_exception_handler(_complain)
    engine = Portable(settings, listener, Tally(stats, stats_layout().cells), loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, engine.drain)
    log = access_log.make_log(settings)
    if log is not None:
        loop.add_signal_handler(signal.SIGUSR1, log.reopen)
        engine.keep(log)
    ready({"engine": f"portable ({name})", "send_mode": "sendfile", "missing": [], "notes": notes})
    try:
        engine.run()
    finally:
        if log is not None:
            log.close()
        loop.close()

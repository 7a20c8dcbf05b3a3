"""A server in this process: in a loop of the program, or in a thread with a loop of its own."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from zchttpd.api.options import in_python
from zchttpd.config.names import OFF
from zchttpd.config.options import SettingsError, StartError
from zchttpd.engine import tls
from zchttpd.engine.embedded import Embedded
from zchttpd.engine.listener import Listener
from zchttpd.engine.portable import new_loop
from zchttpd.files import compressor
from zchttpd.process import checks
from zchttpd.process.report import Report
from zchttpd.telemetry.access_log import check_log

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from zchttpd.config.settings import Settings


def check_in_process(settings: Settings) -> None:
    """Raises SettingsError for what only a server in a process of its own can do."""
    fix = "Leave it out, or in_process"
    if settings.engine == "uring":
        raise SettingsError("engine", f"uring waits in a process that it has for itself. {fix}")
    if settings.worker_count != 1:
        raise SettingsError("workers", f"{settings.worker_count} are a process each. {fix}")
    if settings.user:
        raise SettingsError("user", f"the whole program would become {settings.user}. {fix}")
    if settings.pid_file:
        raise SettingsError("pid_file", f"signals are the program's. {fix}")
    if settings.admin:
        raise SettingsError("admin", f"the program itself has the metrics: metrics(). {fix}")


class LoopServer:
    """In a loop, which runs or will; on its thread. `ended` is done when it has gone. Raises StartError."""

    def __init__(
        self,
        settings: Settings,
        notes: Sequence[str],
        listener: Listener,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        if settings.access_log != OFF:
            check_log(settings)
        agreed = tls.load(settings)
        ours = Listener(listener.socket.dup(), listener.proxy)
        try:
            embedded = Embedded(settings, ours, loop, agreed)
        except OSError as error:
            ours.socket.close()
            raise StartError(f"the server cannot start: {error}") from error
        engine = f"portable ({type(loop).__module__.partition('.')[0]}) in process"
        more = [] if agreed is None else [agreed.note]
        every = [*notes, *more, *compressor.notes(settings), *checks.notes(settings)]
        report = Report(engine=engine, send_mode=embedded.send_mode, notes=every)
        lines = report.lines(settings, [listener], admin="")
        self.report = [in_python(line) for line in lines]
        self.metrics = embedded.metrics
        self.ended = embedded.ended
        self._embedded = embedded

    def stop(self, *, replaced: bool = False) -> None:
        """Have it finish the responses under way. `replaced`: another one serves."""
        self._embedded.drain(replaced=replaced)


class ThreadServer:
    """In a thread of its own; for any other thread. Raises StartError."""

    def __init__(self, settings: Settings, notes: Sequence[str], listener: Listener) -> None:
        started: Future[LoopServer] = Future()
        self._loop, _, more = new_loop()
        start = (started, settings, [*notes, *more], listener)
        self._thread = threading.Thread(target=self._run, args=start, name="zchttpd", daemon=True)
        self._thread.start()
        self._server = started.result()
        self.report = self._server.report
        self.metrics = self._server.metrics

    def _run(
        self, started: Future[LoopServer], settings: Settings, notes: list[str], listener: Listener
    ) -> None:
        try:
            try:
                server = LoopServer(settings, notes, listener, self._loop)
            except Exception as error:
                started.set_exception(error)
                return
            started.set_result(server)
            self._loop.run_until_complete(server.ended)
        finally:
            self._loop.close()

    def stop(self, *, replaced: bool = False) -> None:
        """Have it finish the responses under way, and wait until it has gone. `replaced`: another serves."""
        self._loop.call_soon_threadsafe(partial(self._server.stop, replaced=replaced))
        self._thread.join()

"""`zchttpd.serve`: a server of the files beneath a directory, for as long as a `with` statement."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Protocol

from zchttpd.api.options import in_python, read_texts, texts_of
from zchttpd.config.load import without_effect
from zchttpd.config.options import SettingsError, StartError
from zchttpd.engine.listener import Listener
from zchttpd.process.memory_limit import fit, memory_limit
from zchttpd.process.sockets import open_for, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self, Unpack

    from zchttpd.api.options import Options, StrPath
    from zchttpd.config.settings import Settings


def serve(root: StrPath, port: int = 0, *, in_process: bool = False, **options: Unpack[Options]) -> Server:
    """A server of the files beneath `root`, for `with serve(...) as server` or `async with`.

    `port` 0 takes a free one. `options` are those of the command line; the environment has no say. It runs in
    a process of its own, with the best engine that there is. With `in_process` it runs here: in the loop that
    `async with` is in, whatever thread that runs on, or for `with` in a thread with a loop of its own.

    Raises TypeError for an option that does not exist, SettingsError (a ValueError) for a value that cannot
    be used, and on entering StartError where the server cannot start.
    """
    return Server({**texts_of(root, options), "port": str(port)}, in_process=in_process)


class _Running(Protocol):
    """A server that has started, in the one way or the other."""

    report: list[str]

    def metrics(self) -> dict[str, float]: ...

    def stop(self, *, replaced: bool = False) -> None: ...


class Server:
    """See `serve`, which makes it. What it tells, it can tell from entering to leaving."""

    def __init__(self, texts: dict[str, str], *, in_process: bool) -> None:
        self._texts = texts
        self._in_process = in_process
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: list[asyncio.Future[None]] = []
        self._listener: Listener
        self._name: str
        self._running: _Running
        self._settings: Settings
        self._notes: list[str]
        self._read()

    @property
    def url(self) -> str:
        """Where the root is, without the slash: `http://127.0.0.1:43210`, `https://...`, or `unix:PATH`."""
        return url_of(self._listener.socket, tls=bool(self._settings.tls_cert))

    @property
    def report(self) -> list[str]:
        """What runs, and a line for each thing that is missing or too low, with its fix."""
        return self._running.report

    def metrics(self) -> dict[str, float]:
        """Every sample by `name{label="value"}`, counted since entering, or since the last `reload`.

        Raises OSError where the server does not answer.
        """
        return self._running.metrics()

    def reload(self) -> None:
        """Start another server on the same socket, with the file of `config` as it is now; then this one
        finishes its responses and goes. Nobody is refused meanwhile. What was cached is read anew; host and
        port stay.

        Raises SettingsError and StartError, and nothing has changed then.
        """
        self._read()
        old, self._running = self._running, self._start()
        old.stop(replaced=True)

    def __enter__(self) -> Self:
        with _errors_in_python():
            [address] = open_for(self._settings, [], count=1)
        self._name = address.name
        self._listener = Listener(address.sockets[0], address.proxy)
        try:
            self._running = self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._running.stop()

    async def __aenter__(self) -> Self:
        if self._in_process:
            self._loop = asyncio.get_running_loop()
            return self.__enter__()
        entering = asyncio.ensure_future(asyncio.to_thread(self.__enter__))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            # The thread goes on; what it has started must not stay.
            with contextlib.suppress(Exception):
                await entering
                await asyncio.to_thread(self.__exit__)
            raise

    async def __aexit__(self, *_: object) -> None:
        if self._in_process:
            self.__exit__()
            await asyncio.gather(*self._ended)
        else:
            await asyncio.to_thread(self.__exit__)

    def _read(self) -> None:
        given = read_texts(self._texts)
        self._settings, notes = fit(given, memory_limit())
        if self._in_process:
            from zchttpd.api.in_process import check_in_process

            check_in_process(self._settings)
        if len(self._settings.listens) > 1:
            raise SettingsError("listen", "a server of a program has one address. Type one alone")
        self._notes = [*notes, *without_effect(self._settings, given.sources)]

    def _start(self) -> _Running:
        with _errors_in_python():
            return self._started()

    def _started(self) -> _Running:
        if not self._in_process:
            from zchttpd.api.separate import SeparateServer

            return SeparateServer(self._texts, self._listener.socket, self._settings.drain_ms_max)
        from zchttpd.api.in_process import LoopServer, ThreadServer

        if self._loop is None:
            return ThreadServer(self._settings, self._notes, self._listener)
        server = LoopServer(self._settings, self._notes, self._listener, self._loop)
        self._ended.append(server.ended)
        return server

    def _close(self) -> None:
        """Let go of the socket: what runs has its own, and gives it back when it is told to stop."""
        self._listener.socket.close()
        if self._name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name)


@contextlib.contextmanager
def _errors_in_python() -> Iterator[None]:
    """Has a StartError call options what they are called in Python."""
    try:
        yield
    except StartError as error:
        raise StartError(in_python(str(error))) from (error.__cause__ or error)

"""A server in a process of its own, as the program that started it sees it."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

from zchttpd.api.options import in_python
from zchttpd.config.options import StartError, split_address
from zchttpd.process.report import how_it_ended
from zchttpd.telemetry.admin_access import read_token

if TYPE_CHECKING:
    from collections.abc import Mapping

START_S_MAX = 60.0
METRICS_S_MAX = 10.0
# For what follows the drain: workers that are killed, the supervisor that sees them end.
STOP_MARGIN_S = 10.0


def _passable(sock: socket.socket, stack: contextlib.ExitStack) -> int:
    """A duplicate of its descriptor, closed with `stack`, which is none of the three that every process
    has: in a program without stdin the socket itself may be 0.
    """
    fd = fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 3)
    stack.callback(os.close, fd)
    return fd


class SeparateServer:
    """Has started when it is made, with options as texts, on a listening socket that the caller keeps.

    It is in a session of its own, so that Ctrl-C is for the program alone. It ends when it is told to, and
    when the program does, however that comes. Raises StartError.
    """

    def __init__(self, texts: Mapping[str, str], listener: socket.socket, drain_ms_max: int) -> None:
        self._stop_s = drain_ms_max / 1000 + STOP_MARGIN_S
        self._channel, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            fds = tuple(_passable(each, stack) for each in (theirs, listener))
            try:
                self._popen = subprocess.Popen(
                    [sys.executable, "-P", "-m", "zchttpd.api.child", texts["root"], *map(str, fds)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=fds,
                    env=_environment(),
                    start_new_session=True,
                )
            except OSError as error:
                self._channel.close()
                raise StartError(f"{sys.executable} cannot be run ({error.strerror})") from error
        try:
            news = self._hear(texts)
            if "error" in news:
                raise StartError(news["error"])
        except BaseException:
            self.stop()
            raise
        self.report = [in_python(line) for line in news["report"]]
        token = texts.get("admin_token_file", "")
        self._headers = {"Authorization": f"Bearer {read_token(token).decode()}"} if token else {}
        self._admin = split_address(news["admin"].removeprefix("http://"))

    def _hear(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """What the server says when it is ready, or cannot be. Raises StartError."""
        self._channel.settimeout(START_S_MAX)
        try:
            self._channel.sendall(json.dumps(dict(texts)).encode("ascii") + b"\n")
            with self._channel.makefile(encoding="ascii") as lines:
                line = lines.readline()
        except TimeoutError:
            raise StartError(f"the server was not ready within {START_S_MAX:.0f} s") from None
        except ConnectionError:
            line = ""
        if not line:
            how = how_it_ended(self._popen.wait())
            raise StartError(f"the server {how} while starting; what it said is on stderr")
        return cast("dict[str, Any]", json.loads(line))

    def metrics(self) -> dict[str, float]:
        """Every sample, by `name{label="value"}`. Raises OSError when the server does not answer."""
        connection = http.client.HTTPConnection(*self._admin, timeout=METRICS_S_MAX)
        try:
            connection.request("GET", "/metrics.json", headers=self._headers)
            return cast("dict[str, float]", json.load(connection.getresponse()))
        except http.client.HTTPException as error:
            raise ConnectionError(f"the server did not answer ({error!r})") from error
        finally:
            connection.close()

    def stop(self, *, replaced: bool = False) -> None:
        """Have it finish the responses under way, and wait until it has gone. `replaced`: another serves."""
        self._popen.send_signal(signal.SIGQUIT if replaced else signal.SIGTERM)
        try:
            self._popen.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._channel.close()


def _environment() -> dict[str, str]:
    """What is imported there is imported from where it is here, whatever has been done to `sys.path`."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}

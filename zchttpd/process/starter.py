"""Who started the server, and is told how that went: a person with a service manager, or a Python program."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Protocol

from zchttpd.process.systemd import notify, passed_fds
from zchttpd.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Sequence


# Of a socket whose connections begin with PROXY headers.
PROXY_NAME = "proxy"


class Starter(Protocol):
    """What the supervisor wants of who started it. Nothing of it raises.

    `gone`: a descriptor that becomes readable when there is nobody any more to serve for; -1: never.
    `admin`: that of a listening socket for metrics which was passed; -1: none was. `obstacle`: why no new
    version can take over; empty: one can.
    """

    gone: int
    admin: int
    obstacle: str

    def passed(self) -> list[tuple[int, bool]]:
        """Descriptors of listening sockets that were passed to this process, and whether their connections
        begin with PROXY headers.
        """

    def ready(self, lines: Sequence[str], admin: str) -> None:
        """It serves. `lines`: the start report; `admin`: where metrics are, or empty."""

    def failed(self, why: str) -> None:
        """It cannot start. `why`: one line, the cause and what to do."""

    def reloading(self) -> None:
        """It reads the options again."""

    def renewed(self) -> None:
        """It serves as before, with those or with the old ones."""

    def replaced(self, pid: int) -> None:
        """The process `pid` serves from now on, and this one drains."""

    def stopping(self) -> None:
        """It was told to stop, or has been replaced, and drains."""

    def close_inherited(self) -> None:
        """In a worker: it has nothing to say here."""


class Terminal:
    """A person at a terminal, and the service manager, if there is one."""

    gone = -1
    admin = -1

    def __init__(self) -> None:
        self.obstacle = ""
        self._is_replaced = False
        if os.getpid() == 1:
            self.obstacle = "this is process 1, and all ends with it. Replace the container"

    def passed(self) -> list[tuple[int, bool]]:
        """See `Starter`: those that are named so, by FileDescriptorName= (systemd.socket(5))."""
        return [(fd, name == PROXY_NAME) for fd, name in passed_fds(os.environ)]

    def ready(self, lines: Sequence[str], admin: str) -> None:
        """See `Starter`."""
        del admin  # It is in the report.
        for line in lines:
            log.say(line)
        notify("READY=1", os.environ)

    def failed(self, why: str) -> None:
        """See `Starter`."""
        log.complain(why)

    def reloading(self) -> None:
        """See `Starter`."""
        # Of the clock that sd_notify(3) asks for.
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notify(f"RELOADING=1\nMONOTONIC_USEC={now_us}", os.environ)

    def renewed(self) -> None:
        """See `Starter`."""
        notify("READY=1", os.environ)

    def replaced(self, pid: int) -> None:
        """See `Starter`."""
        self._is_replaced = True
        notify(f"MAINPID={pid}", os.environ)

    def stopping(self) -> None:
        """See `Starter`."""
        if not self._is_replaced:
            notify("STOPPING=1", os.environ)

    def close_inherited(self) -> None:
        """See `Starter`."""


class Program:
    """A Python program, at the other end of the stream socket `channel`, that passed the socket `listener`,
    with PROXY headers if `proxy`.

    It is told `{"report": [...], "admin": URL}` or `{"error": TEXT}`, a line. When its end is closed, which
    the kernel does when it dies, the server stops.
    """

    admin = -1
    obstacle = "the program that started it has reload() for that"

    def __init__(self, channel: int, listener: int, *, proxy: bool) -> None:
        self._channel = socket.socket(fileno=channel)
        self._listener = (listener, proxy)
        self.gone = channel

    def passed(self) -> list[tuple[int, bool]]:
        """See `Starter`."""
        return [self._listener]

    def ready(self, lines: Sequence[str], admin: str) -> None:
        """See `Starter`."""
        tell(self._channel, {"report": list(lines), "admin": admin})

    def failed(self, why: str) -> None:
        """See `Starter`."""
        tell(self._channel, {"error": why})

    def reloading(self) -> None:
        """See `Starter`."""

    def renewed(self) -> None:
        """See `Starter`."""

    def replaced(self, pid: int) -> None:
        """See `Starter`."""

    def stopping(self) -> None:
        """See `Starter`."""

    def close_inherited(self) -> None:
        """See `Starter`."""
        self._channel.close()


def tell(channel: socket.socket, news: dict[str, object]) -> None:
    """Send a line of JSON to who started this process, if that is still there."""
    with contextlib.suppress(OSError):
        channel.sendall(json.dumps(news).encode("ascii") + b"\n")

"""Who started the server, and is told how that went: a person with a service manager, or a Python program."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING, Protocol

from zchttpd.process.systemd import notify, passed_fds
from zchttpd.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Sequence


class Starter(Protocol):
    """What the supervisor wants of who started it. Nothing of it raises.

    `gone`: a descriptor that becomes readable when there is nobody any more to serve for; -1: never.
    """

    gone: int

    def passed(self) -> list[int]:
        """Descriptors of listening sockets that were passed to this process."""

    def ready(self, lines: Sequence[str], admin: str) -> None:
        """It serves. `lines`: the start report; `admin`: where metrics are, or empty."""

    def failed(self, why: str) -> None:
        """It cannot start. `why`: one line, the cause and what to do."""

    def stopping(self) -> None:
        """It was told to stop, and drains."""

    def close_inherited(self) -> None:
        """In a worker: it has nothing to say here."""


class Terminal:
    """A person at a terminal, and the service manager, if there is one."""

    gone = -1

    def passed(self) -> list[int]:
        """See `Starter`."""
        return passed_fds(os.environ)

    def ready(self, lines: Sequence[str], admin: str) -> None:
        """See `Starter`."""
        del admin  # It is in the report.
        for line in lines:
            log.say(line)
        notify("READY=1", os.environ)

    def failed(self, why: str) -> None:
        """See `Starter`."""
        log.complain(why)

    def stopping(self) -> None:
        """See `Starter`."""
        notify("STOPPING=1", os.environ)

    def close_inherited(self) -> None:
        """See `Starter`."""


class Program:
    """A Python program, at the other end of the stream socket `channel`, that passed the socket `listener`.

    It is told `{"report": [...], "admin": URL}` or `{"error": TEXT}`, a line. When its end is closed, which
    the kernel does when it dies, the server stops.
    """

    def __init__(self, channel: int, listener: int) -> None:
        self._channel = socket.socket(fileno=channel)
        self._listener = listener
        self.gone = channel

    def passed(self) -> list[int]:
        """See `Starter`."""
        return [self._listener]

    def ready(self, lines: Sequence[str], admin: str) -> None:
        """See `Starter`."""
        self._tell({"report": list(lines), "admin": admin})

    def failed(self, why: str) -> None:
        """See `Starter`."""
        self._tell({"error": why})

    def stopping(self) -> None:
        """See `Starter`."""

    def close_inherited(self) -> None:
        """See `Starter`."""
        self._channel.close()

    def _tell(self, news: dict[str, object]) -> None:
        with contextlib.suppress(OSError):
            self._channel.sendall(json.dumps(news).encode("ascii") + b"\n")

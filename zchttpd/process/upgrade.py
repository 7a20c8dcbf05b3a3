"""A new version takes over (SIGUSR2): the same command is executed anew and given the listening sockets.

The old supervisor serves on until the new one says that it does, and then drains. When the new one cannot
start, it says why, and the old one goes on as if nothing had been.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zchttpd.process.report import how_it_ended
from zchttpd.process.starter import Terminal, tell

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from zchttpd.engine.listener import Listener

# What is handed over, as JSON; no option has this name.
VARIABLE = "ZCHTTPD_TAKE_OVER"


@dataclass(slots=True)
class Successor:
    """The process that is to take over, as the old supervisor sees it."""

    pid: int
    channel: socket.socket
    news: bytes = b""

    def fileno(self) -> int:
        """Readable when it has something to say, or has ended."""
        return self.channel.fileno()

    @property
    def _said(self) -> dict[str, Any]:
        return json.loads(self.news) if self.news.endswith(b"\n") else {}

    def hear(self) -> bool:
        """Read what it says; whether that was all: it serves, or has ended. Who cannot serve may take long to
        end, as workers that could may have clients already.
        """
        received = self.channel.recv(65536)
        self.news += received
        return not received or "ready" in self._said

    def failure(self) -> str:
        """Empty if it serves; else why it does not."""
        if self._said.get("ready"):
            return ""
        _, status = os.waitpid(self.pid, 0)
        how = how_it_ended(os.waitstatus_to_exitcode(status))
        return str(self._said.get("error") or f"it {how} while starting; what it said is on stderr")

    def reload(self) -> None:
        """It may have read its options before they were changed."""
        os.kill(self.pid, signal.SIGHUP)

    def stop(self) -> None:
        """It is wanted no more."""
        os.kill(self.pid, signal.SIGTERM)


def begin(
    listeners: Sequence[Listener],
    admin: socket.socket | None,
    fixed: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    nohup: bool,
) -> Successor:
    """Execute the command of this process anew. `fixed`: what stays as it is (`reload.fixed_of`).

    Raises OSError.
    """
    ours, theirs = socket.socketpair()
    passed = [theirs, *(each.socket for each in listeners), *([admin] if admin is not None else [])]
    handed_over = {
        "channel": theirs.fileno(),
        "listeners": [(each.socket.fileno(), each.proxy) for each in listeners],
        "admin": admin.fileno() if admin is not None else -1,
        "fixed": dict(fixed),
    }
    caught = signal.getsignal(signal.SIGHUP)
    try:
        for each in passed:
            each.set_inheritable(True)
        if nohup:
            # What is caught would be the default there, and what is ignored stays ignored.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *sys.orig_argv[1:]],
            {**environment, VARIABLE: json.dumps(handed_over)},
        )
    except OSError:
        ours.close()
        raise
    finally:
        signal.signal(signal.SIGHUP, caught)
        for each in passed:
            each.set_inheritable(False)
        theirs.close()
    return Successor(pid, ours)


class TakingOver(Terminal):
    """In the new version: who started it is the old one, beside the person and the service manager."""

    def __init__(self, handed_over: Mapping[str, Any]) -> None:
        super().__init__()
        self._channel = socket.socket(fileno=handed_over["channel"])
        self._listeners = [(fd, proxy) for fd, proxy in handed_over["listeners"]]
        self.admin: int = handed_over["admin"]
        self.fixed: dict[str, Any] = handed_over["fixed"]
        fds = [fd for fd, _ in self._listeners]
        for fd in (self._channel.fileno(), *fds, *([self.admin] if self.admin >= 0 else [])):
            os.set_inheritable(fd, False)

    def passed(self) -> list[tuple[int, bool]]:
        """See `Starter`."""
        return self._listeners

    def ready(self, lines: Sequence[str], admin: str) -> None:
        """See `Starter`."""
        super().ready(lines, admin)
        # The old one may have gone without waiting: there is nobody left to take over from.
        tell(self._channel, {"ready": True})
        self._channel.close()

    def failed(self, why: str) -> None:
        """See `Starter`."""
        super().failed(why)
        tell(self._channel, {"error": why})

    def close_inherited(self) -> None:
        """See `Starter`."""
        self._channel.close()


def taking_over(environment: MutableMapping[str, str]) -> TakingOver | None:
    """What was handed over to this process, if anything was. It is taken out of `environment`."""
    text = environment.pop(VARIABLE, "")
    return TakingOver(json.loads(text)) if text else None

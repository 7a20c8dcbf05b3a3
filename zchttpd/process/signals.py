"""Signals of the supervisor: the interpreter writes each one's number to a socket that a selector watches."""

from __future__ import annotations

import os
import signal
import socket

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
CAUGHT = (*STOP, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """Caught from when it is made."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        # nohup(1) has it ignored, so that a terminal can go and the server stays.
        self.nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._had_terminal = _has_terminal()
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in CAUGHT:
            signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        """Readable when a signal has come."""
        return self._read.fileno()

    def take(self) -> list[int]:
        """The numbers of those that have come. Signals of one kind merge."""
        return list(self._read.recv(4096))

    def terminal_has_gone(self) -> bool:
        """Whether SIGHUP says that: the terminal that it was started at is no longer there."""
        return self._had_terminal and not _has_terminal()

    def close_inherited(self) -> None:
        """In a forked child, which has its own handlers."""
        signal.set_wakeup_fd(-1)
        for number in CAUGHT:
            signal.signal(number, signal.SIG_DFL)
        # A terminal that goes tells all of its processes: the supervisor says what is to be done. The engine
        # hears SIGUSR1 when it has a log to reopen.
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        self._read.close()
        self._write.close()


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal (tty(4))."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return True

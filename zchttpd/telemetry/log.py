"""Log lines: one record, one line, no control characters. Notices go to stdout, the rest to stderr."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from io import FileIO, TextIOWrapper
from typing import TextIO

LOGGER = logging.getLogger("zchttpd")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    """`text` with control characters escaped: a client's bytes neither break a line nor drive a terminal."""
    escaped = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")


class _OneLine(logging.Formatter):
    """`2026-01-31T12:00:00.123Z WARNING worker 2: text`, and a traceback behind it when there is one."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)


def setup(level: str, source: str) -> None:
    """Write this process's log lines from `level` up (debug, info, warning, error) in the name of `source`.

    Called again, after a fork, it replaces what was set up before.
    """
    # A closed stdout or stderr must not add tracebacks to the trouble.
    logging.raiseExceptions = False
    line = _OneLine(f"%(asctime)s.%(msecs)03dZ %(levelname)s {source}: %(message)s", "%Y-%m-%dT%H:%M:%S")
    notices = logging.StreamHandler(sys.stdout)
    notices.addFilter(lambda record: record.levelno < logging.WARNING)
    problems = logging.StreamHandler(sys.stderr)
    problems.setLevel(logging.WARNING)
    for out in (notices, problems):
        out.setFormatter(line)
    LOGGER.handlers[:] = [notices, problems]
    LOGGER.propagate = False
    LOGGER.setLevel(level.upper())


def open_streams() -> None:
    """Lead those of stdin, stdout and stderr that are closed to /dev/null.

    Otherwise the next socket got the number of one of them, and what is printed went to a client.
    """
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        fd = os.dup(fd)
    os.close(fd)
    # Python has None for a stream that was closed when it started.
    sys.stdout = sys.stdout or TextIOWrapper(FileIO(1, "w"), write_through=True)
    sys.stderr = sys.stderr or TextIOWrapper(FileIO(2, "w"), write_through=True)


def flush() -> None:
    """Write out what is pending on stdout and stderr. What cannot be written is lost: Python would try again
    at exit, and fail.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _drop_pending(stream)


def _drop_pending(stream: TextIO) -> None:
    fd = stream.fileno()
    kept, nowhere = os.dup(fd), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, fd)
    stream.flush()
    os.dup2(kept, fd)
    os.close(kept)
    os.close(nowhere)


def say(text: str) -> None:
    """One line of the start report, on stdout, at once."""
    # Whoever read the start report may have gone, or its disk be full; the server stays.
    with contextlib.suppress(OSError):
        print(printable(text), flush=True)


def complain(text: str) -> None:
    """One line for the person who typed the command: why it cannot run and what to type instead."""
    with contextlib.suppress(OSError):
        print(f"zchttpd: {printable(text)}", file=sys.stderr, flush=True)

"""The file that tells which process takes signals."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from zchttpd.telemetry import log


def write_pid(path: str) -> None:
    """Have the file name this process. Where that cannot be, the log says so."""
    fresh = f"{path}.{os.getpid()}"
    try:
        # Whoever reads it meanwhile reads the old one, or the new.
        Path(fresh).write_text(f"{os.getpid()}\n", encoding="ascii")
        os.replace(fresh, path)
    except OSError as error:
        fix = "Type --pid-file and a file in a directory that this user may write to"
        log.LOGGER.warning("--pid-file: %r cannot be written (%s). %s", path, error.strerror, fix)


def remove_pid(path: str) -> None:
    """Remove the file, if it still names this process: one that has taken over has put its own there."""
    with contextlib.suppress(OSError):
        if Path(path).read_text(encoding="ascii") == f"{os.getpid()}\n":
            os.unlink(path)

"""The interface of systemd: passed sockets (sd_listen_fds(3)) and notifications (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

FIRST_FD = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def passed_fds(environment: MutableMapping[str, str]) -> list[tuple[int, str]]:
    """Descriptors that were passed to this process, and their names, as sd_listen_fds_with_names(3) has it;
    close-on-exec from now on.

    The variables are taken out of `environment`, so that no child believes that they are meant for it.
    """
    pid, count, names = (environment.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    fds = list(range(FIRST_FD, FIRST_FD + int(count)))
    for fd in fds:
        with contextlib.suppress(OSError):
            os.set_inheritable(fd, False)
    # Where there are fewer names, the rest have none.
    return list(zip(fds, [*names.split(":"), *[""] * len(fds)], strict=False))


def notify(state: str, environment: MutableMapping[str, str]) -> None:
    """Tell the service manager, if there is one: `READY=1`, `STOPPING=1` (sd_notify(3)). Raises nothing."""
    name = environment.get("NOTIFY_SOCKET", "")
    if name[:1] not in ("/", "@"):
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(state.encode("ascii"), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, address)

"""Run a command with less than this user has:
`confined.py [--memlock BYTES] [--nofile N] [--cgroup DIR] [--pass FD NAME] COMMAND...`

Root may read every file and lock all memory, so tests that run as root would never meet EACCES or ENOMEM.
Capabilities taken out of the
bounding set do not come back through execve(2), see capabilities(7); other users have none of them to begin
with.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_IPC_LOCK = 14
CAPABILITY_VERSION_3 = 0x20080522
LIMITS = {"--memlock": resource.RLIMIT_MEMLOCK, "--nofile": resource.RLIMIT_NOFILE}


def drop(capability: int) -> None:
    """Take one capability away from what this process will execute."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def without_override() -> Iterator[None]:
    """Meet EACCES in this thread as any user does, see capget(2); those below 32 are in the first set."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    surplus = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH

    def call(function: Callable[..., int]) -> None:
        if function(ctypes.byref(header), sets) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    call(libc.capget)
    before = sets[0].effective
    sets[0].effective = before & ~surplus
    call(libc.capset)
    try:
        yield
    finally:
        sets[0].effective = before
        call(libc.capset)


def main(arguments: list[str]) -> None:
    """Confine, then become the command."""
    surplus = [CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH]
    while arguments[0] in LIMITS:
        limit = int(arguments[1])
        resource.setrlimit(LIMITS[arguments[0]], (limit, limit))
        if arguments[0] == "--memlock":
            surplus.append(CAP_IPC_LOCK)
        arguments = arguments[2:]
    if arguments[0] == "--cgroup":
        Path(arguments[1], "cgroup.procs").write_text(str(os.getpid()))
        arguments = arguments[2:]
    if arguments[0] == "--pass":
        # As sd_listen_fds(3) has it.
        os.dup2(int(arguments[1]), 3)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=arguments[2])
        arguments = arguments[3:]
    if os.geteuid() == 0:
        for capability in surplus:
            drop(capability)
    os.execv(arguments[0], arguments)


if __name__ == "__main__":
    main(sys.argv[1:])

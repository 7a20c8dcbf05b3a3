"""Run a command to which the kernel refuses io_uring: `refuse_ring.py ERRNO COMMAND...`

As the seccomp profiles of Docker (EPERM) and podman (ENOSYS) do: io_uring_setup fails with that errno, see
seccomp(2).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
# The same number on every architecture.
IO_URING_SETUP = 425
BPF_LOAD_WORD, BPF_JUMP_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse(number: int) -> None:
    """From here on, and across execve(2), io_uring_setup(2) fails with this errno. Raises OSError."""
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (BPF_LOAD_WORD, 0, 0, 0),
            (BPF_JUMP_EQUAL, 0, 1, IO_URING_SETUP),
            (BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO | number),
            (BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW),
        )
    )
    program = Program(4, code)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            failure = ctypes.get_errno()
            raise OSError(failure, os.strerror(failure))


if __name__ == "__main__":
    refuse(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])

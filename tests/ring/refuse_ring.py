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
# The same number on every architecture.
IO_URING_SETUP = 425
# Of linux/bpf_common.h and linux/seccomp.h.
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
RETURN_ERRNO, ALLOW = 0x00050000, 0x7FFF0000


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse(number: int) -> None:
    """From here on, and across execve(2), io_uring_setup(2) fails with this errno. Raises OSError."""
    load(
        [
            (LOAD_WORD, 0, 0, 0),
            (JUMP_EQUAL, 0, 1, IO_URING_SETUP),
            (RETURN, 0, 0, RETURN_ERRNO | number),
            (RETURN, 0, 0, ALLOW),
        ]
    )


def load(instructions: list[tuple[int, int, int, int]]) -> None:
    """Filter what this process calls: code, jump if true, jump if false, operand of each. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    program = Program(len(instructions), code)
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

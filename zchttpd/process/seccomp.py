"""The system calls of zchttpd: as a profile for containers, and as the filter that a worker has.

The profile is for what Docker, Podman and Kubernetes read (OCI runtime specification, config-linux). It
allows what zchttpd, Python and the C library call, and answers ENOSYS to everything else, whose callers then
try an older call. It takes the place of the runtime's default, which allows far more, but no io_uring.

A worker that serves has no use for what only a start calls: it executes nothing, makes no process, no socket
and no ring, and changes no name (seccomp(2)).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct

from zchttpd.process.system_calls import NEWEST, NUMBERS

ARCHITECTURES = ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
# clone(2) without new namespaces; it takes the place of clone3(2), whose flags a filter cannot see.
CLONE_NEW = 0x7E020000
CLONE_THREAD = 0x10000
# Names of system calls, of the newest kernel that this was looked at on and of older ones.
CALLS = {
    "io_uring": "io_uring_enter io_uring_register",
    "waiting": (
        "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 futex pipe "
        "pipe2 poll ppoll pselect6 restart_syscall select"
    ),
    "sockets": (
        # connect(2) is how the portable engine drops what a socket has queued.
        "accept accept4 connect getpeername getsockname getsockopt recvfrom recvmsg sendmmsg sendmsg sendto "
        "setsockopt shutdown socketpair splice"
    ),
    "files": (
        "access close close_range dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate fcntl flock fstat "
        "fstatfs ftruncate getcwd getdents64 ioctl lseek lstat newfstatat open openat openat2 pread64 preadv "
        "preadv2 pwrite64 pwritev read readlink readlinkat readv stat statfs statx utimensat write writev"
    ),
    "memory": "brk madvise membarrier memfd_create mincore mmap mprotect mremap munmap",
    "processes": (
        "arch_prctl capget exit exit_group getegid geteuid getgid getgroups getpid getppid getrandom "
        "getresgid getresuid getrlimit getrusage gettid getuid prctl prlimit64 rseq rt_sigaction "
        "rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity "
        "sched_yield set_robust_list set_tid_address sigaltstack sysinfo tgkill uname"
    ),
    "clocks": "clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time times",
}
# What the supervisor calls besides, and whatever comes before a worker.
STARTING = {
    "io_uring of a start": "io_uring_setup",
    "sockets of a start": "bind listen socket",
    "files of a start": (
        "chdir chmod copy_file_range fchdir fchmod fchmodat fsync mkdir mkdirat rename renameat renameat2 "
        "rmdir umask unlink unlinkat"
    ),
    "processes of a start": (
        "capset execve fork getpgid getpgrp getpriority getsid kill pidfd_open setfsgid setfsuid setgid "
        "setgroups setpgid setregid setresgid setresuid setreuid setrlimit setsid setuid vfork wait4 waitid"
    ),
    "confining workers": "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp",
}

# Of linux/seccomp.h, linux/audit.h and linux/bpf_common.h.
_SET_MODE_FILTER = 1
# No speculative store bypass is switched off for it, which would make all of Python slower.
_SPEC_ALLOW = 1 << 2
_ALL_THREADS = 1 << 0
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _AND, _EQUAL, _GREATER, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x06
# Of struct seccomp_data: the number of the call, the architecture, the first argument.
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16

Instruction = tuple[int, int, int, int]


def profile() -> str:
    """The profile, as JSON."""
    allowed: list[dict[str, object]] = [
        {"names": names.split(), "action": "SCMP_ACT_ALLOW", "comment": what}
        for what, names in {**CALLS, **STARTING}.items()
    ]
    no_namespaces = {"index": 0, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    allowed.append({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [no_namespaces]})
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": errno.ENOSYS,
            "architectures": ARCHITECTURES,
            "syscalls": allowed,
        },
        indent=2,
    )


def worker_filter(machine: str) -> list[Instruction]:
    """The filter of a worker on this machine (`uname -m`), as instructions of classic BPF.

    What is not in `CALLS` is answered EPERM; ENOSYS, which has the C library try an older call, where it is
    newer than this list, and to clone3. clone makes threads alone. Raises KeyError for other machines.
    """
    numbers = NUMBERS[machine]
    allowed = sorted(numbers[name] for names in CALLS.values() for name in names.split() if name in numbers)
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT_ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_LOAD, 0, 0, _NUMBER),
    ]
    # The kernel finds out once which calls are allowed whatever their arguments, and runs this for the rest.
    for number in allowed:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    code += [
        (_EQUAL, 0, 5, numbers["clone"]),
        (_LOAD, 0, 0, _ARGUMENT),
        (_AND, 0, 0, CLONE_NEW | CLONE_THREAD),
        (_EQUAL, 0, 1, CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_EQUAL, 1, 0, numbers["clone3"]),
        (_GREATER, 0, 1, NEWEST),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    return code


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def obstacle() -> str:
    """Why no filter can be had here; empty: it can."""
    machine = os.uname().machine
    if machine not in NUMBERS:
        return f"the numbers of system calls of {machine} are not known"
    # Asked with an address that nothing is at: a kernel that has it says EFAULT.
    code = _seccomp(None)
    return "" if code == errno.EFAULT else os.strerror(code)


def enter() -> None:
    """All threads of this process make only the calls of a worker from now on. Raises OSError.

    PR_SET_NO_NEW_PRIVS is set. What io_uring does is not filtered; the ring has restrictions of its own.
    """
    why = obstacle()
    if why:
        raise OSError(errno.ENOSYS, why)
    instructions = worker_filter(os.uname().machine)
    code = b"".join(struct.pack("=HBBI", *each) for each in instructions)
    error = _seccomp(_Program(len(instructions), code))
    if error:
        raise OSError(error, os.strerror(error))


def _seccomp(program: _Program | None) -> int:
    """0 or an errno; ESRCH when a thread has another filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_long(NUMBERS[os.uname().machine]["seccomp"])
    address = None if program is None else ctypes.byref(program)
    # Kernels before 4.17 do not know of speculation.
    for flags in (_ALL_THREADS | _SPEC_ALLOW, _ALL_THREADS):
        result = libc.syscall(number, _SET_MODE_FILTER, flags, address)
        code = errno.ESRCH if result > 0 else ctypes.get_errno() if result < 0 else 0
        if code != errno.EINVAL:
            break
    return code

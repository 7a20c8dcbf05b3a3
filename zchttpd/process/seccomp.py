"""A seccomp profile as Docker, Podman and Kubernetes read it (OCI runtime specification, config-linux).

It allows what zchttpd, Python and the C library call, and answers ENOSYS to everything else, whose callers
then try an older call. It takes the place of the runtime's default, which allows far more, but no io_uring.
"""

from __future__ import annotations

import errno
import json

ARCHITECTURES = ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
# clone(2) without new namespaces; it takes the place of clone3(2), whose flags a filter cannot see.
CLONE_NEW = 0x7E020000
# Names of system calls, of the newest kernel that this was looked at on and of older ones.
CALLS = {
    "io_uring": "io_uring_enter io_uring_register io_uring_setup",
    "waiting": (
        "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 futex pipe "
        "pipe2 poll ppoll pselect6 restart_syscall select"
    ),
    "sockets": (
        "accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmsg "
        "sendmmsg sendmsg sendto setsockopt shutdown socket socketpair splice"
    ),
    "files": (
        "access chdir chmod close close_range copy_file_range dup dup2 dup3 faccessat faccessat2 "
        "fadvise64 fallocate fchdir fchmod fchmodat fcntl flock fstat fstatfs fsync ftruncate getcwd "
        "getdents64 ioctl lseek lstat mkdir mkdirat newfstatat open openat openat2 pread64 preadv "
        "preadv2 pwrite64 read readlink readlinkat readv rename renameat renameat2 rmdir stat statfs "
        "statx umask unlink unlinkat utimensat write writev"
    ),
    "memory": "brk madvise membarrier memfd_create mincore mmap mprotect mremap munmap",
    "processes": (
        "arch_prctl capget capset execve exit exit_group fork getegid geteuid getgid getgroups "
        "getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage "
        "getsid gettid getuid kill pidfd_open prctl prlimit64 rseq rt_sigaction rt_sigpending "
        "rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_yield "
        "set_robust_list set_tid_address setfsgid setfsuid setgid setgroups setpgid setregid "
        "setresgid setresuid setreuid setrlimit setsid setuid sigaltstack sysinfo tgkill uname vfork "
        "wait4 waitid"
    ),
    "clocks": "clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time times",
}


def profile() -> str:
    """The profile, as JSON."""
    allowed: list[dict[str, object]] = [
        {"names": names.split(), "action": "SCMP_ACT_ALLOW", "comment": what} for what, names in CALLS.items()
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

"""Numbers of system calls, by the machines that zchttpd has a filter for (seccomp(2)): those of the calls in
`seccomp`. They never change (asm/unistd_64.h, asm-generic/unistd.h).
"""

from __future__ import annotations

# Alike on every architecture.
_COMMON = (
    "io_uring_setup=425 io_uring_enter=426 io_uring_register=427 pidfd_open=434 clone3=435 "
    "close_range=436 openat2=437 faccessat2=439 epoll_pwait2=441 landlock_create_ruleset=444 "
    "landlock_add_rule=445 landlock_restrict_self=446 "
)
_X86_64 = (
    "read=0 write=1 open=2 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 "
    "brk=12 rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 ioctl=16 pread64=17 pwrite64=18 readv=19 "
    "writev=20 access=21 pipe=22 select=23 sched_yield=24 mremap=25 mincore=27 madvise=28 dup=32 dup2=33 "
    "nanosleep=35 getpid=39 socket=41 connect=42 accept=43 sendto=44 recvfrom=45 sendmsg=46 recvmsg=47 "
    "shutdown=48 bind=49 listen=50 getsockname=51 getpeername=52 socketpair=53 setsockopt=54 "
    "getsockopt=55 clone=56 fork=57 vfork=58 execve=59 exit=60 wait4=61 kill=62 uname=63 fcntl=72 "
    "flock=73 fsync=74 ftruncate=77 getcwd=79 chdir=80 fchdir=81 rename=82 mkdir=83 rmdir=84 unlink=87 "
    "readlink=89 chmod=90 fchmod=91 umask=95 gettimeofday=96 getrlimit=97 getrusage=98 sysinfo=99 "
    "times=100 getuid=102 getgid=104 setuid=105 setgid=106 geteuid=107 getegid=108 setpgid=109 "
    "getppid=110 getpgrp=111 setsid=112 setreuid=113 setregid=114 getgroups=115 setgroups=116 "
    "setresuid=117 getresuid=118 setresgid=119 getresgid=120 getpgid=121 setfsuid=122 setfsgid=123 "
    "getsid=124 capget=125 capset=126 rt_sigpending=127 rt_sigtimedwait=128 rt_sigsuspend=130 "
    "sigaltstack=131 statfs=137 fstatfs=138 getpriority=140 prctl=157 arch_prctl=158 setrlimit=160 "
    "gettid=186 time=201 futex=202 sched_getaffinity=204 epoll_create=213 getdents64=217 "
    "set_tid_address=218 restart_syscall=219 fadvise64=221 clock_gettime=228 clock_getres=229 "
    "clock_nanosleep=230 exit_group=231 epoll_wait=232 epoll_ctl=233 tgkill=234 waitid=247 openat=257 "
    "mkdirat=258 newfstatat=262 unlinkat=263 renameat=264 readlinkat=267 fchmodat=268 faccessat=269 "
    "pselect6=270 ppoll=271 set_robust_list=273 splice=275 utimensat=280 epoll_pwait=281 fallocate=285 "
    "accept4=288 eventfd2=290 epoll_create1=291 dup3=292 pipe2=293 preadv=295 pwritev=296 prlimit64=302 "
    "sendmmsg=307 renameat2=316 seccomp=317 getrandom=318 memfd_create=319 membarrier=324 "
    "copy_file_range=326 preadv2=327 statx=332 rseq=334 "
)
_AARCH64 = (
    "getcwd=17 eventfd2=19 epoll_create1=20 epoll_ctl=21 epoll_pwait=22 dup=23 dup3=24 fcntl=25 ioctl=29 "
    "flock=32 mkdirat=34 unlinkat=35 renameat=38 statfs=43 fstatfs=44 ftruncate=46 fallocate=47 "
    "faccessat=48 chdir=49 fchdir=50 fchmod=52 fchmodat=53 openat=56 close=57 pipe2=59 getdents64=61 "
    "lseek=62 read=63 write=64 readv=65 writev=66 pread64=67 pwrite64=68 preadv=69 pwritev=70 pselect6=72 "
    "ppoll=73 splice=76 readlinkat=78 newfstatat=79 fstat=80 fsync=82 utimensat=88 capget=90 capset=91 "
    "exit=93 exit_group=94 waitid=95 set_tid_address=96 futex=98 set_robust_list=99 nanosleep=101 "
    "clock_gettime=113 clock_getres=114 clock_nanosleep=115 sched_getaffinity=123 sched_yield=124 "
    "restart_syscall=128 kill=129 tgkill=131 sigaltstack=132 rt_sigsuspend=133 rt_sigaction=134 "
    "rt_sigprocmask=135 rt_sigpending=136 rt_sigtimedwait=137 rt_sigreturn=139 getpriority=141 "
    "setregid=143 setgid=144 setreuid=145 setuid=146 setresuid=147 getresuid=148 setresgid=149 "
    "getresgid=150 setfsuid=151 setfsgid=152 times=153 setpgid=154 getpgid=155 getsid=156 setsid=157 "
    "getgroups=158 setgroups=159 uname=160 getrlimit=163 setrlimit=164 getrusage=165 umask=166 prctl=167 "
    "gettimeofday=169 getpid=172 getppid=173 getuid=174 geteuid=175 getgid=176 getegid=177 gettid=178 "
    "sysinfo=179 socket=198 socketpair=199 bind=200 listen=201 accept=202 connect=203 getsockname=204 "
    "getpeername=205 sendto=206 recvfrom=207 setsockopt=208 getsockopt=209 shutdown=210 sendmsg=211 "
    "recvmsg=212 brk=214 munmap=215 mremap=216 clone=220 execve=221 mmap=222 fadvise64=223 mprotect=226 "
    "mincore=232 madvise=233 accept4=242 wait4=260 prlimit64=261 sendmmsg=269 renameat2=276 seccomp=277 "
    "getrandom=278 memfd_create=279 membarrier=283 copy_file_range=285 preadv2=286 statx=291 rseq=293 "
)
# The newest call of the kernel that this was made on: what is newer is not known here.
NEWEST = 451


def _table(*texts: str) -> dict[str, int]:
    pairs = (each.partition("=") for text in texts for each in text.split())
    return {name: int(number) for name, _, number in pairs}


NUMBERS = {"x86_64": _table(_COMMON, _X86_64), "aarch64": _table(_COMMON, _AARCH64)}

"""What this machine supports, feature by feature, and how to fix what it lacks."""

from __future__ import annotations

import ctypes
import errno
import importlib
import importlib.util
import os
import pwd
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

from zchttpd.config.names import ENCODINGS, FEATURES, SANDBOX, missing_encodings
from zchttpd.config.options import usable_cpus
from zchttpd.engine import kernel_tls
from zchttpd.engine.limits import SPARE_FDS, files_needed, memory_needed
from zchttpd.process import landlock, privileges, seccomp
from zchttpd.process.findings import Finding, State
from zchttpd.process.memory_limit import advised, beside, budgets, memory_limit, most, read, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zchttpd.config.settings import Settings
    from zchttpd.process.memory_limit import Limit

MIB = 1024 * 1024
GIB = 1024 * MIB
# What is copied to measure copying, in bytes, and for how long.
COPIED = 32 * MIB
COPY_S = 0.1
SYS_IO_URING_SETUP = 425
SYS_OPENAT2 = 437
CAP_SETPCAP = 8
CAP_IPC_LOCK = 14
CAP_SYS_RESOURCE = 24
NO_LIMIT = 1 << 62  # bytes
_LETTERS = {"memlock": "l", "nofile": "n"}  # of ulimit


def missing_feature(name: str, *, asked: bool = False) -> str:
    """One line on a feature that the ring does without; `asked`: because of `--without`."""
    feature = {**FEATURES, **SANDBOX}.get(name)
    if feature is None:
        return f"without {name}"
    if asked:
        return f"without {name}, as asked: {feature.lost}"
    return f"without {name}: {feature.lost}. Fix: Linux {feature.since} or later"


def probe_ring() -> Mapping[str, object]:
    """What the compiled ring found: `error` (errno name or "") and a bool by feature; or ImportError."""
    probe = importlib.import_module("zchttpd._core.ring_setup").probe
    found: Mapping[str, object] = probe()
    return found


def gives_back_at_once() -> bool | None:
    """Whether registered memory comes back as soon as it is let go; None where none can be registered."""
    found: bool | None = importlib.import_module("zchttpd._core.ring_setup").gives_back_at_once()
    return found


def refusal(error: str) -> tuple[str, str]:
    """(cause, fix) of an io_uring_setup(2) that failed with the errno named `error`."""
    if error == "ENOSYS":
        return (
            "this kernel or its sandbox has no io_uring (ENOSYS)",
            "run Linux 6.0 or later, or let the sandbox pass io_uring_setup",
        )
    if error in ("EPERM", "EACCES"):
        disabled = read(Path("/proc/sys/kernel/io_uring_disabled"))
        if disabled == "2":
            return (
                "kernel.io_uring_disabled is 2: nobody may use io_uring",
                "sysctl -w kernel.io_uring_disabled=0",
            )
        if disabled == "1" and os.geteuid() != 0:
            return (
                "kernel.io_uring_disabled is 1: only privileged users may use io_uring",
                "sysctl -w kernel.io_uring_disabled=0, or join the group in kernel.io_uring_group",
            )
        return (
            f"a sandbox refuses io_uring ({error})",
            "let its seccomp profile pass io_uring_setup, io_uring_enter and io_uring_register"
            " (Docker: zchttpd doctor --seccomp >PROFILE.json; --security-opt seccomp=PROFILE.json)",
        )
    if error == "ENOMEM":
        return "io_uring has no memory left to lock (ENOMEM)", raising("memlock")
    return f"io_uring failed with {error}", "zchttpd doctor"


def raising(limit: str, value: str = "unlimited") -> str:
    """What raises a hard limit (getrlimit(2)), `memlock` or `nofile`, to `value` for the user who asks."""
    letter = _LETTERS[limit]
    if _capable(CAP_SYS_RESOURCE):
        return f"ulimit -{letter} {value}"
    unit = f"systemd: Limit{limit.upper()}={'infinity' if value == 'unlimited' else value}"
    container = f"--ulimit {limit}={-1 if value == 'unlimited' else value}"
    if os.geteuid() == 0:
        return (
            f"start the container with {container} ({unit}); ulimit -{letter} cannot, as this root has no"
            " CAP_SYS_RESOURCE"
        )
    return (
        f"sudo prlimit --pid $$ --{limit}={value}, in the shell that starts it; ulimit -{letter} cannot, as"
        f" the hard limit is root's to raise (for good: '{_login()} - {limit} {value}' in"
        f" /etc/security/limits.conf; {unit}, Docker: {container})"
    )


def _login() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "*"


def lockable() -> int:
    """Bytes that the processes of this user may lock: the hard RLIMIT_MEMLOCK, or NO_LIMIT."""
    _, limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return NO_LIMIT if limit == resource.RLIM_INFINITY or _capable(CAP_IPC_LOCK) else limit


def locked_memory(needed: int) -> Finding:
    """Whether `needed` bytes can be registered: the hard RLIMIT_MEMLOCK decides, as the server raises its own
    to it, unless CAP_IPC_LOCK lifts it.
    """
    limit = lockable()
    if limit == NO_LIMIT:
        return Finding("locked memory", State.OK, "no limit")
    text = f"{limit / MIB:.4g} MiB of file bytes can be registered for zero copy"
    if limit >= needed:
        return Finding("locked memory", State.OK, text)
    return Finding(
        "locked memory",
        State.LOW,
        f"{text}, of {needed / MIB:.4g} MiB configured; the rest is sent without zero copy",
        raising("memlock"),
    )


def memory(settings: Settings, limit: Limit) -> Finding:
    """Whether what `settings` may take fits below `limit`."""
    text = (
        f"{budgets(settings)} may take {shown(most(settings))} in all, {shown(beside(settings))} of it what"
        f" clients have each worker hold beside them; {limit}"
    )
    if most(settings) <= limit.size:
        return Finding("memory", State.OK, text)
    fix = f"--memory {shown(advised(settings, limit))}, or raise the limit"
    return Finding("memory", State.LOW, f"{text}, so workers may be killed", fix)


def open_files(needed: int) -> Finding:
    """Whether a worker may have `needed` descriptors (the hard RLIMIT_NOFILE: the server raises its own)."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return Finding(
            "open files", State.OK, "no limit" if limit == resource.RLIM_INFINITY else f"up to {limit}"
        )
    return Finding(
        "open files",
        State.LOW,
        f"up to {limit}, but --connections-max takes {needed}",
        _open_files_cure(limit, needed),
    )


def _open_files_cure(limit: int, needed: int) -> str:
    lower = f"--connections-max {limit - SPARE_FDS}" if limit > SPARE_FDS else "a lower --connections-max"
    most = read(Path("/proc/sys/fs/nr_open"))
    if most.isdecimal() and int(most) < needed:
        # Above it setrlimit(2) refuses root as well.
        return f"{lower}, or sysctl -w fs.nr_open={needed} and then {raising('nofile', str(needed))}"
    return f"{lower}, or {raising('nofile', str(needed))}"


def notes(settings: Settings) -> list[str]:
    """A line for the start report of the io_uring engine where locked memory is too little, with the fix."""
    if settings.send_mode == "plain":
        return []
    finding = locked_memory(memory_needed(settings))
    return [f"{finding.subject}: {finding.text}. Fix: {finding.fix}"] if finding.fix else []


def examine(settings: Settings) -> list[Finding]:
    """Everything that decides how well `settings` would run here, in the order in which it matters."""
    return [
        Finding("kernel", State.OK, f"{os.uname().sysname} {os.uname().release}"),
        *_ring_findings(),
        _openat2(),
        *_confining(),
        _processors(settings),
        *_front(settings),
        memory(settings, memory_limit()),
        locked_memory(memory_needed(settings)),
        open_files(files_needed(settings)),
        _copying(),
        _uvloop(),
        _kernel_tls(asked=bool(settings.tls_cert)),
        _compression(asked=bool(settings.compress)),
    ]


def _front(settings: Settings) -> Iterator[Finding]:
    """Several listeners, those for proxies, and several sites, where there are any."""
    for each in settings.listens if settings.listen else ():
        where = each.unix or f"{each.host} port {each.port}"
        who = ", ".join(map(str, settings.proxy_from)) if not each.unix else "whoever may enter"
        yield Finding("listener", State.OK, f"{where}, PROXY headers from {who}" if each.proxy else where)
    for site in settings.sites:
        yield Finding("site", State.OK, f"{', '.join(site.names)}: {site.of(settings).root}")


def _ring_findings() -> list[Finding]:
    try:
        found = probe_ring()
    except ImportError:
        return [_ring_without_core()]
    error = str(found.get("error") or "")
    if error:
        cause, fix = refusal(error)
        return [Finding("io_uring", State.MISSING, f"{cause}; the portable engine serves instead", fix)]
    findings = [Finding("io_uring", State.OK, "available")]
    for name, feature in FEATURES.items():
        if found.get(name):
            findings.append(Finding(name, State.OK, "present"))
        else:
            findings.append(Finding(name, State.MISSING, feature.lost, f"Linux {feature.since} or later"))
    return [*findings, *_registered_memory()]


def _registered_memory() -> Iterator[Finding]:
    """How soon there is room again; nothing where no memory can be registered, which has a line already."""
    at_once = gives_back_at_once()
    if at_once:
        text = "comes back as soon as the last send of it has ended"
        yield Finding("registered memory", State.OK, text)
    elif at_once is not None:
        text = (
            "comes back a second after it was let go: for so long files that change or are pushed out take"
            " up to half of --memory on top, and what finds no room is sent from the page cache"
        )
        yield Finding("registered memory", State.LOW, text, "Linux 6.4 or later")


def _ring_without_core() -> Finding:
    error = _refused_with(SYS_IO_URING_SETUP, 1, None)
    if error in ("EPERM", "EACCES", "ENOSYS"):
        cause, fix = refusal(error)
        return Finding("io_uring", State.MISSING, f"{cause}; this build has no io_uring engine either", fix)
    return Finding(
        "io_uring",
        State.MISSING,
        "the kernel allows it, but this build of zchttpd has no io_uring engine",
        "apt-get install liburing-dev pkg-config, then install zchttpd again from source",
    )


def _openat2() -> Finding:
    error = _refused_with(SYS_OPENAT2, -1, None, None, 0)
    if error in ("ENOSYS", "EPERM"):
        return Finding(
            "openat2",
            State.MISSING,
            f"paths are opened one component at a time ({error}), which is slower",
            "Linux 5.6 or later, or let the sandbox pass openat2",
        )
    return Finding("openat2", State.OK, "the kernel keeps every path beneath the root")


def _confining() -> list[Finding]:
    """What keeps a worker that somebody has taken over from all but what it serves."""
    found = [_landlock()]
    why = seccomp.obstacle()
    if why:
        text, fix = f"{SANDBOX['seccomp'].lost} ({why})", "a kernel with seccomp filters, on x86-64 or arm64"
        found.append(Finding("seccomp", State.MISSING, text, fix))
    else:
        text = "a worker makes the calls that serving takes, and no others"
        found.append(Finding("seccomp", State.OK, text))
    if os.geteuid() == 0 and not privileges.bounded() and not _has_capability(CAP_SETPCAP):
        fix = "let the container keep CAP_SETPCAP, or start it with --cap-drop ALL"
        found.append(Finding("capabilities", State.MISSING, SANDBOX["capabilities"].lost, fix))
    else:
        text = "a worker keeps none that serving does not take, and nothing gains any"
        found.append(Finding("capabilities", State.OK, text))
    return found


def _landlock() -> Finding:
    try:
        known = landlock.version()
    except OSError as error:
        fix = "Linux 5.13 or later, booted with landlock in lsm=, or let the sandbox pass landlock_*"
        return Finding("landlock", State.MISSING, f"{SANDBOX['landlock'].lost} ({error.strerror})", fix)
    text = f"version {known}: a worker opens what it serves, and its log, and nothing else"
    if known >= landlock.SCOPES:
        return Finding("landlock", State.OK, text)
    text += f"; that it signals nobody, which is of version {landlock.SCOPES}, is up to seccomp alone"
    return Finding("landlock", State.LOW, text, "Linux 6.12 or later")


def _processors(settings: Settings) -> Finding:
    usable, workers = usable_cpus(), settings.worker_count
    text = f"{usable} for {workers} worker{'s' if workers > 1 else ''}, by affinity and cpu.max"
    if workers <= usable:
        return Finding("processors", State.OK, text)
    fix = "--workers auto, or a higher quota (Docker: --cpus, systemd: CPUQuota=)"
    return Finding("processors", State.LOW, f"{text}; more workers only wait for each other", fix)


def _copying() -> Finding:
    """What one copy of the bytes costs here, measured; that is what zero copy saves at most."""
    source, target = bytearray(COPIED), bytearray(COPIED)
    began, copies = time.process_time(), 0
    while time.process_time() < began + COPY_S:
        target[:] = source
        copies += 1
    seconds = (time.process_time() - began) / copies * GIB / COPIED
    return Finding(
        "copying",
        State.OK,
        f"{seconds:.2g} s of CPU time for each GiB sent, measured on {COPIED // MIB} MiB; so much zero copy"
        " saves at most on a network, and the memory for copies of what waits to be acknowledged. It assumes"
        " that the kernel copies as a program does, from and to memory that is in no cache",
    )


def _uvloop() -> Finding:
    if importlib.util.find_spec("uvloop"):
        return Finding("uvloop", State.OK, "the portable engine can use it")
    return Finding(
        "uvloop", State.MISSING, "the portable engine runs on asyncio, which is slower", "pip install uvloop"
    )


def _kernel_tls(*, asked: bool) -> Finding:
    """Who encrypts with --tls-cert; that the kernel cannot is a fault only where it is asked to."""
    refused = kernel_tls.available()
    if not refused:
        return Finding("kernel TLS", State.OK, "with --tls-cert the kernel encrypts for clients of TLS 1.3")
    text = f"with --tls-cert OpenSSL encrypts, as this kernel does not ({refused})"
    if not asked:
        return Finding("kernel TLS", State.OK, text)
    return Finding("kernel TLS", State.MISSING, text, "modprobe tls, where the kernel has it (CONFIG_TLS)")


def _compression(*, asked: bool) -> Finding:
    """What --compress can make; that it could make more is a fault only where it is asked for."""
    missing = missing_encodings()
    text = f"--compress can make {', '.join(name for name in ENCODINGS if name not in missing)}"
    if not missing:
        return Finding("compression", State.OK, text)
    fix = f"pip install {' '.join(missing.values())}"
    if not asked:
        return Finding("compression", State.OK, f"{text}; with {fix} also {', '.join(missing)}")
    return Finding("compression", State.MISSING, f"{text}, not {', '.join(missing)}", fix)


def _refused_with(number: int, *arguments: int | None) -> str:
    """The errno name of a system call that is made with arguments it must refuse, so that nothing happens."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words = [None if argument is None else ctypes.c_long(argument) for argument in arguments]
    libc.syscall(ctypes.c_long(number), *words)
    code = ctypes.get_errno()
    return errno.errorcode.get(code, str(code))


def _capable(capability: int) -> bool:
    # The kernel wants it in the first user namespace; root of a rootless container does not have it there.
    if read(Path("/proc/self/uid_map")).split() != ["0", "0", "4294967295"]:
        return False
    return _has_capability(capability)


def _has_capability(capability: int) -> bool:
    for line in read(Path("/proc/self/status")).splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False

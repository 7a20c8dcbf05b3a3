"""Drops privileges: root binds the sockets, then becomes the user of --user, with no way back."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import grp
import importlib
import os
import pwd
from dataclasses import dataclass

from zchttpd.config.names import ENCODINGS
from zchttpd.config.options import StartError, nearest

PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
# CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_IPC_LOCK: of root itself, files of others and locked memory.
_KEPT = 1 << 1 | 1 << 2 | 1 << 14
# What a worker, or the supervisor, imports only when it needs it, encodings among it. The user may not be
# able to read it then: Python itself may be in root's home.
_LATE = (
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.unicode_escape",
    "traceback",
    "zchttpd._core.ring",
    "zchttpd._core.ring_setup",
    "zchttpd.engine.uring",
    "zchttpd.engine.portable",
    "zchttpd.telemetry.admin",
    "zchttpd.telemetry.admin_access",
    "zchttpd.telemetry.prometheus",
    "uvloop",
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of this machine, with all the groups that count (credentials(7))."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def resolve(text: str) -> Identity:
    """Who `NAME`, `NAME:GROUP` or their numbers are. With GROUP that group counts and no other one.

    Raises ValueError with a one-line text.
    """
    name, colon, group = text.partition(":")
    known = _user(name)
    if colon:
        gid = _gid(group)
        groups: tuple[int, ...] = (gid,)
    elif known is None:
        raise ValueError(f"uid {name} has no name here, so its group is not known. Type {name}:GROUP")
    else:
        gid = known.pw_gid
        groups = tuple(os.getgrouplist(known.pw_name, gid))
    uid = int(name) if known is None else known.pw_uid
    if uid == 0:
        raise ValueError(f"{name!r} is root itself. Type another user, such as nobody or www-data")
    return Identity(str(uid) if known is None else known.pw_name, uid, gid, groups)


def _user(name: str) -> pwd.struct_passwd | None:
    """None for a number that nobody has."""
    try:
        return pwd.getpwuid(int(name)) if _is_number(name) else pwd.getpwnam(name)
    except KeyError:
        if _is_number(name):
            return None
        close = nearest(name, [user.pw_name for user in pwd.getpwall()])
        fix = f"Did you mean {close}?" if close else "Type one of: getent passwd"
        raise ValueError(f"there is no user {name!r}. {fix}") from None


def _gid(group: str) -> int:
    if _is_number(group):
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {group!r}. Type one of: getent group") from None


def _is_number(text: str) -> bool:
    # As long as a uid can be; the last one, -1, means "leave it" to setresuid(2).
    return text.isascii() and text.isdigit() and int(text) < 2**32 - 1


def preload(*more: str) -> None:
    """Import what will be needed later, and these modules, for as long as it can be read."""
    for name in (*_LATE, *more, *filter(None, ENCODINGS.values())):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def confine() -> None:
    """Nothing this process executes gains privileges (PR_SET_NO_NEW_PRIVS, prctl(2)).

    Raises StartError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        why = os.strerror(ctypes.get_errno())
        raise StartError(f"PR_SET_NO_NEW_PRIVS is refused ({why}). Run Linux 3.5 or later")


class _CapabilityHeader(ctypes.Structure):
    """struct __user_cap_header_struct"""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    """struct __user_cap_data_struct"""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def bounded() -> bool:
    """Whether nothing that this process executes can have a capability: its bounding set is empty."""
    libc = ctypes.CDLL(None, use_errno=True)
    return not any(libc.prctl(PR_CAPBSET_READ, each, 0, 0, 0) == 1 for each in range(64))


def empty_bounding_set() -> None:
    """Nothing that this process executes has a capability (capabilities(7)).

    Raises OSError (EPERM) for who has no CAP_SETPCAP.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for each in range(64):
        if libc.prctl(PR_CAPBSET_READ, each, 0, 0, 0) == 1:
            _check(libc.prctl(PR_CAPBSET_DROP, each, 0, 0, 0))


def shed() -> None:
    """Keep of the capabilities of root only what serves files, and let nothing gain others.

    Raises OSError.
    """
    if not bounded() and os.geteuid() == 0:
        empty_bounding_set()
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _CapabilityHeader(_CAPABILITY_VERSION_3, 0), (_CapabilitySets * 2)()
    _check(libc.capget(ctypes.byref(header), sets))
    for at, kept in ((0, _KEPT), (1, 0)):
        sets[at].permitted &= kept
        sets[at].effective &= kept
        sets[at].inheritable = 0
    _check(libc.capset(ctypes.byref(header), sets))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def keep_memory_out_of_cores() -> None:
    """What this process and its workers hold is in no core dump, whoever writes that (core(5)).

    To be called before privileges are dropped: then /proc/self is root's.
    """
    with contextlib.suppress(OSError), open("/proc/self/coredump_filter", "w") as file:
        file.write("0")


def become(identity: Identity) -> None:
    """Be this user from now on: its groups, gid and uid, real, effective and saved. Raises StartError.

    Called before any ring exists and before workers are forked: what a ring was made with stays with it
    (CVE-2024-22017).
    """
    if os.geteuid() != 0:
        if os.getresuid() == (identity.uid,) * 3:
            return
        raise StartError(
            f"--user {identity.name}: only root may become another user, and this is uid {os.geteuid()}."
            " Start as root, or leave --user out"
        )
    try:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        fix = (
            "Let the container keep CAP_SETUID and CAP_SETGID" if error.errno == errno.EPERM else "See id(1)"
        )
        raise StartError(f"--user {identity.name}: {error.strerror}. {fix}") from None
    with contextlib.suppress(PermissionError):
        os.setresuid(0, 0, 0)
        raise StartError(f"--user {identity.name}: the way back to root is open. Clear the securebits")

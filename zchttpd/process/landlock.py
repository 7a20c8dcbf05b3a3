"""Landlock: from now on this thread, and those it starts, open only what was named (landlock(7))."""

from __future__ import annotations

import ctypes
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from zchttpd.process.system_calls import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterable

# Of linux/landlock.h.
_ASK_VERSION = 1
_PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_REG = 1 << 8
# The rights on files, on TCP ports and on other processes, by the version that has them first.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
TCP_RIGHTS = {4: 0b11}
# The version from which on others can be kept from signals of this process.
SCOPES = 6
_SCOPES = {SCOPES: 0b11}
# What a rule on a file may grant; the others are of directories.
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15
# Alike on every architecture.
_CREATE, _ADD, _RESTRICT = (
    NUMBERS["x86_64"][f"landlock_{what}"] for what in ("create_ruleset", "add_rule", "restrict_self")
)


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr"""

    _fields_ = (("files", ctypes.c_uint64), ("tcp", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    """struct landlock_path_beneath_attr"""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


# How much of struct landlock_ruleset_attr a version has.
_SIZES = {1: 8, 4: 16, 6: 24}


def _call(number: int, *arguments: object) -> int:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def version() -> int:
    """The version of the kernel's interface, from 1 up. Raises OSError where there is none, or it is off."""
    return _call(_CREATE, None, ctypes.c_size_t(0), _ASK_VERSION)


def enter(rules: Iterable[tuple[str, int]]) -> None:
    """Confine this thread. `rules`: paths, and what is granted beneath each; those that are not there count
    for nothing. Nothing else can be opened or changed, and where the kernel knows how, TCP ports can neither
    be bound nor connected to, and nobody outside be sent a signal.

    What is open stays open, and what exists can be looked at (stat(2)). PR_SET_NO_NEW_PRIVS is set. Raises
    OSError.
    """
    known = version()
    handled = _sum(_FILE_RIGHTS, known)
    attributes = _Ruleset(handled, _sum(TCP_RIGHTS, known), _sum(_SCOPES, known))
    size = max(each for since, each in _SIZES.items() if since <= known)
    ruleset = _call(_CREATE, ctypes.byref(attributes), ctypes.c_size_t(size), 0)
    try:
        for path, granted in rules:
            _grant(ruleset, path, granted & handled)
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _grant(ruleset: int, path: str, granted: int) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                granted &= _OF_FILES
            rule = _Beneath(granted, fd)
            _call(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(fd)


def _sum(rights: dict[int, int], known: int) -> int:
    return sum(each for since, each in rights.items() if since <= known)

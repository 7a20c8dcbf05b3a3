"""The only module that turns a path into a file descriptor.

Containment is the kernel's work (openat2(2), RESOLVE_BENEATH); the policy on dotfiles is applied again to
what a symlink led to, because `x` -> `.env` is as good as `.env`.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import errno
import functools
import os
from typing import TYPE_CHECKING

from zchttpd.files.mounts import Mounts
from zchttpd.files.walk import Names, Walk, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from zchttpd.files.aside import Aside
    from zchttpd.files.version import Version

# From linux/openat2.h and asm-generic/unistd.h; the number is the same on every architecture but alpha.
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_INSIDE = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS

_RACES_MAX = 16

_PROC_FDS = b"/proc/self/fd"
UNREADABLE_MAX = 1024


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t)


@functools.cache
def _how(flags: int, resolve: int) -> _OpenHow:
    return _OpenHow(flags, 0, resolve)


def _error(number: int, path: bytes) -> OSError:
    # OSError picks the subclass: ENOENT makes a FileNotFoundError.
    return OSError(number, os.strerror(number), os.fsdecode(path))


def _openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    how = _how(flags, resolve)
    for _ in range(_RACES_MAX):
        fd: int = _syscall(_SYS_OPENAT2, directory, path, how, ctypes.sizeof(how))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        # EAGAIN: a rename happened under a `..` of a symlink, openat2(2). ctypes does not retry EINTR as
        # os.open does.
        if number not in (errno.EAGAIN, errno.EINTR):
            raise _error(number, path)
    raise _error(errno.EAGAIN, path)


def _one_name(name: bytes) -> bytes:
    # A separator, or `..`, would lead out of the directory that it is looked for in.
    if b"/" in name or b"\0" in name or name in (b"", b".", b".."):
        raise _error(errno.ENOENT, name)
    return name


def _whole_flags(flags: int) -> int:
    # O_NONBLOCK: a FIFO must not stop the worker. openat2 refuses flags that O_PATH would ignore.
    if flags & os.O_PATH:
        return flags | os.O_CLOEXEC
    return flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def concealed(names: Sequence[bytes]) -> bool:
    """Whether a resolved path, as components beneath the root, is one that the dotfile policy keeps back.

    As for a requested path, except that names such as `..data` are let through: Kubernetes mounts a ConfigMap
    as symlinks into them, and a URL cannot ask for them. A first component `.well-known` is public (RFC
    8615).
    """
    for at, name in enumerate(names):
        if not name.startswith(b".") or (at == 0 and name == b".well-known"):
            continue
        if not (name.startswith(b"..") and len(name) > 2):
            return True
    return False


class Root:
    """The directory that is served. `path` may be a symlink: `refresh` follows it when it is swapped.

    Symlinks may lead into `links_into` as well, whatever dotfiles the names of these have. Raises OSError
    (FileNotFoundError, NotADirectoryError, PermissionError) when `path` cannot be opened. `walk` makes it
    resolve paths component by component instead of by openat2; by default that happens only where the kernel
    has no openat2 (before 5.6, or a sandbox that refuses it) or there is no /proc to ask what a symlink led
    to, and along symlinks that leave the root. With `moved`, another directory that the path leads to is not
    turned to, as it cannot be opened here: `moved` is called, once for each.
    """

    def __init__(
        self,
        path: Path,
        *,
        links_into: Sequence[Path] = (),
        walk: bool | None = None,
        moved: Callable[[], None] | None = None,
    ) -> None:
        self._path = os.fsencode(path.absolute())
        self._inside, self._outside = _sorted_out(self._path, links_into)
        self._fd = self._open_root()
        self._version = self._led_to = _identity(os.fstat(self._fd))
        self._moved = moved
        self.walks = not _openat2_works(self._fd) if walk is None else walk
        # Old sandboxes refuse faccessat2(2).
        self._tells_access = os.access(
            b".", os.F_OK, dir_fd=self._fd, effective_ids=True, follow_symlinks=False
        )
        # What keeps a loop from mounts that may hang, and who asks there instead.
        self.mounts = Mounts()
        self.aside: Aside | None = None
        # Versions that could not be opened although access(2) says so: a sandbox forbids it.
        self.unreadable: set[Version] = set()

    def _open_root(self) -> int:
        return os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the descriptor back; nothing can be opened any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.aside is not None:
            self.mounts.close()
            # They refer to each other.
            self.aside = None

    def refresh(self) -> None:
        """See whether the path now leads to another directory (a swapped symlink), and turn to that one.

        While the path leads nowhere, the directory known before stays the root. Raises nothing.
        """
        self.mounts.refresh()
        try:
            leads_to = _identity(os.stat(self._path))
            if self._moved is not None and leads_to not in (self._version, self._led_to):
                self._moved()
            self._led_to = leads_to
            if leads_to == self._version or self._moved is not None:
                return
            fd = self._open_root()
        except OSError:
            return
        os.close(self._fd)
        self._fd = fd
        self._version = _identity(os.fstat(fd))
        if self.aside is not None:
            self.mounts.turn_to(self._real())

    def guard(self, aside: Aside) -> None:
        """From now on this thread asks nothing of mounts that may hang (`Away`): `aside` does."""
        self.aside = aside
        self.mounts.guard(self._real())

    def check(self, segments: tuple[bytes, ...]) -> None:
        """Raises Away for a path that leads to a mount that may hang, on the loop's thread."""
        if self.mounts.guarded:
            with contextlib.suppress(OSError):
                os.close(self.open(segments, os.O_PATH))

    def duplicate(self) -> Root:
        """Another Root, of the directory that this one leads to now, which stays with it: for a thread.

        The caller closes it. Raises OSError (EMFILE).
        """
        kept = copy.copy(self)
        kept._fd = os.dup(self._fd)
        kept.aside = None
        return kept

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the directory that this leads to now."""
        return self._version

    def lend(self) -> tuple[int, bytes]:
        """A new descriptor of that directory, for the caller to close, and its path. Raises OSError."""
        return os.dup(self._fd), self._path

    def open(self, segments: tuple[bytes, ...], flags: int) -> int:
        """A new descriptor of `segments` beneath the root, close-on-exec, never blocking; () is the root.

        Raises OSError: FileNotFoundError also for a path that a symlink leads to a dotfile; EXDEV for one
        that leaves the root; PermissionError, NotADirectoryError, ENAMETOOLONG, ELOOP, EMFILE, ENFILE as
        open(2) has them.
        """
        path = b"/".join(segments) or b"."
        # A separator inside a segment would step round the policy that checked the segments one by one.
        if b"\0" in path or path.count(b"/") > max(0, len(segments) - 1):
            raise _error(errno.ENOENT, path)
        guarded = self.mounts.guarded
        if guarded:
            self.mounts.check((*names_of(self._real()), *segments))
        if self.walks:
            return self._walk(segments, _whole_flags(flags), path)
        try:
            return self._open_beneath(path, _whole_flags(flags), follow=not guarded)
        except OSError as error:
            # An absolute symlink leaves, says the kernel, wherever it leads; it may lead back in. And any may
            # lead to a mount that hangs.
            if error.errno != errno.EXDEV and not (guarded and error.errno == errno.ELOOP):
                raise
        return self._walk(segments, _whole_flags(flags), path)

    def stat_in(self, place: int, name: bytes) -> os.stat_result:
        """Of one name in a directory beneath the root that is open as `place`; a symlink is not followed.

        Raises OSError as stat(2) has it.
        """
        return os.stat(_one_name(name), dir_fd=place, follow_symlinks=False)

    def lacks(self, place: int, name: bytes) -> bool:
        """Whether there is certainly nothing of this name in such a directory: said without an exception."""
        return self._tells_access and not os.access(
            _one_name(name), os.F_OK, dir_fd=place, effective_ids=True, follow_symlinks=False
        )

    def open_in(self, place: int, name: bytes) -> int:
        """As `open`, for reading, of one name in such a directory. Raises OSError: ELOOP for a symlink."""
        return os.open(_one_name(name), _whole_flags(os.O_RDONLY | os.O_NOFOLLOW), dir_fd=place)

    def counts_blocks(self) -> tuple[int, bool]:
        """The device of the root, and whether its file system counts blocks (statvfs(3))."""
        return os.fstat(self._fd).st_dev, os.fstatvfs(self._fd).f_blocks > 0

    def forbid(self, version: Version) -> None:
        """A version could not be opened for reading."""
        if len(self.unreadable) >= UNREADABLE_MAX:
            self.unreadable.clear()
        self.unreadable.add(version)

    def _walk(self, segments: tuple[bytes, ...], flags: int, path: bytes) -> int:
        # The name that was given, and where it really is now.
        places = (self._path, self._real())
        check = self.mounts.check
        walk = Walk(self._fd, places, self._outside, concealed, self._concealed, check, path)
        return walk.open(segments, flags)

    def _real(self) -> bytes:
        return os.readlink(b"%s/%d" % (_PROC_FDS, self._fd)) if os.path.isdir(_PROC_FDS) else self._path

    def _concealed(self, names: Sequence[bytes]) -> bool:
        for place in self._inside:
            if tuple(names[: len(place)]) == place:
                return concealed(names[len(place) :])
        return concealed(names)

    def _open_beneath(self, path: bytes, flags: int, *, follow: bool) -> int:
        try:
            return _openat2(self._fd, path, flags, _INSIDE | _RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno != errno.ELOOP or not follow:
                raise
        # There are symlinks on the way: follow them, then check where they led.
        fd = _openat2(self._fd, path, flags, _INSIDE)
        try:
            if self._leads_to_concealed(fd):
                raise _error(errno.ENOENT, path)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _leads_to_concealed(self, fd: int) -> bool:
        # Both names are asked for now: a renamed root renames what is beneath it.
        root = os.readlink(b"%s/%d" % (_PROC_FDS, self._fd)).rstrip(b"/") + b"/"
        name = os.readlink(b"%s/%d" % (_PROC_FDS, fd))
        if name + b"/" == root:
            return False
        return not name.startswith(root) or self._concealed(name[len(root) :].split(b"/"))


def _sorted_out(root: bytes, links_into: Sequence[Path]) -> tuple[tuple[Names, ...], tuple[bytes, ...]]:
    """Of directories that symlinks may lead into: names of those beneath the root, paths of the others.

    What lies beneath the root is known by its names alone: whoever can write there could put a symlink in its
    place.
    """
    inside: list[Names] = []
    outside: list[bytes] = []
    for each in links_into:
        path = os.fsencode(each.absolute())
        for place, base in ((path, root), (os.path.realpath(path), os.path.realpath(root))):
            names, above = names_of(place), names_of(base)
            if b".." not in names and names[: len(above)] == above:
                inside.append(names[len(above) :])
                break
        else:
            outside.append(path)
    # The innermost first, where one lies in another.
    return tuple(sorted(inside, key=len, reverse=True)), tuple(outside)


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _openat2_works(root: int) -> bool:
    """Asked once, of the root itself: no later error of one path may turn containment by the kernel off."""
    if not os.path.isdir(_PROC_FDS):
        return False
    try:
        os.close(_openat2(root, b".", os.O_PATH | os.O_CLOEXEC, _INSIDE))
    except OSError as error:
        # Old container runtimes answer EPERM to a call they do not know.
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG):
            return False
        raise
    return True

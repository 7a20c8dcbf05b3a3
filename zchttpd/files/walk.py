"""Resolves a path component by component, as openat2 does not: where the kernel refuses that call, and along
symlinks that leave the root and lead to where they may.

Each component is opened without following and held until the end, so that whoever swaps one meanwhile gains
nothing. Climbing out of a place ends the walk, unless the symlink itself names another place.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LINKS_MAX = 40  # as the kernel's MAXSYMLINKS, path_resolution(7)

Names = tuple[bytes, ...]


def names_of(path: bytes) -> Names:
    """The components of an absolute path."""
    return tuple(name for name in path.split(b"/") if name)


class Walk:
    """One walk from the directory `root`, known by the paths `places`, the last of them its real one.

    `outside` are paths of other directories that symlinks may lead into. `concealed` checks names beneath one
    of these, `concealed_in_root` names beneath the root; `check` gets all names that lead to what is asked
    for next, and may raise. `path` is for errors.
    """

    def __init__(
        self,
        root: int,
        places: tuple[bytes, ...],
        outside: Sequence[bytes],
        concealed: Callable[[Sequence[bytes]], bool],
        concealed_in_root: Callable[[Sequence[bytes]], bool],
        check: Callable[[Sequence[bytes]], None],
        path: bytes,
    ) -> None:
        self._root = root
        self._places = tuple(names_of(place) for place in places)
        self._outside = outside
        self._concealed = concealed
        self._concealed_in_root = concealed_in_root
        self._check = check
        self._path = path
        # Where the walk is: a place by its number in `outside` (None: the root), and what it passed there.
        self._place: int | None = None
        self._base = root
        self._base_names = self._places[-1]
        self._passed: list[tuple[bytes, int]] = []
        # By number: the names of a place as it was typed, and its real ones; asked for once in a walk.
        self._names: dict[int, tuple[Names, Names]] = {}
        # What symlinks have put ahead of the rest of the path, the next component last.
        self._linked: list[bytes] = []

    def open(self, segments: Names, flags: int) -> int:
        """A new descriptor of `segments`. Raises OSError as `Root.open` does."""
        try:
            last = self._resolve(list(reversed(segments)))
            names = [name for name, _ in self._passed]
            check = self._concealed_in_root if self._place is None else self._concealed
            if check([*names, last] if last != b"." else names):
                raise self._error(errno.ENOENT)
            return os.open(last, flags | os.O_NOFOLLOW, dir_fd=self._here)
        finally:
            self._turn_to(None, -1, ())

    @property
    def _here(self) -> int:
        return self._passed[-1][1] if self._passed else self._base

    def _error(self, number: int) -> OSError:
        return OSError(number, os.strerror(number), os.fsdecode(self._path))

    def _resolve(self, ahead: list[bytes]) -> bytes:
        """Pass all directories; the name of the file in the last of them, or `.` where there is none."""
        links = 0
        while self._linked or ahead:
            name = self._linked.pop() if self._linked else ahead.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                self._climb()
                continue
            self._check((*self._base_names, *(passed for passed, _ in self._passed), name))
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._here)
            self._passed.append((name, fd))
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                continue
            if stat.S_ISLNK(mode):
                links += 1
                if links > LINKS_MAX:
                    raise self._error(errno.ELOOP)
                to = os.readlink(b"", dir_fd=fd)
                os.close(self._passed.pop()[1])
                self._follow(to)
                continue
            if self._linked or ahead:
                raise self._error(errno.ENOTDIR)
            os.close(self._passed.pop()[1])
            return name
        return b"."

    def _follow(self, to: bytes) -> None:
        if to.startswith(b"/"):
            to = self._jump(to)
        self._linked.extend(reversed(to.split(b"/")))

    def _jump(self, to: bytes) -> bytes:
        """Turn to the place that an absolute path leads into; what of the path lies beneath it."""
        for place in self._places:
            rest = _beneath(to, place)
            if rest is not None:
                self._turn_to(None, self._root, self._places[-1])
                return rest
        # The innermost, where one lies in another: its name need not be shown to be public.
        found = [
            (len(names), number, rest)
            for number in range(len(self._outside))
            for names in self._names_of(number)
            if (rest := _beneath(to, names)) is not None
        ]
        if not found:
            raise self._error(errno.EXDEV)
        _, number, rest = max(found)
        self._enter(number)
        return rest

    def _climb(self) -> None:
        """One directory up: never out of a place, but where the symlink goes on into another one."""
        if self._passed:
            os.close(self._passed.pop()[1])
            return
        at = list(self._base_names)
        if not at:
            raise self._error(errno.EXDEV)
        at.pop()
        # What lies above a place is known by its real name; what is named on from there may be a symlink.
        real = len(at)
        while not self._arrive(tuple(at)):
            # The rest of the path has no say in where a symlink leads.
            if not self._linked:
                raise self._error(errno.EXDEV)
            name = self._linked.pop()
            if name == b"..":
                if not at or len(at) > real:
                    raise self._error(errno.EXDEV)
                at.pop()
                real = len(at)
            elif name not in (b"", b"."):
                at.append(name)

    def _arrive(self, at: Names) -> bool:
        """Whether this is a place, and not the root that was left; the walk goes on from there."""
        if self._place is not None and at in self._places:
            self._turn_to(None, self._root, self._places[-1])
            return True
        for number in range(len(self._outside)):
            if at in self._names_of(number):
                self._enter(number)
                return True
        return False

    def _names_of(self, number: int) -> tuple[Names, Names]:
        if number not in self._names:
            path = self._outside[number]
            self._check(names_of(path))
            self._names[number] = names_of(path), names_of(os.path.realpath(path))
        return self._names[number]

    def _enter(self, number: int) -> None:
        fd = os.open(self._outside[number], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._turn_to(number, fd, self._names_of(number)[-1])

    def _turn_to(self, place: int | None, base: int, names: Names) -> None:
        for _, fd in self._passed:
            os.close(fd)
        self._passed.clear()
        if self._place is not None:
            os.close(self._base)
        self._place, self._base, self._base_names = place, base, names


def _beneath(to: bytes, place: Names) -> bytes | None:
    """What of an absolute path lies beneath a place; its components are walked like any others."""
    base = b"".join(b"/" + name for name in place) + b"/"
    return to[len(base) :] if (to + b"/").startswith(base) else None

"""What is beneath a folder, for --zip: names and versions of all that a client could ask for one by one."""

from __future__ import annotations

import errno
import os
import stat
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from zchttpd.files.listing import LINKS_MAX, follow
from zchttpd.files.lookup import NOTHING, exhausted
from zchttpd.files.mounts import Away
from zchttpd.files.sizes import tells_its_size
from zchttpd.files.version import Version
from zchttpd.files.zip_format import Member

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.digests import Stop
    from zchttpd.files.root import Root

# Half a kilobyte for each; a look at so many takes a tenth of a second.
MEMBERS_MAX = 10_000
DEPTH_MAX = 64
# Names that are looked at, for one that is given.
LOOKS_PART = 4
# Of the names of all members, each with the folders that it lies in.
NAMES_SIZE_MAX = 8 << 20
# Of the bytes of all members. Lengths in HTTP are read as signed numbers of 64 bits, headers come to it.
SIZE_MAX = 1 << 62
# PATH_MAX of Linux, without its NUL: nothing beyond can be opened.
PATH_SIZE_MAX = 4095


class Refusal(NamedTuple):
    """Why a folder is not given: a status of HTTP, and a sentence."""

    status: int
    reason: str


class _TooMuch(Exception):
    """There is more of this than is given."""


class Tree:
    """Members by name, folders before what is in them; and how many that may not be read were left out.

    `gives` tells of a path, and whether it is a folder's, if it is given to who asks for the folder above.
    `stop` is asked at every name.
    """

    def __init__(
        self,
        root: Root,
        gives: Callable[[tuple[bytes, ...], bool], bool],
        stop: Stop | None = None,
        *,
        members_max: int = MEMBERS_MAX,
        depth_max: int = DEPTH_MAX,
        names_size_max: int = NAMES_SIZE_MAX,
    ) -> None:
        self.members: list[Member] = []
        self.left_out = 0
        self._root = root
        self._gives = gives
        self._stop = stop or Event()
        self._members_max = members_max
        self._depth_max = depth_max
        self._names_size_max = names_size_max
        self._looks = self._links = self._names_size = self._size = 0

    def walk(self, segments: tuple[bytes, ...]) -> Refusal | None:
        """Look at all that is beneath a folder; or why not. Raises OSError where that is not its fault, and
        ECANCELED.
        """
        try:
            self._walk(segments, b"", ())
        except _TooMuch as much:
            return Refusal(
                403, f"More than {much} are not given as one zip. Ask for the folders in it one by one."
            )
        except PermissionError:
            return Refusal(403, "This folder may not be read.")
        except (FileNotFoundError, NotADirectoryError):
            return Refusal(404, "There is no such folder.")
        return None

    def _walk(self, segments: tuple[bytes, ...], prefix: bytes, above: tuple[tuple[int, int], ...]) -> None:
        if len(above) > self._depth_max:
            raise _TooMuch(f"{self._depth_max} levels")
        fd = self._root.open(segments, os.O_RDONLY | os.O_DIRECTORY)
        try:
            facts = os.fstat(fd)
            place = facts.st_dev, facts.st_ino
            if place in above:
                # A symlink leads up.
                return
            if prefix:
                self._add(prefix, facts)
            found = self._names(fd, segments)
        finally:
            os.close(fd)
        for name, seen in sorted(found, key=lambda each: each[0]):
            if not stat.S_ISDIR(seen.st_mode):
                self._add(prefix + name, seen)
                continue
            try:
                self._walk((*segments, name), prefix + name + b"/", (*above, place))
            except PermissionError:
                self.left_out += 1
            except Away:
                pass
            except OSError as error:
                if error.errno not in NOTHING:
                    raise

    def _add(self, name: bytes, facts: os.stat_result) -> None:
        if len(self.members) >= self._members_max:
            raise _TooMuch(f"{self._members_max} files and folders")
        member = Member(name, Version.of(facts))
        self._names_size += len(name)
        if self._names_size > self._names_size_max:
            raise _TooMuch(f"{self._names_size_max} bytes of names")
        self._size += member.size
        if self._size > SIZE_MAX:
            raise _TooMuch(f"{SIZE_MAX} bytes")
        self.members.append(member)

    def _names(self, fd: int, segments: tuple[bytes, ...]) -> list[tuple[bytes, os.stat_result]]:
        """What a listing shows of a directory, but for what may not be read or is not as long as it says."""
        found: list[tuple[bytes, os.stat_result]] = []
        counts_blocks = os.fstatvfs(fd).f_blocks > 0
        with os.scandir(fd) as entries:
            for each in entries:
                if self._stop.is_set():
                    raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
                self._looks += 1
                if self._looks > LOOKS_PART * self._members_max:
                    raise _TooMuch(f"{LOOKS_PART * self._members_max} names")
                if len(found) > self._members_max:
                    raise _TooMuch(f"{self._members_max} files and folders")
                name = os.fsencode(each.name)
                path = (*segments, name)
                if name.startswith(b".") or self._root.mounts.hangs(path):
                    continue
                try:
                    facts = self._look(each, path)
                except Away:
                    # A symlink leads to where nothing is waited for.
                    continue
                except OSError as error:
                    if exhausted(error):
                        raise
                    # It went meanwhile, or leads nowhere.
                    continue
                folder = stat.S_ISDIR(facts.st_mode)
                if not (folder or stat.S_ISREG(facts.st_mode)) or not self._gives(path, folder):
                    continue
                if not _fits(path) or not (folder or self._may_read(fd, each.name, facts)):
                    self.left_out += 1
                elif folder or counts_blocks or self._tells_its_size(path, facts):
                    found.append((name, facts))
        return found

    def _look(self, each: os.DirEntry[str], path: tuple[bytes, ...]) -> os.stat_result:
        if not each.is_symlink():
            return each.stat(follow_symlinks=False)
        self._links += 1
        if self._links > LINKS_MAX:
            raise _TooMuch(f"{LINKS_MAX} symlinks")
        return follow(self._root, path)

    def _may_read(self, fd: int, name: str, facts: os.stat_result) -> bool:
        return Version.of(facts) not in self._root.unreadable and os.access(
            name, os.R_OK, dir_fd=fd, effective_ids=True
        )

    def _tells_its_size(self, path: tuple[bytes, ...], facts: os.stat_result) -> bool:
        try:
            fd = self._root.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            return tells_its_size(fd, facts.st_size)
        finally:
            os.close(fd)


def _fits(path: tuple[bytes, ...]) -> bool:
    return sum(map(len, path)) + len(path) - 1 <= PATH_SIZE_MAX

"""Scans of directories for --listing, and the orders in which their rows are shown.

All of it may run in a thread beside the loop. So nothing here asks the interpreter for much at a time: rows
are sorted in runs, and drawn in runs too.
"""

from __future__ import annotations

import array
import hashlib
import heapq
import operator
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from zchttpd import __version__
from zchttpd.files.listing_style import CONTENT_SECURITY_POLICY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zchttpd.files.root import Root

# Beyond these a directory is listed in part, and the page says so.
ITEMS_MAX = 100_000
NAMES_SIZE_MAX = 8 << 20
# A symlink costs an open and two questions of where it led.
LINKS_MAX = 2_000

SORTS = ("name", "size", "time")

# (what sorts it, name, size in bytes, modification time in Unix seconds); a directory has size 0. A
# plain tuple: the collector stops looking at those of a large directory, and they compare without a call.
Row: TypeAlias = tuple[bytes, bytes, int, int]

_SIZE, _TIME = (operator.itemgetter(at) for at in (2, 3))
# Rows that are sorted or drawn in one go: about a millisecond.
_RUN = 1024
_NUMBER = re.compile(rb"[0-9]+")
# How many digits a number has stands in front of them, leading zeros left out: so bytes compare as numbers
# do. The zero keeps the place that digits have among other characters. A name has at most 255 bytes.
_LENGTHS = [b"0" + bytes([length]) for length in range(256)]


class Scan:
    """What a directory held, by name. `cut`: there are more names than these. `zipped`: it is given as a zip.

    The same object means: no change. `fingerprint` is of everything that is drawn, `count` of rows. These may
    be taken away from it to save memory (`take`); then it only tells whether there was a change.
    """

    __slots__ = ("count", "cut", "directories", "files", "fingerprint", "segments", "zipped")

    def __init__(
        self,
        segments: tuple[bytes, ...],
        directories: list[Row],
        files: list[Row],
        *,
        cut: bool,
        zipped: bool = False,
    ) -> None:
        self.segments = segments
        self.directories: list[Row] | None = directories
        self.files: list[Row] | None = files
        self.count = len(directories) + len(files)
        self.cut = cut
        self.zipped = zipped
        self.fingerprint = _fingerprint(segments, directories, files, cut, zipped)

    def __len__(self) -> int:
        """Rows that it has now."""
        return len(self.directories or ()) + len(self.files or ())

    @property
    def emptied(self) -> bool:
        """Whether its rows have been taken away."""
        return self.files is None

    def take(self) -> list[Row]:
        """Its rows, in no order, which it has no longer."""
        rows = [*(self.directories or ()), *(self.files or ())]
        self.directories = self.files = None
        return rows


@dataclass(frozen=True, slots=True)
class Order:
    """How a listing is sorted; directories always come first."""

    by: str = "name"
    descending: bool = False


def scan(
    root: Root,
    segments: tuple[bytes, ...],
    *,
    items_max: int = ITEMS_MAX,
    links_max: int = LINKS_MAX,
    zipped: bool = False,
) -> Scan:
    """Look at the names of a directory beneath the root, at most so many.

    Left out is what could not be asked for: dotfiles, anything but files and directories, and symlinks that
    are broken or lead to where the root's policy does not. Raises OSError as open(2) has it.
    """
    directories: list[Row] = []
    files: list[Row] = []
    names_size = links = 0
    cut = False
    fd = root.open(segments, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(fd) as found:
            for each in found:
                text = each.name
                if text[0] == ".":
                    continue
                name = os.fsencode(text)
                names_size += len(name)
                if (
                    len(files) + len(directories) >= items_max
                    or names_size > NAMES_SIZE_MAX
                    or links >= links_max
                ):
                    cut = True
                    break
                if root.mounts.hangs((*segments, name)):
                    # It is a directory, and nothing can be asked of it.
                    directories.append((natural(name), name, 0, 0))
                    continue
                try:
                    if each.is_symlink():
                        links += 1
                        facts = follow(root, (*segments, name))
                    else:
                        facts = each.stat(follow_symlinks=False)
                except OSError:
                    # It went meanwhile, or leads nowhere.
                    continue
                mode = facts.st_mode
                # By index: whole seconds, without the cost of making a float of them.
                if stat.S_ISREG(mode):
                    files.append((natural(name), name, facts.st_size, int(facts[stat.ST_MTIME])))
                elif stat.S_ISDIR(mode):
                    directories.append((natural(name), name, 0, int(facts[stat.ST_MTIME])))
    finally:
        os.close(fd)
    return Scan(segments, _sorted(directories), _sorted(files), cut=cut, zipped=zipped)


def natural(name: bytes) -> bytes:
    """What sorts a name as people do: without case, `dir2` before `dir10`."""
    key = _NUMBER.sub(_counted, name.lower())
    # One object where one will do.
    return name if key == name else key


def _counted(number: re.Match[bytes]) -> bytes:
    digits = number[0].lstrip(b"0")
    return _LENGTHS[len(digits)] + digits


def follow(root: Root, segments: tuple[bytes, ...]) -> os.stat_result:
    """What stat(2) says of where a symlink beneath the root leads. Raises OSError as `Root.open` does."""
    fd = root.open(segments, os.O_PATH)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def runs(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows, as many at a time as are looked at in about a millisecond."""
    return (rows[at : at + _RUN] for at in range(0, len(rows), _RUN))


def _sorted(
    rows: list[Row], *, key: Callable[[Row], Any] | None = None, descending: bool = False
) -> list[Row]:
    """As sorted() does, run by run: one call for a hundred thousand rows would stop all other threads."""
    if len(rows) <= _RUN:
        return sorted(rows, key=key, reverse=descending)
    in_order = (sorted(run, key=key, reverse=descending) for run in runs(rows))
    return list(heapq.merge(*in_order, key=key, reverse=descending))


def _fingerprint(
    segments: tuple[bytes, ...], directories: list[Row], files: list[Row], cut: bool, zipped: bool
) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    # What draws is a part of what is drawn; the policy has digests of its style and its script.
    shown = f"{__version__} {CONTENT_SECURITY_POLICY} {cut} {zipped} {len(directories)} {len(files)}\0"
    digest.update(shown.encode())
    digest.update(b"/".join(segments))
    for rows in (directories, files):
        for run in runs(rows):
            # A name has no slash and no NUL in it.
            digest.update(b"\0" + b"/".join([row[1] for row in run]) + b"\0")
            digest.update(array.array("q", [row[2] for row in run]).tobytes())
            digest.update(array.array("q", [row[3] for row in run]).tobytes())
    return digest.digest()


def parse_order(query: bytes | None) -> Order:
    """`sort=name|size|time` and `order=asc|desc` of a query; what is unknown counts as absent."""
    by, descending = "name", False
    for field in (query or b"").split(b"&", 8):
        name, _, value = field.partition(b"=")
        text = value.decode("latin-1")
        if name == b"sort" and text in SORTS:
            by = text
        elif name == b"order":
            descending = text == "desc"
    return Order(by, descending)


def ordered(rows: list[Row], order: Order) -> Sequence[Row]:
    """Rows that are sorted by name, in that order; equal ones by name."""
    if order.by == "name":
        return rows[::-1] if order.descending else rows
    return _sorted(rows, key=_SIZE if order.by == "size" else _TIME, descending=order.descending)

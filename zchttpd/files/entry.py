"""What a path resolved to, and the frozen facts of each file version behind it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY

if TYPE_CHECKING:
    from zchttpd.files.listing import Scan
    from zchttpd.files.root import Root


SECOND_NS = 1_000_000_000
# Normalised times lie before 1990: 0 and 1 s of container layers, 1980 of zip and buildpacks, 1985 of npm.
MEANINGFUL_MTIME_NS = 631_152_000 * SECOND_NS
# By so much the times of one write may differ where they are kept coarsely (FAT: 2 s).
COARSE_NS = 2 * SECOND_NS


class Kind(Enum):
    """What there is at a path."""

    FILE = "file"
    REDIRECT = "redirect"  # a directory, asked for without its slash
    SLASHED = "slashed"  # a page without its suffix, asked for with a slash
    DIRECTORY = "directory"  # a directory, asked for with its slash, that has no index
    FORBIDDEN = "forbidden"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Version:
    """Which file, and which state of it: a write, a rename over it or a chmod makes another. Times in ns."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Version:
        """The version that a stat(2) result describes."""
        return cls(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)

    def same_as(self, facts: os.stat_result) -> bool:
        """Whether a stat(2) result describes this very version."""
        return (
            self.size == facts.st_size
            and self.mtime_ns == facts.st_mtime_ns
            and self.ctime_ns == facts.st_ctime_ns
            and self.ino == facts.st_ino
            and self.dev == facts.st_dev
        )

    def begins(self, facts: os.stat_result) -> bool:
        """Whether a stat(2) result describes this version, or the same file after something was appended."""
        grown = self.size < facts.st_size and self.ino == facts.st_ino and self.dev == facts.st_dev
        return grown or self.same_as(facts)

    @property
    def lived(self) -> bool:
        """Whether the modification time is that of a write, as far as can be told, and was not set.

        What sets times (archives, images, SOURCE_DATE_EPOCH, `touch -d`) sets whole seconds, and ctime, which
        nobody can set, says when (utimensat(2)). A file system that keeps whole seconds has both alike after
        a write.
        """
        since_ns = self.ctime_ns - self.mtime_ns
        if self.mtime_ns < MEANINGFUL_MTIME_NS or since_ns < -COARSE_NS:
            return False
        return self.mtime_ns % SECOND_NS != 0 or since_ns <= COARSE_NS


@dataclass(frozen=True, slots=True)
class Representation:
    """One encoding of one version of a regular file. Equal, and hashed, by these two alone.

    `etag` has its quotes and differs between encodings (RFC 9110 section 8.8.3.3); None: it is made of the
    content, see `Digests`. `last_modified_s` is in Unix seconds, or None where no time means anything; sizes
    in bytes, times in ns.
    """

    version: Version
    encoding: str
    etag: str | None = field(compare=False)
    last_modified_s: int | None = field(compare=False)
    segments: tuple[bytes, ...] = field(compare=False)
    root: Root = field(compare=False, repr=False)

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.version.size

    @property
    def mtime_ns(self) -> int:
        """Modification time."""
        return self.version.mtime_ns

    @property
    def ctime_ns(self) -> int:
        """Time of the last change to content or attributes."""
        return self.version.ctime_ns

    @property
    def dev(self) -> int:
        """Device of the file."""
        return self.version.dev

    @property
    def ino(self) -> int:
        """Inode of the file; never leaves the server."""
        return self.version.ino

    @property
    def in_memory(self) -> bool:
        """Whether its bytes were made here and need no disk."""
        return False

    def same_as(self, facts: os.stat_result) -> bool:
        """Whether a stat(2) result describes this very file version."""
        return self.version.same_as(facts)

    def open(self, *, grown: bool = False) -> int:
        """A new descriptor for reading this version, for the caller to close.

        With `grown` the file may have been appended to: for who has looked at it a moment ago, so that it
        cannot have been written anew. Raises OSError: ESTALE when the path now leads to another version, so
        that the entry must be revalidated; FileNotFoundError, PermissionError, EMFILE and the like as open(2)
        has them.
        """
        fd = self.root.open(self.segments, os.O_RDONLY)
        facts = os.fstat(fd)
        if not (self.version.begins(facts) if grown else self.version.same_as(facts)):
            os.close(fd)
            raise OSError(errno.ESTALE, "the file was replaced", os.fsdecode(b"/".join(self.segments)))
        return fd


@dataclass(frozen=True, slots=True)
class PathState:
    """What was seen at a path, without opening it for reading: two equal sightings mean that nothing changed.

    `segments` lead to the file (with the name of the index); `versions` has (encoding, version) of it and of
    its siblings.
    `pages` are files that may be sent in place of what is not there, by the status to send them with; `scan`
    is what a directory that is to be listed holds.
    """

    kind: Kind
    segments: tuple[bytes, ...] = ()
    versions: tuple[tuple[str, Version], ...] = ()
    pages: tuple[tuple[int, PathState], ...] = ()
    scan: Scan | None = None


@dataclass(frozen=True, slots=True)
class FallbackPage:
    """A file that may be sent in place of what is not there; its fields are as those of `Entry`."""

    segments: tuple[bytes, ...]
    representations: dict[str, Representation]

    @property
    def varies(self) -> bool:
        """Whether the representation is chosen by Accept-Encoding, so that every answer must say so."""
        return len(self.representations) > 1


@dataclass(slots=True, eq=False)
class Entry:
    """What a path resolved to: the unit of revalidation. Everything but `check_at_ms` stays as it was made.

    `generation` is never used twice; `representations` is by encoding and empty unless `kind` is FILE; `name`
    is the file's own name (`index.html` for a directory), for its media type; `fallback_pages` is by status,
    200 for a page that takes the place of any route. Until `check_at_ms` it may be used without looking at
    the file system.
    """

    segments: tuple[bytes, ...]
    directory: bool
    state: PathState
    kind: Kind
    generation: int
    check_at_ms: int
    representations: dict[str, Representation]
    fallback_pages: dict[int, FallbackPage] = field(default_factory=dict)

    @property
    def name(self) -> bytes:
        """The last component of the file's path; empty when there is no file."""
        return self.state.segments[-1] if self.state.segments else b""

    @property
    def varies(self) -> bool:
        """Whether the representation is chosen by Accept-Encoding, so that every answer must say so."""
        return len(self.representations) > 1


def time_tag(version: Version, encoding: str) -> str:
    """A strong entity tag, with its quotes (RFC 9110 section 8.8.3), of a version whose time was lived.

    Nanoseconds of modification time and size, with a separator, never the inode.
    """
    return _tag(f"{version.mtime_ns:x}", version, encoding)


def content_tag(version: Version, encoding: str, digest: str) -> str:
    """One of a version whose content has this digest: the same wherever the same bytes are."""
    return _tag(f"h{digest}", version, encoding)


def _tag(state: str, version: Version, encoding: str) -> str:
    suffix = "" if encoding == IDENTITY else f"-{encoding}"
    return f'"{state}-{version.size:x}{suffix}"'


def make_last_modified(version: Version, now_s: int, after_s: int) -> int | None:
    """Unix seconds, later than `after_s` and never later than `now_s` (RFC 9110 section 8.8.2.1); or None.

    That is the modification time if it may be: not normalised, not set to what was to come. Otherwise ctime
    says when the version came to its place.
    """
    if version.mtime_ns < MEANINGFUL_MTIME_NS:
        return None
    ahead = version.mtime_ns > version.ctime_ns + COARSE_NS
    for time_ns in (version.ctime_ns if ahead else version.mtime_ns, version.ctime_ns):
        modified_s = time_ns // SECOND_NS
        # A second early, as the Date may have been taken a moment ago.
        modified_s = modified_s if modified_s <= now_s else now_s - 1
        if modified_s > after_s:
            return modified_s
    return None

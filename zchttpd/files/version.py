"""Versions of files, their representations, and what tells one from another: ETag, Last-Modified."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from zchttpd.config.names import IDENTITY
from zchttpd.files.mounts import Away

if TYPE_CHECKING:
    from zchttpd.files.root import Root
    from zchttpd.files.walk import Names


SECOND_NS = 1_000_000_000
# Normalised times lie before 1990: 0 and 1 s of container layers, 1980 of zip and buildpacks, 1985 of npm.
MEANINGFUL_MTIME_NS = 631_152_000 * SECOND_NS
# By so much the times of one write may differ where they are kept coarsely (FAT: 2 s).
COARSE_NS = 2 * SECOND_NS


class Version(NamedTuple):
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
        return self == self.of(facts)

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


def read_at_once(
    fd: int, version: Version | Representation, offset: int = 0, length: int | None = None
) -> bytes | None:
    """A few bytes of a file that is open as `fd`, all of them if nothing else is said; None if the page cache
    has not all of them, the file system cannot tell, or it is another version.
    """
    size = version.size if length is None else length
    buffer = bytearray(size)
    try:
        # EAGAIN: not in the page cache; EOPNOTSUPP: this file system cannot tell.
        if size and os.preadv(fd, [buffer], offset, os.RWF_NOWAIT) != size:
            return None
        return bytes(buffer) if version.same_as(os.fstat(fd)) else None
    except OSError:
        return None


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
    def is_plain(self) -> bool:
        """Whether its tag and its date are those of its modification time."""
        return self.etag is not None and self.last_modified_s == self.mtime_ns // SECOND_NS

    @property
    def in_memory(self) -> bool:
        """Whether its bytes were made here and need no disk."""
        return False

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of its bytes, where it is known without reading them."""
        return None

    @property
    def mount(self) -> Names | None:
        """The mount that it lies on, where that may hang."""
        return None if self.in_memory else self.root.mounts.of(self.version.dev)

    @property
    def may_hang(self) -> bool:
        """Whether nothing of it may be waited for on a loop's thread."""
        return self.mount is not None

    def same_as(self, facts: os.stat_result) -> bool:
        """Whether a stat(2) result describes this very file version."""
        return self.version.same_as(facts)

    def open(self, *, grown: bool = False) -> int:
        """A new descriptor for reading this version, for the caller to close.

        With `grown` the file may have been appended to: for who has looked at it a moment ago, so that it
        cannot have been written anew. Raises Pending where the loop may not wait for its mount, and OSError:
        ESTALE when the path now leads to another version, so that the entry must be revalidated;
        FileNotFoundError, PermissionError, EMFILE and the like as open(2) has them.
        """
        try:
            fd = self.root.open(self.segments, os.O_RDONLY)
        except Away as away:
            assert self.root.aside is not None
            return self.root.aside.open(self, away.mount, grown=grown)
        except PermissionError:
            # The next lookup knows.
            self.root.forbid(self.version)
            raise
        facts = os.fstat(fd)
        if not (self.version.begins(facts) if grown else self.version.same_as(facts)):
            os.close(fd)
            raise OSError(errno.ESTALE, "the file was replaced", os.fsdecode(b"/".join(self.segments)))
        return fd


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

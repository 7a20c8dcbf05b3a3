"""Looks at paths: index pages, clean URLs, siblings, and pages in place of what is missing."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from zchttpd.config.names import IDENTITY
from zchttpd.files.version import Version, read_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zchttpd.config.settings import Settings
    from zchttpd.files.listing import Scan
    from zchttpd.files.root import Root
    from zchttpd.files.version import Representation

INDEX = b"index.html"
CLEAN_SUFFIX = b".html"
# Of the root, by status: 200 stands for every route of a single-page application.
ROUTE_PAGE = (200, (INDEX,))
MISSING_PAGE = (404, (b"404.html",))
# Precompressed siblings. The order does not prefer: negotiation does.
SIBLINGS = (("br", b".br"), ("zstd", b".zst"), ("gzip", b".gz"))
_SIBLING_SUFFIXES = tuple(suffix for _, suffix in SIBLINGS)
# A sibling that is older than its base was made from an earlier edition of it, and serving it would hide the
# new one (nginx does serve it). Up to this much older is taken as the same deployment: unpacking writes names
# in any order, and archives round times to as much as two seconds.
SIBLING_LAG_NS = 2_000_000_000
# What the path or its symlinks make impossible; the client learns no more than that there is nothing.
NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EXDEV})
_REFUSED = frozenset({errno.EACCES, errno.EPERM})
# EAGAIN: somebody holds a lease on the file (fcntl(2), F_SETLEASE), or renames without end.
# EBUSY: too many directories are being listed.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY})


class Kind(Enum):
    """What there is at a path."""

    FILE = "file"
    REDIRECT = "redirect"  # a directory, asked for without its slash
    SLASHED = "slashed"  # a page without its suffix, asked for with a slash
    DIRECTORY = "directory"  # a directory, asked for with its slash, that has no index
    FORBIDDEN = "forbidden"
    MISSING = "missing"


class PathState(NamedTuple):
    """What a look at a path told, without opening a file: two that are equal mean that nothing changed.

    `segments` lead to the file (with the name of the index); `versions` has (encoding, version) of it and of
    its siblings that may be read. `pages` are files that may be sent in place of what is not there, by the
    status to send them with; `scan` is what a directory that is to be listed holds.
    """

    kind: Kind
    segments: tuple[bytes, ...] = ()
    versions: tuple[tuple[str, Version], ...] = ()
    pages: tuple[tuple[int, PathState], ...] = ()
    scan: Scan | None = None


class FallbackPage(NamedTuple):
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

    `generation` is never used twice; `representations` is by encoding and empty unless `kind` is FILE;
    `fallback_pages` is by status, 200 for a page that takes the place of any route; `site` is 0 for that of
    the root, and counts those of [[site]] from 1. Until `check_at_ms` it
    may be used without looking at the file system.
    """

    segments: tuple[bytes, ...]
    directory: bool
    state: PathState
    kind: Kind
    generation: int
    check_at_ms: int
    representations: dict[str, Representation]
    fallback_pages: dict[int, FallbackPage] = field(default_factory=dict)
    site: int = 0

    @property
    def varies(self) -> bool:
        """Whether the representation is chosen by Accept-Encoding, so that every answer must say so."""
        return len(self.representations) > 1

    @property
    def version(self) -> Version | None:
        """That of the file at the very path, if there is nothing beside it; else None."""
        alone = self.kind is Kind.FILE and not self.directory and len(self.state.versions) == 1
        return self.state.versions[0][1] if alone and self.state.segments == self.segments else None


def exhausted(error: OSError) -> bool:
    """Whether this machine ran out of descriptors or memory or is too busy: later the path may be opened."""
    return error.errno in _EXHAUSTED


class Lister(Protocol):
    """Who scans directories: `ListingCache`."""

    def look(self, segments: tuple[bytes, ...], facts: os.stat_result) -> Scan:
        """The scan of the directory that `facts` are of."""


class _ToBeListed(Exception):
    def __init__(self, facts: os.stat_result) -> None:
        super().__init__("a directory is to be listed")
        self.facts = facts


class _Later:
    """Leaves scanning to whoever asks again on the loop."""

    def look(self, segments: tuple[bytes, ...], facts: os.stat_result) -> Scan:
        raise _ToBeListed(facts)


class Lookup:
    """Looks at paths beneath `root`. Holds no descriptor.

    It opens each directory once (O_PATH), for all that it looks at there, and files not at all: access(2)
    tells whether they may be read.
    """

    def __init__(self, root: Root, settings: Settings, listings: Lister | None) -> None:
        self._root = root
        self._settings = settings
        self._listings = listings
        self._siblings = () if settings.no_precompressed else SIBLINGS
        self._clean_urls = settings.clean_urls
        wanted = ((settings.spa, ROUTE_PAGE), (settings.error_pages, MISSING_PAGE))
        self._pages = tuple(page for asked, page in wanted if asked)

    def look(self, segments: tuple[bytes, ...], directory: bool) -> PathState:
        """What there is at a normalised path; `directory`: it ended with a slash.

        Raises OSError for what is not the path's fault, Pending for a large directory that is to be listed,
        and Away where this thread may not look.
        """
        self._root.check(segments)
        found = self._look_in_directory(segments) if directory else self._look_at(segments)
        if directory and found.scan is None and found.kind in (Kind.MISSING, Kind.DIRECTORY):
            found = PathState(Kind.SLASHED) if self._clean_page(segments) else found
        if not self._pages or found.scan is not None or found.kind not in (Kind.MISSING, Kind.DIRECTORY):
            return found
        # Seen together, so that the answer changes with the path as with the page that is sent in its place.
        pages = ((status, self._page(page)) for status, page in self._pages)
        return found._replace(pages=tuple((status, page) for status, page in pages if page is not None))

    def look_with(
        self, root: Root, segments: tuple[bytes, ...], directory: bool
    ) -> PathState | os.stat_result:
        """As `look`, in a thread, with a root for it; what stat(2) says of a directory that is listed."""
        later = None if self._listings is None else _Later()
        try:
            return Lookup(root, self._settings, later).look(segments, directory)
        except _ToBeListed as found:
            return found.facts

    def listed(self, segments: tuple[bytes, ...], facts: os.stat_result) -> PathState:
        """What there is at the path of a directory that `look_with` told of; raises as `look` does."""
        assert self._listings is not None
        return self._listing(self._listings, segments, facts)

    def glance(self, segments: tuple[bytes, ...], size_max: int) -> tuple[PathState, bytes | None] | None:
        """What `look` tells of a file that has nothing beside it, in fewer calls; None where it takes `look`.

        With the bytes, where they are at most `size_max`, and at hand. Raises Away as `look` does.
        """
        self._root.check(segments)
        content = None
        try:
            place = self._root.open(segments[:-1], os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            name = segments[-1]
            st = self._root.stat_in(place, name)
            version = Version.of(st)
            if not stat.S_ISREG(st.st_mode) or name.endswith(_SIBLING_SUFFIXES):
                return None
            for _, suffix in self._siblings:
                if not self._root.lacks(place, name + suffix):
                    return None
            if 0 < version.size <= size_max:
                content = self._read_in(place, name, version)
            known = content is not None and version not in self._root.unreadable
            if not known and not self._may_read(place, segments, version):
                return None
        except OSError:
            return None
        finally:
            os.close(place)
        return PathState(Kind.FILE, segments, ((IDENTITY, version),)), content

    def _read_in(self, place: int, name: bytes, version: Version) -> bytes | None:
        fd = self._root.open_in(place, name)
        try:
            return read_at_once(fd, version)
        finally:
            os.close(fd)

    def _look_at(self, segments: tuple[bytes, ...]) -> PathState:
        if not segments:
            return PathState(Kind.REDIRECT)
        place = self._open_directory(segments[:-1])
        if isinstance(place, Kind):
            return PathState(place)
        try:
            st = self._stat_in(place, segments)
            page = self._clean_page_in(place, segments) if st is Kind.MISSING or _is_directory(st) else None
            if page is not None:
                return page
            if isinstance(st, Kind):
                return PathState(st)
            return PathState(Kind.REDIRECT) if _is_directory(st) else self._file_in(place, segments, st)
        finally:
            os.close(place)

    def _look_in_directory(self, segments: tuple[bytes, ...]) -> PathState:
        place = self._open_directory(segments)
        if isinstance(place, Kind):
            return PathState(place)
        try:
            index = (*segments, INDEX)
            st = self._stat_in(place, index)
            if isinstance(st, os.stat_result) and stat.S_ISREG(st.st_mode):
                return self._file_in(place, index, st)
            if st is Kind.FORBIDDEN:
                return PathState(st)
            st = os.fstat(place)
        finally:
            os.close(place)
        if self._listings is not None:
            return self._listing(self._listings, segments, st)
        return PathState(Kind.DIRECTORY, versions=((IDENTITY, Version.of(st)),))

    def _listing(self, listings: Lister, segments: tuple[bytes, ...], st: os.stat_result) -> PathState:
        try:
            return PathState(Kind.DIRECTORY, scan=listings.look(segments, st))
        except OSError as error:
            return PathState(_kind_of(error))

    def _clean_page(self, segments: tuple[bytes, ...]) -> PathState | None:
        """The page whose clean URL this is."""
        if not self._clean_urls or not segments:
            return None
        return self._page((*segments[:-1], segments[-1] + CLEAN_SUFFIX))

    def _clean_page_in(self, place: int, segments: tuple[bytes, ...]) -> PathState | None:
        if not self._clean_urls:
            return None
        return self._page_in(place, (*segments[:-1], segments[-1] + CLEAN_SUFFIX))

    def _page(self, segments: tuple[bytes, ...]) -> PathState | None:
        place = self._open_directory(segments[:-1])
        if isinstance(place, Kind):
            return None
        try:
            return self._page_in(place, segments)
        finally:
            os.close(place)

    def _page_in(self, place: int, segments: tuple[bytes, ...]) -> PathState | None:
        st = self._stat_in(place, segments)
        if isinstance(st, os.stat_result) and stat.S_ISREG(st.st_mode):
            return self._file_in(place, segments, st)
        return None

    def _file_in(self, place: int, segments: tuple[bytes, ...], st: os.stat_result) -> PathState:
        # A FIFO, a socket or a device has nothing to serve.
        if not stat.S_ISREG(st.st_mode):
            return PathState(Kind.MISSING)
        base = Version.of(st)
        if not self._may_read(place, segments, base):
            return PathState(Kind.FORBIDDEN, versions=((IDENTITY, base),))
        return PathState(Kind.FILE, segments, ((IDENTITY, base), *self._siblings_in(place, segments)))

    def _siblings_in(self, place: int, segments: tuple[bytes, ...]) -> Iterator[tuple[str, Version]]:
        if segments[-1].endswith(_SIBLING_SUFFIXES):
            return
        for encoding, suffix in self._siblings:
            if self._root.lacks(place, segments[-1] + suffix):
                continue
            beside = (*segments[:-1], segments[-1] + suffix)
            st = self._stat_in(place, beside)
            if isinstance(st, os.stat_result) and stat.S_ISREG(st.st_mode):
                version = Version.of(st)
                # One that may not be read is as none.
                if self._may_read(place, beside, version):
                    yield encoding, version

    def _may_read(self, place: int, segments: tuple[bytes, ...], version: Version) -> bool:
        if version in self._root.unreadable:
            return False
        if os.access(segments[-1], os.R_OK, dir_fd=place, effective_ids=True):
            return True
        # Old sandboxes refuse the call itself (faccessat2(2)); only opening tells.
        try:
            os.close(self._root.open(segments, os.O_RDONLY))
        except PermissionError:
            return False
        return True

    def _open_directory(self, segments: tuple[bytes, ...]) -> int | Kind:
        try:
            return self._root.open(segments, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            return _kind_of(error)

    def _stat_in(self, place: int, segments: tuple[bytes, ...]) -> os.stat_result | Kind:
        """Of the last segment in the directory of the others, which is open as `place`."""
        try:
            st = self._root.stat_in(place, segments[-1])
            if not stat.S_ISLNK(st.st_mode):
                return st
            # One name in an open directory leads out of it only if it is a symlink. O_PATH: nothing is woken
            # up, rewound or waited for.
            fd = self._root.open(segments, os.O_PATH)
        except OSError as error:
            return _kind_of(error)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)


def _kind_of(error: OSError) -> Kind:
    """What a path is that cannot be looked at. Raises the error if that is not the path's fault."""
    if error.errno in NOTHING:
        return Kind.MISSING
    if error.errno in _REFUSED:
        return Kind.FORBIDDEN
    raise error


def _is_directory(st: os.stat_result | Kind) -> bool:
    return isinstance(st, os.stat_result) and stat.S_ISDIR(st.st_mode)

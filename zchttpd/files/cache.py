"""What is known of each path: bounded, looked at again when it is due."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import os
import stat
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY
from zchttpd.files.digests import Digests
from zchttpd.files.entry import Entry, FallbackPage, Kind, PathState, Representation, Version, time_tag
from zchttpd.files.history import History, Past
from zchttpd.files.listing_cache import ListingCache
from zchttpd.files.singleflight import Pending, SingleFlight
from zchttpd.files.sizes import Sizes, Unsized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zchttpd.config.settings import Settings
    from zchttpd.files.root import Root

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

# Paths without a file are kept apart, so that a flood of invented names cannot push out files.
ABSENT_MAX = 1024
# Digests, and what is known of earlier versions, outlive entries: so many at least.
VERSIONS_MIN = 16_384

_ATTEMPTS = 3

# What the path or its symlinks make impossible; the client learns no more than that there is nothing.
_NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EXDEV})
_REFUSED = frozenset({errno.EACCES, errno.EPERM})
# EAGAIN: somebody holds a lease on the file (fcntl(2), F_SETLEASE), or renames without end.
# EBUSY: too many directories are being listed.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY})

_Key = tuple[tuple[bytes, ...], bool]


def exhausted(error: OSError) -> bool:
    """Whether this machine ran out of descriptors or memory or is too busy: later the path may be opened."""
    return error.errno in _EXHAUSTED


class _Table:
    """Entries by path, at most `size_max`; the one unused for longest goes first."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._entries: OrderedDict[_Key, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: _Key) -> Entry | None:
        """The entry, which thereby counts as used now."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: _Key, entry: Entry) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._size_max:
            self._entries.popitem(last=False)

    def drop(self, key: _Key, entry: Entry) -> None:
        # Its place may have been taken by a later edition.
        if self._entries.get(key) is entry:
            del self._entries[key]


class Cache:
    """Entries of the paths beneath `root`. Holds no descriptor. Times in milliseconds of the caller's clock.

    `wall` gives Unix seconds; it bounds Last-Modified. `post`: see `SingleFlight`. `listings` is None where
    directories are not listed; `digests` has the tags of content.
    """

    def __init__(
        self,
        root: Root,
        settings: Settings,
        *,
        wall: Callable[[], float] = time.time,
        post: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._root = root
        self._revalidate_ms = settings.revalidate_ms
        self._wall = wall
        self._siblings = () if settings.no_precompressed else SIBLINGS
        self._clean_urls = settings.clean_urls
        kept = max(VERSIONS_MIN, settings.plans_max)
        self.digests = Digests(post, kept)
        self._history = History(kept)
        self.listings = ListingCache(root, SingleFlight(post)) if settings.listing else None
        wanted = ((settings.spa, ROUTE_PAGE), (settings.error_pages, MISSING_PAGE))
        self._pages = tuple(page for asked, page in wanted if asked)
        self._generations = itertools.count(1)
        # An entry without a plan saves little, and the other way round.
        self._present = _Table(settings.plans_max)
        self._absent = _Table(min(ABSENT_MAX, settings.plans_max))
        self._sizes = Sizes()

    def __len__(self) -> int:
        return len(self._present) + len(self._absent)

    def lookup(self, segments: tuple[bytes, ...], directory: bool, now_ms: int) -> Entry:
        """The entry of a normalised path, valid at `now_ms`; `directory`: the path ended with a slash.

        Raises OSError only for what is not the path's fault: EMFILE and the like (see `exhausted`), ESTALE
        for a file that changes faster than it can be looked at, EIO. Raises Pending for a large directory
        that is to be listed.
        """
        key = (segments, directory)
        entry = self._present.get(key) or self._absent.get(key)
        if entry is not None and (now_ms < entry.check_at_ms or self.revalidate(entry, now_ms)):
            return entry
        self._root.refresh()
        entry = self._make(segments, directory, now_ms)
        self._table_of(entry).put(key, entry)
        return entry

    def revalidate(self, entry: Entry, now_ms: int) -> bool:
        """Look again. True: nothing changed, `check_at_ms` moved on. False: the path must be looked up anew.

        Raises nothing. When descriptors run out the entry is trusted for another period: better the file of a
        second ago than none.
        """
        self._root.refresh()
        try:
            same = self._sight(entry.segments, entry.directory) == entry.state
        except OSError as error:
            same = exhausted(error)
        except Pending:
            same = False
        key = (entry.segments, entry.directory)
        table = self._table_of(entry)
        if same:
            entry.check_at_ms = now_ms + self._revalidate_ms
            # An engine that replays answers asks for nothing but this: it counts as use.
            table.get(key)
        else:
            table.drop(key, entry)
        return same

    def _table_of(self, entry: Entry) -> _Table:
        return self._present if entry.kind is Kind.FILE else self._absent

    def _make(self, segments: tuple[bytes, ...], directory: bool, now_ms: int) -> Entry:
        for _ in range(_ATTEMPTS):
            try:
                state = self._sight(segments, directory)
                kind, representations = self._represent(state, (segments, directory))
                fallback_pages = self._stand_in(state)
            except OSError as error:
                # It went or changed between the two opens: look again.
                if error.errno == errno.ESTALE or error.errno in _NOTHING:
                    continue
                raise
            generation, check_at_ms = next(self._generations), now_ms + self._revalidate_ms
            return Entry(
                segments, directory, state, kind, generation, check_at_ms, representations, fallback_pages
            )
        name = os.fsdecode(b"/".join(segments))
        raise OSError(errno.ESTALE, "the file changes faster than it can be looked at", name)

    def _sight(self, segments: tuple[bytes, ...], directory: bool) -> PathState:
        seen = self._sight_directory(segments) if directory else self._sight_path(segments)
        if directory and seen.scan is None and seen.kind in (Kind.MISSING, Kind.DIRECTORY):
            seen = PathState(Kind.SLASHED) if self._sight_clean(segments) else seen
        if not self._pages or seen.scan is not None or seen.kind not in (Kind.MISSING, Kind.DIRECTORY):
            return seen
        # Seen together, so that the answer changes with the path as with the page that is sent in its place.
        pages = ((status, self._sight_page(page)) for status, page in self._pages)
        return dataclasses.replace(
            seen, pages=tuple((status, page) for status, page in pages if page is not None)
        )

    def _sight_page(self, segments: tuple[bytes, ...]) -> PathState | None:
        facts = self._stat(segments)
        if isinstance(facts, os.stat_result) and stat.S_ISREG(facts.st_mode):
            return self._sight_file(segments, facts)
        return None

    def _sight_path(self, segments: tuple[bytes, ...]) -> PathState:
        facts = self._stat(segments)
        if facts is Kind.MISSING or _is_directory(facts):
            page = self._sight_clean(segments)
            if page is not None:
                return page
        if isinstance(facts, Kind):
            return PathState(facts)
        if stat.S_ISDIR(facts.st_mode):
            return PathState(Kind.REDIRECT)
        return self._sight_file(segments, facts)

    def _sight_clean(self, segments: tuple[bytes, ...]) -> PathState | None:
        """The page whose clean URL this is."""
        if not self._clean_urls or not segments:
            return None
        return self._sight_page((*segments[:-1], segments[-1] + CLEAN_SUFFIX))

    def _sight_directory(self, segments: tuple[bytes, ...]) -> PathState:
        index = (*segments, INDEX)
        facts = self._stat(index)
        if isinstance(facts, os.stat_result) and stat.S_ISREG(facts.st_mode):
            return self._sight_file(index, facts)
        if facts is Kind.FORBIDDEN:
            return PathState(facts)
        facts = self._stat(segments)
        if isinstance(facts, Kind):
            return PathState(facts)
        if not stat.S_ISDIR(facts.st_mode):
            return PathState(Kind.MISSING)
        if self.listings is not None:
            return self._sight_listing(self.listings, segments, facts)
        return PathState(Kind.DIRECTORY, versions=((IDENTITY, Version.of(facts)),))

    def _sight_listing(
        self, listings: ListingCache, segments: tuple[bytes, ...], facts: os.stat_result
    ) -> PathState:
        try:
            return PathState(Kind.DIRECTORY, scan=listings.look(segments, facts))
        except OSError as error:
            if error.errno in _NOTHING:
                return PathState(Kind.MISSING)
            if error.errno in _REFUSED:
                return PathState(Kind.FORBIDDEN)
            raise

    def _sight_file(self, segments: tuple[bytes, ...], facts: os.stat_result) -> PathState:
        # S_ISREG of what was really opened: a FIFO, a socket or a device has nothing to serve.
        if not stat.S_ISREG(facts.st_mode):
            return PathState(Kind.MISSING)
        versions = [(IDENTITY, Version.of(facts)), *self._sight_siblings(segments)]
        return PathState(Kind.FILE, segments, tuple(versions))

    def _sight_siblings(self, segments: tuple[bytes, ...]) -> Iterator[tuple[str, Version]]:
        """What lies beside a file: most often nothing, so its directory is resolved once for all of them."""
        if not self._siblings or segments[-1].endswith(_SIBLING_SUFFIXES):
            return
        try:
            place = self._root.open(segments[:-1], os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in _NOTHING or error.errno in _REFUSED:
                return
            raise
        try:
            for encoding, suffix in self._siblings:
                try:
                    # One name in an open directory leads out of it only if it is a symlink.
                    facts = os.stat(segments[-1] + suffix, dir_fd=place, follow_symlinks=False)
                except OSError:
                    continue
                beside = self._stat((*segments[:-1], segments[-1] + suffix)) if _is_symlink(facts) else facts
                if isinstance(beside, os.stat_result) and stat.S_ISREG(beside.st_mode):
                    yield encoding, Version.of(beside)
        finally:
            os.close(place)

    def _stat(self, segments: tuple[bytes, ...]) -> os.stat_result | Kind:
        # O_PATH: nothing is woken up, rewound or waited for.
        try:
            fd = self._root.open(segments, os.O_PATH)
        except OSError as error:
            if error.errno in _NOTHING:
                return Kind.MISSING
            if error.errno in _REFUSED:
                return Kind.FORBIDDEN
            raise
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _represent(self, state: PathState, key: _Key) -> tuple[Kind, dict[str, Representation]]:
        representations: dict[str, Representation] = {}
        if state.kind is not Kind.FILE:
            return state.kind, representations
        past = self._history.of(key)
        past.see([version for _, version in state.versions])
        base = state.versions[0][1]
        for encoding, version in state.versions:
            if encoding != IDENTITY and not _represents(version, base):
                continue
            try:
                representations[encoding] = self._open_once(state.segments, encoding, version, past)
            except PermissionError:
                # A sibling that may not be read is as none.
                if encoding == IDENTITY:
                    return Kind.FORBIDDEN, {}
            except Unsized:
                if encoding == IDENTITY:
                    return Kind.MISSING, {}
        return Kind.FILE, representations

    def _stand_in(self, state: PathState) -> dict[int, FallbackPage]:
        fallback_pages = {}
        for status, page in state.pages:
            kind, representations = self._represent(page, (page.segments, False))
            if kind is Kind.FILE:
                fallback_pages[status] = FallbackPage(page.segments, representations)
        return fallback_pages

    def _open_once(
        self, segments: tuple[bytes, ...], encoding: str, version: Version, past: Past
    ) -> Representation:
        if encoding != IDENTITY:
            segments = (*segments[:-1], segments[-1] + dict(SIBLINGS)[encoding])
        last_modified_s = past.last_modified(version, int(self._wall()))
        etag = time_tag(version, encoding) if past.tells(version) else None
        found = Representation(version, encoding, etag, last_modified_s, segments, self._root)
        # Whether it may be read is known only then.
        fd = found.open(grown=True)
        try:
            self._sizes.check(fd, found)
        finally:
            os.close(fd)
        past.give(found)
        return found


def _represents(sibling: Version, base: Version) -> bool:
    """Whether a sibling is an encoding of its base: neither of an earlier edition, nor one that was begun and
    never written.
    """
    return sibling.mtime_ns >= base.mtime_ns - SIBLING_LAG_NS and (sibling.size > 0 or base.size == 0)


def _is_symlink(facts: os.stat_result) -> bool:
    return stat.S_ISLNK(facts.st_mode)


def _is_directory(facts: os.stat_result | Kind) -> bool:
    return isinstance(facts, os.stat_result) and stat.S_ISDIR(facts.st_mode)

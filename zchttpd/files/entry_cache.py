"""Entries by path: a bounded cache, each revalidated when it is due."""

from __future__ import annotations

import errno
import itertools
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY
from zchttpd.files.archives import Archives, Looks
from zchttpd.files.aside import Aside, Looking
from zchttpd.files.digests import Digests
from zchttpd.files.history import Past
from zchttpd.files.listing_cache import ListingCache
from zchttpd.files.lookup import (
    SIBLING_LAG_NS,
    SIBLINGS,
    Entry,
    FallbackPage,
    Kind,
    Lookup,
    PathState,
    exhausted,
)
from zchttpd.files.lru import Lru
from zchttpd.files.mounts import Away
from zchttpd.files.singleflight import Pending, SingleFlight
from zchttpd.files.sizes import Sizes, Unsized
from zchttpd.files.version import Representation, Version, time_tag

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.config.settings import Settings
    from zchttpd.files.digests import Counts
    from zchttpd.files.history import Elsewhere
    from zchttpd.files.root import Root


# Paths without a file are kept apart, so that a flood of invented names cannot push out files.
ABSENT_MAX = 1024
# Digests, and what is known of earlier versions, outlive entries: so many at least.
VERSIONS_MIN = 16_384

_ATTEMPTS = 3


_Key = tuple[tuple[bytes, ...], bool]


def versions_kept(settings: Settings) -> int:
    """Paths of which it is known what was given."""
    return max(VERSIONS_MIN, settings.plans_max)


class EntryCache:
    """Entries of the paths beneath `root`. Holds no descriptor. Times in milliseconds of the caller's clock.

    `wall` gives Unix seconds; it bounds Last-Modified. `post`: see `SingleFlight`. `listings` is None where
    directories are not listed, `archives` where they are not given; `digests` has those of content, and
    counts in `digest_counts`; `looks` is what archives of all sites share; `elsewhere` is who gives files
    too; `site` is that of its entries.
    """

    def __init__(
        self,
        root: Root,
        settings: Settings,
        *,
        wall: Callable[[], float] = time.time,
        post: Callable[[Callable[[], None]], None] | None = None,
        digest_counts: Counts | None = None,
        looks: Looks | None = None,
        site: int = 0,
    ) -> None:
        self._site = site
        self._root = root
        self._revalidate_ms = settings.revalidate_ms
        self._wall = wall
        self.elsewhere: Elsewhere | None = None
        kept = versions_kept(settings)
        self.digests = Digests(post, kept, settings.digest_size_max, digest_counts)
        # What was not looked up for longest is forgotten.
        self._pasts: Lru[_Key, Past] = Lru(kept)
        self.listings = None
        if settings.listing:
            self.listings = ListingCache(root, SingleFlight(post), zipped=settings.zip)
        self.archives = None
        if settings.zip:
            looks = looks or Looks(post, digest_counts)
            self.archives = Archives(root, looks, settings.revalidate_ms, site)
        self._lookup = Lookup(root, settings, self.listings)
        if post is not None:
            root.guard(Aside(root, post))
        self._generations = itertools.count(1)
        # An entry without a plan saves little, and the other way round.
        self._present: Lru[_Key, Entry] = Lru(settings.plans_max)
        self._absent: Lru[_Key, Entry] = Lru(min(ABSENT_MAX, settings.plans_max))
        self.sizes = Sizes(root)

    def __len__(self) -> int:
        return len(self._present) + len(self._absent)

    def lookup(self, segments: tuple[bytes, ...], directory: bool, now_ms: int) -> Entry:
        """The entry of a normalised path, valid at `now_ms`; `directory`: the path ended with a slash.

        Raises OSError only for what is not the path's fault: EMFILE and the like (see `exhausted`), ESTALE
        for a file that changes faster than it can be looked at, EIO. Raises Pending for a large directory
        that is to be listed.
        """
        key = (segments, directory)
        entry = self._present.use(key) or self._absent.use(key)
        if entry is not None and (now_ms < entry.check_at_ms or self.revalidate(entry, now_ms)):
            return entry
        self._root.refresh()
        entry = self._make(segments, directory, now_ms)
        self._table_of(entry).put(key, entry)
        return entry

    def glance(self, segments: tuple[bytes, ...], now_ms: int, size_max: int) -> tuple[Entry, bytes | None]:
        """The same, of a path that did not end with a slash. If it is new, and that of a file of at most
        `size_max` bytes that are at hand, they come with it.
        """
        key = (segments, False)
        if key not in self._present and key not in self._absent:
            self._root.refresh()
            try:
                seen = self._lookup.glance(segments, size_max)
            except Away:
                seen = None
            if seen is not None:
                entry = self._entry_of(seen[0], key, now_ms)
                self._table_of(entry).put(key, entry)
                return entry, seen[1]
        return self.lookup(segments, False, now_ms), None

    def revalidate(self, entry: Entry, now_ms: int) -> bool:
        """Look again. True: nothing changed, `check_at_ms` moved on. False: the path must be looked up anew.

        Raises nothing but Looking: ask again. When descriptors run out, or its mount hangs, the entry is
        trusted for another period: better the file of a second ago than none.
        """
        self._root.refresh()
        try:
            same = self._look(entry.segments, entry.directory) == entry.state
        except OSError as error:
            same = exhausted(error)
        except Looking:
            raise
        except Pending:
            same = False
        key = (entry.segments, entry.directory)
        table = self._table_of(entry)
        if same:
            entry.check_at_ms = now_ms + self._revalidate_ms
            # An engine that replays answers asks for nothing but this: it counts as use.
            table.use(key)
        elif table.get(key) is entry:
            # Else its place has been taken by a later edition.
            del table[key]
        return same

    def _table_of(self, entry: Entry) -> Lru[_Key, Entry]:
        return self._present if entry.kind is Kind.FILE else self._absent

    def _make(self, segments: tuple[bytes, ...], directory: bool, now_ms: int) -> Entry:
        for _ in range(_ATTEMPTS):
            try:
                return self._entry_of(self._look(segments, directory), (segments, directory), now_ms)
            except OSError as error:
                # It was replaced while it was looked at: look again.
                if error.errno in (errno.ESTALE, errno.ENOENT):
                    continue
                raise
        name = os.fsdecode(b"/".join(segments))
        raise OSError(errno.ESTALE, "the file changes faster than it can be looked at", name)

    def _look(self, segments: tuple[bytes, ...], directory: bool) -> PathState:
        """As `Lookup.look`; raises Looking, and asks again, for what lies on a mount that may hang."""
        try:
            return self._lookup.look(segments, directory)
        except Away as away:
            aside, mount = self._root.aside, away.mount
        assert aside is not None
        look = partial(self._look_aside, segments, directory)
        told = aside.look((segments, directory), mount, look)
        if isinstance(told, os.stat_result):
            self._root.mounts.found(told.st_dev, mount)
            return self._lookup.listed(segments, told)
        assert isinstance(told, PathState)
        for version in (version for _, version in told.versions):
            self._root.mounts.found(version.dev, mount)
        return told

    def _look_aside(self, segments: tuple[bytes, ...], directory: bool, root: Root) -> object:
        """In a thread, with a root for it."""
        told = self._lookup.look_with(root, segments, directory)
        if isinstance(told, PathState) and told.kind is Kind.FILE:
            for encoding, version in told.versions:
                self.sizes.examine(
                    Representation(version, encoding, None, None, _beside(told.segments, encoding), root)
                )
        return told

    def _entry_of(self, state: PathState, key: _Key, now_ms: int) -> Entry:
        kind, representations = self._represent(state, key)
        fallback_pages = self._fallback_pages(state)
        generation, check_at_ms = next(self._generations), now_ms + self._revalidate_ms
        return Entry(*key, state, kind, generation, check_at_ms, representations, fallback_pages, self._site)

    def _represent(self, state: PathState, key: _Key) -> tuple[Kind, dict[str, Representation]]:
        representations: dict[str, Representation] = {}
        if state.kind is not Kind.FILE:
            return state.kind, representations
        past = self._pasts.use(key) or Past()
        self._pasts.put(key, past)
        path = b"/".join(key[0])
        elsewhere = None if key[1] else self.elsewhere
        given = elsewhere.given(path) if elsewhere is not None else None
        if given is not None:
            past.gave(Version(*given))
        past.see([version for _, version in state.versions])
        base = state.versions[0][1]
        for encoding, version in state.versions:
            if encoding != IDENTITY and not _represents(version, base):
                continue
            try:
                representations[encoding] = self._representation(state.segments, encoding, version, past)
            except Unsized:
                if encoding == IDENTITY:
                    return Kind.MISSING, {}
        if elsewhere is not None:
            alone = state.segments == key[0] and len(state.versions) == 1
            elsewhere.give(path, base, alone and representations[IDENTITY].is_plain)
        return Kind.FILE, representations

    def _fallback_pages(self, state: PathState) -> dict[int, FallbackPage]:
        fallback_pages = {}
        for status, page in state.pages:
            kind, representations = self._represent(page, (page.segments, False))
            if kind is Kind.FILE:
                fallback_pages[status] = FallbackPage(page.segments, representations)
        return fallback_pages

    def _representation(
        self, segments: tuple[bytes, ...], encoding: str, version: Version, past: Past
    ) -> Representation:
        segments = _beside(segments, encoding)
        last_modified_s = past.last_modified(version, int(self._wall()))
        etag = time_tag(version, encoding) if past.tells(version) else None
        found = Representation(version, encoding, etag, last_modified_s, segments, self._root)
        self.sizes.check(found)
        past.give(found)
        return found


def _beside(segments: tuple[bytes, ...], encoding: str) -> tuple[bytes, ...]:
    """Where an encoding of the file at `segments` lies."""
    if encoding == IDENTITY:
        return segments
    return (*segments[:-1], segments[-1] + dict(SIBLINGS)[encoding])


def _represents(sibling: Version, base: Version) -> bool:
    """Whether a sibling is an encoding of its base: neither of an earlier edition, nor one that was begun and
    never written.
    """
    return sibling.mtime_ns >= base.mtime_ns - SIBLING_LAG_NS and (sibling.size > 0 or base.size == 0)

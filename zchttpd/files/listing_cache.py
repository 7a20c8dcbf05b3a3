"""A bounded cache of directory scans, which it rate-limits, and of the pages drawn of them."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from zchttpd.config.names import IDENTITY
from zchttpd.files.encoders import ENCODERS
from zchttpd.files.listing import Order, Scan, scan
from zchttpd.files.listing_page import draw
from zchttpd.files.memfd import MemoryRepresentation, append, memory_representation, new_memory_file
from zchttpd.files.mounts import Away
from zchttpd.files.singleflight import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zchttpd.files.root import Root
    from zchttpd.files.singleflight import SingleFlight

# Up to here a directory is looked at and drawn on the spot; that is over in about two milliseconds. Encoding
# takes as long as drawing.
ITEMS_AT_ONCE = 256
ENCODED_AT_ONCE = 64
LINKS_AT_ONCE = 16
# A look at a directory that took T is not repeated before 20 T have gone: at most a twentieth of the time.
# For another 20 T the old one does while a new one is under way.
REST = 20
ITEMS_MAX = 200_000
SCANS_MAX = 64
PAGES_MAX = 64
PAGES_SIZE_MAX = 32 << 20
# A page of this size is worth a descriptor: it leaves like a file, without being copied into a response head.
MEMORY_FILE_SIZE_MIN = 1 << 20

# With the inode: a swapped root has other directories at the same paths.
_Key: TypeAlias = tuple[tuple[bytes, ...], int, int]
_PageKey: TypeAlias = tuple[bytes, Order, str, str]
_Encode: TypeAlias = "Callable[[bytes], bytes]"


@dataclass(frozen=True, slots=True)
class Page:
    """A drawn listing of `size` bytes: the bytes themselves, or where they are to be had from."""

    size: int
    body: bytes | MemoryRepresentation


@dataclass(slots=True)
class _CachedScan:
    """A scan; it is due again at `due_s`, and usable until `late_s` while a new one is under way."""

    scan: Scan
    due_s: float
    late_s: float


class ListingCache:
    """Scans and pages, bounded by number and by size: what was not asked for longest goes.

    `clock` in seconds; `zipped`: directories are given as zips, and their pages say so. What takes long
    is left to `jobs`.
    """

    def __init__(
        self,
        root: Root,
        jobs: SingleFlight,
        *,
        zipped: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._zipped = zipped
        self._jobs = jobs
        self._clock = clock
        self._scans: OrderedDict[_Key, _CachedScan] = OrderedDict()
        self._items = 0
        self._pages: OrderedDict[_PageKey, Page] = OrderedDict()
        self._pages_size = 0

    def look(self, segments: tuple[bytes, ...], facts: os.stat_result) -> Scan:
        """The scan of the directory that `facts` are of: the same object as before if nothing changed.

        Raises OSError as open(2) has it, and EBUSY; Pending when it takes long.
        """
        key = (segments, facts.st_dev, facts.st_ino)
        known = self._scans.get(key)
        begun = self._clock()
        if known is not None and begun < known.due_s:
            self._scans.move_to_end(key)
            return known.scan
        mount = self._root.mounts.of(facts.st_dev)
        job = self._jobs.beside(mount).find(key)
        if job is None:
            if mount is None and (known is None or len(known.scan) <= ITEMS_AT_ONCE):
                try:
                    fresh = self._scan_at_once(segments)
                except Away as away:
                    # By a symlink in it.
                    fresh, mount = None, away.mount
                if fresh is not None:
                    return self._store_scan(key, fresh, begun, self._clock())
            root = self._root.duplicate()
            try:
                scanned = partial(self._scanned, key)
                job = self._jobs.beside(mount).start(key, partial(self._scan, root, segments), scanned)
            except OSError:
                root.close()
                raise
        if known is not None and begun < known.late_s:
            return known.scan
        raise Pending(job)

    def _scan_at_once(self, segments: tuple[bytes, ...]) -> Scan | None:
        """The scan of a small directory. None for a larger one."""
        if not self._jobs.threaded:
            return scan(self._root, segments, zipped=self._zipped)
        bounds = {"items_max": ITEMS_AT_ONCE, "links_max": LINKS_AT_ONCE}
        found = scan(self._root, segments, **bounds, zipped=self._zipped)
        return None if found.cut else found

    def _scan(self, root: Root, segments: tuple[bytes, ...]) -> tuple[Scan, float, float]:
        begun = self._clock()
        with closing(root):
            return scan(root, segments, zipped=self._zipped), begun, self._clock()

    def _scanned(self, key: _Key, found: tuple[Scan, float, float]) -> None:
        self._store_scan(key, *found)

    def _store_scan(self, key: _Key, fresh: Scan, begun_s: float, ended_s: float) -> Scan:
        """Store a scan; the one that was there stays if nothing changed."""
        known = self._scans.get(key)
        if known is not None:
            self._items -= len(known.scan)
            if known.scan.fingerprint != fresh.fingerprint:
                self._jobs.sweep(known.scan.take())
            elif known.scan.emptied:
                known.scan.directories, known.scan.files = fresh.directories, fresh.files
                fresh = known.scan
            else:
                self._jobs.sweep(fresh.take())
                fresh = known.scan
        self._items += len(fresh)
        rest_s = REST * (ended_s - begun_s)
        self._scans[key] = _CachedScan(fresh, ended_s + rest_s, ended_s + 2 * rest_s)
        self._scans.move_to_end(key)
        self._evict(key)
        return fresh

    def _evict(self, newest: _Key) -> None:
        while len(self._scans) > SCANS_MAX:
            _, lost = self._scans.popitem(last=False)
            self._items -= len(lost.scan)
            self._jobs.sweep(lost.scan.take())
        for key, cached in self._scans.items():
            if self._items <= ITEMS_MAX or key == newest:
                return
            # Whether it changed can still be told. Its rows can be had again.
            self._items -= len(cached.scan)
            self._jobs.sweep(cached.scan.take())

    def page(
        self,
        scan: Scan,
        order: Order,
        media_type: str,
        encoding: str = IDENTITY,
        encode: _Encode | None = None,
    ) -> Page | None:
        """The listing of a scan in that order, as HTML or JSON; None if it can no longer be drawn.

        `encode` makes the encoding. Raises Pending when it takes long, OSError (EBUSY) when too much does.
        """
        page = self.drawn(scan, order, media_type, encoding)
        if page is not None:
            return page
        directories, files = scan.directories, scan.files
        if directories is None or files is None:
            for cached in self._scans.values():
                if cached.scan is scan:
                    cached.due_s = cached.late_s = 0.0
            return None
        pieces = draw(scan.segments, directories, files, order, media_type, cut=scan.cut, zipped=scan.zipped)
        key = (scan.fingerprint, order, media_type, encoding)
        bind = partial(_bind, pieces, encode, etag(scan, order, media_type, encoding), self._root)
        if not self._jobs.threaded or len(scan) <= (ENCODED_AT_ONCE if encode else ITEMS_AT_ONCE):
            return self._store(key, bind())
        raise Pending(self._jobs.start(key, bind, partial(self._store, key)))

    def drawn(self, scan: Scan, order: Order, media_type: str, encoding: str = IDENTITY) -> Page | None:
        """The page if it has been drawn already."""
        key = (scan.fingerprint, order, media_type, encoding)
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
        return page

    def _store(self, key: _PageKey, page: Page) -> Page:
        self._pages[key] = page
        self._pages_size += page.size
        while (self._pages_size > PAGES_SIZE_MAX or len(self._pages) > PAGES_MAX) and len(self._pages) > 1:
            _, lost = self._pages.popitem(last=False)
            self._pages_size -= lost.size
            if isinstance(lost.body, MemoryRepresentation):
                lost.body.file.close()
        return page


def etag(scan: Scan, order: Order, media_type: str, encoding: str = IDENTITY) -> str:
    """The entity tag of a listing, with its quotes, before it has been drawn: it is of all that is drawn.

    And of what encodes it, as a range may be of bytes that another server has made.
    """
    kind = "j" if media_type.endswith("json") else "h"
    suffix = "" if encoding == IDENTITY else f"-{ENCODERS[encoding].edition}-{encoding}"
    return f'"{scan.fingerprint.hex()}-{kind}{order.by[0]}{"d" if order.descending else "a"}{suffix}"'


def _bind(pieces: Iterator[bytes], encode: _Encode | None, tag: str, root: Root) -> Page:
    """The page of these pieces. Raises OSError (ENOMEM), and what `encode` does."""
    if encode is not None:
        pieces = iter([encode(b"".join(pieces))])
    first: list[bytes] = []
    size = 0
    for piece in pieces:
        first.append(piece)
        size += len(piece)
        if size >= MEMORY_FILE_SIZE_MIN:
            break
    else:
        return Page(size, b"".join(first))
    try:
        fd = new_memory_file()
    except OSError:
        # Out of descriptors: a page does without, while a connection could not.
        fd = -1
    if fd < 0:
        whole = b"".join([*first, *pieces])
        return Page(len(whole), whole)
    try:
        for piece in chain(first, pieces):
            append(fd, piece)
        body = memory_representation(fd, tag, root)
    except BaseException:
        os.close(fd)
        raise
    return Page(body.size, body)

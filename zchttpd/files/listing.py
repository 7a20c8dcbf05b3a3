"""What a directory holds, looked at seldom enough and drawn as HTML or JSON: the pages of `--listing`."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import operator
import os
import re
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.root import Root

# Beyond these a directory is listed in part, and the page says so: a look may not stop the loop for long.
ITEMS_MAX = 100_000
# A symlink costs an open and two questions of where it led.
LINKS_MAX = 2_000
# A look at a directory that took T is not repeated before 20 T have gone: at most a twentieth of the time.
REST = 20
SHELF_ITEMS_MAX = 2 * ITEMS_MAX
PAGES_MAX = 64
PAGES_SIZE_MAX = 32 << 20

SORTS = ("name", "size", "time")
HTML = "text/html; charset=utf-8"
JSON = "application/json"

_NAME, _SIZE, _TIME = (operator.itemgetter(at) for at in (0, 2, 3))
_PLAIN = re.compile(rb"[A-Za-z0-9._~-]+")
# As visible pictures (U+2400 and up): a line end in a name must not look like two names.
_PICTURES = {**{code: 0x2400 + code for code in range(32)}, 0x7F: 0x2421}
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

_STYLE = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "body{max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.25rem;overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}"
    "th{text-align:left;font-weight:600}td,th{padding:.15rem .75rem .15rem 0}"
    "td:first-child{overflow-wrap:anywhere}td+td,th+th{text-align:right;white-space:nowrap}"
    "a{text-decoration:none}a:hover{text-decoration:underline}"
)
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode("ascii")).digest()).decode("ascii")
# Nothing but the one style: whatever a name could smuggle in, it would not run or load.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


class Item(NamedTuple):
    """One name of a directory. `size` in bytes (0 for a directory), `mtime_s` in Unix seconds."""

    name: bytes
    directory: bool
    size: int
    mtime_s: int


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What a directory held. `cut`: there are more names than these. The same object means: no change."""

    segments: tuple[bytes, ...]
    items: tuple[Item, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class Order:
    """How a listing is sorted; directories always come first."""

    by: str = "name"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A drawn listing; `etag` with its quotes, of these very bytes."""

    body: bytes
    etag: str
    media_type: str


class _Stamps(dict[int, str]):
    """Unix seconds -> RFC 3339. Files of one directory often have their times in common."""

    def __missing__(self, mtime_s: int) -> str:
        when = time.gmtime(mtime_s)
        text = f"{when[0]:04}-{when[1]:02}-{when[2]:02}T{when[3]:02}:{when[4]:02}:{when[5]:02}Z"
        self[mtime_s] = text
        return text


class _Sizes(dict[int, str]):
    """Bytes -> text to read."""

    def __missing__(self, size: int) -> str:
        text = self[size] = size_text(size)
        return text


def scan(root: Root, segments: tuple[bytes, ...]) -> Scan:
    """Look at every name of a directory beneath the root.

    Left out is what could not be asked for: dotfiles, anything but files and directories, and symlinks that
    are broken or lead to where the root's policy does not. Raises OSError as open(2) has it.
    """
    items: list[Item] = []
    links = 0
    fd = root.open(segments, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(fd) as found:
            for each in found:
                text = each.name
                if text[0] == ".":
                    continue
                if len(items) >= ITEMS_MAX or links >= LINKS_MAX:
                    return Scan(segments, tuple(items), cut=True)
                name = os.fsencode(text)
                try:
                    if each.is_symlink():
                        links += 1
                        facts = _follow(root, (*segments, name))
                    else:
                        facts = each.stat(follow_symlinks=False)
                except OSError:
                    # It went meanwhile, or leads nowhere.
                    continue
                mode = facts.st_mode
                # By index: whole seconds, without the cost of making a float of them.
                if stat.S_ISREG(mode):
                    items.append(Item(name, False, facts.st_size, int(facts[stat.ST_MTIME])))
                elif stat.S_ISDIR(mode):
                    items.append(Item(name, True, 0, int(facts[stat.ST_MTIME])))
    finally:
        os.close(fd)
    return Scan(segments, tuple(items), cut=False)


def _follow(root: Root, segments: tuple[bytes, ...]) -> os.stat_result:
    fd = root.open(segments, os.O_PATH)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


class Shelf:
    """Scans of directories, each looked at again when `REST` times its cost have gone. `clock` in seconds."""

    def __init__(self, root: Root, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._scans: OrderedDict[tuple[tuple[bytes, ...], int, int], tuple[float, Scan]] = OrderedDict()
        self._items = 0

    def look(self, segments: tuple[bytes, ...], facts: os.stat_result) -> Scan:
        """The scan of the directory that `facts` are of: the same object as before if nothing changed.

        Raises OSError as open(2) has it.
        """
        # With the inode: a swapped root has other directories at the same paths.
        key = (segments, facts.st_dev, facts.st_ino)
        due, known = self._scans.get(key, (0.0, None))
        begun = self._clock()
        if known is not None and begun < due:
            self._scans.move_to_end(key)
            return known
        fresh = scan(self._root, segments)
        if known is not None:
            self._items -= len(known.items)
            if (known.items, known.cut) == (fresh.items, fresh.cut):
                fresh = known
        ended = self._clock()
        self._scans[key] = (ended + REST * (ended - begun), fresh)
        self._scans.move_to_end(key)
        self._items += len(fresh.items)
        while (self._items > SHELF_ITEMS_MAX or len(self._scans) > PAGES_MAX) and len(self._scans) > 1:
            _, (_, lost) = self._scans.popitem(last=False)
            self._items -= len(lost.items)
        return fresh


class Pages:
    """Drawn listings, each once for a scan; what was not asked for longest goes, by number and by bytes."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[Scan, Order, str], Page] = OrderedDict()
        self._size = 0

    def find(self, scan: Scan, order: Order, media_type: str) -> Page:
        """The listing of `scan` in that order, as HTML or JSON."""
        key = (scan, order, media_type)
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
            return page
        body = draw_json(scan, order) if media_type == JSON else draw_html(scan, order)
        page = Page(body, f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"', media_type)
        self._pages[key] = page
        self._size += len(body)
        while (self._size > PAGES_SIZE_MAX or len(self._pages) > PAGES_MAX) and len(self._pages) > 1:
            _, lost = self._pages.popitem(last=False)
            self._size -= len(lost.body)
        return page


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


def ordered(scan: Scan, order: Order) -> list[Item]:
    """The items, directories first; equal ones by name."""
    items = sorted(scan.items, key=_NAME)
    items.sort(key=_lower_name)
    if order.by == "name":
        if order.descending:
            items.reverse()
    else:
        items.sort(key=_SIZE if order.by == "size" else _TIME, reverse=order.descending)
    return [item for item in items if item.directory] + [item for item in items if not item.directory]


def _lower_name(item: Item) -> bytes:
    return item[0].lower()


def link(item: Item) -> str:
    """A relative reference to an item (RFC 3986 section 4.2): `./` keeps a colon from making it a scheme."""
    if _PLAIN.fullmatch(item.name):
        text = item.name.decode("ascii")
    else:
        text = quote_from_bytes(item.name, safe="")
        if b":" in item.name:
            text = "./" + text
    return text + "/" if item.directory else text


def shown(name: bytes) -> str:
    """A name as text to read; what is not UTF-8 becomes U+FFFD, control characters become their pictures."""
    return name.decode("utf-8", "replace").translate(_PICTURES)


def size_text(size: int) -> str:
    """`512 B`, `1.5 KiB`: at most one decimal."""
    if size < 1024:
        return f"{size} B"
    value = size / 1024
    at = 0
    # What would be rounded to 1024.0 is 1.0 of the next unit.
    while value >= 1023.95:
        value /= 1024
        at += 1
    return f"{value:.1f} {_UNITS[at]}"


def draw_html(scan: Scan, order: Order) -> bytes:
    """The listing as a document that needs nothing else and says nothing of the host."""
    path = html.escape(shown(b"/" + b"".join(segment + b"/" for segment in scan.segments)))
    heads = "".join(f"<th>{_sort_link(by, order)}</th>" for by in SORTS)
    rows = ['<tr><td><a href="../">../</a></td><td></td><td></td></tr>\n'] if scan.segments else []
    plain, stamps, sizes = _PLAIN.fullmatch, _Stamps(), _Sizes()
    for item in ordered(scan, order):
        name, directory, size, mtime_s = item
        if not directory and plain(name):
            # It is its own link and its own text.
            href = text = name.decode("ascii")
        else:
            href, text = link(item), _text(item)
        length = "" if directory else sizes[size]
        rows.append(
            f'<tr><td><a href="{href}">{text}</a></td><td>{length}</td><td>{stamps[mtime_s]}</td></tr>\n'
        )
    note = f"<p>Only {len(scan.items)} names are listed; there are more.</p>\n" if scan.cut else ""
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Index of {path}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n<h1>Index of {path}</h1>\n{note}<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
        f"{''.join(rows)}</tbody>\n</table>\n</body>\n</html>\n"
    )
    return page.encode("utf-8")


def _text(item: Item) -> str:
    return f"<bdi>{html.escape(shown(item.name))}</bdi>{'/' if item.directory else ''}"


def _sort_link(by: str, order: Order) -> str:
    title = {"name": "Name", "size": "Size", "time": "Modified (UTC)"}[by]
    again = by == order.by
    turned = "desc" if again and not order.descending else "asc"
    arrow = (" \u2193" if order.descending else " \u2191") if again else ""
    return f'<a href="?sort={by}&amp;order={turned}">{title}{arrow}</a>'


def draw_json(scan: Scan, order: Order) -> bytes:
    """An array of objects: name, type, href, mtime (RFC 3339), and for files size in bytes."""
    rows: list[str] = []
    plain, stamps = _PLAIN.fullmatch, _Stamps()
    for item in ordered(scan, order):
        name, directory, size, mtime_s = item
        if plain(name):
            text = href = f'"{name.decode("ascii")}"'
        else:
            text, href = json.dumps(name.decode("utf-8", "replace"), ensure_ascii=False), f'"{link(item)}"'
        if directory:
            href = f'"{link(item)}"'
            rows.append(f'{{"name":{text},"type":"directory","href":{href},"mtime":"{stamps[mtime_s]}"}}')
        else:
            rows.append(
                f'{{"name":{text},"type":"file","href":{href},"mtime":"{stamps[mtime_s]}","size":{size}}}'
            )
    return f"[{','.join(rows)}]\n".encode()

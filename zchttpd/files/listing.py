"""What a directory holds, in order, and drawn as HTML or JSON: the pages of `--listing`.

All of it may run in a thread beside the loop. So nothing here asks the interpreter for much at a time: rows
are sorted in runs and drawn in pieces.
"""

from __future__ import annotations

import array
import base64
import hashlib
import heapq
import html
import json
import operator
import os
import re
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote_from_bytes

from zchttpd import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zchttpd.files.root import Root

# Beyond these a directory is listed in part, and the page says so.
ITEMS_MAX = 100_000
NAMES_SIZE_MAX = 8 << 20
# A symlink costs an open and two questions of where it led.
LINKS_MAX = 2_000

SORTS = ("name", "size", "time")
HTML = "text/html; charset=utf-8"
JSON = "application/json"

# (name in lower case, name, size in bytes, modification time in Unix seconds); a directory has size 0. A
# plain tuple: the collector stops looking at those of a large directory, and they compare without a call.
Row: TypeAlias = tuple[bytes, bytes, int, int]

_SIZE, _TIME = (operator.itemgetter(at) for at in (2, 3))
# Rows that are sorted or drawn in one go: about a millisecond.
_RUN = 1024
_PLAIN = re.compile(rb"[A-Za-z0-9._~-]+")
# As visible pictures (U+2400 and up): a line end in a name must not look like two names. What turns the
# direction of writing becomes U+FFFD: `gpj.exe` must not look like `exe.jpg` (Unicode report 36).
_TURNS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_PICTURES = {
    **{code: 0x2400 + code for code in range(32)},
    0x7F: 0x2421,
    **dict.fromkeys(_TURNS, 0xFFFD),
}
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

# Columns of fixed width: a browser need not measure a hundred thousand rows before it shows the first. On a
# narrow screen size and time are below the name.
_STYLE = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "body{max-width:64rem;margin:1.5rem auto;padding:0 1rem}"
    "h1{font-size:1.25rem;overflow-wrap:anywhere}"
    "table{border-collapse:collapse;width:100%;table-layout:fixed;font-variant-numeric:tabular-nums}"
    "th{text-align:left;font-weight:600;border-bottom:1px solid #8888}"
    "td,th{padding:.2rem .5rem;vertical-align:top}td:first-child{overflow-wrap:anywhere}"
    "td+td,th+th{text-align:right;white-space:nowrap}th+th{width:6rem}th+th+th{width:10rem}"
    "tbody tr:hover{background:#8882}a{text-decoration:none}a:hover{text-decoration:underline}"
    "@media(max-width:40rem){table,thead,tbody{display:block}tr{display:grid;grid-template-columns:1fr auto}"
    "thead tr{display:flex;gap:1rem}th{border:0;padding:.2rem 0}th+th,th+th+th{width:auto}"
    "td{padding:0 0 .4rem}td:first-child{grid-column:1/-1;padding-bottom:0}td:first-child a{display:block}"
    "td+td{text-align:left;font-size:.875rem;opacity:.75}}"
)
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode("ascii")).digest()).decode("ascii")
# Nothing but the one style: whatever a name could smuggle in, it would not run or load.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


class Scan:
    """What a directory held, by name. `cut`: there are more names than these.

    The same object means: no change. `fingerprint` is of everything that is drawn. Rows may be taken away
    from it to save memory (`take`); then it only tells whether there was a change.
    """

    __slots__ = ("cut", "directories", "files", "fingerprint", "segments")

    def __init__(
        self, segments: tuple[bytes, ...], directories: list[Row], files: list[Row], *, cut: bool
    ) -> None:
        self.segments = segments
        self.directories: list[Row] | None = directories
        self.files: list[Row] | None = files
        self.cut = cut
        self.fingerprint = _fingerprint(segments, directories, files, cut)

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


def scan(
    root: Root, segments: tuple[bytes, ...], *, items_max: int = ITEMS_MAX, links_max: int = LINKS_MAX
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
                    files.append((_lower(name), name, facts.st_size, int(facts[stat.ST_MTIME])))
                elif stat.S_ISDIR(mode):
                    directories.append((_lower(name), name, 0, int(facts[stat.ST_MTIME])))
    finally:
        os.close(fd)
    return Scan(segments, _sorted(directories), _sorted(files), cut=cut)


def _lower(name: bytes) -> bytes:
    lower = name.lower()
    # One object where one will do.
    return name if lower == name else lower


def _follow(root: Root, segments: tuple[bytes, ...]) -> os.stat_result:
    fd = root.open(segments, os.O_PATH)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _runs(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[at : at + _RUN] for at in range(0, len(rows), _RUN))


def _sorted(
    rows: list[Row], *, key: Callable[[Row], Any] | None = None, descending: bool = False
) -> list[Row]:
    """As sorted() does, run by run: one call for a hundred thousand rows would stop all other threads."""
    if len(rows) <= _RUN:
        return sorted(rows, key=key, reverse=descending)
    runs = (sorted(run, key=key, reverse=descending) for run in _runs(rows))
    return list(heapq.merge(*runs, key=key, reverse=descending))


def _fingerprint(segments: tuple[bytes, ...], directories: list[Row], files: list[Row], cut: bool) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    # What draws is a part of what is drawn.
    digest.update(f"{__version__} {_STYLE_DIGEST} {cut} {len(directories)} {len(files)}\0".encode())
    digest.update(b"/".join(segments))
    for rows in (directories, files):
        for run in _runs(rows):
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


def link(name: bytes) -> str:
    """A relative reference to a name (RFC 3986 section 4.2): `./` keeps a colon from making it a scheme."""
    if _PLAIN.fullmatch(name):
        return name.decode("ascii")
    text = quote_from_bytes(name, safe="")
    return "./" + text if b":" in name else text


def shown(name: bytes) -> str:
    """A name as text to read: nothing in it moves what stands beside it."""
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


def draw(
    segments: tuple[bytes, ...],
    directories: list[Row],
    files: list[Row],
    order: Order,
    media_type: str,
    *,
    cut: bool = False,
) -> Iterator[bytes]:
    """The listing as HTML or JSON, piece by piece; the rows are by name, as those of a scan."""
    if media_type == JSON:
        return _draw_json(directories, files, order)
    return _draw_html(segments, directories, files, order, cut)


def _draw_html(
    segments: tuple[bytes, ...], directories: list[Row], files: list[Row], order: Order, cut: bool
) -> Iterator[bytes]:
    """A document that needs nothing else and says nothing of the host."""
    path = html.escape(shown(b"/" + b"".join(segment + b"/" for segment in segments)))
    heads = "".join(f"<th>{_sort_link(by, order)}</th>" for by in SORTS)
    note = f"<p>Only {len(directories) + len(files)} names are listed; there are more.</p>\n" if cut else ""
    up = '<tr><td><a href="../">../</a></td><td></td><td></td></tr>\n' if segments else ""
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Index of {path}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n<h1>Index of {path}</h1>\n{note}<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{up}"
    ).encode()
    stamps = _Stamps()
    for run in _runs(ordered(directories, order)):
        yield "".join(
            f'<tr><td><a href="{link(name)}/">{_text(name)}/</a></td><td></td>'
            f"<td>{_minute(stamps[mtime_s])}</td></tr>\n"
            for _, name, _, mtime_s in run
        ).encode()
    plain, sizes = _PLAIN.fullmatch, _Sizes()
    for run in _runs(ordered(files, order)):
        texts: list[str] = []
        for _, name, size, mtime_s in run:
            # A plain name is its own link and its own text.
            href, text = (name.decode("ascii"),) * 2 if plain(name) else (link(name), _text(name))
            texts.append(
                f'<tr><td><a href="{href}">{text}</a></td><td>{sizes[size]}</td>'
                f"<td>{_minute(stamps[mtime_s])}</td></tr>\n"
            )
        yield "".join(texts).encode()
    yield b"</tbody>\n</table>\n</body>\n</html>\n"


def _minute(stamp: str) -> str:
    """`2026-01-31T12:00:59Z` -> `2026-01-31 12:00`."""
    return stamp[:-4].replace("T", " ")


def _text(name: bytes) -> str:
    return f"<bdi>{html.escape(shown(name))}</bdi>"


def _sort_link(by: str, order: Order) -> str:
    title = {"name": "Name", "size": "Size", "time": "Modified (UTC)"}[by]
    again = by == order.by
    turned = "desc" if again and not order.descending else "asc"
    arrow = (" \u2193" if order.descending else " \u2191") if again else ""
    return f'<a href="?sort={by}&amp;order={turned}">{title}{arrow}</a>'


def _draw_json(directories: list[Row], files: list[Row], order: Order) -> Iterator[bytes]:
    """An array of objects: name, type, href, mtime (RFC 3339), and for files size in bytes."""
    stamps = _Stamps()
    comma = "["
    for kind, slash, rows in (("directory", "/", directories), ("file", "", files)):
        for run in _runs(ordered(rows, order)):
            texts: list[str] = []
            for _, name, size, mtime_s in run:
                tail = f',"size":{size}}}' if kind == "file" else "}"
                texts.append(
                    f'{{"name":{_quoted(name)},"type":"{kind}","href":"{link(name)}{slash}",'
                    f'"mtime":"{stamps[mtime_s]}"{tail}'
                )
            yield (comma + ",".join(texts)).encode()
            comma = ","
    yield b"[]\n" if comma == "[" else b"]\n"


def _quoted(name: bytes) -> str:
    if _PLAIN.fullmatch(name):
        return f'"{name.decode("ascii")}"'
    return json.dumps(name.decode("utf-8", "replace"), ensure_ascii=False)

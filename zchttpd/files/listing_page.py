"""A scan drawn as HTML or JSON, piece by piece: it may run in a thread beside the loop."""

from __future__ import annotations

import html
import json
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from zchttpd.files.listing import SORTS, ordered, runs
from zchttpd.files.listing_style import SCRIPT, STYLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zchttpd.files.listing import Order, Row

HTML = "text/html; charset=utf-8"
JSON = "application/json"

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
# They sort by asking for the page itself. Crawlers, wget and fsspec would take links for names.
_FORMS = '<form id="up"></form><form id="down"><input type="hidden" name="order" value="desc"></form>'
_ZIP_FORM = '<form id="zip"></form>'
_ZIP_BUTTON = '<button form="zip" name="zip" value="">Download as zip</button>'
_TITLES = {"name": "Name", "size": "Size", "time": "Modified <small>(UTC)</small>"}
# Above so many levels a directory is named in the path and not linked: each link is longer than the next.
_LEVELS_MAX = 32
# The years of RFC 3339.
_YEAR_0_S = -62_167_219_200
_YEAR_9999_END_S = 253_402_300_799


class _Stamps(dict[int, str]):
    """Unix seconds -> RFC 3339. Files of one directory often have their times in common."""

    def __missing__(self, mtime_s: int) -> str:
        # Others have no such text, and some no date at all: some file systems keep any 64 bits.
        when = time.gmtime(min(max(mtime_s, _YEAR_0_S), _YEAR_9999_END_S))
        text = f"{when[0]:04}-{when[1]:02}-{when[2]:02}T{when[3]:02}:{when[4]:02}:{when[5]:02}Z"
        self[mtime_s] = text
        return text


class _Times(dict[int, str]):
    """Unix seconds -> the cell of a time."""

    def __missing__(self, mtime_s: int) -> str:
        stamp = _Stamps()[mtime_s]
        # `2026-01-31T12:00:59Z` -> `2026-01-31 12:00`.
        cell = self[mtime_s] = f"<td><time datetime={stamp}>{stamp[:-4].replace('T', ' ')}</time>\n"
        return cell


class _Sizes(dict[int, str]):
    """Bytes -> the cell of a size, which tells all digits to who points at it."""

    def __missing__(self, size: int) -> str:
        exact = f" title={size:,}" if size >= 1024 else ""
        cell = self[size] = f"<td{exact}>{size_text(size)}"
        return cell


def link(name: bytes) -> str:
    """A relative reference to a name (RFC 3986 section 4.2): `./` keeps a colon from making it a scheme."""
    if _PLAIN.fullmatch(name):
        return name.decode("ascii")
    text = quote_from_bytes(name, safe="")
    return "./" + text if b":" in name else text


def href(name: bytes) -> str:
    """A relative reference that simple clients take for what it is: they put it behind the directory's URL.

    So it has no `./`, which an encoded colon does not need; and an `h` is encoded where fsspec would take
    `http.log` for a whole URL.
    """
    text = quote_from_bytes(name, safe="")
    return "%68" + text[1:] if text.startswith("http") else text


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


def least_size(count: int, media_type: str) -> int:
    """So many bytes a listing of so many rows has at least."""
    return 2 + 60 * count if media_type == JSON else len(STYLE) + len(SCRIPT) + 80 * count


def draw(
    segments: tuple[bytes, ...],
    directories: list[Row],
    files: list[Row],
    order: Order,
    media_type: str,
    *,
    cut: bool = False,
    zipped: bool = False,
) -> Iterator[bytes]:
    """The listing as HTML or JSON, piece by piece; the rows are by name, as those of a scan."""
    if media_type == JSON:
        return _draw_json(directories, files, order)
    return _draw_html(segments, directories, files, order, cut, zipped)


def _draw_html(
    segments: tuple[bytes, ...],
    directories: list[Row],
    files: list[Row],
    order: Order,
    cut: bool,
    zipped: bool,
) -> Iterator[bytes]:
    """A document that needs nothing else and says nothing of the host.

    Without the end tags that HTML lets go: a row costs 20 bytes less.
    """
    path = html.escape(shown(b"/" + b"".join(segment + b"/" for segment in segments)))
    heads = "".join(_head(by, order) for by in SORTS)
    count = len(directories) + len(files)
    note = f"<p>Only {count} names are listed; there are more.</p>\n" if cut else ""
    button, form = (_ZIP_BUTTON, _ZIP_FORM) if zipped else ("", "")
    up = '<tr><td><a href="../">../</a><td><td>\n' if segments else ""
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Index of {path}</title><style>{STYLE}</style></head>\n"
        f"<body>\n<h1>Index of {_crumbs(segments)}</h1>\n{note}"
        f"<div><output>{_counts(directories, files)}</output>{button}"
        '<input type="search" placeholder="Filter" aria-label="Filter names" autocomplete="off" hidden>'
        f"</div>\n{_FORMS}{form}\n"
        f'<table class="{order.by}">\n<thead><tr>{heads}</thead>\n<tbody>{up}</tbody>\n<tbody id="names">\n'
    ).encode()
    plain, times, sizes = _PLAIN.fullmatch, _Times(), _Sizes()
    for run in runs(ordered(directories, order)):
        yield "".join(
            f'<tr><td><a href="{href(name)}/">{_text(name)}/</a><td>{times[mtime_s]}'
            for _, name, _, mtime_s in run
        ).encode()
    for run in runs(ordered(files, order)):
        texts: list[str] = []
        for _, name, size, mtime_s in run:
            # A plain name is its own text, and most often its own link.
            text = name.decode("ascii") if plain(name) else _text(name)
            link = text if plain(name) and not name.startswith(b"http") else href(name)
            texts.append(f'<tr><td><a href="{link}">{text}</a>{sizes[size]}{times[mtime_s]}')
        yield "".join(texts).encode()
    yield f"</tbody>\n</table>\n<script type=module>{SCRIPT}</script>\n</body>\n</html>\n".encode("ascii")


def _text(name: bytes) -> str:
    return f"<bdi>{html.escape(shown(name))}</bdi>"


def _crumbs(segments: tuple[bytes, ...]) -> str:
    """The path, each directory above a link to itself: relative, as a proxy may have the root elsewhere.

    Without quotes: clients that look for quoted references, such as fsspec, take no way up for a name.
    """
    up = len(segments)
    crumbs: list[str] = []
    for text in ("/", *(_text(segment) + "/" for segment in segments)):
        linked = 0 < up <= _LEVELS_MAX or (up and not crumbs)
        crumbs.append(f"<a href={'../' * up}>{text}</a>" if linked else text)
        up -= 1
    return "".join(crumbs)


def _counts(directories: list[Row], files: list[Row]) -> str:
    """`1 directory, 340 files, 1.2 GiB`."""
    counts = ((len(directories), "directory", "directories"), (len(files), "file", "files"))
    texts = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count]
    if files:
        texts.append(size_text(sum(sum(row[2] for row in run) for run in runs(files))))
    return ", ".join(texts) or "Nothing is in this directory."


def _head(by: str, order: Order) -> str:
    """The head of a column, with the button that sorts by it, or turns the order round."""
    state, form = "", "up"
    if by == order.by:
        state = f" aria-sort={'descending' if order.descending else 'ascending'}"
        form = "up" if order.descending else "down"
    return f'<th{state}><button form="{form}" name="sort" value="{by}">{_TITLES[by]}</button>'


def _draw_json(directories: list[Row], files: list[Row], order: Order) -> Iterator[bytes]:
    """An array of objects: name, type, href, mtime (RFC 3339), and for files size in bytes."""
    stamps = _Stamps()
    comma = "["
    for kind, slash, rows in (("directory", "/", directories), ("file", "", files)):
        for run in runs(ordered(rows, order)):
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

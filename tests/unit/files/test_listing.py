"""Directories as they are looked at and drawn."""

from __future__ import annotations

import html.parser
import json
import os
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.files import listing
from zchttpd.files.listing import (
    Item,
    Order,
    Pages,
    Scan,
    Shelf,
    draw_html,
    draw_json,
    link,
    parse_order,
    scan,
)
from zchttpd.files.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MTIME_S = 1_700_000_000


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "www").mkdir()
    opened = Root(tmp_path / "www")
    yield opened
    opened.close()


class Reader(html.parser.HTMLParser):
    """What a browser sees: links with their texts, and every element."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.elements: set[str] = set()
        self._text: list[str] = []
        self._href = ""
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag == "a":
            assert len(attrs) == 1
            self._href, self._text = dict(attrs)["href"] or "", []

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self.links.append((self._href, "".join(self._text)))

    @property
    def names(self) -> list[str]:
        """Links to items: without those that sort and the one that leads up."""
        return [href for href, _ in self.links if not href.startswith("?") and href != "../"]


def test_what_is_listed(tmp_path: Path, root: Root) -> None:
    www = tmp_path / "www"
    (www / "sub").mkdir()
    (www / "file.txt").write_bytes(b"four")
    os.utime(www / "file.txt", (MTIME_S, MTIME_S))
    (www / ".env").write_bytes(b"")
    (www / "..data").mkdir()
    os.mkfifo(www / "pipe")
    (tmp_path / "secret").write_bytes(b"")
    for name, to in (
        ("in", "file.txt"),
        ("in-dir", "sub"),
        ("out", "../secret"),
        ("gone", "nothing"),
        ("dot", ".env"),
        ("loop", "loop"),
        ("tube", "pipe"),
    ):
        (www / name).symlink_to(to)
    seen = {item.name: item for item in scan(root, ()).items}
    assert set(seen) == {b"sub", b"file.txt", b"in", b"in-dir"}
    assert seen[b"file.txt"] == Item(b"file.txt", False, 4, MTIME_S)
    assert seen[b"in"] == Item(b"in", False, 4, MTIME_S)
    assert seen[b"sub"].directory
    assert seen[b"in-dir"].directory
    with pytest.raises(NotADirectoryError):
        scan(root, (b"file.txt",))
    with pytest.raises(FileNotFoundError):
        scan(root, (b"nothing",))


def test_no_more_than_a_bound_is_looked_at(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        (tmp_path / "www" / f"f{number}").write_bytes(b"")
    assert not scan(root, ()).cut
    monkeypatch.setattr(listing, "ITEMS_MAX", 5)
    seen = scan(root, ())
    assert (len(seen.items), seen.cut) == (5, True)
    assert b"Only 5 names are listed" in draw_html(seen, Order())
    monkeypatch.setattr(listing, "ITEMS_MAX", 100)
    monkeypatch.setattr(listing, "LINKS_MAX", 3)
    for number in range(10):
        (tmp_path / "www" / f"l{number}").symlink_to("f0")
    assert scan(root, ()).cut


def item(name: bytes, size: int = 0, mtime_s: int = MTIME_S, *, directory: bool = False) -> Item:
    return Item(name, directory, size, mtime_s)


ITEMS = Scan(
    (b"d",),
    (
        item(b"b.txt", 30, MTIME_S + 1),
        item(b"A.txt", 10, MTIME_S + 3),
        item(b"z", directory=True, mtime_s=MTIME_S + 9),
        item(b"c.txt", 20, MTIME_S + 2),
        item(b"y", directory=True, mtime_s=MTIME_S + 8),
    ),
    cut=False,
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (None, "y z A.txt b.txt c.txt"),
        (b"sort=name", "y z A.txt b.txt c.txt"),
        (b"sort=name&order=desc", "z y c.txt b.txt A.txt"),
        (b"sort=size", "y z A.txt c.txt b.txt"),
        (b"sort=size&order=desc", "y z b.txt c.txt A.txt"),
        (b"sort=time", "y z b.txt c.txt A.txt"),
        (b"order=desc&sort=time", "z y A.txt c.txt b.txt"),
        (b"sort=inode", "y z A.txt b.txt c.txt"),
        (b"order=up&x=1&sort", "y z A.txt b.txt c.txt"),
        (b"&" * 100 + b"sort=size", "y z A.txt b.txt c.txt"),
    ],
)
def test_orders(query: bytes | None, expected: str) -> None:
    order = parse_order(query)
    assert [name.rstrip("/") for name in Reader(draw_html(ITEMS, order)).names] == expected.split()
    assert [row["name"] for row in json.loads(draw_json(ITEMS, order))] == expected.split()


def test_a_second_click_turns_the_order_round() -> None:
    links = dict(Reader(draw_html(ITEMS, Order("size"))).links)
    assert links["?sort=size&order=desc"].startswith("Size")
    assert "?sort=name&order=asc" in links
    assert "../" in links
    assert "../" not in dict(Reader(draw_html(Scan((), ITEMS.items, cut=False), Order())).links)


NAMES = [
    b"<script>alert(1)</script>",
    b'"onerror=x.txt',
    b"a&amp;b",
    b"javascript:alert(1)",
    b":first",
    b"%2e%2e",
    b"new\nline",
    b"cr\r",
    b"esc\x1b[31m",
    b"invalid\xff",
    "\u00fcn\u00ef".encode(),
    "\u202egnp.exe".encode(),
    b"sp ace",
    b"q?mark#hash",
    b"back\\slash",
    b"'single'",
    b"~tilde",
    b"</table>",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("directory", [False, True])
def test_hostile_names(name: bytes, directory: bool) -> None:
    page = draw_html(Scan((name,), (item(name, directory=directory),), cut=False), Order())
    reader = Reader(page)
    assert not reader.elements & {"script", "img", "b"}
    [href] = reader.names
    assert unquote_to_bytes(href.removeprefix("./")) == name + (b"/" if directory else b"")
    assert ":" not in href
    assert href.isascii()
    assert href.startswith("./") == (b":" in name)
    text = dict(reader.links)[href]
    assert not any(ord(letter) < 32 for letter in text)
    [row] = json.loads(draw_json(Scan((), (item(name, directory=directory),), cut=False), Order()))
    assert row["name"] == name.decode("utf-8", "replace")
    assert row["href"] == href


@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_a_link_leads_to_its_name(name: bytes) -> None:
    href = link(item(name))
    assert unquote_to_bytes(href.removeprefix("./")) == name
    assert not set(href) & set(" \"'<>&\\:?#")


def test_rows_of_json() -> None:
    rows = json.loads(draw_json(ITEMS, Order("size", descending=True)))
    assert rows[0] == {"name": "y", "type": "directory", "href": "y/", "mtime": "2023-11-14T22:13:28Z"}
    assert rows[2]["size"] == 30
    assert json.loads(draw_json(Scan((), (), cut=False), Order())) == []


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**63 - 1, "8.0 EiB"),
    ],
)
def test_sizes_to_read(size: int, text: str) -> None:
    assert listing.size_text(size) == text


@pytest.mark.parametrize("mtime_s", [-(2**40), -1, 0, 253_402_300_800, 2**40])
def test_any_time_is_drawn(mtime_s: int) -> None:
    odd = Scan((), (item(b"f", mtime_s=mtime_s),), cut=False)
    assert Reader(draw_html(odd, Order())).names == ["f"]
    assert json.loads(draw_json(odd, Order()))


def test_a_scan_is_repeated_only_when_it_has_paid(tmp_path: Path, root: Root) -> None:
    ticks = iter([0.0, 1.0, 20.9, 21.0, 22.0, 23.0, 50.0, 51.0])
    shelf = Shelf(root, clock=lambda: next(ticks))
    www = tmp_path / "www"
    first = shelf.look((), www.stat())
    (www / "new").write_bytes(b"")
    # It took one second, from 0 to 1: at 20.9 it is not due.
    assert shelf.look((), www.stat()) is first
    second = shelf.look((), www.stat())
    assert [each.name for each in second.items] == [b"new"]
    assert shelf.look((), www.stat()) is second
    # Looked at again without a change: the same object.
    assert shelf.look((), www.stat()) is second


def test_the_shelf_is_bounded(tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SHELF_ITEMS_MAX", 10)
    shelf = Shelf(root)
    for number in range(20):
        here = tmp_path / "www" / f"d{number}"
        here.mkdir()
        for name in "abcd":
            (here / name).write_bytes(b"")
        shelf.look((b"d%d" % number,), here.stat())
        assert shelf._items == sum(len(each.items) for _, each in shelf._scans.values()) <= 10


def test_pages_are_drawn_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGES_SIZE_MAX", 8 * len(draw_html(ITEMS, Order())))
    pages = Pages()
    page = pages.find(ITEMS, Order(), listing.HTML)
    assert pages.find(ITEMS, Order(), listing.HTML) is page
    drawn = {
        pages.find(ITEMS, Order(by), kind).etag for by in listing.SORTS for kind in ("json", listing.HTML)
    }
    assert page.etag in drawn
    for _ in range(50):
        pages.find(Scan((), ITEMS.items, cut=False), Order(), listing.HTML)
        assert pages._size == sum(len(each.body) for each in pages._pages.values()) <= listing.PAGES_SIZE_MAX

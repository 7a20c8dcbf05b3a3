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
from zchttpd.files.listing import HTML, JSON, Order, Row, Scan, draw, link, parse_order, scan
from zchttpd.files.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MTIME_S = 1_700_000_000
BY_NAME = Order()


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
    seen = scan(root, ())
    assert seen.files == [row(b"file.txt", 4), row(b"in", 4)]
    assert [name for _, name, _, _ in seen.directories or ()] == [b"in-dir", b"sub"]
    assert not seen.cut
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
    seen = scan(root, (), items_max=5)
    assert (len(seen), seen.cut) == (5, True)
    assert b"Only 5 names are listed" in html_of(seen)
    assert scan(root, (), items_max=10).cut is False
    monkeypatch.setattr(listing, "NAMES_SIZE_MAX", 19)
    assert (len(scan(root, ())), scan(root, ()).cut) == (9, True)
    monkeypatch.undo()
    for number in range(10):
        (tmp_path / "www" / f"l{number}").symlink_to("f0")
    assert scan(root, (), links_max=3).cut


def test_a_large_directory_is_in_order_too(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are sorted and drawn in runs; here in many."""
    names = [f"{'Aa'[number % 2]}{number * 7919 % 1000:04}" for number in range(1000)]
    for number, name in enumerate(names):
        (tmp_path / "www" / name).write_bytes(b"x" * (number % 5))
        os.utime(tmp_path / "www" / name, (MTIME_S + number % 3,) * 2)
    whole = scan(root, ())
    orders = [Order(by, turned) for by in listing.SORTS for turned in (False, True)]
    pages = {order: html_of(whole, order) for order in orders}
    monkeypatch.setattr(listing, "_RUN", 16)
    in_runs = scan(root, ())
    assert in_runs.files == whole.files
    assert [name.decode() for _, name, _, _ in in_runs.files or ()] == sorted(
        names, key=lambda name: (name.lower(), name)
    )
    for order, page in pages.items():
        assert html_of(in_runs, order) == page
    assert len(json.loads(json_of(in_runs))) == len(names)


def row(name: bytes, size: int = 0, mtime_s: int = MTIME_S) -> Row:
    return name.lower(), name, size, mtime_s


def html_of(seen: Scan, order: Order = BY_NAME) -> bytes:
    return _drawn(seen, order, HTML)


def json_of(seen: Scan, order: Order = BY_NAME) -> bytes:
    return _drawn(seen, order, JSON)


def _drawn(seen: Scan, order: Order, media_type: str) -> bytes:
    assert seen.directories is not None
    assert seen.files is not None
    return b"".join(draw(seen.segments, seen.directories, seen.files, order, media_type, cut=seen.cut))


def one(name: bytes, directory: bool) -> Scan:
    """A directory that holds one name, and has it too."""
    return Scan((name,), [row(name)] * directory, [row(name)] * (not directory), cut=False)


ITEMS = Scan(
    (b"d",),
    [row(b"y", mtime_s=MTIME_S + 8), row(b"z", mtime_s=MTIME_S + 9)],
    [row(b"A.txt", 10, MTIME_S + 3), row(b"b.txt", 30, MTIME_S + 1), row(b"c.txt", 20, MTIME_S + 2)],
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
    assert [name.rstrip("/") for name in Reader(html_of(ITEMS, order)).names] == expected.split()
    assert [row["name"] for row in json.loads(json_of(ITEMS, order))] == expected.split()


def test_a_second_click_turns_the_order_round() -> None:
    links = dict(Reader(html_of(ITEMS, Order("size"))).links)
    assert links["?sort=size&order=desc"].startswith("Size")
    assert "?sort=name&order=asc" in links
    assert "../" in links
    assert "../" not in dict(Reader(html_of(Scan((), [], [], cut=False))).links)


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
    "\u2066gnp.exe".encode(),
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
    reader = Reader(html_of(one(name, directory)))
    assert not reader.elements & {"script", "img", "b"}
    [href] = reader.names
    assert unquote_to_bytes(href.removeprefix("./")) == name + (b"/" if directory else b"")
    assert ":" not in href
    assert href.isascii()
    assert href.startswith("./") == (b":" in name)
    text = dict(reader.links)[href]
    assert not any(ord(letter) < 32 or letter in "\u202e\u2066" for letter in text)
    [entry] = json.loads(json_of(one(name, directory)))
    assert entry["name"] == name.decode("utf-8", "replace")
    assert entry["href"] == href


@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_a_link_leads_to_its_name(name: bytes) -> None:
    href = link(name)
    assert unquote_to_bytes(href.removeprefix("./")) == name
    assert not set(href) & set(" \"'<>&\\:?#")


def test_rows_of_json() -> None:
    rows = json.loads(json_of(ITEMS, Order("size", descending=True)))
    assert rows[0] == {"name": "y", "type": "directory", "href": "y/", "mtime": "2023-11-14T22:13:28Z"}
    assert rows[2]["size"] == 30
    assert json.loads(json_of(Scan((), [], [], cut=False))) == []


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
    odd = Scan((), [], [row(b"f", mtime_s=mtime_s)], cut=False)
    assert Reader(html_of(odd)).names == ["f"]
    assert json.loads(json_of(odd))


def test_a_fingerprint_is_of_all_that_is_drawn() -> None:
    seen = [
        Scan((b"d",), [], [], cut=False),
        Scan((b"e",), [], [], cut=False),
        Scan((b"d",), [], [], cut=True),
        Scan((b"d",), [row(b"a")], [], cut=False),
        Scan((b"d",), [], [row(b"a")], cut=False),
        Scan((b"d",), [], [row(b"a", 1)], cut=False),
        Scan((b"d",), [], [row(b"a", 0, MTIME_S + 1)], cut=False),
        Scan((b"d",), [], [row(b"a"), row(b"b")], cut=False),
        Scan((b"d",), [], [row(b"ab")], cut=False),
    ]
    assert len({each.fingerprint for each in seen}) == len(seen)
    assert Scan((b"d",), [], [row(b"a")], cut=False).fingerprint == seen[4].fingerprint

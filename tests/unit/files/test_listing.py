"""Directories as they are looked at and drawn."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.files import listing, listing_page
from zchttpd.files.listing import Order, Row, Scan, natural, parse_order, scan
from zchttpd.files.listing_page import HTML, JSON, draw, link
from zchttpd.files.listing_style import CONTENT_SECURITY_POLICY, SCRIPT
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
    """What a browser sees: links with their texts, what the forms ask for, and every element."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: dict[str, list[dict[str, str | None]]] = {}
        self.links: list[tuple[str, str]] = []
        self.forms: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self._queries: dict[str | None, str] = {}
        self._open: list[tuple[str, list[str]]] = []
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        named = dict(attrs)
        self.attributes.setdefault(tag, []).append(named)
        if tag in ("a", "button", "h1", "output", "script", "title"):
            self._open.append((tag, []))
        if tag == "input" and named["type"] == "hidden":
            # In the form that was opened last.
            self._queries[self.attributes["form"][-1]["id"]] = f"&{named['name']}={named['value']}"

    def handle_data(self, data: str) -> None:
        for _, texts in self._open:
            texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            return
        text = "".join(self._open.pop()[1])
        last = self.attributes[tag][-1]
        if tag == "a":
            assert set(last) == {"href"}
            self.links.append((last["href"] or "", text))
        elif tag == "button":
            self.forms[text] = f"?{last['name']}={last['value']}" + self._queries.get(last["form"], "")
        else:
            self.texts[tag] = text

    @property
    def names(self) -> list[str]:
        """Links to items: without those that lead up."""
        return [href for href, _ in self.links if href.strip("./")]


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
    return natural(name), name, size, mtime_s


def html_of(seen: Scan, order: Order = BY_NAME) -> bytes:
    return _drawn(seen, order, HTML)


def json_of(seen: Scan, order: Order = BY_NAME) -> bytes:
    return _drawn(seen, order, JSON)


def _drawn(seen: Scan, order: Order, media_type: str) -> bytes:
    assert seen.directories is not None
    assert seen.files is not None
    told = {"cut": seen.cut, "zipped": seen.zipped}
    return b"".join(draw(seen.segments, seen.directories, seen.files, order, media_type, **told))


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
    for by, title in (("name", "Name"), ("size", "Size"), ("time", "Modified (UTC)")):
        for descending, state in ((False, "ascending"), (True, "descending")):
            reader = Reader(html_of(ITEMS, Order(by, descending)))
            asked = {"Name": "?sort=name", "Size": "?sort=size", "Modified (UTC)": "?sort=time"}
            assert reader.forms == {**asked, title: asked[title] + ("" if descending else "&order=desc")}
            heads = zip(asked, reader.attributes["th"], strict=True)
            assert {text: th.get("aria-sort") for text, th in heads} == {**dict.fromkeys(asked), title: state}
            # To the page itself, wherever that is, and by GET.
            assert reader.attributes["form"] == [{"id": "up"}, {"id": "down"}]


def test_a_folder_that_is_given_as_a_zip_has_a_button_for_that() -> None:
    for zipped in (False, True):
        reader = Reader(html_of(Scan((b"d",), [], [row(b"a")], cut=False, zipped=zipped)))
        assert reader.forms.get("Download as zip") == ("?zip=" if zipped else None)
        assert ({"id": "zip"} in reader.attributes["form"]) == zipped
        # Nothing to follow for who follows links.
        assert reader.names == ["a"]


def test_a_list_for_people() -> None:
    big = Scan((b"a b", b"c"), [row(b"x")], [row(b"y", 1023), row(b"z", 1_234_567)], cut=False)
    page = html_of(big)
    reader = Reader(page)
    assert reader.texts["title"] == reader.texts["h1"] == "Index of /a b/c/"
    assert reader.texts["output"] == "1 directory, 2 files, 1.2 MiB"
    assert [urljoin("http://h/files/a%20b/c/", href) for href, _ in reader.links[:3]] == [
        "http://h/files/",
        "http://h/files/a%20b/",
        "http://h/files/a%20b/",
    ]
    assert [text for _, text in reader.links] == ["/", "a b/", "../", "x/", "y", "z"]
    assert {"datetime": "2023-11-14T22:13:20Z"} in reader.attributes["time"]
    assert b">2023-11-14 22:13</time>" in page
    titles = [cell["title"] for cell in reader.attributes["td"] if "title" in cell]
    assert titles == ["1,234,567"]
    assert b">1.2 MiB<" in page
    # Without its script the box would do nothing: so it does not show.
    [box] = [each for each in reader.attributes["input"] if each["type"] == "search"]
    assert "hidden" in box


@pytest.mark.parametrize(
    ("directories", "files", "text"),
    [
        (0, 0, "Nothing is in this directory."),
        (2, 0, "2 directories"),
        (0, 1, "1 file, 7 B"),
        (1200, 1001, "1,200 directories, 1,001 files, 6.8 KiB"),
    ],
)
def test_counts(directories: int, files: int, text: str) -> None:
    found = Scan((), [row(b"d")] * directories, [row(b"f", 7)] * files, cut=False)
    reader = Reader(html_of(found))
    assert reader.texts["output"] == text
    # The root has nothing above it.
    assert not [href for href, _ in reader.links if not href.strip("./")]


def test_of_a_deep_path_the_nearest_directories_are_linked() -> None:
    reader = Reader(html_of(Scan((b"d",) * 2000, [], [], cut=False)))
    assert reader.texts["h1"] == "Index of /" + "d/" * 2000
    assert reader.links[0] == ("../" * 2000, "/")
    assert {href.count("../") for href, _ in reader.links[1:]} == set(range(1, 33))


def test_only_its_own_script_may_run() -> None:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"; script-src 'sha256-{digest}';" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    reader = Reader(html_of(ITEMS))
    assert reader.texts["script"] == SCRIPT
    attributes = {name for each in reader.attributes.values() for named in each for name in named}
    assert not {name for name in attributes if name.startswith("on")}


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
    b"http:x",
    b"http",
    b"https.log",
    b"HTTP",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("directory", [False, True])
def test_hostile_names(name: bytes, directory: bool) -> None:
    page = html_of(one(name, directory))
    reader, plain = Reader(page), Reader(html_of(one(b"plain", directory)))
    assert {**reader.elements, "bdi": 0} == {**plain.elements, "bdi": 0}
    [reference] = reader.names
    assert unquote_to_bytes(reference) == name + (b"/" if directory else b"")
    assert not set(reference) & set(" \"'<>&\\:?#")
    assert reference.isascii()
    # As simple clients read it, fsspec first of all.
    assert re.findall(rb"""<a\s[^>]*?href=["']([^"']+)""", page) == [b"../", reference.encode()]
    assert not reference.startswith("http")
    text = dict(reader.links)[reference]
    assert not any(ord(letter) < 32 or letter in "\u202e\u2066" for letter in text)
    [entry] = json.loads(json_of(one(name, directory)))
    assert entry["name"] == name.decode("utf-8", "replace")
    assert entry["href"] == link(name) + ("/" if directory else "")
    assert entry["href"].startswith("./") == (b":" in name)


@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_a_link_leads_to_its_name(name: bytes) -> None:
    for reference in (link(name), listing_page.href(name)):
        assert unquote_to_bytes(reference.removeprefix("./")) == name
        assert not set(reference) & set(" \"'<>&\\:?#")


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
    assert listing_page.size_text(size) == text


@pytest.mark.parametrize("mtime_s", [-(2**62), -(2**40), -1, 0, 253_402_300_800, 2**40, 2**62])
def test_any_time_is_drawn(mtime_s: int) -> None:
    odd = Scan((), [], [row(b"f", mtime_s=mtime_s)], cut=False)
    assert Reader(html_of(odd)).names == ["f"]
    assert json.loads(json_of(odd))


def test_a_fingerprint_is_of_all_that_is_drawn() -> None:
    seen = [
        Scan((b"d",), [], [], cut=False),
        Scan((b"e",), [], [], cut=False),
        Scan((b"d",), [], [], cut=True),
        Scan((b"d",), [], [], cut=False, zipped=True),
        Scan((b"d",), [row(b"a")], [], cut=False),
        Scan((b"d",), [], [row(b"a")], cut=False),
        Scan((b"d",), [], [row(b"a", 1)], cut=False),
        Scan((b"d",), [], [row(b"a", 0, MTIME_S + 1)], cut=False),
        Scan((b"d",), [], [row(b"a"), row(b"b")], cut=False),
        Scan((b"d",), [], [row(b"ab")], cut=False),
    ]
    assert len({each.fingerprint for each in seen}) == len(seen)
    assert Scan((b"d",), [], [row(b"a")], cut=False).fingerprint == seen[5].fingerprint


@pytest.mark.parametrize("media_type", [HTML, JSON])
def test_the_least_size_is_not_more_than_a_listing_has(media_type: str) -> None:
    for count in (0, 1, 500):
        found = Scan((), [], [row(b"f")] * count, cut=False)
        least = listing_page.least_size(found.count, media_type)
        assert 0 < least <= len(_drawn(found, BY_NAME, media_type)) < least + 2000 + 60 * count

"""Encodings that are made when they are asked for: which is begun, what is sent until then, and after."""

from __future__ import annotations

import os
import threading
import zlib
from typing import TYPE_CHECKING

import brotli  # type: ignore[import-untyped]
import h11
import pytest

from zchttpd.config.settings import Settings
from zchttpd.files.compressor import RESULTS, Compressor
from zchttpd.files.encoders import ENCODERS, Encoder
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.handler.handler import Handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zchttpd.handler.answer import Answer

TEXT = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(1000))
PAGE = b"<!doctype html>" + TEXT
VARY = "Accept-Encoding"
STUCK_S = 60.0
REVALIDATE_MS = 1000


class Site:
    """A handler with a compressor over a directory. Compressions wait until `work` lets them run."""

    def __init__(
        self, path: Path, *, post: Callable[[Callable[[], None]], None] | None = None, **options: object
    ) -> None:
        chosen = {"compress": tuple(ENCODERS), "compress_size_min": 1024, **options}
        settings = Settings(root=path, revalidate_ms=REVALIDATE_MS, **chosen)  # type: ignore[arg-type]
        self.path = path
        self.now_ms = 0
        self._cells: dict[str, memoryview] = {}
        compressor = Compressor.of(settings, self._cells_of)
        assert compressor is not None
        self._compressor = compressor
        self._root = Root(path)
        self._gate = threading.Event()
        self._hold()
        self.handler = Handler(settings, EntryCache(self._root, settings, post=post), compressor)

    def _cells_of(self, name: str) -> memoryview:
        return self._cells.setdefault(name, memoryview(bytearray(24 * 8)).cast("Q"))

    def _hold(self) -> None:
        self._gate = threading.Event()
        self._compressor._executors[None].submit(self._gate.wait, STUCK_S)

    def work(self) -> None:
        """Everything that was begun runs to its end."""
        done = self._compressor._executors[None].submit(int)
        self._gate.set()
        done.result(STUCK_S)
        self._hold()

    def close(self) -> None:
        self._gate.set()
        self._compressor.close()
        self._root.close()

    def ended(self, result: str = "made") -> dict[str, int]:
        """Compressions that ended so, by encoding, without those that have none."""
        cells = self._cells_of("compressions")
        places = ((name, at * len(RESULTS) + RESULTS.index(result)) for at, name in enumerate(ENCODERS))
        return {name: cells[place] for name, place in places if cells[place]}

    def ask(self, target: str, *fields: str, method: str = "GET") -> Got:
        lines = [f"{method} {target} HTTP/1.1", "Host: h", *fields, "", ""]
        return Got(self.handler.answer("\r\n".join(lines).encode(), self.now_ms), method)

    def put(self, name: str, content: bytes) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(content)


class Got:
    """An answer as a client understands it."""

    def __init__(self, answer: Answer, method: str) -> None:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        client.receive_data(answer.head)
        response = client.next_event()
        assert isinstance(response, h11.Response)
        self.status = response.status_code
        self.fields = {name.decode(): value.decode() for name, value in response.headers if name != b"date"}
        self.cacheable = answer.cacheable
        whole = b""
        if answer.representation is not None:
            with open(answer.representation.open(), "rb") as opened:
                whole = opened.read()
        self.body = b"".join(
            part if isinstance(part, bytes) else whole[part.offset :][: part.length] for part in answer.parts
        )
        self.coding = self.fields.get("content-encoding")
        self.etag = self.fields.get("etag", "")
        self.vary = self.fields.get("vary")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, error_pages=True)
    site.put("a.txt", TEXT)
    yield site
    site.close()


def accept(value: str) -> str:
    return f"Accept-Encoding: {value}"


def test_identity_until_it_is_ready(site: Site) -> None:
    for _ in range(3):
        first = site.ask("/a.txt", accept("br"))
        assert (first.status, first.body, first.coding, first.vary) == (200, TEXT, None, VARY)
        assert not first.cacheable, "it must not be replayed when the encoding is there"
    site.work()
    then = site.ask("/a.txt", accept("br"))
    assert (then.status, then.coding, then.vary, then.cacheable) == (200, "br", VARY, True)
    assert brotli.decompress(then.body) == TEXT
    assert then.etag != first.etag
    assert {name: then.fields[name] for name in ("content-type", "last-modified", "accept-ranges")} == {
        name: first.fields[name] for name in ("content-type", "last-modified", "accept-ranges")
    }
    assert site.ended() == {"br": 1}


@pytest.mark.parametrize(
    "fields",
    [(), *((accept(value),) for value in ("", "identity", "br;q=0", "deflate", "identity;q=1, br;q=0.5"))],
)
def test_who_would_not_get_it_begins_nothing(site: Site, fields: tuple[str, ...]) -> None:
    for _ in range(2):
        got = site.ask("/a.txt", *fields)
        assert (got.body, got.coding, got.vary, got.cacheable) == (TEXT, None, VARY, True)
        site.work()
    assert site.ended() == {}


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1, br;q=0.9", "gzip"),
        ("*", "br"),
        ("*;q=0.1, br;q=0, zstd", "zstd"),
        ("identity;q=0.1, gzip;q=0.2", "gzip"),
        ("identity;q=0, gzip", "gzip"),
    ],
)
def test_only_what_the_client_likes_best_is_begun(site: Site, value: str, encoding: str) -> None:
    assert site.ask("/a.txt", accept(value)).body == TEXT
    site.ask("/a.txt", accept(value))
    site.work()
    assert site.ended() == {encoding: 1}
    assert site.ask("/a.txt", accept(value)).coding == encoding


def test_until_the_best_is_there_the_second_best_is_sent(site: Site) -> None:
    site.ask("/a.txt", accept("gzip"))
    site.work()
    between = site.ask("/a.txt", accept("gzip, br"))
    assert (between.coding, between.cacheable) == ("gzip", False)
    assert site.ask("/a.txt", accept("gzip")).cacheable
    site.work()
    assert site.ask("/a.txt", accept("gzip, br")).coding == "br"


def test_a_sibling_wins_over_compressing(site: Site) -> None:
    site.put("a.js", TEXT)
    site.put("a.js.gz", b"not really gzip")
    assert site.ask("/a.js", accept("gzip")).body == b"not really gzip"
    waiting = site.ask("/a.js", accept("gzip, br"))
    assert (waiting.body, waiting.coding, waiting.cacheable) == (b"not really gzip", "gzip", False)
    site.work()
    made = site.ask("/a.js", accept("gzip, br"))
    assert (made.coding, brotli.decompress(made.body)) == ("br", TEXT)
    assert site.ended() == {"br": 1}
    assert len({made.etag, waiting.etag, site.ask("/a.js").etag}) == 3


def test_what_does_not_shrink_stays_as_it_is(site: Site) -> None:
    noise = os.urandom(5000)
    site.put("noise.txt", noise)
    for encoding in ENCODERS:
        got = site.ask("/noise.txt", accept("br, zstd, gzip"))
        assert (got.body, got.cacheable) == (noise, False)
        site.work()
        assert encoding in site.ended("unfit")
    for _ in range(2):
        got = site.ask("/noise.txt", accept("br, zstd, gzip"))
        assert (got.body, got.coding, got.vary, got.cacheable) == (noise, None, VARY, True)
        site.work()
    assert site.ended("unfit") == {"br": 1, "zstd": 1, "gzip": 1}


@pytest.mark.parametrize(
    "name", ["a.png", "a.woff2", "a.bin", "a.zip", "a.br", "plain", "small.txt", "big.txt"]
)
def test_what_is_not_to_be_compressed_does_not_vary(site: Site, name: str) -> None:
    site.put(name, TEXT[:1023] if name == "small.txt" else TEXT)
    if name == "big.txt":
        # It is never read: there is not that much memory.
        os.truncate(site.path / name, 1 << 40)
    got = site.ask(f"/{name}", accept("br"), method="HEAD")
    assert (got.coding, got.vary, got.cacheable) == (None, None, True)
    site.work()
    assert site.ended() == {}


def test_conditions_and_ranges_are_of_what_would_be_sent(site: Site) -> None:
    plain = site.ask("/a.txt", accept("br"))

    def answers(got: Got) -> dict[str, Got]:
        named = f"If-Range: {got.etag}"
        asked = {
            "same": [f"If-None-Match: {got.etag}"],
            "failed": ['If-Match: "other"'],
            "part": ["Range: bytes=5-19", named],
            "match": ["Range: bytes=5-19", f"If-Match: {got.etag}"],
            "beyond": ["Range: bytes=900000-", named],
        }
        return {name: site.ask("/a.txt", accept("br"), *fields) for name, fields in asked.items()}

    for settled in (False, True):
        whole = site.ask("/a.txt", accept("br"))
        found = answers(whole)
        assert {name: got.status for name, got in found.items()} == {
            "same": 304,
            "failed": 412,
            "part": 206,
            "match": 206,
            "beyond": 416,
        }
        assert {got.vary for got in found.values()} == {VARY}
        # The tag says which representation is meant: that stays so when there are others.
        unsettled = {"same", "failed"} if not settled else set()
        assert {name for name, got in found.items() if not got.cacheable} == unsettled
        for part in (found["part"], found["match"]):
            assert (part.body, part.coding, part.etag) == (whole.body[5:20], whole.coding, whole.etag)
        assert found["beyond"].fields["content-range"] == f"bytes */{len(whole.body)}"
        assert found["same"].etag == whole.etag
        site.work()
    assert site.ask("/a.txt", accept("br"), f"If-None-Match: {plain.etag}").status == 200
    assert site.ask("/a.txt", f"If-None-Match: {whole.etag}").status == 200


def test_a_download_that_was_cut_goes_on_with_the_same_bytes(site: Site) -> None:
    """Whichever encodings have been made since."""
    plain = site.ask("/a.txt", accept("gzip"))
    site.work()
    encoded = site.ask("/a.txt", accept("gzip"))
    assert encoded.coding == "gzip"
    rest, at = accept("gzip, br"), len(encoded.body) + 100
    for fields in (
        (),
        (f"If-Range: {plain.etag}",),
        (f"If-Match: {plain.etag}",),
        (f"If-Range: {plain.fields['last-modified']}",),
    ):
        got = site.ask("/a.txt", rest, f"Range: bytes={at}-", *fields)
        assert (got.status, got.coding, got.etag) == (206, None, plain.etag)
        assert (got.body, got.vary, got.cacheable) == (TEXT[at:], VARY, True)
    got = site.ask("/a.txt", rest, "Range: bytes=7-", f"If-Range: {encoded.etag}")
    assert (got.status, got.coding, got.body) == (206, "gzip", encoded.body[7:])
    beyond = site.ask("/a.txt", rest, f"Range: bytes={len(TEXT)}-")
    assert (beyond.status, beyond.fields["content-range"]) == (416, f"bytes */{len(TEXT)}")
    # Who no longer takes gzip gets none of it, and whoever has an old version gets all of the new one.
    assert site.ask("/a.txt", "Range: bytes=7-", f"If-Range: {encoded.etag}").body == TEXT
    assert site.ask("/a.txt", rest, "Range: bytes=7-", 'If-Range: "old"').status == 200
    assert site.ask("/a.txt", accept("zstd"), "Range: bytes=7-").coding is None
    site.work()
    assert "zstd" not in site.ended(), "a range is no reason to make an encoding"


def test_ranges_of_a_file_with_siblings_are_of_what_the_whole_would_be(site: Site) -> None:
    """What lies on the disk does not depend on who asked before."""
    site.put("a.js", TEXT)
    site.put("a.js.gz", b"not really gzip")
    for _ in range(2):
        got = site.ask("/a.js", accept("gzip"), "Range: bytes=4-9")
        assert (got.status, got.coding, got.body) == (206, "gzip", b"really")
        assert site.ask("/a.js", accept("br"), "Range: bytes=4-9").body == TEXT[4:10]
        site.ask("/a.js", accept("br"))
        site.work()


def test_head_tells_what_get_would(site: Site) -> None:
    for coding in (None, "br"):
        got, head = (site.ask("/a.txt", accept("br"), method=method) for method in ("GET", "HEAD"))
        assert (got.coding, head.coding, head.body) == (coding, coding, b"")
        assert head.fields == got.fields
        site.work()


def test_pages_of_errors_and_routes_are_compressed_too(site: Site) -> None:
    site.put("404.html", PAGE)
    for coding in (None, "gzip"):
        for target in ("/none", "/.env"):
            got = site.ask(target, accept("gzip"))
            assert (got.status, got.coding, got.vary) == (404, coding, VARY)
            assert (zlib.decompress(got.body, 31) if coding else got.body) == PAGE
        site.work()
    assert site.ended() == {"gzip": 1}


def test_a_route_of_an_application_varies_twice(tmp_path: Path) -> None:
    site = Site(tmp_path, spa=True)
    site.put("index.html", PAGE)
    for coding in (None, "br"):
        got = site.ask("/route", accept("br"), "Accept: text/html")
        assert (got.status, got.coding) == (200, coding)
        assert got.vary is not None
        assert set(got.vary.split(", ")) == {"Accept-Encoding", "Accept", "Sec-Fetch-Mode"}
        site.work()
    site.close()


def test_a_changed_file_begins_anew(site: Site) -> None:
    site.ask("/a.txt", accept("br"))
    site.work()
    old = site.ask("/a.txt", accept("br"))
    site.put("a.txt", TEXT + b"more")
    site.now_ms += REVALIDATE_MS + 1
    between = site.ask("/a.txt", accept("br"))
    assert (between.body, between.coding) == (TEXT + b"more", None)
    site.work()
    new = site.ask("/a.txt", accept("br"))
    assert (new.coding, brotli.decompress(new.body)) == ("br", TEXT + b"more")
    assert len({old.etag, between.etag, new.etag}) == 3


def test_names_of_one_file_share_what_is_made(site: Site) -> None:
    os.link(site.path / "a.txt", site.path / "b.txt")
    site.ask("/a.txt", accept("br"))
    site.work()
    assert site.ask("/b.txt", accept("br")).coding == "br"
    assert site.ended() == {"br": 1}


def test_what_was_evicted_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "br", Encoder("", lambda _module: lambda content: content[:40_000]))
    site = Site(tmp_path, compress_memory=64 * 1024, compress_size_max=64 * 1024)
    for name in ("a.txt", "b.txt"):
        site.put(name, bytes(60_000))
        site.ask(f"/{name}", accept("br"))
        site.work()
    assert site.ask("/b.txt", accept("br")).coding == "br"
    again = site.ask("/a.txt", accept("br"))
    assert (again.coding, again.cacheable) == (None, False)
    site.work()
    assert site.ask("/a.txt", accept("br")).coding == "br"
    assert site.ended() == {"br": 3}
    site.close()

"""Listings that take long, from head bytes to whole answers."""

from __future__ import annotations

import json
import queue
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from zchttpd.config.settings import Settings
from zchttpd.files import listing_cache
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.listing_cache import ITEMS_AT_ONCE
from zchttpd.files.root import Root
from zchttpd.files.singleflight import Job
from zchttpd.handler.handler import Handler

from .test_compress import Site, accept
from .test_handler import ask, head_of, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JSON = "Accept: application/json"
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "zstd": lambda content: zstandard.ZstdDecompressor().decompress(content),
    "gzip": lambda content: zlib.decompress(content, 31),
}


@contextmanager
def listing(www: Path, *, post: Callable[[Callable[[], None]], None] | None = None) -> Iterator[Handler]:
    root = Root(www)
    asked = Settings(root=www, listing=True)
    yield Handler(asked, EntryCache(root, asked, post=post))
    root.close()


@pytest.fixture
def www(tmp_path: Path) -> Path:
    for name in ("bare", "bare/inner"):
        (tmp_path / name).mkdir()
    for name in ("app.js", "bare/f.txt"):
        put(tmp_path / name, b"")
    return tmp_path


def test_a_large_listing_is_made_while_others_are_answered(www: Path) -> None:
    names = [f"{number:04}" for number in range(ITEMS_AT_ONCE + 1)]
    for name in names:
        put(www / "bare" / name, b"")
    mailbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    with listing(www, post=mailbox.put) as handler:

        def made(job: object) -> None:
            assert isinstance(job, Job)
            told: list[OSError | None] = []
            job.waiting.append(told.append)
            assert ask(handler, "/app.js")[0].status == 200
            while not told:
                mailbox.get(timeout=60)()
            assert told == [None]

        # First what the directory holds, then the page.
        made(handler.answer(head_of("/bare/", JSON), 0))
        made(handler.answer(head_of("/bare/", JSON), 0))
        _, received = ask(handler, "/bare/", JSON)
        assert {row["name"] for row in json.loads(received.body)} >= set(names)
        # Another order is another page. That a client has it already can be said before it is drawn.
        tag = received["etag"] or ""
        other = tag.replace("-jna", "-jta")
        assert other != tag
        assert ask(handler, "/bare/?sort=time", JSON, f"If-None-Match: {other}")[0].status == 304
        assert ask(handler, "/bare/?sort=time", JSON, 'If-Match: "x"')[0].status == 412
        made(handler.answer(head_of("/bare/?sort=time", JSON), 0))
        assert ask(handler, "/bare/?sort=time", JSON)[1]["etag"] == other


def test_rows_that_were_given_up_are_had_again(www: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_cache, "ITEMS_MAX", 1)
    with listing(www) as handler:
        _, before = ask(handler, "/bare/", JSON)
        for directory in ("one", "two"):
            (www / directory).mkdir()
            put(www / directory / "f", b"")
            assert ask(handler, f"/{directory}/", JSON)[0].status == 200
        assert ask(handler, "/bare/", JSON)[1].body == before.body
        _, turned = ask(handler, "/bare/?order=desc", JSON)
        assert [row["name"] for row in json.loads(turned.body)] == ["inner", "f.txt"]


# With --compress


@pytest.fixture
def site(www: Path) -> Iterator[Site]:
    for number in range(50):
        put(www / "bare" / f"{number:04}.txt", b"")
    site = Site(www, listing=True)
    yield site
    site.close()


@pytest.mark.parametrize("encoding", DECODERS)
def test_a_listing_comes_in_the_encoding_that_is_accepted(site: Site, encoding: str) -> None:
    tags = set()
    for fields in ((), (JSON,)):
        plain = site.ask("/bare/", *fields)
        assert (plain.coding, plain.vary) == (None, "Accept-Encoding, Accept")
        # At once: nobody sees it larger than it need be.
        coded = site.ask("/bare/", accept(encoding), *fields)
        assert (coded.status, coded.coding, coded.vary) == (200, encoding, plain.vary)
        assert len(coded.body) < len(plain.body) / 3
        assert DECODERS[encoding](coded.body) == plain.body
        assert coded.cacheable
        head = site.ask("/bare/", accept(encoding), *fields, method="HEAD")
        assert (head.fields, head.body) == (coded.fields, b"")
        rest, at = f"Range: bytes={len(coded.body)}-", len(coded.body)
        for named, wanted, body in (
            ((rest,), None, plain.body[at:]),
            (("Range: bytes=5-9", f"If-Range: {coded.etag}"), encoding, coded.body[5:10]),
        ):
            part = site.ask("/bare/", accept(encoding), *fields, *named)
            assert (part.status, part.coding, part.body, part.vary) == (206, wanted, body, plain.vary)
        for tag, status in ((coded.etag, 304), (plain.etag, 200)):
            same = site.ask("/bare/", accept(encoding), *fields, f"If-None-Match: {tag}")
            assert (same.status, same.vary) == (status, plain.vary)
        tags |= {plain.etag, coded.etag}
    assert len(tags) == 4
    assert site.ended() == {encoding: 2}


def test_a_listing_that_is_known_need_not_be_encoded(site: Site) -> None:
    tag = site.ask("/bare/", accept("gzip")).etag
    other = tag.replace("-hna-", "-hta-")
    assert other != tag
    for field, status in ((f"If-None-Match: {other}", 304), (f"If-Match: {tag}", 412)):
        assert site.ask("/bare/?sort=time", accept("gzip"), field).status == status
    assert site.ended() == {"gzip": 1}
    assert site.ask("/bare/?sort=time", accept("gzip")).etag == other


def test_another_library_makes_another_tag(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.ask("/bare/", accept("gzip")).etag
    monkeypatch.setattr(zlib, "ZLIB_RUNTIME_VERSION", "9")
    assert site.ask("/bare/", accept("gzip")).etag != before


def test_a_small_listing_stays_as_it_is(site: Site) -> None:
    got = site.ask("/bare/inner/", JSON, accept("gzip"))
    assert (got.body, got.coding, got.vary) == (b"[]\n", None, "Accept")


def test_an_encoding_that_takes_long_is_made_beside_the_loop(www: Path) -> None:
    for number in range(listing_cache.ENCODED_AT_ONCE):
        put(www / "bare" / f"{number:04}", b"")
    mailbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    site = Site(www, listing=True, post=mailbox.put)
    head = head_of("/bare/", accept("br"))
    plain = site.ask("/bare/")
    job = site.handler.answer(head, 0)
    assert isinstance(job, Job)
    # Who asks meanwhile waits for the same.
    assert site.handler.answer(head, 0) is job
    mailbox.get(timeout=60)()
    assert brotli.decompress(site.ask("/bare/", accept("br")).body) == plain.body
    site.close()

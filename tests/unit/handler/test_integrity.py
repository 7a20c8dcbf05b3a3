"""Which answers carry which digests (RFC 9530), checked by hashlib."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.load import load
from zchttpd.files import digests
from zchttpd.files.compressor import Compressor
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.handler.answer import Cacheable
from zchttpd.handler.handler import Handler

from .test_handler import Received, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = b"0123456789" * 100
SMALL = b"a page"
WANT, CONTENT = "Want-Repr-Digest: sha-256=10", "Want-Content-Digest: sha-256=10"


@contextmanager
def handler_of(place: Path, *, compress: bool = False, **options: str) -> Iterator[Handler]:
    """Over files that are no longer young."""
    for path in place.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    settings = load({"root": str(place), **options, **({"compress": "gzip"} if compress else {})}, {})
    root = Root(place)
    compressor = Compressor.of(settings, lambda _: memoryview(bytearray(24 * 8)).cast("Q"))
    yield Handler(settings, EntryCache(root, settings), compressor)
    if compressor is not None:
        compressor.close()
    root.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, content in {
        "f.txt": TEXT,
        "g.txt": TEXT[:500],
        "empty": b"",
        "a.html": SMALL,
        "a.html.gz": gzip.compress(SMALL),
        "404.html": b"nothing",
    }.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def value(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def told(received: Received) -> tuple[str | None, str | None]:
    """Repr-Digest and Content-Digest."""
    return received["repr-digest"], received["content-digest"]


def test_nobody_is_told_who_does_not_ask(place: Path) -> None:
    with handler_of(place) as handler:
        for fields in ((), (WANT.replace("=10", "=0"),), ("Want-Repr-Digest: sha-512=10",)):
            assert told(ask(handler, "/f.txt", *fields)[1]) == (None, None)


def test_who_asks_is_told(place: Path) -> None:
    with handler_of(place) as handler:
        whole = value(TEXT)
        for method in ("GET", "HEAD"):
            answer, received = ask(handler, "/f.txt", WANT, method=method)
            assert told(received) == (whole, None)
            assert answer.caching is Cacheable.YES
        _, part = ask(handler, "/f.txt", WANT, "Range: bytes=2-5")
        assert (part.status, *told(part)) == (206, whole, None)
        assert told(ask(handler, "/empty", WANT, CONTENT)[1]) == (value(b""), value(b""))


def test_the_content_is_that_of_this_answer(place: Path) -> None:
    with handler_of(place) as handler:
        assert told(ask(handler, "/f.txt", CONTENT)[1]) == (None, value(TEXT))
        answer, part = ask(handler, "/f.txt", CONTENT, WANT, "Range: bytes=2-5")
        assert told(part) == (value(TEXT), value(TEXT[2:6]))
        assert answer.caching is Cacheable.YES
        # It has no content, and none is to be told of that.
        assert told(ask(handler, "/f.txt", CONTENT, method="HEAD")[1]) == (None, None)
        several = ask(handler, "/f.txt", CONTENT, WANT, "Range: bytes=0-1,500-501")[1]
        assert several.status == 206
        assert told(several) == (value(TEXT), None)


def test_not_modified_tells_who_asks(place: Path) -> None:
    for options in ({}, {"digest": "yes"}):
        with handler_of(place, **options) as handler:
            tag = ask(handler, "/f.txt")[1]["etag"]
            same = f"If-None-Match: {tag}"
            assert told(ask(handler, "/f.txt", same)[1]) == (None, None)
            answer, received = ask(handler, "/f.txt", same, WANT, CONTENT)
            assert answer.status == 304
            assert told(received) == (value(TEXT), None)


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("/f.txt", ('If-Match: "x"',), 412),
        ("/f.txt", ("Range: bytes=5000-",), 416),
        ("/no-such", (), 404),
    ],
)
def test_errors_tell_nothing(place: Path, target: str, fields: tuple[str, ...], status: int) -> None:
    with handler_of(place, digest="yes", error_pages="yes") as handler:
        answer, received = ask(handler, target, *fields, WANT, CONTENT)
        assert answer.status == status
        assert told(received) == (None, None)


def test_an_encoding_has_a_digest_of_its_own(place: Path) -> None:
    """Of the bytes that are sent, not of what they decode to."""
    with handler_of(place) as handler:
        stored = (place / "a.html.gz").read_bytes()
        _, received = ask(handler, "/a.html", WANT, CONTENT, "Accept-Encoding: gzip")
        assert received["content-encoding"] == "gzip"
        assert told(received) == (value(stored),) * 2
        assert told(ask(handler, "/a.html", WANT)[1]) == (value(SMALL), None)


def test_what_is_made_has_one_too(place: Path) -> None:
    with handler_of(place, compress=True, compress_size_min="10") as handler:
        ask(handler, "/f.txt", "Accept-Encoding: gzip")
        assert handler._compressor is not None
        handler._compressor._executors[None].shutdown(wait=True)
        answer, received = ask(handler, "/f.txt", WANT, CONTENT, "Accept-Encoding: gzip")
        assert received["content-encoding"] == "gzip"
        assert answer.representation is not None
        with open(answer.representation.open(), "rb") as file:
            made = file.read()
        assert gzip.decompress(made) == TEXT
        assert told(received) == (value(made),) * 2
        tag = f"If-Range: {received['etag']}"
        fields = ("Accept-Encoding: gzip", "Range: bytes=1-9", tag, CONTENT)
        _, part = ask(handler, "/f.txt", *fields)
        assert (part.status, *told(part)) == (206, None, value(made[1:10]))


def test_all_are_told_where_the_option_says_so(place: Path) -> None:
    with handler_of(place, digest="yes") as handler:
        assert told(ask(handler, "/f.txt")[1]) == (value(TEXT), None)
        assert told(ask(handler, "/g.txt")[1]) == (value(TEXT[:500]), None)
        assert told(ask(handler, "/f.txt", "Range: bytes=0-0")[1]) == (value(TEXT), None)
        assert told(ask(handler, "/f.txt", "Want-Repr-Digest: sha-512=10")[1]) == (value(TEXT), None)
        assert told(ask(handler, "/f.txt", "Want-Repr-Digest: sha-256=0")[1]) == (None, None)


def test_no_digest_is_made_of_what_is_too_large(place: Path) -> None:
    with handler_of(place, digest="yes", digest_size_max="999") as handler:
        for fields in ((), (WANT, CONTENT), (CONTENT, "Range: bytes=0-0")):
            answer, received = ask(handler, "/f.txt", *fields)
            assert told(received) == (None, None)
            assert answer.caching is Cacheable.YES
        assert told(ask(handler, "/g.txt")[1]) == (value(TEXT[:500]), None)


def test_what_is_not_there_yet_is_not_remembered(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "AT_ONCE_SIZE_MAX", -1)
    monkeypatch.setattr("zchttpd.handler.integrity.AT_ONCE_SIZE_MAX", -1)
    (place / "lived.txt").write_bytes(TEXT)
    os.utime(place / "lived.txt", ns=(1_700_000_000_000_000_007,) * 2)
    settings = load({"root": str(place), "digest": "yes"}, {})
    root = Root(place)
    handler = Handler(settings, EntryCache(root, settings, post=lambda _: None))
    answer, received = ask(handler, "/lived.txt")
    assert told(received) == (None, None)
    assert answer.caching is Cacheable.NO_DIGEST_YET
    answer, received = ask(handler, "/lived.txt", WANT.replace("10", "0"))
    assert answer.caching is Cacheable.YES
    handler._cache.digests.close()
    root.close()


def test_a_template_has_a_hole_for_it(place: Path) -> None:
    with handler_of(place, digest="yes") as handler:
        for name in ("f.txt", "g.txt"):
            os.utime(place / name, ns=(1_700_000_000_000_000_007,) * 2)
        bodies = [ask(handler, f"/{name}")[1] for name in ("f.txt", "g.txt")]
        assert [told(each)[0] for each in bodies] == [value(TEXT), value(TEXT[:500])]
        heads = [ask(handler, f"/{name}")[0].head for name in ("f.txt", "g.txt")]
        assert all(re.search(rb"\r\nRepr-Digest: sha-256=:[\w+/=]{44}:\r\n", head) for head in heads)
        assert len(handler._templates._shapes) == 1

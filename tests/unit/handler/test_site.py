"""The options of a site, from head bytes to whole answers, over real files that come, change and go."""

from __future__ import annotations

import errno
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from zchttpd.config.rules import CacheRule, HeaderRule
from zchttpd.config.settings import Settings
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.handler import errors
from zchttpd.handler.answer import Answer, Cacheable
from zchttpd.handler.handler import Handler
from zchttpd.http.response import Slice

from .test_handler import LIKE_A_HEAD, REVALIDATE_MS, Received, ask, fail, head_of, put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HTML = "Accept: text/html,*/*;q=0.8"
JSON = "Accept: application/json"


@contextmanager
def serving(www: Path, **options: object) -> Iterator[tuple[Handler, EntryCache]]:
    root = Root(www)
    asked = Settings(root=www, revalidate_ms=REVALIDATE_MS, **options)  # type: ignore[arg-type]
    cache = EntryCache(root, asked)
    yield Handler(asked, cache), cache
    root.close()


@pytest.fixture
def www(tmp_path: Path) -> Path:
    for name in ("docs", "bare", "bare/inner"):
        (tmp_path / name).mkdir()
    for name in ("index.html", "docs/index.html", "about.html", "app.js", "app.js.br", "bare/f.txt"):
        put(tmp_path / name, f"this is {name}".encode())
    return tmp_path


# --error-pages


@pytest.mark.parametrize("target", ["/none", "/.env", "/a%2fb", "/bare/", "/none/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_of_404(www: Path, target: str, method: str) -> None:
    put(www / "404.html", b"lost?")
    with serving(www, error_pages=True) as (handler, _):
        answer, received = ask(handler, target, "If-None-Match: *", "Range: bytes=0-0", method=method)
        assert answer.status == 404
        assert answer.cacheable
        assert answer.entry is not None
        assert received.body == (b"lost?" if method == "GET" else b"")
        assert received["content-type"] == "text/html; charset=utf-8"
        for name in ("etag", "last-modified", "cache-control", "accept-ranges"):
            assert received[name] is None
        # A page of its own when it is asked for by name.
        assert ask(handler, "/404.html")[0].status == 200


@pytest.mark.parametrize("target", ["/none", "/.env"])
def test_the_page_of_404_comes_changes_and_goes(www: Path, target: str) -> None:
    with serving(www, error_pages=True) as (handler, cache):
        plain = ask(handler, target)[1].body
        put(www / "404.html", b"one")
        assert ask(handler, target, now_ms=REVALIDATE_MS)[1].body == b"one"
        put(www / "404.html", b"other")
        answer, received = ask(handler, target, now_ms=2 * REVALIDATE_MS)
        assert received.body == b"other"
        assert answer.entry is not None
        assert cache.revalidate(answer.entry, 3 * REVALIDATE_MS)
        (www / "404.html").unlink()
        assert not cache.revalidate(answer.entry, 4 * REVALIDATE_MS)
        assert ask(handler, target, now_ms=5 * REVALIDATE_MS)[1].body == plain
        (www / "404.html").symlink_to("../secret")
        assert ask(handler, target, now_ms=7 * REVALIDATE_MS)[1].body == plain


def test_the_page_of_403(www: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(www / "403.html", b"closed")
    real, access = Root.open, os.access

    def opening(self: Root, segments: tuple[bytes, ...], flags: int) -> int:
        if segments == (b"app.js",):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(self, segments, flags)

    monkeypatch.setattr(Root, "open", opening)
    monkeypatch.setattr(
        os, "access", lambda name, *more, **how: name != b"app.js" and access(name, *more, **how)
    )
    for pages, cacheable in ((True, False), (False, True)):
        with serving(www, error_pages=pages) as (handler, _):
            answer, received = ask(handler, "/app.js")
            assert answer.status == 403
            assert (received.body == b"closed") is pages
            assert answer.cacheable is cacheable


def test_the_page_of_50x_is_there_when_files_are_not(www: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(www / "50x.html", b"sorry")
    with serving(www, error_pages=True) as (handler, _):
        with monkeypatch.context() as broken:
            fail(broken, errno.EMFILE)
            answer, received = ask(handler, "/app.js")
            assert (answer.status, received.body) == (503, b"sorry")
            assert received["retry-after"] == "1"
        with monkeypatch.context() as broken:
            fail(broken, errno.EIO)
            for method, body in (("GET", b"sorry"), ("HEAD", b"")):
                answer, received = ask(handler, "/app.js", method=method)
                assert (answer.status, received.body) == (500, body)
                assert not answer.keep_alive
    monkeypatch.setattr(errors, "FAULT_PAGE_SIZE_MAX", 3)
    with serving(www, error_pages=True) as (handler, _):
        fail(monkeypatch, errno.EMFILE)
        assert b"503" in ask(handler, "/app.js")[1].body


def test_why_an_answer_is_not_remembered(www: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(www, error_pages=True) as (handler, _):
        for head, why in (
            (head_of("/app.js"), Cacheable.YES),
            (head_of("/none"), Cacheable.YES),
            (head_of("/app.js", "Expect: 100-continue"), Cacheable.NO_REQUEST),
            (b"GET / HTTP/3.0\r\n\r\n", Cacheable.NO_REQUEST),
            (head_of("/", method="OPTIONS"), Cacheable.NO_ENTRY),
            (head_of("/.hidden"), Cacheable.NO_ENTRY),
        ):
            answer = handler.answer(head, 0)
            assert isinstance(answer, Answer)
            assert answer.caching is why, head
            assert answer.cacheable is (why is Cacheable.YES)
        fail(monkeypatch, errno.EACCES)
        assert ask(handler, "/other.js")[0].caching is Cacheable.TWO_ENTRIES


# --listing


def test_a_listing_is_as_good_as_a_file(www: Path) -> None:
    with serving(www, listing=True, cors=True) as (handler, _):
        answer, received = ask(handler, "/bare/?sort=size")
        assert answer.status == 200
        assert answer.cacheable
        assert answer.representation is None
        assert not any(isinstance(part, Slice) for part in answer.parts)
        assert b'<a href="inner/">' in received.body
        assert b'<a href="f.txt">' in received.body
        assert received["x-content-type-options"] == "nosniff"
        assert (received["content-security-policy"] or "").startswith(
            "default-src 'none'; style-src 'sha256-"
        )
        assert received["cache-control"] == "no-cache"
        assert received["vary"] == "Accept"
        assert received["access-control-allow-origin"] == "*"
        etag = f"If-None-Match: {received['etag']}"
        assert ask(handler, "/bare/?sort=size", etag)[0].status == 304
        assert ask(handler, "/bare/?sort=size", "Range: bytes=1-3")[1].body == received.body[1:4]
        assert ask(handler, "/bare/?sort=size", method="HEAD")[1]["content-length"] == str(len(received.body))
        _, as_json = ask(handler, "/bare/", JSON)
        assert as_json["content-type"] == "application/json"
        assert [row["name"] for row in json.loads(as_json.body)] == ["inner", "f.txt"]
        assert as_json["etag"] != received["etag"]


def test_what_has_no_listing(www: Path) -> None:
    with serving(www, listing=True, spa=True) as (handler, _):
        assert ask(handler, "/docs/")[1].body == b"this is docs/index.html"
        assert ask(handler, "/bare")[1]["location"] == "bare/"
        assert ask(handler, "/none/")[0].status == 404
        assert b"Index of /bare/" in ask(handler, "/bare/", HTML)[1].body
    with serving(www) as (handler, _):
        assert ask(handler, "/bare/")[0].status == 404


def test_a_listing_follows_its_directory(www: Path) -> None:
    with serving(www, listing=True) as (handler, cache):
        before, _ = ask(handler, "/bare/", JSON)
        assert before.entry is not None
        now_ms = 0
        for change, expected in (
            (lambda: put(www / "bare" / "new", b"123"), {"f.txt", "inner", "new"}),
            (lambda: put(www / "bare" / "new", b"12345"), {"f.txt", "inner", "new"}),
            ((www / "bare" / "f.txt").unlink, {"inner", "new"}),
        ):
            change()
            # A scan rests for a while: wait for it by the only clock it has.
            while cache.revalidate(before.entry, now_ms):
                now_ms += REVALIDATE_MS
            before, received = ask(handler, "/bare/", JSON, now_ms=now_ms)
            rows = {row["name"]: row for row in json.loads(received.body)}
            assert set(rows) == expected
            assert rows["new"]["size"] == (www / "bare" / "new").stat().st_size
            assert before.entry is not None


def test_a_directory_that_may_not_be_read(www: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object, **_bounds: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("zchttpd.files.listing_cache.scan", refusing)
    with serving(www, listing=True) as (handler, _):
        assert ask(handler, "/bare/")[0].status == 403


# Fields


def test_fields_of_files_errors_and_redirects(www: Path) -> None:
    rules = {
        "cors": True,
        "cross_origin_isolated": True,
        "immutable": ("*.js",),
        "cache_control": (CacheRule("/docs/*", "max-age=5"),),
        "header": (HeaderRule("*", "X-A", "b"), HeaderRule("*", "Vary", "X-C")),
    }
    with serving(www, **rules) as (handler, _):
        for target, caching in (
            ("/app.js", "public, max-age=31536000, immutable"),
            ("/docs/", "max-age=5"),
            ("/", "no-cache"),
            ("/bare/f.txt", None),
            ("/none.js", None),
            ("/docs", None),
            ("/.env", None),
        ):
            _, received = ask(handler, target)
            assert received["cache-control"] == caching, target
            assert received["x-a"] == "b"
            assert received["access-control-allow-origin"] == "*"
            assert received["cross-origin-opener-policy"] == "same-origin"
            assert received["cross-origin-embedder-policy"] == "require-corp"
            assert received["vary"] == ("Accept-Encoding, X-C" if target == "/app.js" else "X-C")
        etag = ask(handler, "/app.js")[1]["etag"]
        answer, received = ask(handler, "/app.js", f"If-None-Match: {etag}")
        assert answer.status == 304
        assert received["cache-control"] == "public, max-age=31536000, immutable"
        assert ask(handler, "/app.js", 'If-Match: "x"')[1]["cache-control"] is None


def test_preflight(www: Path) -> None:
    with serving(www, cors=True) as (handler, _):
        asked = ("Origin: https://a.example", "Access-Control-Request-Method: GET")
        for target in ("/app.js", "/none", "*"):
            answer, received = ask(handler, target, *asked, method="OPTIONS")
            assert answer.status == 204
            assert received["access-control-allow-origin"] == "*"
            assert received["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
            assert received["access-control-allow-headers"] == "*"
            assert received["access-control-max-age"] == "86400"
            assert received["vary"] is None
        assert ask(handler, "/app.js", method="POST")[1]["access-control-allow-origin"] == "*"
    with serving(www) as (handler, _):
        fields = ask(handler, "/app.js", *asked, method="OPTIONS")[1].fields
        assert not [name for name in fields if name.startswith("access-control")]


def test_precompressed_siblings_can_be_left_alone(www: Path) -> None:
    for left, body in ((True, b"this is app.js"), (False, b"this is app.js.br")):
        with serving(www, no_precompressed=left) as (handler, _):
            _, received = ask(handler, "/app.js", "Accept-Encoding: br")
            assert received.body == body
            assert (received["vary"] is None) is left
            assert ask(handler, "/app.js.br")[1].body == b"this is app.js.br"


def test_refusals_are_as_they_were(www: Path) -> None:
    with serving(www, listing=True, spa=True, error_pages=True, cors=True, clean_urls=True) as (handler, _):
        for target, status in (("/../x", 400), ("/%zz", 400), ("/%00", 400)):
            answer, _ = ask(handler, target, HTML)
            assert answer.status == status
            assert not answer.keep_alive
        assert Received(handler.refuse(431)).status == 431


@pytest.fixture
def full(www: Path) -> Iterator[Handler]:
    """Everything at once."""
    (www / "index.html").unlink()
    put(www / ".env", b"secret")
    put(www / "404.html", b"lost?")
    switches = ("listing", "spa", "clean_urls", "error_pages", "cors", "cross_origin_isolated")
    with serving(www, **dict.fromkeys(switches, True)) as (handler, _):
        yield handler


@given(head=LIKE_A_HEAD)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_bytes_the_answer_is_whole(
    full: Handler, caplog: pytest.LogCaptureFixture, head: bytes
) -> None:
    answer = full.answer(head, 0)
    received = Received(answer, "HEAD" if head.startswith(b"HEAD ") else "GET")
    assert received.status == answer.status != 500, caplog.text
    assert not caplog.records
    assert b"secret" not in received.body
    assert b".env" not in received.body

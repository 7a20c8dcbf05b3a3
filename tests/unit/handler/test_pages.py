"""Pages that stand for other paths: routes of a single-page application, and clean URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .test_handler import REVALIDATE_MS, ask, put
from .test_site import HTML, serving

if TYPE_CHECKING:
    from pathlib import Path

NAVIGATES = "Sec-Fetch-Mode: navigate"


@pytest.fixture
def www(tmp_path: Path) -> Path:
    for name in ("docs", "bare"):
        (tmp_path / name).mkdir()
    for name in ("index.html", "docs/index.html", "about.html", "app.js", "app.js.br", "bare/f.txt"):
        put(tmp_path / name, f"this is {name}".encode())
    return tmp_path


# --spa


@pytest.mark.parametrize(
    ("target", "fields", "status", "body"),
    [
        ("/route", [HTML], 200, b"this is index.html"),
        ("/route/of/many", [HTML], 200, b"this is index.html"),
        ("/route/", [NAVIGATES], 200, b"this is index.html"),
        ("/bare/", [HTML], 200, b"this is index.html"),
        ("/docs/", [HTML], 200, b"this is docs/index.html"),
        ("/app.js", [HTML], 200, b"this is app.js"),
        ("/route", [], 404, None),
        ("/route", ["Accept: */*"], 404, None),
        ("/route", ["Accept: text/html;q=0, */*"], 404, None),
        ("/assets/gone.js", [HTML], 404, None),
        ("/gone.png/", [HTML], 404, None),
        ("/users/john.doe", [NAVIGATES], 200, b"this is index.html"),
        ("/v1.2", [NAVIGATES, HTML], 200, b"this is index.html"),
        ("/v1.2/", [NAVIGATES], 200, b"this is index.html"),
        ("/users/john.doe", [HTML], 404, None),
        ("/assets/gone.js", ["Sec-Fetch-Mode: no-cors", "Accept: */*"], 404, None),
        ("/assets/gone.mjs", ["Sec-Fetch-Mode: cors", "Accept: */*"], 404, None),
        ("/assets/gone.html", ["Sec-Fetch-Mode: same-origin", HTML], 404, None),
        ("/.env", [NAVIGATES], 404, None),
        ("/app.js", [NAVIGATES], 200, b"this is app.js"),
        ("/.env", [HTML], 404, None),
        ("/a%2fb", [HTML], 404, None),
        ("/docs", [HTML], 301, None),
    ],
)
def test_routes(www: Path, target: str, fields: list[str], status: int, body: bytes | None) -> None:
    with serving(www, spa=True) as (handler, _):
        answer, received = ask(handler, target, *fields)
        assert answer.status == status
        assert body is None or received.body == body
        assert ask(handler, target, *fields, method="HEAD")[0].status == status
        assert ask(handler, target, *fields, method="POST")[0].status == 405


def test_a_route_says_that_it_varies_and_is_revalidated(www: Path) -> None:
    with serving(www, spa=True) as (handler, _):
        for fields in ([HTML], [], [NAVIGATES]):
            for target in ("/route", "/users/john.doe"):
                assert "Sec-Fetch-Mode" in (ask(handler, target, *fields)[1]["vary"] or "")
        assert ask(handler, "/app.js", NAVIGATES)[1]["vary"] == "Accept-Encoding"
        _, received = ask(handler, "/route", HTML)
        assert received["cache-control"] == "no-cache"
        assert ask(handler, "/route", HTML, f"If-None-Match: {received['etag']}")[0].status == 304
    with serving(www) as (handler, _):
        assert ask(handler, "/route", HTML)[0].status == 404


def test_a_route_depends_on_its_path_and_on_the_page(www: Path) -> None:
    with serving(www, spa=True) as (handler, cache):
        first, _ = ask(handler, "/route", HTML)
        assert first.cacheable
        assert first.entry is not None
        assert cache.revalidate(first.entry, REVALIDATE_MS)
        put(www / "new", b"the page of tomorrow")
        (www / "new").rename(www / "index.html")
        assert not cache.revalidate(first.entry, REVALIDATE_MS)
        second, received = ask(handler, "/route", HTML, now_ms=REVALIDATE_MS)
        assert received.body == b"the page of tomorrow"
        put(www / "route", b"a file")
        assert second.entry is not None
        assert not cache.revalidate(second.entry, 2 * REVALIDATE_MS)
        assert ask(handler, "/route", HTML, now_ms=2 * REVALIDATE_MS)[1].body == b"a file"
        (www / "route").unlink()
        assert ask(handler, "/route", now_ms=4 * REVALIDATE_MS)[0].status == 404
        (www / "index.html").unlink()
        assert ask(handler, "/route", HTML, now_ms=6 * REVALIDATE_MS)[0].status == 404
        (www / "index.html").symlink_to("/etc/hostname")
        assert ask(handler, "/route", HTML, now_ms=8 * REVALIDATE_MS)[0].status == 404


# --clean-urls


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/about", 200, b"this is about.html"),
        ("/about?a=1", 200, b"this is about.html"),
        ("/about.html", 200, b"this is about.html"),
        ("/index", 200, b"this is index.html"),
        ("/none/", 404, None),
        ("/none", 404, None),
        ("/app", 404, None),
        ("/docs", 301, None),
        ("/", 200, b"this is index.html"),
    ],
)
def test_clean_urls(www: Path, target: str, status: int, body: bytes | None) -> None:
    with serving(www, clean_urls=True) as (handler, _):
        answer, received = ask(handler, target)
        assert answer.status == status
        assert received["location"] == ("docs/" if status == 301 else None)
        if body is not None:
            assert received.body == body
            assert received["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/about/", "../about"),
        ("/about/?a=1&b=%20", "../about?a=1&b=%20"),
        ("/docs/../about/", "../about"),
        ("/bare/", "../bare"),
        # No reference leads out of these for every client.
        ("/about//", None),
        ("/docs/", None),
        ("/docs//", None),
    ],
)
def test_a_slash_behind_a_clean_url(www: Path, target: str, location: str | None) -> None:
    put(www / "bare.html", b"page beside a directory without an index")
    put(www / "docs.html", b"page beside a directory with one")
    with serving(www, clean_urls=True, spa=True) as (handler, _):
        answer, received = ask(handler, target, HTML)
        assert received["location"] == location
        assert answer.status == (301 if location else 404 if target == "/about//" else 200)
        assert answer.cacheable
    with serving(www, clean_urls=True, listing=True) as (handler, _):
        assert ask(handler, "/bare/")[0].status == 200
    with serving(www) as (handler, _):
        assert ask(handler, target)[0].status == (404 if location or target == "/about//" else 200)


def test_a_slash_behind_a_clean_url_follows_its_page(www: Path) -> None:
    with serving(www, clean_urls=True) as (handler, _):
        assert ask(handler, "/new/")[0].status == 404
        put(www / "new.html", b"new")
        assert ask(handler, "/new/", now_ms=REVALIDATE_MS)[0].status == 301
        (www / "new").mkdir()
        assert ask(handler, "/new/", now_ms=2 * REVALIDATE_MS)[0].status == 301
        put(www / "new" / "index.html", b"index")
        assert ask(handler, "/new/", now_ms=3 * REVALIDATE_MS)[1].body == b"index"
        (www / "new" / "index.html").unlink()
        (www / "new.html").unlink()
        assert ask(handler, "/new/", now_ms=4 * REVALIDATE_MS)[0].status == 404


# --encoded-slash


def test_an_encoded_slash_is_a_separator_for_who_asks_for_it(www: Path) -> None:
    (www / "@acme").mkdir()
    put(www / "@acme" / "left", b"a package")
    put(www / "docs" / ".env", b"secret")
    for target, status in (
        ("/@acme%2fleft", 200),
        ("/@acme%2Fleft", 200),
        ("/docs%2F", 200),
        ("/@acme%2f..%2fabout.html", 200),
        ("/@acme%252fleft", 404),
        ("/@acme%5cleft", 404),
        ("/docs%2f.env", 404),
        ("/@acme%2f..%2f..%2fetc%2fpasswd", 400),
    ):
        with serving(www, encoded_slash=True) as (handler, _):
            assert ask(handler, target)[0].status == status, target
        with serving(www) as (handler, _):
            assert ask(handler, target)[0].status == 404, target
    with serving(www, encoded_slash=True) as (handler, _):
        assert ask(handler, "/@acme%2fleft")[1].body == b"a package"
        assert ask(handler, "/.%2fbare")[1]["location"] == "bare/"
        assert ask(handler, "/x/..%2fbare")[1]["location"] == "..%2Fbare/"


def test_a_file_wins_over_a_clean_url_which_wins_over_a_directory(www: Path) -> None:
    with serving(www, clean_urls=True) as (handler, _):
        put(www / "docs.html", b"page beside a directory")
        assert ask(handler, "/docs")[1].body == b"page beside a directory"
        assert ask(handler, "/docs/")[1].body == b"this is docs/index.html"
        assert ask(handler, "/about")[1].body == b"this is about.html"
        put(www / "about", b"a real file")
        assert ask(handler, "/about", now_ms=REVALIDATE_MS)[1].body == b"a real file"
        (www / "about").unlink()
        (www / "about.html").unlink()
        (www / "about.html").symlink_to("../secret")
        assert ask(handler, "/about", now_ms=2 * REVALIDATE_MS)[0].status == 404
    with serving(www) as (handler, _):
        assert ask(handler, "/about")[0].status == 404

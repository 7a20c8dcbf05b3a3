"""Redirects and rewrites, from head bytes to whole answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zchttpd.config.redirects import parse_redirects
from zchttpd.handler.answer import Cacheable
from zchttpd.handler.redirects import Moved, Redirects
from zchttpd.http.target import Target, parse_target

from .test_handler import ask, put
from .test_site import serving

if TYPE_CHECKING:
    from pathlib import Path

LINES = """
/old /new 301
/old /never 301
/twice/first /literal
/twice/* /pattern/:splat
/index.html /forced 302!
/docs/guide /unforced
/blog/:year/:name /posts/:name?from=:year
/away/* https://a.example/in/:splat 308
/spa/* /docs/ 200
/spa2/:page /docs/:page 200
/gone/* /docs/index.html 404
/dot/* /:splat 200
/odd/* /:splat/end 302
/q/:v /search?q=:v 303
/frag /a?b=c#d 307
/* /start/:splat
"""


@pytest.fixture
def www(tmp_path: Path) -> Path:
    root = tmp_path / "www"
    for name in ("index.html", "docs/index.html", "docs/guide", "one.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        put(root / name, f"this is {name}".encode())
    return root


def lines_of(tmp_path: Path, text: str = LINES) -> dict[str, object]:
    path = tmp_path / "_redirects"
    path.write_text(text)
    return {"redirects": parse_redirects(str(path))}


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/old", 301, b"/new"),
        ("/old/", 301, b"/new"),
        ("/o%6cd?x=1&y", 301, b"/new?x=1&y"),
        ("/twice/first", 302, b"/literal"),
        ("/twice/second/", 302, b"/pattern/second/"),
        ("/index.html", 302, b"/forced"),
        ("/", 302, b"/forced"),
        ("/blog/2020/a%20b", 302, b"/posts/a%20b?from=2020"),
        ("/away/x/y%3Fz", 308, b"https://a.example/in/x/y%3Fz"),
        ("/away//evil.example", 308, b"https://a.example/in/evil.example"),
        ("/away", 302, b"/start/away"),
        ("/odd/", 302, b"/end"),
        ("/odd/a", 302, b"/a/end"),
        ("//evil.example/", 302, b"/start/evil.example/"),
        ("/%5c%5cevil.example", 302, b"/start/%5C%5Cevil.example"),
        ("/x%0d%0aSet-Cookie:a", 302, b"/start/x%0D%0ASet-Cookie:a"),
        ("/q/a&b=c%23", 303, b"/search?q=a%26b%3Dc%23"),
        ("/frag?x", 307, b"/a?b=c#d"),
    ],
)
def test_where_a_path_leads(www: Path, tmp_path: Path, target: str, status: int, location: bytes) -> None:
    text = LINES.replace("/index.html /forced 302!", "/ /forced 302!\n/index.html /forced 302!")
    with serving(www, **lines_of(tmp_path, text)) as (handler, _):
        answer, received = ask(handler, target)
        assert answer.status == status
        assert received["location"] == location.decode()
        bodiless, head = ask(handler, target, method="HEAD")
        assert (bodiless.status, head["location"]) == (status, location.decode())


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/docs/guide", 200, b"this is docs/guide"),
        ("/one.txt", 200, b"this is one.txt"),
        ("/spa/any/where?x", 200, b"this is docs/index.html"),
        ("/spa2/guide", 200, b"this is docs/guide"),
        ("/gone/a", 404, b"this is docs/index.html"),
        ("/dot/one.txt", 200, b"this is one.txt"),
    ],
)
def test_which_file_is_sent(www: Path, tmp_path: Path, target: str, status: int, body: bytes) -> None:
    with serving(www, **lines_of(tmp_path)) as (handler, _):
        answer, received = ask(handler, target)
        assert (answer.status, received.body) == (status, body)


@pytest.mark.parametrize("target", ["/spa2/none", "/dot/none", "/.env", "/docs/.env"])
def test_what_is_not_there_and_what_is_hidden_stays_so(www: Path, tmp_path: Path, target: str) -> None:
    put(www / ".env", b"secret")
    put(www / "docs/.env", b"secret")
    lines = lines_of(tmp_path, "/dot/* /:splat 200\n/spa2/:page /docs/:page 200\n/x /.env 200\n")
    with serving(www, **lines) as (handler, _):
        for each in (target, "/x"):
            assert ask(handler, each)[0].status == 404


def test_a_redirect_is_remembered_until_a_file_comes_and_a_rewrite_is_not(www: Path, tmp_path: Path) -> None:
    with serving(www, **lines_of(tmp_path)) as (handler, _):
        answer, _ = ask(handler, "/old")
        assert answer.cacheable
        assert answer.entry is not None
        assert answer.entry.segments == (b"old",)
        put(www / "old", b"new here")
        assert ask(handler, "/old", now_ms=10**9)[1].body == b"new here"
        rewritten, _ = ask(handler, "/spa/x")
        assert rewritten.caching is Cacheable.TWO_ENTRIES


SEGMENTS = st.text(st.sampled_from("ab/.%\\:@?#\u00e9\r"), max_size=12)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["", "away/", "odd/", "twice/", "blog/"]), SEGMENTS)
def test_no_path_leads_to_a_site_that_no_line_names(tmp_path: Path, prefix: str, rest: str) -> None:
    redirects = Redirects(lines_of(tmp_path)["redirects"])  # type: ignore[arg-type]
    target = parse_target(b"/" + prefix.encode() + rest.encode())
    if not isinstance(target, Target):
        return
    led = redirects.find(target, forced=False)
    if isinstance(led, Moved):
        own = led.location.startswith(b"/") and led.location[1:2] not in (b"/", b"\\")
        assert own or led.location.startswith(b"https://a.example/in/")
        assert not set(led.location) & set(b"\r\n\0 \\")

"""Redirects and rewrites, from head bytes to whole answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zchttpd.config.redirects import parse_redirects
from zchttpd.handler.answer import Answer, Cacheable
from zchttpd.handler.redirects import HOST_SIZE_MAX, Moved, Redirects, origin_of
from zchttpd.http.request import HttpError, parse_request
from zchttpd.http.target import Target, parse_target

from .test_auth import ANN, rules
from .test_handler import ask, put
from .test_site import serving

if TYPE_CHECKING:
    from pathlib import Path

    from zchttpd.handler.handler import Handler

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


OF_HOSTS = """
/.well-known/acme-challenge/* /.well-known/acme-challenge/:splat 200!
http://example.org/* https://:host/:splat 301!
http://*.example.org/* https://:host:8443/:splat 308!
https://old.example/kept /index.html 200!
https://old.example/* https://www.example.org/old/:splat 301!
http://[::1]/* https://:host/:splat 302!
/all /index.html
https://www.example.org/all /never
http://unforced.example/* https://:host/:splat
https://unforced.example/lost /found
"""


def location_of(handler: Handler, head: bytes, *, secure: bool) -> tuple[int, str | None]:
    answer = handler.answer(head, 0, secure=secure)
    assert isinstance(answer, Answer)
    fields = [line.partition(b": ") for line in answer.head.split(b"\r\n")[1:]]
    return answer.status, next((value.decode() for name, _, value in fields if name == b"Location"), None)


@pytest.mark.parametrize(
    ("host", "target", "secure", "expected"),
    [
        ("example.org", "/", False, (301, "https://example.org/")),
        ("example.org", "/one.txt?a=b", False, (301, "https://example.org/one.txt?a=b")),
        ("EXAMPLE.org.:8080", "/docs/", False, (301, "https://example.org/docs/")),
        ("example.org", "/one.txt", True, (200, None)),
        ("example.org", "//evil.example/", False, (301, "https://example.org/evil.example/")),
        ("example.org", "/%5cevil.example", False, (301, "https://example.org/%5Cevil.example")),
        ("example.org", "/x%0d%0aA:b", False, (301, "https://example.org/x%0D%0AA:b")),
        ("example.org", "http://a.b.example.org:1/x", False, (308, "https://a.b.example.org:8443/x")),
        ("a.example.org", "/x", False, (308, "https://a.example.org:8443/x")),
        ("a.example.org", "http://[::1]/x", False, (302, "https://[::1]/x")),
        ("evilexample.org", "/one.txt", False, (200, None)),
        ("example.org.evil.example", "/one.txt", False, (200, None)),
        ("old.example", "/kept", True, (200, None)),
        ("old.example", "/a/b", True, (301, "https://www.example.org/old/a/b")),
        ("old.example", "/", True, (301, "https://www.example.org/old/")),
        ("old.example", "/one.txt", False, (200, None)),
        # The first that matches, whether it is of all or of one.
        ("www.example.org", "/all", True, (302, "/index.html")),
        ("www.example.org", "/all", False, (308, "https://www.example.org:8443/all")),
        ("unforced.example", "/one.txt", False, (200, None)),
        ("unforced.example", "/lost", False, (302, "https://unforced.example/lost")),
        ("unforced.example", "/lost", True, (302, "/found")),
        # What RFC 3986 lets a host have, and lines have for others.
        ("*.example.org", "/one.txt", False, (200, None)),
        ("a!.example.org", "/one.txt", False, (200, None)),
        ("%61.example.org", "/one.txt", False, (200, None)),
        (".example.org", "/one.txt", False, (200, None)),
        ("a..example.org", "/one.txt", False, (200, None)),
        ("", "/one.txt", False, (400, None)),
        ("u@a.example.org", "/one.txt", False, (400, None)),
        ("a.example.org/x", "/one.txt", False, (400, None)),
        ("a.example.org, example.org", "/one.txt", False, (400, None)),
        ("example.org\r\nHost: example.org", "/one.txt", False, (400, None)),
        ("example.org", "http://u@example.org/one.txt", False, (400, None)),
    ],
)
def test_where_a_host_leads(
    www: Path, tmp_path: Path, host: str, target: str, secure: bool, expected: tuple[int, str | None]
) -> None:
    for lines in (OF_HOSTS, f"{OF_HOSTS}http://unheard.example/ /\n"):
        with serving(www, **lines_of(tmp_path, lines)) as (handler, _):
            head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            assert location_of(handler, head, secure=secure) == expected


def test_any_host_is_meant_but_who_names_none(www: Path, tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "http://*/* https://:host/:splat 301!\n")
    with serving(www, **lines) as (handler, _):
        head = b"GET /one.txt HTTP/1.1\r\nHost: localhost:80\r\n\r\n"
        assert location_of(handler, head, secure=False) == (301, "https://localhost/one.txt")
        assert location_of(handler, head, secure=True) == (200, None)
        nobody = b"GET /one.txt HTTP/1.0\r\n\r\n"
        assert location_of(handler, nobody, secure=False) == (200, None)


def test_a_redirect_by_host_is_remembered(www: Path, tmp_path: Path) -> None:
    with serving(www, **lines_of(tmp_path, OF_HOSTS)) as (handler, _):
        answer = handler.answer(b"GET /one.txt HTTP/1.1\r\nHost: example.org\r\n\r\n", 0)
        assert isinstance(answer, Answer)
        assert (answer.status, answer.cacheable, answer.template) == (301, True, None)


@pytest.mark.parametrize("field", ["X: y", ANN])
def test_no_password_is_asked_for_where_https_is(www: Path, tmp_path: Path, field: str) -> None:
    lines = lines_of(
        tmp_path,
        "/docs/guide /elsewhere 301!\n"
        "http://a.example/*  https://:host/:splat 301!\n"
        "http://unforced.example/* https://:host/:splat 301\n",
    )
    with serving(www, **lines, **rules(tmp_path, "/docs/*")) as (handler, _):
        for host, target, secure, expected in (
            ("a.example", "/docs/", False, (301, "https://a.example/docs/")),
            ("a.example", "/docs/", True, (200 if field == ANN else 401, None)),
            ("b.example", "/docs/", False, (200 if field == ANN else 401, None)),
            ("unforced.example", "/docs/", False, (200 if field == ANN else 401, None)),
            # Where a path leads is told who may ask for it.
            ("a.example", "/docs/guide", False, (301, "/elsewhere") if field == ANN else (401, None)),
        ):
            head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{field}\r\n\r\n".encode()
            assert location_of(handler, head, secure=secure) == expected


HOSTS = st.text(st.sampled_from("ab.*:[]@%-_ /\\\r\n\u00e4"), max_size=12)


@settings(max_examples=300)
@given(st.one_of(HOSTS, HOSTS.map("a.example{}".format), HOSTS.map("{}.a.example".format)), st.booleans())
def test_no_origin_has_what_no_name_has(host: str, secure: bool) -> None:
    origin = origin_of(host, secure=secure)
    scheme = "https" if secure else "http"
    assert not origin or re.fullmatch(rf"{scheme}://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])", origin)
    assert not origin or origin == f"{scheme}://{host}"
    head = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
    # And what is taken for one is what a request may have.
    assert not origin or not isinstance(parse_request(head), HttpError)


def test_a_long_host_is_no_name() -> None:
    name = "a." * (HOST_SIZE_MAX // 2) + "a"
    assert origin_of(name, secure=False) == f"http://{name}"
    assert origin_of(f"{name}a", secure=False) == ""

"""The file of --redirects: what its lines mean, and what is said of wrong ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.load import load
from zchttpd.config.options import SettingsError
from zchttpd.config.redirects import LINES_MAX, PATTERNS_MAX, Redirect, Source, by_site, parse_redirects
from zchttpd.config.settings import Settings
from zchttpd.config.site import Site

if TYPE_CHECKING:
    from pathlib import Path


def parsed(tmp_path: Path, text: str | bytes) -> tuple[Redirect, ...]:
    path = tmp_path / "_redirects"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return parse_redirects(str(path))


def test_lines_and_what_they_mean(tmp_path: Path) -> None:
    text = """\ufeff# a comment

/old /new 301
  /a/b/   /c\t# not there yet
/blog/:year/:name /posts/:name?y=:year#top 302!
/app/* /index.html 200
/gr\u00fc%C3%9Fe /a%20b 308\r
/out/* https://a.example:8443/in/:splat 307
/v6 http://[::1]/ 303
"""
    found = parsed(tmp_path, text)
    assert [*found] == [
        Redirect(Source((b"old",), False), (b"/new",), 301, False),
        Redirect(Source((b"a", b"b"), False), (b"/c",), 302, False),
        Redirect(
            Source((b"blog", "year", "name"), False), (b"/posts/", "name", b"?y=", "year", b"#top"), 302, True
        ),
        Redirect(Source((b"app",), True), (b"/index.html",), 200, False),
        Redirect(Source(("gr\u00fc\u00dfe".encode(),), False), (b"/a%20b",), 308, False),
        Redirect(Source((b"out",), True), (b"https://a.example:8443", b"/in/", "splat"), 307, False),
        Redirect(Source((b"v6",), False), (b"http://[::1]", b"/"), 303, False),
    ]


def test_lines_of_a_scheme_and_a_host(tmp_path: Path) -> None:
    text = """
http://*/* https://:host/:splat 301!
https://Old.Example.org/a/:b https://www.example.org:8443/:b?from=:host 302!
HTTP://*.example.org https://:host:8443
https://[::1]/x /:host/y 200
http://a.example/:host2/* /:splat/:host2
/:host /:host/b
"""
    assert [(each.source, each.to) for each in parsed(tmp_path, text)] == [
        (Source((), True, "http://*"), (b"https://", "host", b"/", "splat")),
        (
            Source((b"a", "b"), False, "https://old.example.org"),
            (b"https://www.example.org:8443", b"/", "b", b"?from=", "host"),
        ),
        (Source((), False, "http://*.example.org"), (b"https://", "host", b":8443")),
        (Source((b"x",), False, "https://[::1]"), (b"/", "host", b"/y")),
        (Source(("host2",), True, "http://a.example"), (b"/", "splat", b"/", "host2")),
        # Without a site it is the name of a segment, as any.
        (Source(("host",), False), (b"/", "host", b"/b")),
    ]


def test_whether_a_line_of_any_site_is_of_a_host(tmp_path: Path) -> None:
    plain, named = parsed(tmp_path, "/a /b"), parsed(tmp_path, "/a /b\nhttp://a.example/a /c")
    root = str(tmp_path)
    assert not by_site(Settings(root=root, redirects=plain))
    assert by_site(Settings(root=root, redirects=named))
    site = (Site(("a.example",), (("root", root), ("redirects", named))),)
    assert by_site(Settings(root=root, redirects=plain, sites=site))
    assert not by_site(Settings(root=root, sites=(Site(("a.example",), (("root", root),)),)))


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert parse_redirects("") == ()
    assert parsed(tmp_path, "") == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("/a", "has 1 words. Type FROM TO STATUS"),
        ("/a /b 301 Country=us", "has 4 words"),
        ("/a /b 418", "'418' is not a status. Type one of 301, 302"),
        ("/a /b 30\u00b2", "is not a status"),
        ("a /b", "'a' is not a path. Type such as /a"),
        ("//a.example /b", "has no scheme. Type http://a.example, and https://a.example on another line"),
        ("ftp://a.example/x /b", "is not a path"),
        ("https:///x /b", "'' is not a host"),
        ("https://a.example:80/x /b", "'a.example:80' is not a host. Type such as example.org"),
        ("https://u@a.example/x /b", "is not a host"),
        ("https://a.*.example/x /b", "is not a host"),
        ("https://\u00e4.example/x /b", "is not a host"),
        ("https://a%2eexample/x /b", "is not a host"),
        ("https://a.example?b /c", "is not a path"),
        ("https://a.example/x?b /c", "has a query"),
        ("http://a.example/:host /c", "has :host for something else"),
        ("/:host https://:host/", "has a host that '/:host' does not tell. Type http://*/:host"),
        ("/* https://:host:8443/:splat", "has a host that '/*' does not tell"),
        ("/* https://a.example/:host", "has :host, and '/*' has no :host"),
        ("http://*/* https://www.:host/:splat", "is neither a path nor"),
        ("http://*/* https://:hosts/:splat", "is neither a path nor"),
        ("http://*/* https://:host.evil.example/:splat", "is neither a path nor"),
        ("http://*/* https://:host@evil.example/:splat", "is neither a path nor"),
        ("http://*/* //:host/:splat", "would lead to another site"),
        ("http://*/* https://:host/:splat 200", "is another site"),
        ("http://a.example/x http://a.example/x", "leads to itself"),
        ("http://a.example/* http://a.example/:splat", "leads to itself"),
        ("http://*/* http://:host/:splat", "leads to itself"),
        ("/* /:splat 301", "leads to itself"),
        ("/a?b=c /b", "has a query"),
        ("/a*/b /c", "* stands at the end"),
        ("/a* /c", "* stands at the end"),
        ("/*/a /c", "* stands at the end"),
        ("/:1 /c", "':1' is not a name"),
        ("/:splat /c", "has :splat for something else"),
        ("/:a/:a /c", "has :a for something else"),
        ("/a/../b /c", "a segment that no path keeps"),
        ("/a%2fb /c", "a segment that no path keeps"),
        ("/a b/c", "'b/c' is neither a path nor http://HOST/... Type such as /b/c"),
        ("/a javascript:alert(1)", "is neither a path nor"),
        ("/* //a.example/:splat", "would lead to another site"),
        ("/* /\\a.example/:splat", "would lead to another site"),
        ("/* https://:splat", "is neither a path nor"),
        ("/* https://a.example:splat", "is neither a path nor"),
        ("/* https://a.example.:splat/", "is neither a path nor"),
        ("/:x https://u:x@a.example/", "is neither a path nor"),
        ("/a https://a.example/ 200", "is another site"),
        ("/a /b?c 200", "is to be a file"),
        ("/a /b/:c", "has :c, and '/a' has no :c"),
        ("/a /b/:splat", "has :splat, and '/a' has no * at the end"),
        ("/a /a 302", "leads to itself"),
        ("/" + "a" * 2000 + " /b", "is longer than 2000"),
    ],
)
def test_a_wrong_line_is_told_with_its_number(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as raised:
        parsed(tmp_path, f"# first\n/x /y\n{line}\n")
    text = str(raised.value)
    assert text.startswith(f"{tmp_path}/_redirects:3: ")
    assert "\n" not in text


def test_bounds(tmp_path: Path) -> None:
    lines = [f"/{number} /x" for number in range(LINES_MAX)]
    assert len(parsed(tmp_path, "\n".join(lines))) == LINES_MAX
    with pytest.raises(ValueError, match=f":{LINES_MAX + 1}: is one too many"):
        parsed(tmp_path, "\n".join([*lines, "/y /x"]))
    patterns = [f"/{number}/* /x" for number in range(PATTERNS_MAX)]
    assert len(parsed(tmp_path, "\n".join(patterns))) == PATTERNS_MAX
    with pytest.raises(ValueError, match=f":{PATTERNS_MAX + 1}: is one too many"):
        parsed(tmp_path, "\n".join([*patterns, "/y/:a /x"]))
    with pytest.raises(ValueError, match="is larger than 1 MiB"):
        parsed(tmp_path, b"#" * (1 << 20) + b"\n")
    with pytest.raises(ValueError, match=":2: is not UTF-8"):
        parsed(tmp_path, b"/a /b\n/\xff /b\n")


def test_the_option_names_itself_and_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--redirects: /nowhere: cannot be read"):
        load({"root": str(tmp_path), "redirects": "/nowhere"}, {})

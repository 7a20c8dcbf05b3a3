"""What the options of a site are read as, and which fields they give to which paths."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd import cli
from zchttpd.config.load import load
from zchttpd.config.options import SettingsError
from zchttpd.config.rules import CacheRule, HeaderRule
from zchttpd.config.settings import Settings
from zchttpd.handler.site import IMMUTABLE, SitePolicy
from zchttpd.process import supervisor

ROOT = {"root": "www"}
HTML = "text/html; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"


def policy(**typed: str) -> SitePolicy:
    return SitePolicy.of(load({**ROOT, **typed}, {}))


def of_file(site: SitePolicy, path: str, kind: str = SCRIPT) -> dict[str, str]:
    fields = site.of_file(tuple(path.encode().split(b"/")[1:]), kind)
    assert len({name.lower() for name, _ in fields}) == len(fields), "a field is there twice"
    return {name.decode(): value.decode() for name, value in fields}


def test_nothing_is_asked_for_by_default() -> None:
    site = policy()
    assert site.common == site.preflight == ()
    assert of_file(site, "/app.js") == {}
    assert of_file(site, "/index.html", HTML) == {"Cache-Control": "no-cache"}
    assert site.of_path((b"nothing",), False) == ()


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("/app.js", ["/app.js"], ["/a/app.js", "/app.jsx", "/APP.js"]),
        ("app.js", ["/app.js", "/a/b/app.js"], ["/xapp.js", "/app.js/x"]),
        ("*.js", ["/app.js", "/a/b.js", "/.js"], ["/app.css", "/app.js.map"]),
        ("/assets/*", ["/assets/a", "/assets/a/b", "/assets/"], ["/assets", "/a/assets/x"]),
        ("assets/*", ["/assets/a", "/x/assets/a/b"], ["/myassets/a"]),
        ("/v?/x", ["/v1/x"], ["/v/x", "/v12/x"]),
        ("/[ab].txt", ["/a.txt"], ["/c.txt"]),
        ("/a+b (1).txt", ["/a+b (1).txt"], ["/aab (1).txt"]),
        ("/été/*", ["/été/x"], ["/ete/x"]),
        ("*", ["/", "/a", "/a/b", "/new\nline"], []),
    ],
)
def test_patterns(pattern: str, matched: list[str], others: list[str]) -> None:
    site = policy(cache_control=f"{pattern}=max-age=1")
    for path in matched:
        assert of_file(site, path).get("Cache-Control") == "max-age=1", path
    for path in others:
        assert "Cache-Control" not in of_file(site, path), path


def test_a_pattern_can_name_a_file_whose_name_is_not_utf_8() -> None:
    site = SitePolicy.of(Settings(root=Path(), header=(HeaderRule("/inv?.txt", "X-A", "b"),)))
    assert site.of_file((b"inv\xff.txt",), SCRIPT) == ((b"X-A", b"b"),)


def test_the_first_cache_rule_wins_and_immutable_comes_before_all() -> None:
    site = policy(
        immutable="*.abc.js\n/fonts/*", cache_control="*.js=max-age=60\n*=public, max-age=5\n/x=no-store"
    )
    assert of_file(site, "/app.abc.js")["Cache-Control"] == IMMUTABLE
    assert of_file(site, "/fonts/a.woff2")["Cache-Control"] == IMMUTABLE
    assert of_file(site, "/app.js")["Cache-Control"] == "max-age=60"
    assert of_file(site, "/x", HTML)["Cache-Control"] == "public, max-age=5"


def test_headers_of_paths() -> None:
    site = policy(header="* X-One: a\n*.js X-One: b\n*.js  X-Two : c: d\n* Cache-Control: private", cors="on")
    both = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "*"}
    assert of_file(site, "/app.js") == {"X-One": "a", "X-Two": "c: d", "Cache-Control": "private", **both}
    # A rule replaces what a switch or the default would say.
    assert of_file(site, "/", HTML) == {"X-One": "a", "Cache-Control": "private", **both}
    own = policy(header="* access-control-allow-origin: https://a.example", cors="yes")
    assert of_file(own, "/a")["access-control-allow-origin"] == "https://a.example"


def test_answers_without_a_file_say_nothing_of_how_long_to_keep_it() -> None:
    site = policy(header="* X-One: a\n* Cache-Control: private\n* Expires: 0\n/d/ X-Two: b", immutable="*")
    assert site.of_path((b"d",), True) == ((b"X-One", b"a"), (b"X-Two", b"b"))
    assert site.of_path((b"d",), False) == ((b"X-One", b"a"),)
    assert site.of_path((), True) == ((b"X-One", b"a"),)


def test_isolation_needs_both_fields() -> None:
    assert policy(cross_origin_isolated="1").common == (
        (b"Cross-Origin-Opener-Policy", b"same-origin"),
        (b"Cross-Origin-Embedder-Policy", b"require-corp"),
    )


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("listing", "maybe", "'maybe' is neither on nor off"),
        ("cache_control", "*.js", "is not PATTERN=VALUE"),
        ("cache_control", "=max-age=1", "'' is not a pattern"),
        ("cache_control", "*.js=", "'' is not a field value"),
        ("cache_control", "*.js=caf\u00e9", "is not a field value"),
        ("cache_control", "max-age=3", "Type --cache-control '*=max-age=3'"),
        ("cache_control", "no-cache", "Type --cache-control '*=no-cache'"),
        ("cache_control", "public, max-age=3", "Type --cache-control '*=public, max-age=3'"),
        ("cache_control", "* max-age=3", "Type --cache-control '*=max-age=3'"),
        ("cache_control", "*.js=3", "'3' is not a Cache-Control"),
        ("cache_control", "*.js=no", "'no' is not a Cache-Control. Type one of: max-age"),
        ("cache_control", "*.js=Cache-Control: no-cache", "Type commas between directives"),
        ("cache_control", "*.js=public max-age=3", "Type commas between directives"),
        ("cache_control", "*.js=max-age", "'max-age' does not give whole seconds. Type such as max-age=3600"),
        ("cache_control", "*.js=max-age=1d", "'max-age=1d' does not give whole seconds"),
        ("cache_control", "*.js=public, max-aeg=3", "Did you mean max-age?"),
        ("cache_control", "assets/=no-cache", "Type 'assets/*' for what is in it"),
        ("cache_control", "./a.js=no-cache", "has a dot that no path keeps"),
        ("immutable", "max-age=3", "is not a pattern of files"),
        ("immutable", "true", "is not a pattern of files"),
        ("immutable", "*.js=no-cache", "Type '*.js' alone, or --cache-control '*.js=no-cache'"),
        ("immutable", "/assets/", "Type '/assets/*' for what is in it"),
        ("immutable", "../*", "has a dot that no path keeps"),
        ("immutable", "\x1b*", "is not a pattern"),
        ("header", "X-A: b", "is not PATTERN 'Name: value'"),
        ("header", "X-A: b", "Type --header '*' 'X-A: b'"),
        ("header", "X-A: b *.js", "Type --header '*.js' 'X-A: b'"),
        ("header", "Refresh: 1; url=a https://b", "Type --header '*' 'Refresh: 1; url=a https://b'"),
        ("header", "* X A", "is not PATTERN 'Name: value'"),
        ("header", "* X-A:", "'' is not a field value"),
        ("header", "* X-A: b\rSet-Cookie: c", "is not a field value"),
        ("header", "* X-A: b\0", "is not a field value"),
        ("header", "* X-A: \u00e9", "is not a field value"),
        *(
            ("header", f"* {name}: x", "is set by the server itself")
            for name in ("Content-Length", "transfer-encoding", "CONNECTION", "Date", "ETag", "Content-Range")
        ),
    ],
)
@pytest.mark.parametrize("source", ["command line", "environment"])
def test_bad_texts_are_refused_at_the_start(source: str, name: str, text: str, cause: str) -> None:
    typed = source == "command line"
    with pytest.raises(SettingsError) as caught:
        load({**ROOT, name: text} if typed else ROOT, {} if typed else {f"ZCHTTPD_{name.upper()}": text})
    assert cause in caught.value.problem
    assert "Type " in caught.value.problem or "Did you mean " in caught.value.problem
    assert "\n" not in caught.value.problem


def test_a_pattern_may_have_spaces() -> None:
    assert load({**ROOT, "header": "/a b/*  X-A: b c"}, {}).header == (HeaderRule("/a b/*", "X-A", "b c"),)


@pytest.mark.parametrize(
    "value",
    [
        "no-cache",
        "public, max-age=60",
        "MAX-AGE=60 , Immutable,",
        'private="a, b", no-cache="Set-Cookie"',
        "max-age=60, stale-while-revalidate=30, x-of-our-own=1",
    ],
)
def test_what_caches_understand_is_taken_as_it_is(value: str) -> None:
    assert load({**ROOT, "cache_control": f"public={value}"}, {}).cache_control == (
        CacheRule("public", value),
    )


def test_rules_made_in_python_are_checked_too() -> None:
    with pytest.raises(ValueError, match="is not a field name"):
        HeaderRule("*", "X A", "b")
    with pytest.raises(ValueError, match="is not a field value"):
        HeaderRule("*", "X-A", "b\r\nSet-Cookie: c")
    with pytest.raises(ValueError, match="is not a pattern"):
        CacheRule("", "no-cache")
    with pytest.raises(ValueError, match="is not a Cache-Control"):
        CacheRule("*", "3")


@given(st.text(), st.text(), st.text())
def test_whatever_is_accepted_fits_into_one_field(pattern: str, name: str, value: str) -> None:
    try:
        site = policy(header=f"{pattern} {name}: {value}")
    except SettingsError:
        return
    for _, key, text in site._headers:
        assert key.replace(b"-", b"").isascii()
        assert not set(key + text) & set(b"\r\n\0")
        assert b":" not in key


def test_every_option_can_be_typed_and_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr(supervisor, "run", lambda settings, notes, **_: seen.append(settings) or 0)
    typed = ["--listing", "--spa", "--clean-urls", "--error-pages", "--no-precompressed", "--cors"]
    typed += ["--cross-origin-isolated", "--immutable", "*.a", "--immutable", "/b, c/*"]
    typed += ["--cache-control", "*.js=public, max-age=1", "--cache-control", "*=no-store"]
    typed += ["--header", "/a b/*", "X-A: b, c", "--header", "*", "X-D:e"]
    assert cli.main(["--root", str(tmp_path), *typed]) == 0
    switches = ("listing", "spa", "clean_urls", "error_pages", "no_precompressed", "cors")
    for name in (*switches, "cross_origin_isolated"):
        monkeypatch.setenv(f"ZCHTTPD_{name.upper()}", "on")
    monkeypatch.setenv("ZCHTTPD_IMMUTABLE", "*.a\n/b, c/*\n")
    monkeypatch.setenv("ZCHTTPD_CACHE_CONTROL", "*.js=public, max-age=1\n*=no-store")
    monkeypatch.setenv("ZCHTTPD_HEADER", "/a b/* X-A: b, c\n* X-D: e")
    assert cli.main(["--root", str(tmp_path)]) == 0
    assert seen[0] == seen[1]
    assert seen[0] == Settings(
        root=tmp_path,
        **dict.fromkeys((*switches, "cross_origin_isolated"), True),
        immutable=("*.a", "/b, c/*"),
        cache_control=(CacheRule("*.js", "public, max-age=1"), CacheRule("*", "no-store")),
        header=(HeaderRule("/a b/*", "X-A", "b, c"), HeaderRule("*", "X-D", "e")),
    )


@pytest.mark.parametrize("text", ["X-A: b\nX-C: d", "X-A: b\r\nX-C: d"])
def test_one_word_cannot_be_two_fields(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert cli.main(["--root", ".", "--header", "*", text]) == 2
    complaint = capsys.readouterr().err
    assert "--header" in complaint
    assert complaint.count("\n") == 1

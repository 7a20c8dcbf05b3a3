"""--type and --coding: what a site says of its files, from text to answers."""

from __future__ import annotations

import gzip
from pathlib import Path

import brotli  # type: ignore[import-untyped]
import pytest

from zchttpd.config.load import load
from zchttpd.config.rules import CodingRule, HeaderRule, TypeRule, parse_coding_rules, parse_type_rules
from zchttpd.config.settings import Settings
from zchttpd.handler.site import MediaPolicy

from .test_compress import Site
from .test_handler import ask, fail, put
from .test_site import serving

TEXT = b"export const answer = 42;\n" * 500
ANY = "Accept-Encoding: gzip, br, zstd"


def test_rules_are_lines() -> None:
    assert parse_type_rules('*.html=text/html\n\n /a/*.x = application/x; a=b; c="d e" ') == (
        TypeRule("*.html", "text/html"),
        TypeRule("/a/*.x", 'application/x; a=b; c="d e"'),
    )
    assert parse_coding_rules("*.svgz=gzip\n/Build/*.br=br") == (
        CodingRule("*.svgz", "gzip"),
        CodingRule("/Build/*.br", "br"),
    )


@pytest.mark.parametrize(
    "text",
    [
        *("text/html", "*.html=", "*.html=text", "*.html=text/", "*.html=/html", "*.html=text/html;"),
        *("*.html=text/html; charset", "*.html=text/html\x7f", "*.html=text/h\xe4ml", "=text/html"),
        *("*.html=text/html, text/plain", "*.x=a/b\r\nX: y", "/dir/=text/html", '*.x=a/b; c="d\x00"'),
    ],
)
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(ValueError, match="Type"):
        parse_type_rules(text)


@pytest.mark.parametrize(
    "text", ["gzip", "*.gz=", "*.gz=gz", "*.gz=GZIP", "*.gz=gzip, br", "=gzip", "/d/=br"]
)
def test_what_is_no_coding(text: str) -> None:
    with pytest.raises(ValueError, match=r"Type|Did you mean"):
        parse_coding_rules(text)


@pytest.mark.parametrize(("name", "option"), [("Content-Type", "--type"), ("content-encoding", "--coding")])
def test_a_field_that_is_an_option_says_which(name: str, option: str) -> None:
    with pytest.raises(ValueError, match=option):
        HeaderRule("*", name, "text/html")


def test_the_environment_and_a_file_have_them_too(tmp_path: Path) -> None:
    config = tmp_path / "zchttpd.toml"
    config.write_text('type = ["*.html=text/html; charset=koi8-r", "*.x=a/b"]\ncoding = "*.br=br"\n')
    said = load({"root": str(tmp_path), "config": str(config)}, {})
    assert said.type == (TypeRule("*.html", "text/html; charset=koi8-r"), TypeRule("*.x", "a/b"))
    assert said.coding == (CodingRule("*.br", "br"),)
    said = load({"root": str(tmp_path)}, {"ZCHTTPD_TYPE": "*.x=a/b\n*.y=c/d", "ZCHTTPD_CODING": "*.z=zstd"})
    assert [rule.media_type for rule in said.type] == ["a/b", "c/d"]
    assert said.coding == (CodingRule("*.z", "zstd"),)


@pytest.mark.parametrize(
    ("path", "media_type", "coding"),
    [
        (b"index.html", "text/html", "identity"),
        (b"old/index.html", "text/html; charset=windows-1251", "identity"),
        (b"Build/x.framework.js.br", "text/javascript; charset=utf-8", "br"),
        (b"Build/x.wasm.br", "application/wasm", "br"),
        (b"Build/x.data.br", "application/x-data", "br"),
        (b"Build/x.symbols.json.br", "application/json", "br"),
        (b"x.framework.js.br", "application/octet-stream", "identity"),
        (b"drawing.svgz", "image/svg+xml", "gzip"),
        (b"raw/drawing.svgz", "image/svg+xml", "identity"),
        (b"tiles/1/2/3.pbf", "application/x-protobuf", "gzip"),
        (b".well-known/webfinger", "text/plain", "identity"),
    ],
)
def test_the_first_match_wins_and_then_the_name(path: bytes, media_type: str, coding: str) -> None:
    types = (
        "/old/*.html=text/html; charset=windows-1251\n*.html=text/html\n*.html=text/never\n"
        "*.data=application/x-data\n/.well-known/webfinger=text/plain"
    )
    codings = "/Build/*.br=br\n/raw/*.svgz=identity\n*.pbf=gzip\n*.pbf=br"
    policy = MediaPolicy.of(
        Settings(root=Path(), type=parse_type_rules(types), coding=parse_coding_rules(codings))
    )
    segments = tuple(path.split(b"/"))
    assert policy.of_path(segments) == (media_type, coding)


def test_what_is_stored_encoded_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    """Whatever Accept-Encoding says, and whatever lies beside it or could be made of it."""
    site = Site(tmp_path, coding=(CodingRule("*.br", "br"),), type=(TypeRule("*.txt", "text/plain"),))
    packed = brotli.compress(TEXT, quality=1) + bytes(2000)
    site.put("x.js.br", packed)
    site.put("x.js.br.gz", b"a sibling of what is encoded")
    site.put("a.svgz", gzip.compress(b"<svg/>" + TEXT, 1) + bytes(2000))
    site.put("a.txt", TEXT)
    for fields in ((), (ANY,), ("Accept-Encoding: identity;q=0.5, br;q=0",)):
        got = site.ask("/x.js.br", *fields)
        assert (got.status, got.body, got.coding, got.vary) == (200, packed, "br", None)
        assert got.fields["content-type"] == "text/javascript; charset=utf-8"
        assert got.cacheable
        head = site.ask("/x.js.br", *fields, method="HEAD")
        assert (head.fields, head.body) == (got.fields, b"")
        part = site.ask("/x.js.br", *fields, "Range: bytes=5-9", f"If-Range: {got.etag}")
        assert (part.status, part.body, part.coding, part.etag) == (206, packed[5:10], "br", got.etag)
        # Parts would need a coding each, which no client knows.
        assert site.ask("/x.js.br", *fields, "Range: bytes=0-0,99-99").body == packed
        same = site.ask("/x.js.br", *fields, f"If-None-Match: {got.etag}")
        assert (same.status, same.etag, same.vary) == (304, got.etag, None)
        drawing = site.ask("/a.svgz", *fields)
        assert (drawing.coding, drawing.fields["content-type"]) == ("gzip", "image/svg+xml")
        assert drawing.vary is None
    site.work()
    assert site.ended() == {}
    site.ask("/a.txt", ANY)
    site.work()
    assert site.ask("/a.txt", ANY).fields["content-type"] == "text/plain"
    assert site.ask("/a.txt", ANY).coding == "br", "a type without a charset is text all the same"
    site.close()


def test_pages_that_the_server_chooses_have_their_type_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("index.html", "404.html", "50x.html", "about.html"):
        put(tmp_path / name, b"<meta charset=windows-1251>\xcf\xf0\xe8\xe2\xe5\xf2")
    rules = {"type": (TypeRule("*.html", "text/html"),), "coding": (CodingRule("/50x.html", "gzip"),)}
    with serving(tmp_path, error_pages=True, clean_urls=True, **rules) as (handler, _):
        for target in ("/", "/about", "/none", "/404.html"):
            _, received = ask(handler, target)
            assert received["content-type"] == "text/html", target
            assert received.body.endswith(b"\xf2")
        assert ask(handler, "/")[1]["cache-control"] == "no-cache"
        fail(monkeypatch, 24)
        answer, received = ask(handler, "/new")
        assert answer.status == 503
        assert (received["content-type"], received["content-encoding"]) == ("text/html", "gzip")

"""Media types: RFC 9110 section 8.3, RFC 9239."""

from __future__ import annotations

import mimetypes

import pytest

from zchttpd.http import media
from zchttpd.http.media import compressible, media_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"index.html", "text/html; charset=utf-8"),
        (b"INDEX.HTM", "text/html; charset=utf-8"),
        (b"a.css", "text/css; charset=utf-8"),
        (b"a.js", "text/javascript; charset=utf-8"),
        (b"a.mjs", "text/javascript; charset=utf-8"),
        (b"a.txt", "text/plain; charset=utf-8"),
        (b"a.md", "text/markdown; charset=utf-8"),
        (b"a.json", "application/json"),
        (b"app.js.map", "application/json"),
        (b"a.webmanifest", "application/manifest+json"),
        (b"a.wasm", "application/wasm"),
        (b"a.svg", "image/svg+xml"),
        (b"favicon.ico", "image/vnd.microsoft.icon"),
        (b"a.JPEG", "image/jpeg"),
        (b"a.woff2", "font/woff2"),
        (b"a.mp4", "video/mp4"),
        (b"a.tar.gz", "application/gzip"),
        (b"a.html.gz", "application/gzip"),
        (b"a.html.br", "application/octet-stream"),
        (b"a.unknown", "application/octet-stream"),
        (b"html", "application/octet-stream"),
        (b".html", "application/octet-stream"),
        (b"a.", "application/octet-stream"),
        (b"a.html\n", "application/octet-stream"),
        (b"a.\xff", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_media_type(name: bytes, expected: str) -> None:
    assert media_type(name) == expected


def test_the_host_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    mimetypes.init()
    monkeypatch.setitem(mimetypes.types_map, ".js", "text/plain")
    assert media_type(b"a.js") == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a.html a.css a.js a.txt a.md a.csv a.ics a.json a.map a.svg a.xml a.wasm a.ttf a.ico a.bmp", True),
        ("a.png a.jpg a.webp a.avif a.mp4 a.mp3 a.woff a.woff2 a.zip a.gz a.br a.zst a.pdf a.epub", False),
        ("a.bin a.unknown plain", False),
    ],
)
def test_what_shrinks_is_known_by_its_type(names: str, expected: bool) -> None:
    assert {name: compressible(media_type(name.encode())) for name in names.split()} == dict.fromkeys(
        names.split(), expected
    )


def test_types_that_shrink_are_types_that_are_given() -> None:
    assert frozenset(media._TABLE.values()) > media._COMPRESSIBLE

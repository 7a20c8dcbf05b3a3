"""Media types: RFC 9110 section 8.3, RFC 9239."""

from __future__ import annotations

import mimetypes

import pytest

from zchttpd.http.media import media_type


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

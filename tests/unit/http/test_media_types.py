"""Media types: RFC 9110 section 8.3, RFC 9239."""

from __future__ import annotations

import mimetypes

import pytest

from zchttpd.http.media_types import (
    compressible,
    decoded_name,
    media_type,
    media_type_of_path,
    read_types,
    stored_coding,
)


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


# What browsers, phones, players, maps and package managers ask for, by type.
ASKED_FOR = {
    "application/dash+xml": "mpd",
    "application/gpx+xml": "gpx",
    "application/importmap+json": "importmap",
    "application/java-archive": "jar war",
    "application/json": "json map topojson",
    "application/octet-stream": "ipa onnx gguf safetensors npy npz pck data nupkg gem br key",
    "application/pgp-signature": "asc sig",
    "application/pem-certificate-chain": "pem",
    "application/pkix-crl": "crl",
    "application/vnd.android.package-archive": "apk",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/vnd.apple.pkpass": "pkpass",
    "application/vnd.google-earth.kml+xml": "kml",
    "application/vnd.google-earth.kmz": "kmz",
    "application/vnd.mapbox-vector-tile": "mvt",
    "application/vnd.pmtiles": "pmtiles",
    "application/x-apple-aspen-config": "mobileconfig",
    "application/x-bittorrent": "torrent",
    "application/x-chrome-extension": "crx",
    "application/x-java-jnlp-file": "jnlp",
    "application/x-pkcs12": "p12 pfx",
    "application/x-x509-ca-cert": "crt der",
    "application/x-xpinstall": "xpi",
    "application/xhtml+xml": "xhtml xht",
    "audio/matroska": "mka",
    "audio/mp4": "m4a m4b cmfa",
    "audio/mpegurl": "m3u",
    "audio/x-aiff": "aif aiff aifc",
    "font/collection": "ttc",
    "image/avif": "avif avifs",
    "image/heif": "heif hif",
    "image/jpeg": "jpg jpeg jpe jfif pjpeg pjp",
    "image/svg+xml": "svg svgz",
    "image/tiff": "tif tiff cog",
    "model/stl": "stl",
    "model/vnd.usdz+zip": "usdz",
    "text/turtle; charset=utf-8": "ttl",
    "text/wgsl; charset=utf-8": "wgsl",
    "video/3gpp": "3gp",
    "video/iso.segment": "m4s",
    "video/mp4": "mp4 m4v cmfv",
    "video/x-flv": "flv",
    "video/x-ms-wmv": "wmv",
}


@pytest.mark.parametrize(
    ("extension", "expected"), [(each, kind) for kind, names in ASKED_FOR.items() for each in names.split()]
)
def test_what_clients_ask_for(extension: str, expected: str) -> None:
    assert media_type(f"a.{extension}".encode()) == expected


def test_no_extension_has_two_types() -> None:
    extensions = [each for _, names in read_types("mime.types") for each in names]
    assert len(extensions) == len(set(extensions)) > 400
    assert all(each == each.lower() for each in extensions)


@pytest.mark.parametrize("extension", ["sh", "bat", "exe", "msi"])
def test_a_browser_does_not_show_a_program(extension: str) -> None:
    """Text is shown, and saved by who means to; the type of a program has it saved at once."""
    assert not media_type(f"a.{extension}".encode()).startswith("text/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".well-known/apple-app-site-association", "application/json"),
        ("apple-app-site-association", "application/json"),
        (".well-known/assetlinks.json", "application/json"),
        (".well-known/openid-configuration", "application/json"),
        (".well-known/oauth-authorization-server", "application/json"),
        (".well-known/oauth-authorization-server/issuer/v1.2", "application/json"),
        (".well-known/matrix/client", "application/json"),
        (".well-known/matrix/server", "application/json"),
        (".well-known/nodeinfo", "application/json"),
        (".well-known/webauthn", "application/json"),
        (".well-known/webfinger", "application/jrd+json"),
        (".well-known/jwks.json", "application/json"),
        (".well-known/host-meta", "application/xrd+xml"),
        (".well-known/host-meta.json", "application/json"),
        (".well-known/security.txt", "text/plain; charset=utf-8"),
        (".well-known/change-password", "application/octet-stream"),
        (".well-known/acme-challenge/token", "application/octet-stream"),
        (".well-known", "application/octet-stream"),
        ("a/.well-known/webfinger", "application/octet-stream"),
        ("webfinger", "application/octet-stream"),
        ("a/apple-app-site-association", "application/octet-stream"),
    ],
)
def test_well_known_names(path: str, expected: str) -> None:
    """RFC 8615."""
    assert media_type_of_path(tuple(path.encode().split(b"/"))) == expected


@pytest.mark.parametrize(
    ("name", "coding", "expected"),
    [
        (b"x.framework.js.br", "br", b"x.framework.js"),
        (b"a.tar.gz", "gzip", b"a.tar"),
        (b"a.JS.GZ", "gzip", b"a.JS"),
        (b"a.json.zst", "zstd", b"a.json"),
        (b"a.svgz", "gzip", b"a.svgz"),
        (b"tile.pbf", "gzip", b"tile.pbf"),
        (b"a.js.br", "gzip", b"a.js.br"),
        (b"a.js.br", "identity", b"a.js.br"),
        (b".gz", "gzip", b".gz"),
        (b"gz", "gzip", b"gz"),
    ],
)
def test_the_name_of_what_is_encoded(name: bytes, coding: str, expected: bytes) -> None:
    assert decoded_name(name, coding) == expected


def test_a_compressed_drawing_says_so_by_its_name() -> None:
    names = (b"a.svgz", b"A.SVGZ", b"a.svg", b"a.gz", b"svgz")
    assert [stored_coding(name) for name in names] == ["gzip", "gzip", "identity", "identity", "identity"]


def test_the_host_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    mimetypes.init()
    monkeypatch.setitem(mimetypes.types_map, ".js", "text/plain")
    assert media_type(b"a.js") == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a.html a.css a.js a.txt a.md a.csv a.ics a.json a.map a.svg a.xml a.wasm a.ttf a.ico a.bmp", True),
        (
            "a.mpd a.gpx a.kml a.importmap a.ttl a.m3u8 a.srt a.py a.stl a.obj a.topojson a.geojsonl a.dae",
            True,
        ),
        ("a.kmz a.usdz a.pmtiles a.parquet a.mka a.m4s a.crx a.apk a.heic a.js.br a.mxl", False),
        ("a.png a.jpg a.webp a.avif a.mp4 a.mp3 a.woff a.woff2 a.zip a.gz a.br a.zst a.pdf a.epub", False),
        ("a.bin a.unknown plain", False),
    ],
)
def test_what_shrinks_is_known_by_its_type(names: str, expected: bool) -> None:
    assert {name: compressible(media_type(name.encode())) for name in names.split()} == dict.fromkeys(
        names.split(), expected
    )


def test_types_that_shrink_are_types_that_are_given() -> None:
    given = {kind for kind, _ in read_types("mime.types")}
    assert given > {kind for kind, _ in read_types("compressible.types")} > {"application/json"}


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("text/html", True),
        ("Text/HTML;charset=windows-1251", True),
        ("application/json; charset=utf-8", True),
        ("application/vnd.acme+json", True),
        ("application/vnd.acme+zip", False),
        ("image/png; a=b", False),
    ],
)
def test_types_of_a_site_shrink_as_well(media_type: str, expected: bool) -> None:
    assert compressible(media_type) is expected

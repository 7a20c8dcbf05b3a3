"""Precompressed siblings: RFC 9110 sections 8.8.3.3, 12.5.3, 12.5.5. Each encoding is a representation with a
tag of its own.
"""

from __future__ import annotations

import re

from ..case import ABSENT, KEPT, PRESENT, Case
from ..client import request
from ..tree import FILES, sidecar

SCRIPT = FILES[b"app.js"]
VARY = re.compile(rb"(?i)(.*,\s*)?accept-encoding(,.*)?")
SUFFIX = {"br": "br", "gzip": "gz", "zstd": "zst"}
JAVASCRIPT = b"text/javascript; charset=utf-8"


def _as(name: str, accept: str | None, coding: str, path: str = "/app.js", method: str = "GET") -> Case:
    """The sibling in `coding`, or the file itself for "identity"; and the response says that it varies."""
    lines = [] if accept is None else [f"Accept-Encoding: {accept}"]
    on_disk = path[1:].encode() if not path.endswith("/") else path[1:].encode() + b"index.html"
    body = FILES[on_disk] if coding == "identity" else sidecar(on_disk, SUFFIX[coding])
    headers = {
        "Content-Encoding": ABSENT if coding == "identity" else coding.encode(),
        "Vary": VARY,
        "Content-Length": str(len(body)).encode(),
    }
    return Case(
        name,
        request(path, *lines, method=method),
        200,
        body=body if method == "GET" else b"",
        headers=headers,
        kept=KEPT,
    )


def _any(name: str, accept: str) -> Case:
    """Whatever is chosen, it is not an error; the engines must only agree."""
    return Case(
        name, request("/app.js", f"Accept-Encoding: {accept}"), 200, headers={"Vary": VARY}, kept=KEPT
    )


ONLY_IDENTITY = [
    ("missing", None),
    ("empty", ""),
    ("identity", "identity"),
    ("br-forbidden", "br;q=0"),
    ("all-forbidden-but-identity", "br;q=0, gzip;q=0, zstd;q=0"),
    ("br-forbidden-0.000", "br;q=0.000"),
    ("star-forbidden", "*;q=0, identity"),
    ("unknown", "compress, deflate"),
    ("substring-brr", "brr"),
    ("substring-xbr", "xbr"),
    ("substring-gzipped", "gzipped, zstd2"),
    ("substring-in-parameter", "deflate;x=br"),
    ("bad-q", "br;q=abc"),
    ("identity-preferred", "identity;q=1, br;q=0.5, gzip;q=0.5, zstd;q=0.5"),
    ("dictionary-codings", "dcb, dcz"),
]

BROWSER = "gzip, deflate, br, zstd"

CASES = (
    *(_as(f"identity-{name}", accept, "identity") for name, accept in ONLY_IDENTITY),
    _as("br", "br", "br"),
    _as("gzip", "gzip", "gzip"),
    _as("zstd", "zstd", "zstd"),
    _as("upper-case", "GZIP", "gzip"),
    _as("mixed-case", "Br", "br"),
    _as("q-decides", "gzip;q=0.5, br;q=0.4", "gzip"),
    _as("q-decides-other-order", "br;q=0.4, gzip;q=0.5", "gzip"),
    _as("q-decides-three", "br;q=0.1, zstd;q=0.2, gzip;q=0.3", "gzip"),
    _as("q-of-httparena", "br;q=1, gzip;q=0.8", "br"),
    _as("q-three-digits", "br;q=0.001, gzip;q=0.002", "gzip"),
    _as("q-upper-case", "br;Q=0.1, gzip;Q=0.9", "gzip"),
    _as("q-with-space", "br ; q=0.1 , gzip ; q=0.9", "gzip"),
    _as("q-with-tab", "br;\tq=0.1,\tgzip;q=0.9", "gzip"),
    _as("one-forbidden", "br;q=0, zstd;q=0, gzip", "gzip"),
    _as("star-and-forbidden", "*, br;q=0, zstd;q=0", "gzip"),
    _as("star-forbidden-one-named", "*;q=0, gzip", "gzip"),
    _as("star-low-one-named", "*;q=0.1, gzip;q=0.9", "gzip"),
    _as("empty-elements", ", ,gzip,,", "gzip"),
    _as("two-mentions-of-unknown", "foo, bar;q=1, gzip", "gzip"),
    Case(
        "two-fields",
        request("/app.js", "Accept-Encoding: foo", "Accept-Encoding: gzip"),
        200,
        body=sidecar(b"app.js", "gz"),
        headers={"Content-Encoding": b"gzip"},
        kept=KEPT,
    ),
    *(
        _any(f"any-{at}-{accept[:20]}", accept)
        for at, accept in enumerate(
            [
                BROWSER,
                "*",
                "x-gzip",
                "gzip, br",
                "br;q=2",
                "gzip;q=0.0001",
                "br;q=-1",
                "br;;q=1",
                ";q=1",
                "*;q=0",
                "identity;q=0",
                "br," * 3000 + "gzip",
            ]
        )
    ),
    Case("nothing-acceptable", request("/hello.txt", "Accept-Encoding: identity;q=0"), (200, 406), kept=KEPT),
    _as("css-has-only-gzip", BROWSER, "gzip", path="/style.css"),
    _as("css-br-only", "br", "identity", path="/style.css"),
    _as("zst-is-called-zstd", BROWSER, "zstd", path="/only-zst.json"),
    _as("index", "br", "br", path="/pre/"),
    _as("index-gzip", "gzip;q=1, br;q=0", "gzip", path="/pre/"),
    _as("head-br", "br", "br", method="HEAD"),
    _as("head-identity", None, "identity", method="HEAD"),
    Case(
        "type-is-of-the-file",
        request("/app.js", "Accept-Encoding: br"),
        200,
        headers={"Content-Type": JAVASCRIPT, "Content-Encoding": b"br"},
        kept=KEPT,
    ),
    Case("type-of-identity", request("/app.js"), 200, headers={"Content-Type": JAVASCRIPT}, kept=KEPT),
    Case(
        "sidecar-itself",
        request("/app.js.gz"),
        200,
        body=sidecar(b"app.js", "gz"),
        headers={"Content-Encoding": ABSENT},
        kept=KEPT,
    ),
    Case(
        "sidecar-itself-is-not-encoded-twice",
        request("/app.js.gz", "Accept-Encoding: gzip"),
        200,
        body=sidecar(b"app.js", "gz"),
        headers={"Content-Encoding": ABSENT},
        kept=KEPT,
    ),
    # Tags and preconditions.
    *(
        Case(
            f"tag-{have}-of-{want}",
            request("/app.js", f"If-None-Match: @etag(/app.js,{have})", f"Accept-Encoding: {want}"),
            304 if have == want else 200,
            headers={"Vary": VARY, "ETag": PRESENT},
            kept=KEPT,
        )
        for have in SUFFIX
        for want in SUFFIX
    ),
    Case(
        "tag-of-identity-for-br",
        request("/app.js", "If-None-Match: @etag(/app.js)", "Accept-Encoding: br"),
        200,
        body=sidecar(b"app.js", "br"),
        kept=KEPT,
    ),
    Case(
        "tag-of-br-for-identity",
        request("/app.js", "If-None-Match: @etag(/app.js,br)"),
        200,
        body=SCRIPT,
        kept=KEPT,
    ),
    Case(
        "match-of-br",
        request("/app.js", "If-Match: @etag(/app.js,br)", "Accept-Encoding: br"),
        200,
        kept=KEPT,
    ),
    Case(
        "match-of-identity-for-br",
        request("/app.js", "If-Match: @etag(/app.js)", "Accept-Encoding: br"),
        412,
        kept=KEPT,
    ),
    # Ranges are of the encoded bytes.
    *(
        Case(
            f"range-of-{coding}",
            request("/app.js", "Range: bytes=5-19", f"Accept-Encoding: {coding}"),
            206,
            of=sidecar(b"app.js", suffix),
            spans=((5, 19),),
            headers={"Content-Encoding": coding.encode(), "Vary": VARY},
            kept=KEPT,
        )
        for coding, suffix in SUFFIX.items()
    ),
    Case(
        "range-of-identity",
        request("/app.js", "Range: bytes=5-19"),
        206,
        of=SCRIPT,
        spans=((5, 19),),
        headers={"Content-Encoding": ABSENT, "Vary": VARY},
        kept=KEPT,
    ),
    Case(
        "range-beyond-br",
        request("/app.js", f"Range: bytes={len(SCRIPT) - 5}-", "Accept-Encoding: br"),
        416,
        headers={"Content-Range": f"bytes */{len(sidecar(b'app.js', 'br'))}".encode()},
        kept=KEPT,
    ),
    Case(
        "failed-says-that-it-varies",
        request("/app.js", 'If-Match: "vary"', "Accept-Encoding: br"),
        412,
        headers={"Vary": VARY, "Content-Encoding": ABSENT},
        kept=KEPT,
    ),
    Case(
        "unsatisfiable-says-that-it-varies",
        request("/app.js", "Range: bytes=999999-", "Accept-Encoding: gzip"),
        416,
        headers={"Vary": VARY, "Content-Encoding": ABSENT},
        kept=KEPT,
    ),
    Case(
        "if-range-of-other-encoding",
        request("/app.js", "Range: bytes=5-19", "If-Range: @etag(/app.js)", "Accept-Encoding: br"),
        200,
        body=sidecar(b"app.js", "br"),
        kept=KEPT,
    ),
    Case(
        "if-range-of-same-encoding",
        request("/app.js", "Range: bytes=5-19", "If-Range: @etag(/app.js,br)", "Accept-Encoding: br"),
        206,
        of=sidecar(b"app.js", "br"),
        spans=((5, 19),),
        kept=KEPT,
    ),
    # A sidecar is opened under the same policy as any other file.
    *(
        Case(
            f"sidecar-refused-{name}-{coding}",
            request(f"/{name}.js", f"Accept-Encoding: {coding}"),
            200,
            body=SCRIPT,
            headers={"Content-Encoding": ABSENT},
            kept=KEPT,
        )
        for name in ("side-link", "side-dir", "side-pipe", "side-closed", "side-dotlink")
        for coding in SUFFIX
    ),
    Case(
        "error-is-not-encoded",
        request("/nothing", "Accept-Encoding: br"),
        404,
        headers={"Content-Encoding": ABSENT},
        kept=KEPT,
    ),
)

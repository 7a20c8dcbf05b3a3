"""What the options of a site change: listings, routes, clean URLs, error pages, fields and names by path.

SITES names sets of options; each has its own table and its own servers, over the tree of `build`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..case import ABSENT, KEPT, PRESENT, Case
from ..client import request
from ..tree import FILES, KIB, MTIME_NS, SECRET, compressed, noise

if TYPE_CHECKING:
    from pathlib import Path

HTML_TYPE = b"text/html; charset=utf-8"
BROWSER = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
NAVIGATE = "Sec-Fetch-Mode: navigate"
JSON = "Accept: application/json"
ROUTE_VARY = b"Accept, Sec-Fetch-Mode"

INDEX = b"<!doctype html><title>the application</title>\n"
ABOUT = b"<!doctype html><title>about</title>\n"
BESIDE = b"<!doctype html><title>beside a directory</title>\n"
LOST = b"<!doctype html><title>lost?</title>\n"
CLOSED = b"<!doctype html><title>closed</title>\n"
PACKAGE = b'{"name": "@acme/left"}\n'
SCRIPT = b"export const answer = 42;\n" * 100

CYRILLIC = b"<!doctype html><meta charset=windows-1251><title>\xcf\xf0\xe8\xe2\xe5\xf2</title>\n"
BROTLI = compressed(noise(KIB), "br")
ZIPPED = compressed(noise(KIB), "gz")

SITE_FILES: dict[bytes, bytes] = {
    b"probe.txt": FILES[b"probe.txt"],
    b"index.html": INDEX,
    b"about.html": ABOUT,
    b"team": b"a real file",
    b"team.html": ABOUT,
    b"docs.html": BESIDE,
    b"docs/index.html": b"docs",
    b"404.html": LOST,
    b"403.html": CLOSED,
    b"unreadable.txt": SECRET,
    b"assets/app.3f7a.js": SCRIPT,
    b"assets/app.3f7a.js.br": compressed(SCRIPT, "br"),
    b"empty/.hidden": SECRET,
    b"begun.js": SCRIPT,
    b"begun.js.gz": b"",
    b"@acme/left": PACKAGE,
    b"Build/x.framework.js.br": BROTLI,
    b"Build/x.framework.js.br.gz": b"a sibling of what is encoded",
    b"Build/x.data.br": BROTLI,
    b"x.js.br": BROTLI,
    b"tiles/1.pbf": ZIPPED,
    b"drawing.svgz": ZIPPED,
    b"old/page.html": CYRILLIC,
    b".well-known/openid-configuration": b"{}",
    b".well-known/webfinger": b"{}",
    b"@acme/empty/.hidden": SECRET,
    b"odd/<script>.txt": b"1",
    b"odd/name:colon.txt": b"22",
    b"odd/new\nline.txt": b"333",
    b"odd/invalid\xff.txt": b"4444",
    b'odd/"onerror=x': b"55555",
    b"odd/\xc3\xa9t\xc3\xa9/x": b"",
    b"odd/.hidden": SECRET,
}
SITE_LINKS = {b"odd/out": b"../../secret.txt", b"odd/gone": b"nothing", b"odd/in": b"../probe.txt"}

SPA: dict[str, Any] = {"spa": True, "clean_urls": True}
LISTING: dict[str, Any] = {"listing": True, "error_pages": True}
FIELDS: dict[str, Any] = {
    "cors": True,
    "cross_origin_isolated": True,
    "no_precompressed": True,
    "immutable": ("/assets/*.????.js",),
    "cache_control": ("*.js=max-age=60", "team*=private, max-age=5"),
    "header": (("*", "X-Frame-Options: DENY"), ("/docs/*", "X-Docs: a, b: c")),
}


def build_site(base: Path) -> Path:
    """Write the tree under `base` and return its root."""
    root = base / "www"
    (base / "secret.txt").write_bytes(SECRET)
    at = os.fsencode(root) + b"/"
    for path, content in SITE_FILES.items():
        os.makedirs(os.path.dirname(at + path), exist_ok=True)
        with open(at + path, "wb") as file:
            file.write(content)
        os.utime(at + path, ns=(MTIME_NS, MTIME_NS))
    for path, target in SITE_LINKS.items():
        os.symlink(target, at + path)
    os.utime(at + b"odd/\xc3\xa9t\xc3\xa9", ns=(MTIME_NS, MTIME_NS))
    os.chmod(at + b"unreadable.txt", 0)
    return root


def _page(name: str, path: str, body: bytes, *fields: str, **headers: object) -> Case:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(name, request(path, *fields), 200, body=body, headers=named, kept=KEPT)


def _error(
    name: str, path: str, status: int, *fields: str, body: bytes | None = None, **headers: object
) -> Case:
    named = {
        "ETag": ABSENT,
        "Last-Modified": ABSENT,
        **{key.replace("_", "-"): headers[key] for key in headers},
    }
    return Case(name, request(path, *fields), status, body=body, headers=named, kept=KEPT)


SPA_CASES = (
    _page(
        "route", "/route", INDEX, BROWSER, Vary=ROUTE_VARY, Cache_Control=b"no-cache", Content_Type=HTML_TYPE
    ),
    _page("route-deep", "/route/of/many", INDEX, BROWSER),
    _page("route-slash", "/route/", INDEX, BROWSER),
    _page("route-navigate", "/route", INDEX, NAVIGATE),
    _page("route-query", "/route?a=1", INDEX, BROWSER),
    _page("route-of-a-bare-directory", "/odd/", INDEX, BROWSER),
    Case(
        "route-head", request("/route", BROWSER, method="HEAD"), 200, headers={"Vary": ROUTE_VARY}, kept=KEPT
    ),
    Case("route-same", request("/route", BROWSER, "If-None-Match: @etag(/)"), 304, kept=KEPT),
    Case(
        "route-range",
        request("/route", BROWSER, "Range: bytes=0-4"),
        206,
        of=INDEX,
        spans=((0, 4),),
        kept=KEPT,
    ),
    _error("route-of-a-script", "/route", 404, "Accept: */*", Vary=ROUTE_VARY),
    _error("route-of-curl", "/route", 404, Vary=ROUTE_VARY),
    _page("route-with-a-dot", "/users/john.doe", INDEX, NAVIGATE, Vary=ROUTE_VARY),
    _page("route-with-a-dot-and-slash", "/v1.2/", INDEX, BROWSER, NAVIGATE),
    _error("missing-asset", "/assets/gone.js", 404, "Accept: */*", "Sec-Fetch-Mode: no-cors"),
    _error("missing-asset-unsaid", "/assets/gone.js", 404, BROWSER, Vary=ROUTE_VARY),
    _error("dotfile", "/.env", 404, BROWSER),
    _error("outside", "/odd/out.x", 404, BROWSER),
    _error("encoded-slash", "/a%2fb", 404, BROWSER),
    _page("real-file", "/assets/app.3f7a.js", SCRIPT, BROWSER),
    Case("post", request("/route", BROWSER, "Content-Length: 0", method="POST"), 405),
    _page("clean", "/about", ABOUT, Location=ABSENT, Content_Type=HTML_TYPE),
    _page("clean-query", "/about?a=1", ABOUT),
    Case("clean-slash", request("/about/?a=1"), 301, leads=b"/about?a=1", kept=KEPT),
    _error("clean-two-slashes", "/about//", 404),
    _page("clean-named", "/about.html", ABOUT),
    _page("clean-real-file-wins", "/team", b"a real file"),
    _page("clean-beside-a-directory", "/docs", BESIDE),
    _page("clean-directory", "/docs/", b"docs"),
)

LISTING_CASES = (
    Case(
        "html",
        request("/odd/", BROWSER),
        200,
        headers={
            "Content-Type": HTML_TYPE,
            "X-Content-Type-Options": b"nosniff",
            "Content-Security-Policy": re.compile(
                rb"default-src 'none'; style-src 'sha256-[0-9A-Za-z+/=]{44}';.*"
            ),
            "Cache-Control": b"no-cache",
            "Vary": b"Accept",
            "Last-Modified": ABSENT,
            "ETag": PRESENT,
        },
        kept=KEPT,
        never=(b"<script>", b".hidden", b'"onerror', b'"out', b"gone"),
    ),
    Case(
        "json-by-size",
        request("/odd/?sort=size", JSON),
        200,
        body=(
            '[{"name":"été","type":"directory","href":"%C3%A9t%C3%A9/","mtime":"@"},'
            '{"name":"<script>.txt","type":"file","href":"%3Cscript%3E.txt","mtime":"@","size":1},'
            '{"name":"name:colon.txt","type":"file","href":"./name%3Acolon.txt","mtime":"@","size":2},'
            '{"name":"new\\nline.txt","type":"file","href":"new%0Aline.txt","mtime":"@","size":3},'
            '{"name":"invalid\ufffd.txt","type":"file","href":"invalid%FF.txt","mtime":"@","size":4},'
            '{"name":"\\"onerror=x","type":"file","href":"%22onerror%3Dx","mtime":"@","size":5},'
            '{"name":"in","type":"file","href":"in","mtime":"@","size":14}]\n'
        )
        .replace("@", "2023-11-14T22:13:20Z")
        .encode(),
        headers={
            "Content-Type": b"application/json",
            "Vary": b"Accept",
            "X-Content-Type-Options": b"nosniff",
        },
        kept=KEPT,
    ),
    Case("json-of-nothing", request("/empty/", JSON), 200, body=b"[]\n", kept=KEPT),
    Case("head", request("/odd/", method="HEAD"), 200, headers={"Content-Type": HTML_TYPE}, kept=KEPT),
    Case("same", request("/odd/", "If-None-Match: @etag(/odd/)"), 304, kept=KEPT),
    Case("other-order", request("/odd/?sort=size", "If-None-Match: @etag(/odd/)"), 200, kept=KEPT),
    Case("post", request("/odd/", "Content-Length: 0", method="POST"), 405),
    Case("no-slash", request("/odd?sort=size"), 301, leads=b"/odd/?sort=size", kept=KEPT),
    *(
        _page(f"linked-{at}", f"/odd/{href}", content)
        for at, (href, content) in enumerate(
            [
                ("%3Cscript%3E.txt", b"1"),
                ("./name%3Acolon.txt", b"22"),
                ("new%0Aline.txt", b"333"),
                ("invalid%FF.txt", b"4444"),
                ("%22onerror%3Dx", b"55555"),
            ]
        )
    ),
    _page("index-wins", "/docs/", b"docs", BROWSER),
    _error("hidden-directory", "/.git/", 404, body=LOST),
    _error("missing", "/none", 404, body=LOST, Cache_Control=ABSENT, Content_Type=HTML_TYPE),
    _error("missing-directory", "/none/", 404, body=LOST),
    _error("missing-conditional", "/none", 404, "If-None-Match: *", "Range: bytes=0-1", body=LOST),
    _error("outside", "/odd/out", 404, body=LOST),
    _error("encoded-slash", "/a%2fb", 404, body=LOST),
    Case("missing-head", request("/none", method="HEAD"), 404, body=b"", kept=KEPT),
    _error("unreadable", "/unreadable.txt", 403, body=CLOSED),
    _page("page-by-name", "/404.html", LOST),
    Case("bad-target", request("/%zz"), 400),
)

SHARED = {
    "Access-Control-Allow-Origin": b"*",
    "Cross-Origin-Opener-Policy": b"same-origin",
    "Cross-Origin-Embedder-Policy": b"require-corp",
}
EVERYWHERE = {**SHARED, "X-Frame-Options": b"DENY"}


def _said(name: str, send: bytes, status: int, **headers: object) -> Case:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(name, send, status, headers={**EVERYWHERE, **named}, kept=KEPT)


SCRIPT_PATH = "/assets/app.3f7a.js"
IMMUTABLE = b"public, max-age=31536000, immutable"
FIELDS_CASES = (
    _said("immutable", request(SCRIPT_PATH), 200, Cache_Control=IMMUTABLE, Vary=ABSENT),
    _said(
        "no-sidecar", request(SCRIPT_PATH, "Accept-Encoding: br"), 200, Content_Encoding=ABSENT, Vary=ABSENT
    ),
    Case(
        "partial",
        request(SCRIPT_PATH, "Range: bytes=0-9"),
        206,
        of=SCRIPT,
        spans=((0, 9),),
        headers={**EVERYWHERE, "Cache-Control": IMMUTABLE},
        kept=KEPT,
    ),
    _said(
        "not-modified",
        request(SCRIPT_PATH, f"If-None-Match: @etag({SCRIPT_PATH})"),
        304,
        Cache_Control=IMMUTABLE,
    ),
    _said("failed", request(SCRIPT_PATH, 'If-Match: "x"'), 412, Cache_Control=ABSENT),
    _said("html-is-revalidated", request("/"), 200, Cache_Control=b"no-cache", X_Docs=ABSENT),
    _said("rule-for-html", request("/team.html"), 200, Cache_Control=b"private, max-age=5"),
    _said("rule-for-a-name", request("/team"), 200, Cache_Control=b"private, max-age=5"),
    _said("no-rule", request("/probe.txt"), 200, Cache_Control=ABSENT),
    _said("rule-for-a-directory", request("/docs/"), 200, X_Docs=b"a, b: c", Cache_Control=b"no-cache"),
    _said("redirect", request("/docs"), 301, X_Docs=ABSENT, Cache_Control=ABSENT),
    _said("missing", request("/docs/none.js"), 404, X_Docs=b"a, b: c", Cache_Control=ABSENT),
    _said("hidden", request("/.env"), 404, Cache_Control=ABSENT),
    Case(
        "preflight",
        request("/x", "Origin: https://a.test", "Access-Control-Request-Method: GET", method="OPTIONS"),
        204,
        body=b"",
        headers={
            **SHARED,
            "Allow": PRESENT,
            "Access-Control-Allow-Methods": b"GET, HEAD, OPTIONS",
            "Access-Control-Allow-Headers": b"*",
            "Access-Control-Max-Age": b"86400",
            "Vary": ABSENT,
        },
        kept=KEPT,
    ),
    Case("not-allowed", request("/", "Content-Length: 0", method="PUT"), 405, headers=SHARED),
)

# Names as packages, tiles and builds have them.
NAMES: dict[str, Any] = {
    "encoded_slash": True,
    "type": ("/old/*.html=text/html", "*.data=application/x-data; a=b", "*.html=text/never; charset=x"),
    "coding": ("/Build/*.br=br", "*.pbf=gzip"),
}


def _stored(name: str, path: str, content: bytes, coding: bytes, kind: bytes) -> tuple[Case, ...]:
    """It exists in one coding alone, so it is sent in it, whoever asks."""
    said = {"Content-Encoding": coding, "Content-Type": kind, "Vary": ABSENT}
    span = ("Range: bytes=3-8", f"If-Range: @etag({path})")
    return (
        Case(f"{name}", request(path), 200, body=content, headers=said, kept=KEPT),
        Case(f"{name}-taken", request(path, "Accept-Encoding: br, gzip"), 200, body=content, headers=said),
        Case(f"{name}-refused", request(path, "Accept-Encoding: *;q=0"), 200, body=content, headers=said),
        Case(f"{name}-head", request(path, method="HEAD"), 200, headers=said, kept=KEPT),
        Case(f"{name}-same", request(path, f"If-None-Match: @etag({path})"), 304, headers={"Vary": ABSENT}),
        Case(f"{name}-part", request(path, *span), 206, of=content, spans=((3, 8),), headers=said),
        Case(f"{name}-parts", request(path, "Range: bytes=0-1,200-201"), 200, body=content, headers=said),
    )


NAMES_CASES = (
    *_stored("stored-br", "/Build/x.framework.js.br", BROTLI, b"br", b"text/javascript; charset=utf-8"),
    *_stored("stored-data", "/Build/x.data.br", BROTLI, b"br", b"application/x-data; a=b"),
    *_stored("stored-tile", "/tiles/1.pbf", ZIPPED, b"gzip", b"application/x-protobuf"),
    *_stored("svgz", "/drawing.svgz", ZIPPED, b"gzip", b"image/svg+xml"),
    _page(
        "not-said-to-be-stored-so",
        "/x.js.br",
        BROTLI,
        Content_Encoding=ABSENT,
        Content_Type=b"application/octet-stream",
    ),
    _page("type-without-charset", "/old/page.html", CYRILLIC, Content_Type=b"text/html"),
    _page("well-known", "/.well-known/openid-configuration", b"{}", Content_Type=b"application/json"),
    _page("well-known-jrd", "/.well-known/webfinger?resource=a", b"{}", Content_Type=b"application/jrd+json"),
    _page("encoded-slash", "/@acme%2fleft", PACKAGE, BROWSER),
    _page("encoded-slash-upper-case", "/@acme%2Fleft", PACKAGE),
    _page("encoded-slash-at-the-end", "/docs%2f", b"docs"),
    _page("encoded-slash-climbs", "/docs%2f..%2f@acme/left", PACKAGE),
    Case("encoded-slash-directory", request("/odd/..%2fdocs"), 301, leads=b"/odd/..%2Fdocs/", kept=KEPT),
    Case("encoded-slash-scope", request("/@acme%2fempty?a"), 301, leads=b"/@acme/empty/?a", kept=KEPT),
    _error("encoded-slash-twice", "/@acme%252fleft", 404),
    _error("encoded-backslash", "/@acme%5cleft", 404),
    _error("encoded-slash-hidden", "/odd%2f.hidden", 404),
    _error("encoded-slash-linked-out", "/odd%2fout", 404),
    Case("encoded-slash-above-the-root", request("/..%2fsecret.txt"), 400, never=(SECRET,)),
    Case("encoded-slash-far-above", request("/docs%2f..%2f..%2fsecret.txt"), 400, never=(SECRET,)),
    _page("interrupted-sibling", "/begun.js", SCRIPT, "Accept-Encoding: gzip", Vary=ABSENT),
)

SITES: dict[str, tuple[dict[str, Any], tuple[Case, ...]]] = {
    "spa": (SPA, SPA_CASES),
    "listing": (LISTING, LISTING_CASES),
    "fields": (FIELDS, FIELDS_CASES),
    "names": (NAMES, NAMES_CASES),
}

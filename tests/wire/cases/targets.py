"""Request targets and redirects: RFC 9112 section 3.2, RFC 9110 section 10.2.2. A Location is
relative to the path of the request, so that it holds behind every prefix, and keeps the query.
"""

from __future__ import annotations

import re

from ..case import ABSENT, CLOSED, KEPT, Case
from ..client import request
from ..tree import FILES

# No slash in front, no scheme (RFC 3986 section 4.2).
RELATIVE = re.compile(rb"(?![^/?]*:)[^/\\][\x21-\x7e]*")
HELLO = FILES[b"hello.txt"]


def _redirect(name: str, target: bytes | str, leads: bytes, *lines: str, host: str = "wire.test") -> Case:
    return Case(
        name,
        request(target, *lines, host=host),
        (301, 308),
        headers={"Location": RELATIVE},
        kept=KEPT,
        leads=leads,
    )


def _never_away(name: str, target: bytes | str, host: str = "wire.test") -> Case:
    """Whatever the answer, rules.py holds a Location to this server; and nothing of the request is reflected
    raw.
    """
    return Case(name, request(target, host=host), (200, 301, 308, 400, 403, 404))


REDIRECTS = [
    ("directory", "/sub", b"/sub/"),
    ("nested", "/sub/deep", b"/sub/deep/"),
    ("query", "/sub?x=1&y=2", b"/sub/?x=1&y=2"),
    ("query-with-slashes", "/sub?next=//evil.com/", b"/sub/?next=//evil.com/"),
    ("query-with-encoded-crlf", "/sub?x=%0d%0aSet-Cookie:%20a=b", b"/sub/?x=%0d%0aSet-Cookie:%20a=b"),
    ("query-with-encoded-nul", "/sub?%00", b"/sub/?%00"),
    ("query-with-question-mark", "/sub?a?b", b"/sub/?a?b"),
    ("space", "/sp%20ace", b"/sp%20ace/"),
    ("utf-8", "/%C3%A9t%C3%A9", b"/%C3%A9t%C3%A9/"),
    ("utf-8-lower-case-hex", "/%c3%a9t%c3%a9", b"/%C3%A9t%C3%A9/"),
    ("percent", "/pc%25dir", b"/pc%25dir/"),
    ("crlf-in-name", "/cr%0d%0adir", b"/cr%0D%0Adir/"),
    ("backslash-in-name", "/back%5cdir", b"/back%5Cdir/"),
    ("markup-in-name", "/%3Cimg%3E", b"/%3Cimg%3E/"),
    ("dot-segments-resolved", "/a/../sub", b"/sub/"),
    ("dot-segments-in-the-middle", "/./sub/./deep", b"/sub/deep/"),
    ("needless-encoding", "/%73ub", b"/sub/"),
    ("scheme-like-name", "/x:y", b"/x:y/"),
    ("host-like-name", "/evil.com", b"/evil.com/"),
    ("link-to-directory", "/in-dir", b"/in-dir/"),
    ("two-slashes-before-a-directory", "//evil.com/dir", b"/evil.com/dir/"),
    ("three-slashes-before-a-directory", "///evil.com", b"/evil.com/"),
]

AWAY = [
    "//evil.com",
    "//evil.com/",
    "//evil.com/%2e%2e",
    "///evil",
    "///evil.com",
    "////evil.com",
    "//evil.com/..",
    "//sub",
    "//sub/deep",
    "/sub//deep",
    "/%2f/evil.com",
    "/\\evil.com",
    "/%5cevil.com",
    "/%5Cevil.com?x",
    "/.//evil.com",
    "/a/..//evil.com",
    "/..//evil.com",
    "/./\\evil.com",
    "//%5cevil.com",
    "/%5c%5cevil.com",
    "//evil.com:80/sub",
    "//user@evil.com/",
    "/%09/evil.com",
    "/%0d%0aLocation:%20//evil.com",
    "///",
    "//",
    "/sub/..//evil.com",
]

ABSOLUTE = [
    ("plain", "http://wire.test/hello.txt"),
    ("other-host-wins", "http://other.test/hello.txt"),
    ("upper-case-scheme", "HTTP://wire.test/hello.txt"),
    ("port", "http://wire.test:8080/hello.txt"),
    ("ipv6", "http://[::1]:8080/hello.txt"),
    ("query", "http://wire.test/hello.txt?http://x/"),
]

CASES = (
    *(_redirect(f"redirect-{name}", target, location) for name, target, location in REDIRECTS),
    _redirect("redirect-does-not-reflect-host", "/sub", b"/sub/", host="evil.test"),
    _redirect(
        "redirect-does-not-reflect-forwarded-host",
        "/sub",
        b"/sub/",
        "X-Forwarded-Host: evil.test",
        "X-Forwarded-Proto: https",
    ),
    _redirect("redirect-of-absolute-form", "http://evil.test/sub", b"/sub/"),
    Case("redirect-head", request("/sub", method="HEAD"), (301, 308), leads=b"/sub/", kept=KEPT),
    Case(
        "redirect-ignores-range",
        request("/sub", "Range: bytes=0-1"),
        (301, 308),
        leads=b"/sub/",
        kept=KEPT,
    ),
    Case(
        "redirect-ignores-preconditions",
        request("/sub", 'If-None-Match: "x"', "If-Match: *"),
        (301, 308),
        kept=KEPT,
    ),
    Case(
        "redirect-empty-query",
        request("/sub?"),
        (301, 308),
        headers={"Location": re.compile(rb"sub/\??")},
        kept=KEPT,
    ),
    *(_never_away(f"away-{target}", target) for target in AWAY),
    Case("away-existing-directory", request("//evil.com/"), (200, 301, 308, 404), headers={}),
    *(Case(f"absolute-{name}", request(target), 200, body=HELLO, kept=KEPT) for name, target in ABSOLUTE),
    Case("absolute-empty-path", request("http://wire.test"), 200, body=FILES[b"index.html"], kept=KEPT),
    Case(
        "absolute-empty-path-with-query",
        request("http://wire.test?x=1"),
        200,
        body=FILES[b"index.html"],
        kept=KEPT,
    ),
    Case(
        "absolute-head",
        request("http://wire.test/hello.txt", method="HEAD"),
        200,
        headers={"Content-Length": b"13"},
        kept=KEPT,
    ),
    Case(
        "absolute-empty-host-field",
        request("http://wire.test/hello.txt", "Host: ", host=""),
        400,
        kept=CLOSED,
    ),
    Case("absolute-no-host-field", request("http://wire.test/hello.txt", host=""), 400, kept=CLOSED),
    Case("absolute-no-authority", request("http:///hello.txt"), 400, kept=CLOSED),
    Case("absolute-scheme-only", request("http:"), 400, kept=CLOSED),
    Case("absolute-traversal", request("http://wire.test/../secret.txt"), (400, 404)),
    Case("absolute-dotfile", request("http://wire.test/.env"), 404, kept=KEPT),
    Case("absolute-other-scheme", request("ftp://wire.test/hello.txt"), (400, 404, 421)),
    Case("absolute-file-scheme", request("file:///etc/passwd"), (400, 404), never=(b"root:",)),
    Case("no-leading-slash", request("hello.txt"), 400, kept=CLOSED),
    Case("no-leading-slash-traversal", request("../secret.txt"), 400, kept=CLOSED),
    Case("query-only", request("?x=1"), 400, kept=CLOSED),
    Case("authority-form-of-get", request("wire.test:80"), 400, kept=CLOSED),
    Case("asterisk-of-get", request("*"), 400, kept=CLOSED),
    Case("asterisk-of-head", request("*", method="HEAD"), 400, kept=CLOSED),
    Case("asterisk-and-more-of-options", request("*x", method="OPTIONS"), 400, kept=CLOSED),
    Case("fragment", request("/hello.txt#part"), (400, 404)),
    Case("target-of-8000", request(b"/hello.txt?" + b"q" * 8000), 200, body=HELLO, kept=KEPT),
    Case("target-of-8193", request(b"/hello.txt?" + b"q" * (8193 - 11)), 414, kept=CLOSED),
    Case("target-of-8193-by-HEAD", request(b"/?" + b"q" * 8191, method="HEAD"), 414, kept=CLOSED),
    Case("target-of-12000", request(b"/" + b"a" * 12000), 414, kept=CLOSED),
    Case("target-of-1-MB", request(b"/" + b"a" * 1_000_000), 414, kept=CLOSED, reset=True),
    Case("target-without-end", b"GET /" + b"a" * 100_000, 414, kept=CLOSED, reset=True),
    Case(
        "no-redirect-of-file",
        request("/hello.txt"),
        200,
        headers={"Location": ABSENT, "ETag": re.compile(rb'"[0-9a-f]+-[0-9a-f]+"')},
        kept=KEPT,
    ),
)

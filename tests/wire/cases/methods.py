"""Methods and Expect: RFC 9110 sections 9, 10.1.1, 10.2.1, 15.5.6."""

from __future__ import annotations

import re

from ..case import ABSENT, CLOSED, KEPT, Case
from ..client import request
from ..tree import FILES

HELLO = FILES[b"hello.txt"]
ALLOW = b"GET, HEAD, OPTIONS"
ALL = re.compile(rb"(GET|HEAD|OPTIONS)(, ?(GET|HEAD|OPTIONS)){2}")
BODY = "Content-Length: 5"
MARK = b"ZEBRA-93"


def _not_allowed(method: str, path: str = "/hello.txt") -> Case:
    sent = request(path, method=method)
    return Case(f"not-allowed-{method}-{path}", sent, 405, headers={"Allow": ALL}, kept=KEPT)


def _head(path: str, content: bytes) -> Case:
    return Case(
        f"head-{path}",
        request(path, method="HEAD"),
        200,
        headers={"Content-Length": str(len(content)).encode()},
        kept=KEPT,
    )


CASES = (
    *(_not_allowed(method) for method in ("POST", "PUT", "DELETE", "PATCH")),
    _not_allowed("POST", "/"),
    *(
        Case(f"other-{method}", request("/hello.txt", method=method), (405, 501), kept=KEPT, never=(HELLO,))
        for method in ("PROPFIND", "MKCOL", "LINK", "PURGE", "QUERY", "BREW", "A", "X" * 40)
    ),
    Case("unknown-is-not-get", request("/hello.txt", method="GETT"), (405, 501), never=(HELLO,)),
    Case("lower-case-get", request("/hello.txt", method="get"), (400, 405, 501), never=(HELLO,)),
    Case("mixed-case-get", request("/hello.txt", method="Get"), (400, 405, 501), never=(HELLO,)),
    Case("post-of-nothing", request("/nothing", method="POST"), (404, 405)),
    Case("delete-of-dotfile", request("/.env", method="DELETE"), (404, 405)),
    Case(
        "post-form-urlencoded",
        request("/hello.txt", BODY, "Content-Type: application/x-www-form-urlencoded", method="POST")
        + b"a=b&c",
        405,
        kept=CLOSED,
    ),
    *(
        _head("/" + path.decode(), FILES[path])
        for path in (b"hello.txt", b"empty.txt", b"one.bin", b"16k.bin", b"64k.bin", b"1m.bin", b"3m17.bin")
    ),
    Case(
        "head-of-directory",
        request("/sub/", method="HEAD"),
        200,
        headers={"Content-Type": b"text/html; charset=utf-8"},
        kept=KEPT,
    ),
    Case("head-of-nothing", request("/nothing", method="HEAD"), 404, kept=KEPT),
    Case("head-of-bad-target", request("/%zz", method="HEAD"), 400, kept=CLOSED),
    Case("head-close", request("/3m17.bin", "Connection: close", method="HEAD"), 200, kept=CLOSED),
    Case("options-asterisk", request("*", method="OPTIONS"), (200, 204), headers={"Allow": ALL}, kept=KEPT),
    Case(
        "options-file",
        request("/hello.txt", method="OPTIONS"),
        (200, 204),
        headers={"Allow": ALL},
        never=(HELLO,),
        kept=KEPT,
    ),
    Case(
        "options-directory", request("/sub/", method="OPTIONS"), (200, 204), headers={"Allow": ALL}, kept=KEPT
    ),
    Case(
        "options-absolute-asterisk",
        request("http://wire.test", method="OPTIONS"),
        (200, 204),
        headers={"Allow": ALL},
        kept=KEPT,
    ),
    Case("options-with-body", request("*", BODY, method="OPTIONS") + b"hello", (200, 204, 400), kept=CLOSED),
    Case("trace", request("/", b"A: " + MARK, method="TRACE"), (405, 501), never=(MARK, b"TRACE")),
    Case("trace-file", request("/hello.txt", b"Cookie: " + MARK, method="TRACE"), (405, 501), never=(MARK,)),
    Case(
        "trace-with-max-forwards",
        request("*", "Max-Forwards: 0", b"A: " + MARK, method="TRACE"),
        (400, 405, 501),
        never=(MARK,),
    ),
    Case("connect", request("wire.test:443", method="CONNECT"), (400, 405, 501)),
    Case("connect-origin-form", request("/hello.txt", method="CONNECT"), (400, 405, 501), never=(HELLO,)),
    Case("put-asterisk", request("*", method="PUT"), (400, 405)),
    Case(
        "expect-continue-without-body",
        request("/hello.txt", "Expect: 100-continue"),
        200,
        body=HELLO,
        interim=True,
    ),
    Case(
        "expect-continue-of-get-with-body",
        request("/hello.txt", "Expect: 100-continue", BODY),
        (200, 400, 417),
        interim=True,
        kept=CLOSED,
    ),
    Case(
        "expect-continue-of-post",
        request("/hello.txt", "Expect: 100-continue", BODY, method="POST"),
        (405, 417),
        interim=True,
        kept=CLOSED,
    ),
    Case(
        "expect-continue-mixed-case",
        request("/hello.txt", "Expect: 100-Continue"),
        200,
        body=HELLO,
        interim=True,
    ),
    Case(
        "expect-in-1.0",
        request("/hello.txt", "Expect: 100-continue", version="1.0"),
        200,
        body=HELLO,
        kept=CLOSED,
    ),
    Case("expect-unknown", request("/hello.txt", "Expect: 200-ok"), 417),
    Case("expect-continue-and-more", request("/hello.txt", "Expect: 100-continue, x=y"), 417),
    Case("get-has-no-allow", request("/hello.txt"), 200, headers={"Allow": ABSENT}, kept=KEPT),
)

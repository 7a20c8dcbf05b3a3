"""Header fields: syntax (RFC 9112 section 5, RFC 9110 section 5.5), Host (RFC 9112 section 3.2), sizes (RFC
6585 section 5), fields to ignore.
"""

from __future__ import annotations

from ..case import ABSENT, CLOSED, KEPT, Case
from ..client import request
from ..tree import FILES

HELLO = FILES[b"hello.txt"]


def _host(name: str, *lines: bytes) -> Case:
    return Case(f"host-{name}", request("/hello.txt", *lines, host=""), 400, kept=CLOSED)


def _bad(name: str, *lines: bytes) -> Case:
    return Case(f"bad-{name}", request("/hello.txt", *lines), 400, kept=CLOSED)


def _good(name: str, *lines: bytes | str) -> Case:
    return Case(f"good-{name}", request("/hello.txt", *lines), 200, body=HELLO, kept=KEPT)


def _first(name: str, line: bytes) -> Case:
    return Case(
        f"first-line-{name}",
        b"GET /hello.txt HTTP/1.1\r\n" + line + b"\r\nHost: wire.test\r\n\r\n",
        400,
        kept=CLOSED,
    )


BAD_HOSTS: list[tuple[str, list[bytes]]] = [
    ("missing", []),
    ("twice", [b"Host: a", b"Host: b"]),
    ("twice-equal", [b"Host: a", b"Host: a"]),
    ("twice-far-apart", [b"Host: a", b"A: b", b"hOST: c"]),
    ("list", [b"Host: a, b"]),
    ("list-without-space", [b"Host: a,b"]),
    ("user", [b"Host: u@h"]),
    ("path", [b"Host: h/p"]),
    ("query", [b"Host: h?q"]),
    ("fragment", [b"Host: h#f"]),
    ("space", [b"Host: a b"]),
    ("tab", [b"Host: a\tb"]),
    ("scheme", [b"Host: http://h"]),
    ("backslash", [b"Host: a\\b"]),
    ("8-bit", [b"Host: \xff"]),
    ("nul", [b"Host: a\x00b"]),
    ("quote", [b'Host: "h"']),
    ("markup", [b"Host: <h>"]),
]

GOOD_HOSTS = [
    b"localhost",
    b"localhost:8080",
    b"127.0.0.1",
    b"127.0.0.1:80",
    b"[::1]",
    b"[::1]:8080",
    b"xn--bcher-kva.example",
    b"a_b.example",
    b"EXAMPLE.COM",
    b"example.com.",
    b"a.b.c.d.e.f",
    b"h:",
]

BAD_LINES: list[tuple[str, list[bytes]]] = [
    ("obs-fold-space", [b"A: b\r\n c"]),
    ("obs-fold-tab", [b"A: b\r\n\tc"]),
    ("obs-fold-empty", [b"A: b\r\n "]),
    ("space-before-colon", [b"A : b"]),
    ("tab-before-colon", [b"A\t: b"]),
    ("space-before-colon-of-length", [b"Content-Length : 5"]),
    ("space-before-colon-of-coding", [b"Transfer-Encoding : chunked"]),
    ("empty-name", [b": b"]),
    ("no-colon", [b"A"]),
    ("no-colon-words", [b"hello world"]),
    ("name-with-space", [b"A B: c"]),
    ("name-with-parenthesis", [b"A(b: c"]),
    ("name-with-comma", [b"A,b: c"]),
    ("name-with-slash", [b"A/b: c"]),
    ("name-with-at", [b"A@b: c"]),
    ("name-with-brackets", [b"A[b]: c"]),
    ("name-with-braces", [b"A{b}: c"]),
    ("name-with-quote", [b'A"b: c']),
    ("name-with-equals", [b"A=b: c"]),
    ("name-with-backslash", [b"A\\b: c"]),
    ("name-8-bit", [b"\xc3\xa4: c"]),
    ("name-nul", [b"A\x00: c"]),
    ("name-control", [b"A\x01: c"]),
    ("name-del", [b"A\x7f: c"]),
    ("value-nul", [b"A: b\x00c"]),
    ("value-only-nul", [b"A: \x00"]),
    ("value-cr", [b"A: b\rc"]),
    ("value-vertical-tab-alone", [b"A: \x0b"]),
    ("value-form-feed-inside", [b"A: b\x0cc"]),
]

GOOD_LINES: list[tuple[str, list[bytes]]] = [
    ("empty-value", [b"A:"]),
    ("empty-value-with-space", [b"A: "]),
    ("no-space-after-colon", [b"A:b"]),
    ("much-space-around", [b"A: \t  b \t "]),
    ("space-inside", [b"A: b  c\td"]),
    ("value-8-bit", [b"A: \xc3\xa4\xff"]),
    ("value-colons", [b"A: b: c: d"]),
    ("name-of-every-token-byte", [b"!#$%&'*+-.^_`|~09azAZ: b"]),
    ("name-one-byte", [b"x: y"]),
    ("names-in-any-case", [b"aCCEPT: */*"]),
    ("same-name-often", [*([b"A: b"] * 20)]),
    ("cookie", [b"Cookie: a=b; c=d"]),
    ("value-4000", [b"A: " + b"b" * 4000]),
    ("value-12000", [b"A: " + b"b" * 12000]),
]

IGNORED: list[tuple[str, list[bytes]]] = [
    (
        "upgrade-h2c",
        [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"],
    ),
    (
        "upgrade-websocket",
        [
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Key: x",
            b"Sec-WebSocket-Version: 13",
        ],
    ),
    ("upgrade-tls", [b"Connection: Upgrade", b"Upgrade: TLS/1.2"]),
    ("forwarded-for", [b"X-Forwarded-For: 192.0.2.1", b"X-Real-IP: 192.0.2.2", b"Forwarded: for=192.0.2.3"]),
    ("forwarded-host", [b"X-Forwarded-Host: evil.test"]),
    ("original-url", [b"X-Original-URL: /.env", b"X-Rewrite-URL: /.env"]),
    ("method-override", [b"X-HTTP-Method-Override: DELETE"]),
    ("authorization", [b"Authorization: Basic Og=="]),
    ("authorization-empty", [b"Authorization: Basic"]),
    ("authorization-garbage", [b"Authorization: Basic \xff\xfe"]),
    ("authorization-bearer", [b"Authorization: Bearer x", b"Proxy-Authorization: Basic Og=="]),
    ("quotes-and-8-bit", [b'User-Agent: "ZEBRA\\', b"Referer: \xff\xfeZEBRA"]),
    ("accept-of-nothing", [b"Accept: application/x-nothing", b"Accept-Charset: x", b"Accept-Language: x"]),
    ("two-content-types", [b"Content-Type: text/plain", b"Content-Type: text/html"]),
    ("coding-with-underscore", [b"Transfer_Encoding: chunked", b"Content_Length: 5"]),
    ("te", [b"TE: trailers, deflate;q=0.5"]),
    ("trailer", [b"Trailer: A"]),
    ("max-forwards", [b"Max-Forwards: 0"]),
    ("pragma", [b"Pragma: no-cache", b"Cache-Control: no-cache, no-store, max-age=0"]),
    ("content-type", [b"Content-Type: application/json"]),
    (
        "from-a-browser",
        [
            b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
            b"Accept: text/html,*/*;q=0.8",
            b"Accept-Language: en",
            b"Sec-Fetch-Mode: navigate",
        ],
    ),
    ("markup", [b"User-Agent: <script>alert(1)</script>", b"Referer: http://x/\xff"]),
]

# Nothing of the request comes back in the response.
ECHO = b"ZEBRA-93"

CASES = (
    *(_host(name, *lines) for name, lines in BAD_HOSTS),
    *(
        Case(
            f"host-good-{host.decode()}",
            request("/hello.txt", host=host.decode()),
            200,
            body=HELLO,
            kept=KEPT,
        )
        for host in GOOD_HOSTS
    ),
    Case("host-empty", request("/hello.txt", "Host:", host=""), (200, 400), body=None),
    Case(
        "host-last",
        request("/hello.txt", "A: b", "C: d", "HOST: wire.test", host=""),
        200,
        body=HELLO,
        kept=KEPT,
    ),
    Case(
        "host-twice-in-1.0",
        request("/hello.txt", "Host: a", "Host: b", host="", version="1.0"),
        400,
        kept=CLOSED,
    ),
    *(_bad(name, *lines) for name, lines in BAD_LINES),
    _first("begins-with-space", b" A: b"),
    _first("begins-with-tab", b"\tA: b"),
    _first("is-only-a-space", b" "),
    *(_good(name, *lines) for name, lines in GOOD_LINES),
    *(
        Case(
            f"ignored-{name}",
            request("/hello.txt", *lines),
            200,
            body=HELLO,
            headers={"Upgrade": ABSENT, "WWW-Authenticate": ABSENT, "Set-Cookie": ABSENT},
        )
        for name, lines in IGNORED
    ),
    *(
        Case(
            f"upgrade-and-{name}",
            request("/hello.txt", "Connection: Upgrade, close", "Upgrade: h2c", version=version),
            200,
            body=HELLO,
            kept=CLOSED,
        )
        for name, version in (("close", "1.1"), ("1.0", "1.0"))
    ),
    *(
        Case(
            f"no-echo-{path.strip('/') or 'root'}-{at}",
            request(path + "?" + ECHO.decode(), *lines),
            (200, 404, 405, 417),
            never=(ECHO,),
        )
        for path in ("/nothing", "/hello.txt")
        for at, lines in enumerate(
            (
                ["A: ZEBRA-93"],
                ["User-Agent: ZEBRA-93"],
                ["Cookie: ZEBRA-93"],
                ["Referer: ZEBRA-93"],
                ["Expect: ZEBRA-93"],
            )
        )
    ),
    Case("no-echo-path", request("/ZEBRA-93<script>alert(1)"), (400, 404), never=(ECHO, b"<script>alert")),
    Case("no-echo-encoded-path", request("/ZEBRA-93%3Cscript%3E"), 404, never=(ECHO, b"<script>")),
    # What would break a line of a log, or end a string in one.
    *(
        Case(f"no-echo-{target}", request(target), 404, kept=KEPT, never=(b"ZEBRA",))
        for target in ("/%0aZEBRA", "/%0d%0aZEBRA", "/%1b[31mZEBRA", "/%22ZEBRA%5c", "/%7fZEBRA", "/%ffZEBRA")
    ),
    Case("no-echo-host", request("/nothing", host="zebra-93.test"), 404, never=(b"zebra-93",)),
    Case("no-echo-method", request("/hello.txt", method="ZEBRA-93"), (400, 405, 501), never=(ECHO,)),
    Case("no-echo-bad-line", request("/hello.txt", "ZEBRA-93"), 400, never=(ECHO,), kept=CLOSED),
    Case("no-echo-bad-version", request("/hello.txt", version="ZEBRA-93"), 400, never=(ECHO,), kept=CLOSED),
    Case("many-lines-100", request("/hello.txt", *(f"A{number}: b" for number in range(100))), (200, 431)),
    Case("many-lines-500", request("/hello.txt", *(f"A{number}: b" for number in range(500))), (200, 431)),
    Case(
        "many-lines-5000",
        request("/hello.txt", *(f"A{number}: b" for number in range(5000))),
        431,
        kept=CLOSED,
        reset=True,
    ),
    Case("head-17000", request("/hello.txt", b"A: " + b"b" * 17000), 431, kept=CLOSED, reset=True),
    Case(
        "head-17000-of-HEAD",
        request("/hello.txt", b"A: " + b"b" * 17000, method="HEAD"),
        431,
        kept=CLOSED,
        reset=True,
    ),
    Case("head-64k", request("/hello.txt", b"A: " + b"b" * 65536), 431, kept=CLOSED, reset=True),
    Case("head-1-MB", request("/hello.txt", b"A: " + b"b" * 1_000_000), 431, kept=CLOSED, reset=True),
    Case(
        "head-without-end",
        b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\r\nA: " + b"b" * 50_000,
        431,
        kept=CLOSED,
        reset=True,
    ),
    Case(
        "head-authorization-64k",
        request("/hello.txt", b"Authorization: Basic " + b"A" * 65536),
        431,
        kept=CLOSED,
        reset=True,
    ),
    Case("head-name-64k", request("/hello.txt", b"A" * 65536 + b": b"), 431, kept=CLOSED, reset=True),
    Case("cookie-10k", request("/hello.txt", b"Cookie: a=" + b"b" * 10_000), 200, body=HELLO, kept=KEPT),
    Case("cookie-20k", request("/hello.txt", b"Cookie: a=" + b"b" * 20_000), 431, kept=CLOSED, reset=True),
)

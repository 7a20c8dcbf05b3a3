"""Where a request ends: request lines, line ends, Content-Length, Transfer-Encoding, bodies (RFC 9112
sections 2, 3, 6, 7).

Whatever cannot be framed beyond doubt is answered 400 and the connection closed: the bytes behind it belong
to nobody.
"""

from __future__ import annotations

from ..case import CLOSED, KEPT, SILENT, Case
from ..client import request
from ..tree import FILES

HELLO = FILES[b"hello.txt"]
HOST = b"Host: wire.test\r\n"
END = b"\r\n"
INNER = request("/a/b.txt")


def _line(line: bytes) -> bytes:
    return line + b"\r\n" + HOST + END


def _bad(name: str, sent: bytes, *, half_close: bool = False) -> Case:
    return Case(name, sent, 400, kept=CLOSED, half_close=half_close)


REQUEST_LINES = [
    ("two-spaces", b"GET  /hello.txt HTTP/1.1"),
    ("two-spaces-before-version", b"GET /hello.txt  HTTP/1.1"),
    ("words-after-version", b"GET /hello.txt HTTP/1.1 x"),
    ("space-after-version", b"GET /hello.txt HTTP/1.1 "),
    ("tab-separators", b"GET\t/hello.txt\tHTTP/1.1"),
    ("tab-after-method", b"GET\t/hello.txt HTTP/1.1"),
    ("tab-before-version", b"GET /hello.txt\tHTTP/1.1"),
    ("form-feed-separator", b"GET\x0c/hello.txt HTTP/1.1"),
    ("vertical-tab-separator", b"GET\x0b/hello.txt HTTP/1.1"),
    ("cr-separator", b"GET\r/hello.txt HTTP/1.1"),
    ("cr-before-version", b"GET /hello.txt\rHTTP/1.1"),
    ("leading-space", b" GET /hello.txt HTTP/1.1"),
    ("leading-tab", b"\tGET /hello.txt HTTP/1.1"),
    ("space-in-target", b"GET /with space.txt HTTP/1.1"),
    ("no-target", b"GET HTTP/1.1"),
    ("no-target-two-spaces", b"GET  HTTP/1.1"),
    ("no-method", b"/hello.txt HTTP/1.1"),
    ("no-method-but-space", b" /hello.txt HTTP/1.1"),
    ("method-with-colon", b"GET: /hello.txt HTTP/1.1"),
    ("method-with-slash", b"GE/T /hello.txt HTTP/1.1"),
    ("method-in-brackets", b"(GET) /hello.txt HTTP/1.1"),
    ("method-8-bit", b"G\xc9T /hello.txt HTTP/1.1"),
    ("target-8-bit", "GET /\u00fcn\u00efcode.txt HTTP/1.1".encode()),
    ("target-nul", b"GET /hello.txt\x00 HTTP/1.1"),
    ("target-nul-inside", b"GET /hel\x00lo.txt HTTP/1.1"),
    ("target-escape", b"GET /\x1b[2J HTTP/1.1"),
    ("target-del", b"GET /hello\x7f.txt HTTP/1.1"),
    ("method-nul", b"GE\x00T /hello.txt HTTP/1.1"),
    ("version-two-digits", b"GET /hello.txt HTTP/1.10"),
    ("version-leading-zero", b"GET /hello.txt HTTP/01.1"),
    ("version-lower-case", b"GET /hello.txt http/1.1"),
    ("version-space", b"GET /hello.txt HTTP /1.1"),
    ("version-space-inside", b"GET /hello.txt HTTP/ 1.1"),
    ("version-comma", b"GET /hello.txt HTTP/1,1"),
    ("version-no-minor", b"GET /hello.txt HTTP/1"),
    ("version-no-number", b"GET /hello.txt HTTP/"),
    ("version-plus", b"GET /hello.txt HTTP/+1.1"),
    ("version-minus", b"GET /hello.txt HTTP/1.-1"),
    ("version-hex", b"GET /hello.txt HTTP/1.a"),
    ("version-other-protocol", b"GET /hello.txt HTTPS/1.1"),
    ("version-icy", b"GET /hello.txt ICY/1.1"),
    ("version-nul", b"GET /hello.txt HTTP/1.1\x00"),
    ("http-0.9", b"GET /hello.txt"),
    ("http-0.9-with-space", b"GET /hello.txt "),
    ("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("ssh-banner", b"SSH-2.0-OpenSSH_9.2"),
    ("proxy-v1", b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443"),
    ("one-word", b"GET"),
    ("only-spaces", b"   "),
]

# Of these no more comes: the answer is not to wait for the end of a head.
FIRST_BYTES = [
    ("ssh", b"SSH-2.0-x\r\n"),
    ("http-0.9", b"GET /hello.txt\r\n"),
    ("http-0.9-to-lf", b"GET /hello.txt\n"),
    ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("rdp", b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"),
    ("smb", b"\x00\x00\x00\x45\xffSMB"),
    ("proxy-v1", b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"),
    ("rtsp", b"OPTIONS / RTSP/1.0\r\n"),
    ("behind-an-empty-line", b"\r\nGET /hello.txt\r\n"),
    ("empty-line-of-cr", b"\r\r\n"),
    ("two-spaces", b"GET  /hello.txt"),
    ("control-in-target", b"GET /hello\x7f"),
]

MAJORS = [b"HTTP/0.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9"]

# Line ends. RFC 9112 section 2.2 lets a server accept a bare LF; this one does not, so that no proxy in
# front can disagree.
LINE_ENDS = [
    ("all-bare-lf", b"GET /hello.txt HTTP/1.1\nHost: wire.test\n\n"),
    ("request-line-bare-lf", b"GET /hello.txt HTTP/1.1\nHost: wire.test\r\n\r\n"),
    ("header-bare-lf", b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\nA: b\r\n\r\n"),
    ("last-header-bare-lf", b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\n\r\n"),
    ("end-bare-lf", b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\r\n\n"),
    ("bare-cr-in-value", b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\r\nA: b\rc\r\n\r\n"),
    ("bare-cr-as-end", b"GET /hello.txt HTTP/1.1\rHost: wire.test\r\r\n\r\n"),
    ("bare-cr-before-crlf", b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\r\r\n\r\n"),
    ("cr-cr-lf-after-request-line", b"GET /hello.txt HTTP/1.1\r\r\nHost: wire.test\r\n\r\n"),
    ("bare-cr-in-name", b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\r\nA\rB: c\r\n\r\n"),
    ("smuggled-by-bare-lf", b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\r\nA: b\nContent-Length: 5\r\n\r\n"),
    ("smuggled-by-bare-cr", b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\r\nA: b\rContent-Length: 5\r\n\r\n"),
    ("leading-bare-lf", b"\nGET /hello.txt HTTP/1.1\r\nHost: wire.test\r\n\r\n"),
    ("leading-bare-cr", b"\rGET /hello.txt HTTP/1.1\r\nHost: wire.test\r\n\r\n"),
]

# Content-Length of a GET: every one of these is no number, or is two numbers (RFC 9112 section 6.3).
LENGTHS = [
    ("plus", b"+5"),
    ("minus", b"-5"),
    ("minus-zero", b"-0"),
    ("hex", b"0x5"),
    ("two-words", b"5 5"),
    ("exponent", b"1e1"),
    ("empty", b""),
    ("fraction", b"5.0"),
    ("comma-different", b"5, 6"),
    ("comma-empty", b"5,"),
    ("comma-only", b","),
    ("words", b"five"),
    ("quoted", b'"5"'),
    ("2-to-the-64", b"18446744073709551616"),
    ("2-to-the-64-and-5", b"18446744073709551621"),
    ("30-digits", b"1" * 30),
    ("400-digits", b"9" * 400),
    ("underscore", b"1_0"),
    ("semicolon", b"5;"),
    ("8-bit-digits", "\u0665".encode()),
    ("superscript", b"\xb2"),
    ("list-minus", b"5, -5"),
]

CODINGS = [
    ("unknown", b"xchunked"),
    ("twice", b"chunked, chunked"),
    ("identity", b"identity"),
    ("vertical-tab", b"\x0bchunked"),
    ("gzip-only", b"gzip"),
    ("chunked-not-last", b"chunked, gzip"),
    ("empty", b""),
    ("quoted", b'"chunked"'),
    ("parameter", b"chunked;q=1"),
    ("nul", b"chunked\x00"),
    ("trailing-comma-and-identity", b"chunked, identity"),
    ("space-inside", b"chun ked"),
    ("comma-before", b", chunked"),
    ("comma-after", b"chunked,"),
    ("twice-and-gzip", b"chunked, gzip, chunked"),
]

# Bodies of a GET that are not what they say (RFC 9112 section 7.1).
CHUNKS = [
    ("hex-prefix", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("minus", b"-1\r\nhello\r\n0\r\n\r\n"),
    ("space-after", b"5 \r\nhello\r\n0\r\n\r\n"),
    ("underscore", b"1_0\r\nhello\r\n0\r\n\r\n"),
    ("17-digits", b"00000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("2-to-the-64", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("bare-lf", b"5\nhello\n0\n\n"),
    ("missing-crlf", b"5\r\nhello0\r\n\r\n"),
    ("bare-semicolon", b"5;\r\nhello\r\n0\r\n\r\n"),
    ("bare-cr", b"5\rhello\r\n0\r\n\r\n"),
    ("no-size", b"\r\nhello\r\n0\r\n\r\n"),
    ("extension-64k", b"5;" + b"x" * 65536 + b"\r\nhello\r\n0\r\n\r\n"),
    ("bare-cr-in-extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("garbage", b"hello world\r\n\r\n"),
    ("trailer-space-before-colon", b"0\r\nA : b\r\n\r\n"),
    ("leading-space", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("spilling", b"5\r\nhello!!\r\n0\r\n\r\n"),
    ("control-in-extension", b"5;a\x01\r\nhello\r\n0\r\n\r\n"),
]

WITH_CODING = b"GET /hello.txt HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
TRAILERS = b'5;a=b;c="d"\r\nhello\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\n'
POSTED_CODING = WITH_CODING.replace(b"GET", b"POST")


def _length(*values: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    lines = b"".join(b"Content-Length: " + value + b"\r\n" for value in values)
    return method + b" /hello.txt HTTP/1.1\r\n" + HOST + lines + END + body


def _coding(*values: bytes, extra: bytes = b"", version: bytes = b"1.1") -> bytes:
    lines = b"".join(b"Transfer-Encoding: " + value + b"\r\n" for value in values)
    return b"GET /hello.txt HTTP/" + version + b"\r\n" + HOST + lines + extra + END


CASES = (
    Case("good", request("/hello.txt"), 200, body=HELLO, kept=KEPT),
    Case("leading-empty-line", b"\r\n" + request("/hello.txt"), 200, body=HELLO, kept=KEPT),
    Case("leading-empty-lines", b"\r\n\r\n" + request("/hello.txt"), (200, 400)),
    _bad(
        "proxy-v2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x30\x39\x1f\x90"
    ),
    Case("endless-empty-lines", b"\r\n" * 40_000, (400, 431), kept=CLOSED, reset=True),
    *(_bad(f"line-{name}", _line(line)) for name, line in REQUEST_LINES),
    *(_bad(f"first-bytes-{name}", sent) for name, sent in FIRST_BYTES),
    Case("first-bytes-of-head", b"HEAD /hello.txt\r\n", 400, body=b"", kept=CLOSED),
    *(
        Case(f"major-{version.decode()}", _line(b"GET /hello.txt " + version), 505, kept=CLOSED)
        for version in MAJORS
    ),
    Case("major-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505), kept=CLOSED),
    Case("minor-2-is-1.1", _line(b"GET /hello.txt HTTP/1.2"), 200, body=HELLO, kept=KEPT),
    Case("minor-9-is-1.1", _line(b"GET /hello.txt HTTP/1.9"), 200, body=HELLO, kept=KEPT),
    *(_bad(f"end-{name}", sent) for name, sent in LINE_ENDS),
    *(_bad(f"length-{name}", _length(value)) for name, value in LENGTHS),
    *(_bad(f"length-{name}-post", _length(value, method=b"POST")) for name, value in LENGTHS),
    _bad("length-twice-different", _length(b"5", b"6", body=b"hello")),
    _bad("length-twice-first-zero", _length(b"0", b"5", body=b"hello")),
    Case("length-twice-equal", _length(b"5", b"5", body=b"hello"), (200, 400), kept=CLOSED),
    Case("length-list-equal", _length(b"5, 5", body=b"hello"), (200, 400), kept=CLOSED),
    Case("length-zero", _length(b"0"), 200, body=HELLO, kept=KEPT),
    Case("length-zeros", _length(b"000"), 200, body=HELLO),
    Case("length-with-space-around", _length(b" \t 0 \t "), 200, body=HELLO, kept=KEPT),
    *(_bad(f"coding-{name}", _coding(value)) for name, value in CODINGS),
    *(
        _bad(f"coding-{name}-and-length", _coding(value, extra=b"Content-Length: 5\r\n"))
        for name, value in CODINGS
    ),
    _bad("coding-two-lines", _coding(b"chunked", b"chunked")),
    _bad("coding-two-lines-identity", _coding(b"chunked", b"identity")),
    # It ends where the chunks do, but nobody here can unpack it (RFC 9112 section 6.1).
    *(
        Case(f"coding-{name}-before-chunked", _coding(value), 501, kept=CLOSED)
        for name, value in (("gzip", b"gzip, chunked"), ("unknown", b"x-unknown,chunked"))
    ),
    Case("coding-two-lines-gzip-first", _coding(b"gzip", b"chunked"), 501, kept=CLOSED),
    _bad("coding-in-1.0", _coding(b"chunked", version=b"1.0") + b"0\r\n\r\n"),
    _bad("coding-and-length", _coding(b"chunked", extra=b"Content-Length: 5\r\n") + b"0\r\n\r\n"),
    _bad(
        "length-and-coding", _length(b"5").removesuffix(END) + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    _bad("coding-and-length-zero", _coding(b"chunked", extra=b"Content-Length: 0\r\n") + b"0\r\n\r\n"),
    *(
        Case(f"chunk-{name}-post", POSTED_CODING + body, (400, 405), kept=CLOSED, reset=len(body) > 1000)
        for name, body in CHUNKS
    ),
    # Never 200 to what was not parsed, and never the next request.
    *(
        Case(f"chunk-{name}-get", WITH_CODING + body, 400, kept=CLOSED, reset=len(body) > 1000)
        for name, body in CHUNKS
    ),
    Case("body-of-get", _length(b"5", body=b"hello"), (200, 400), kept=CLOSED),
    Case("body-of-get-chunked", WITH_CODING + b"5\r\nhello\r\n0\r\n\r\n", (200, 400, 413, 501), kept=CLOSED),
    Case("body-of-head", _length(b"5", method=b"HEAD", body=b"hello"), (200, 400), kept=CLOSED),
    *(
        Case(
            f"body-with-trailers-{method.decode().lower()}",
            WITH_CODING.replace(b"GET", method) + TRAILERS,
            status,
            kept=CLOSED,
        )
        for method, status in ((b"GET", 400), (b"HEAD", 400), (b"POST", 405), (b"PUT", 405))
    ),
    Case("body-of-post", _length(b"5", method=b"POST", body=b"hello"), 405, kept=CLOSED),
    Case(
        "body-is-a-request",
        _length(str(len(INNER)).encode(), method=b"POST", body=INNER),
        405,
        kept=CLOSED,
        never=(FILES[b"a/b.txt"],),
    ),
    Case(
        "body-is-a-request-of-get",
        _length(str(len(INNER)).encode(), body=INNER),
        (200, 400),
        kept=CLOSED,
        never=(FILES[b"a/b.txt"],),
    ),
    Case(
        "body-is-a-request-chunked",
        POSTED_CODING + b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER),
        405,
        kept=CLOSED,
        never=(FILES[b"a/b.txt"],),
    ),
    Case(
        "body-shorter-than-said", _length(b"50", method=b"POST", body=b"hello"), (400, 405), half_close=True
    ),
    Case(
        "body-large-unread",
        _length(b"1000000", method=b"POST", body=b"x" * 1_000_000),
        (405, 413),
        kept=CLOSED,
        reset=True,
    ),
    Case("body-never-sent", _length(b"1000000", method=b"POST"), (405, 413), kept=CLOSED),
    Case(
        "body-of-2-to-the-63", _length(b"9223372036854775808", method=b"POST"), (400, 405, 413), kept=CLOSED
    ),
    Case("half-close", request("/3m17.bin"), 200, body=FILES[b"3m17.bin"], half_close=True),
    Case("half-close-small", request("/hello.txt"), 200, body=HELLO, half_close=True),
    Case("half-close-in-request-line", b"GET /hel", (SILENT, 400), half_close=True),
    Case("half-close-in-headers", b"GET /hello.txt HTTP/1.1\r\nHost: w", (SILENT, 400), half_close=True),
    Case(
        "half-close-before-end",
        b"GET /hello.txt HTTP/1.1\r\nHost: wire.test\r\n",
        (SILENT, 400),
        half_close=True,
    ),
    Case("half-close-at-once", b"", SILENT, half_close=True),
    Case("connection-close", request("/hello.txt", "Connection: close"), 200, body=HELLO, kept=CLOSED),
    Case(
        "connection-close-mixed-case",
        request("/hello.txt", "connection: CLOSE"),
        200,
        body=HELLO,
        kept=CLOSED,
    ),
    Case(
        "connection-close-in-list",
        request("/hello.txt", "Connection: keep-alive, close"),
        200,
        body=HELLO,
        kept=CLOSED,
    ),
    Case(
        "connection-close-second-field",
        request("/hello.txt", "Connection: x", "Connection: close"),
        200,
        body=HELLO,
        kept=CLOSED,
    ),
    Case(
        "connection-keep-alive", request("/hello.txt", "Connection: keep-alive"), 200, body=HELLO, kept=KEPT
    ),
    Case(
        "connection-closed-is-no-close",
        request("/hello.txt", "Connection: closed"),
        200,
        body=HELLO,
        kept=KEPT,
    ),
    Case(
        "connection-close-large",
        request("/3m17.bin", "Connection: close"),
        200,
        body=FILES[b"3m17.bin"],
        kept=CLOSED,
    ),
    Case("http-1.0", request("/hello.txt", version="1.0"), 200, body=HELLO, kept=CLOSED),
    Case(
        "http-1.0-without-host", request("/hello.txt", version="1.0", host=""), 200, body=HELLO, kept=CLOSED
    ),
    Case(
        "http-1.0-keep-alive",
        request("/hello.txt", "Connection: keep-alive", version="1.0"),
        200,
        body=HELLO,
        headers={"Connection": b"keep-alive"},
        kept=KEPT,
    ),
    *(
        Case(
            f"http-1.0-keep-alive-{name}",
            request(path, "Connection: Keep-Alive", *lines, version="1.0", method=method),
            status,
            headers={"Connection": b"keep-alive"},
            kept=KEPT,
        )
        for name, method, path, lines, status in (
            ("head", "HEAD", "/hello.txt", (), 200),
            ("large", "GET", "/3m17.bin", (), 200),
            ("missing", "GET", "/no-such", (), 404),
            ("redirect", "GET", "/a", (), 301),
            ("not-modified", "GET", "/hello.txt", ("If-None-Match: *",), 304),
            ("range-not-satisfiable", "GET", "/hello.txt", ("Range: bytes=999999-",), 416),
            ("options", "OPTIONS", "/hello.txt", (), 204),
            ("post", "POST", "/hello.txt", (), 405),
        )
    ),
    Case(
        "http-1.0-keep-alive-and-close",
        request("/hello.txt", "Connection: keep-alive, close", version="1.0"),
        200,
        body=HELLO,
        headers={"Connection": b"close"},
        kept=CLOSED,
    ),
    Case(
        "http-1.0-keep-alive-bad-target",
        request("/%00", "Connection: keep-alive", version="1.0"),
        400,
        kept=CLOSED,
    ),
    Case("http-1.0-head", request("/hello.txt", version="1.0", method="HEAD"), 200, kept=CLOSED),
    Case("http-1.0-large", request("/3m17.bin", version="1.0"), 200, body=FILES[b"3m17.bin"], kept=CLOSED),
)

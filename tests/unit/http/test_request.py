"""Request heads: RFC 9112 sections 2 to 6, and what h11 would let through."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zchttpd.http.request import ANSWER_FIELDS, FIELDS_MAX, TARGET_SIZE_MAX, HttpError, Request, parse_request
from zchttpd.http.response_head import PHRASES

HOST = b"Host: site.test\r\n"


def get(
    target: bytes = b"/", *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1", host: bytes = HOST
) -> bytes:
    """A request head; `lines` come without their ends."""
    return b"%s %s HTTP/%s\r\n%s%s\r\n" % (
        method,
        target,
        version,
        host,
        b"".join(line + b"\r\n" for line in lines),
    )


def accepted(head: bytes) -> Request:
    request = parse_request(head)
    assert isinstance(request, Request), request
    return request


def refused(head: bytes) -> HttpError:
    http_error = parse_request(head)
    assert isinstance(http_error, HttpError), http_error
    return http_error


# What h11 0.16 accepts, and the stricter checks do not. h11 is asked too, so that a redundant rule is seen.
LENIENCIES = [
    ("9112 2.2", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("9112 2.2", b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n", 400),
    ("9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    ("9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n\r\n\r\n", 400),
    ("9112 5.2", get(b"/", b"A: b\r\n c"), 400),
    ("9112 5.2", get(b"/", b"A: b\r\n\tc"), 400),
    ("9112 5.2", get(b"/", b" A: b"), 400),
    ("9110 5.5", get(b"/", b"A: b\x01c"), 400),
    ("9110 5.5", get(b"/", b"A: b\x1bc"), 400),
    ("9110 5.5", get(b"/", b"A: b\x7fc"), 400),
    ("9112 2.3", get(version=b"2.0"), 505),
    ("9112 2.3", get(version=b"0.9"), 505),
    ("9112 2.3", b"PRI * HTTP/2.0\r\n\r\n", 505),
    ("9112 3.2", get(version=b"1.2", host=b""), 400),
    ("9112 3.2", get(host=b"Host: \r\n"), 400),
    ("9112 3.2", get(host=b"Host: a b\r\n"), 400),
    ("9112 3.2", get(host=b"Host: a, b\r\n"), 400),
    ("9112 3.2", get(host=b"Host: a,b\r\n"), 400),
    ("9112 3.2", get(host=b"Host: u@h\r\n"), 400),
    ("9112 3.2", get(host=b"Host: h/p\r\n"), 400),
    ("9112 3.2", get(host=b"Host: a\tb\r\n"), 400),
    ("9112 3.2", get(host=b"Host: http://h\r\n"), 400),
    ("9112 3.2", get(host=b"Host: h:port\r\n"), 400),
    ("9112 3.2", get(host=b"Host: h:123456\r\n"), 400),
    ("9112 3.2", get(host=b"Host: [::1\r\n"), 400),
    ("9112 3.2", get(host=b"Host: %zz\r\n"), 400),
    ("9112 3.2", get(host=b"Host: \xff\r\n"), 400),
    ("9112 3.2.2", get(b"http://h/", host=b"Host: \r\n"), 400),
    ("9112 3.2.1", get(b"a"), 400),
    ("9112 3.2.1", get(b"?x"), 400),
    ("9112 3.2.2", get(b"http:"), 400),
    ("9112 3.2.2", get(b"http:///a"), 400),
    ("9112 3.2.2", get(b"http://u@h/"), 400),
    ("9112 3.2.2", get(b"ftp://h/"), 400),
    ("9112 3.2.3", get(b"h:80"), 400),
    ("9112 3.2.4", get(b"*"), 400),
    ("9112 3.2.4", get(b"*", method=b"HEAD"), 400),
    ("9112 3.2.4", get(b"*x", method=b"OPTIONS"), 400),
    ("9112 3.2", get(b"/a#b"), 400),
    ("9110 9.3.6", get(b"h:443", method=b"CONNECT"), 501),
    ("9112 6.1", get(b"/", b"Content-Length: 5", b"Transfer-Encoding: chunked", method=b"POST"), 400),
    ("9112 6.1", get(b"/", b"Transfer-Encoding: chunked", b"Content-Length: 0", method=b"POST"), 400),
    ("9112 6.1", get(b"/", b"Transfer-Encoding: chunked", version=b"1.0", method=b"POST"), 400),
    ("9110 9.3.1", get(b"/", b"Transfer-Encoding: chunked"), 400),
    ("9110 9.3.1", get(b"/", b"Transfer-Encoding: Chunked", method=b"HEAD"), 400),
    ("9110 9.3.1", get(b"/", b"Transfer-Encoding: chunked", method=b"OPTIONS"), 400),
    ("9112 6.3", get(b"/", b"Content-Length: 18446744073709551616"), 400),
    ("9112 6.3", get(b"/", b"Content-Length: 9223372036854775808"), 400),
    ("9110 10.1.1", get(b"/", b"Expect: 200-ok"), 417),
    ("9110 10.1.1", get(b"/", b"Expect: 100-continue, x=y"), 417),
    ("9110 10.1.1", get(b"/", b"Expect: 100-continue", b"Expect: x"), 417),
    ("6585 5", get(b"/", *[b"A: b"] * FIELDS_MAX), 431),
    ("9110 15.5.15", get(b"/" + b"a" * TARGET_SIZE_MAX), 414),
]


@pytest.mark.parametrize(("section", "head", "status"), LENIENCIES)
def test_lenient_h11(section: str, head: bytes, status: int) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    assert isinstance(connection.next_event(), h11.Request), f"h11 refuses this by itself now (RFC {section})"
    assert refused(head).status == status


# What h11 refuses too.
MALFORMED = [
    ("9112 3", get(b"/").replace(b"GET ", b"GET  ")),
    ("9112 3", b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("9112 3", b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
    ("9112 3", b"GET / HTTP/1.1 x\r\n" + HOST + b"\r\n"),
    ("9112 3", b"GET\t/\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    ("9112 3", b"GET\x0c/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("9112 3", b" GET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("9112 3", b"GET /\r\n\r\n"),
    ("9112 3", b"GET\r\n\r\n"),
    ("9112 3", b"G(T / HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("9112 2.3", get(version=b"1.10")),
    ("9112 2.3", get(version=b"01.1")),
    ("9112 2.3", get(version=b"1")),
    ("9112 2.3", b"GET / http/1.1\r\n" + HOST + b"\r\n"),
    ("9112 3", get(b"/\xff")),
    ("9112 3", get(b"/\0")),
    ("9112 3", get(b"/\x0b")),
    ("9112 3.2", get(host=b"")),
    ("9112 3.2", get(host=HOST + HOST)),
    ("9112 3.2", get(host=HOST + HOST, version=b"1.0")),
    ("9112 5.1", get(b"/", b"A : b")),
    ("9112 5.1", get(b"/", b"A\t: b")),
    ("9112 5.1", get(b"/", b": b")),
    ("9112 5.1", get(b"/", b"A")),
    ("9112 5.1", get(b"/", b"A@: b")),
    ("9112 5.1", get(b"/", b"\xe9: b")),
    ("9112 2.2", b"GET / HTTP/1.1\r\n A: b\r\n" + HOST + b"\r\n"),
    ("9110 5.5", get(b"/", b"A: b\0c")),
    ("9112 2.2", get(b"/", b"A: b\rc")),
    ("9112 2.2", get(b"/", b"A: b\r")),
    ("9110 5.5", get(b"/", b"A: b\x0cc")),
    ("9112 6.3", get(b"/", b"Content-Length: 5", b"Content-Length: 6")),
    *(
        ("9112 6.3", get(b"/", b"Content-Length: " + value))
        for value in (b"+5", b"-0", b"0x5", b"5 5", b"1e1", b"", b"5,", b"9" * 400)
    ),
    ("9112 2.2", b"\r\n" + get()),
    ("9112 2.1", b"GET / HTTP/1.1\r\n" + HOST),
    ("9112 2.1", get() + b"G"),
    ("9112 2.1", get() + get()),
    ("9112 2.1", b""),
    ("9112 2.1", b"\r\n\r\n"),
    ("9112 2.1", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"),
]


@pytest.mark.parametrize(("section", "head"), MALFORMED)
def test_malformed(section: str, head: bytes) -> None:
    assert refused(head).status == 400, section


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        *(
            ([b"Transfer-Encoding: " + coding], 400)
            for coding in (b"gzip", b"identity", b"xchunked", b"", b"chunked;q=1", b"chunked, gzip", b",")
        ),
        *(
            ([b"Transfer-Encoding: " + coding], 400)
            for coding in (b"chunked, chunked", b"chunked,gzip,chunked", b", chunked", b"chunked,")
        ),
        ([b"Transfer-Encoding: gzip", b"transfer-encoding: chunked"], 501),
        ([b"TRANSFER-ENCODING:\tx-any ,\tChunked "], 501),
        ([b"Transfer-Encoding: gzip, chunked", b"Content-Length: 5"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"], 400),
    ],
)
def test_transfer_codings(lines: list[bytes], status: int) -> None:
    """RFC 9112 sections 6.1 and 6.3: 501 where chunked comes last after what nobody here can unpack."""
    assert refused(get(b"/", *lines, method=b"POST")).status == status
    assert refused(get(b"/", *lines, method=b"POST", version=b"1.0")).status == 400


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"localhost:8080",
        b"h:",
        b"127.0.0.1:80",
        b"[::1]",
        b"[::1]:8080",
        b"[v1.a:b]",
        b"a_b.test",
        b"A.TEST.",
        b"%41.test",
        b"a~b!",
    ],
)
def test_good_host(host: bytes) -> None:
    assert accepted(get(host=b"Host: %s\r\n" % host)).target == b"/"


@pytest.mark.parametrize(
    ("method", "sent", "target"),
    [
        (b"GET", b"/", b"/"),
        (b"GET", b"/a%20b?c=d", b"/a%20b?c=d"),
        (b"GET", b"//a", b"//a"),
        (b"GET", b"http://other.test/a?b", b"/a?b"),
        (b"GET", b"HTTPS://other.test:443/a", b"/a"),
        (b"GET", b"http://[::1]:8080/a", b"/a"),
        (b"GET", b"http://other.test", b"/"),
        (b"GET", b"http://other.test?q", b"/?q"),
        (b"GET", b"http://other.test//evil", b"//evil"),
        (b"OPTIONS", b"*", b"*"),
        (b"OPTIONS", b"http://other.test", b"*"),
        (b"OPTIONS", b"http://other.test/", b"/"),
        (b"OPTIONS", b"http://other.test?q", b"/?q"),
        (b"get", b"/", b"/"),
        (b"BREW", b"/", b"/"),
        (b"GET", b"/" + b"a" * (TARGET_SIZE_MAX - 1), b"/" + b"a" * (TARGET_SIZE_MAX - 1)),
    ],
)
def test_target(method: bytes, sent: bytes, target: bytes) -> None:
    """RFC 9112 section 3.2: origin-form, absolute-form (which wins over Host), asterisk-form."""
    request = accepted(get(sent, method=method))
    assert (request.method, request.target) == (method.decode(), target)


@pytest.mark.parametrize(
    ("head", "version", "keep_alive"),
    [
        (get(), b"1.1", True),
        (get(version=b"1.2"), b"1.1", True),
        (get(version=b"1.9"), b"1.1", True),
        (get(b"/", b"Connection: keep-alive"), b"1.1", True),
        (get(b"/", b"Connection: closed"), b"1.1", True),
        (get(b"/", b"Connection: CLOSE"), b"1.1", False),
        (get(b"/", b"Connection: keep-alive, close"), b"1.1", False),
        (get(b"/", b"Connection: x", b"Connection: close"), b"1.1", False),
        (get(b"/", b"Content-Length: 0"), b"1.1", True),
        (get(b"/", b"Content-Length: 5"), b"1.1", False),
        (get(b"/", b"Content-Length: 5, 5"), b"1.1", False),
        (get(b"/", b"Content-Length: 9223372036854775807"), b"1.1", False),
        (get(b"/", b"Transfer-Encoding: chunked", method=b"POST"), b"1.1", False),
        (get(version=b"1.0"), b"1.0", False),
        (get(version=b"1.0", host=b""), b"1.0", False),
        (get(b"/", b"Connection: keep-alive", version=b"1.0"), b"1.0", True),
        (get(b"/", b"Connection: Keep-Alive", version=b"1.0", host=b""), b"1.0", True),
        (get(b"/", b"Connection: te, keep-alive", b"Connection: a", version=b"1.0"), b"1.0", True),
        (get(b"/", b"Connection: keep-alive, close", version=b"1.0"), b"1.0", False),
        (get(b"/", b"Connection: close", b"Connection: keep-alive", version=b"1.0"), b"1.0", False),
        (get(b"/", b"Connection: keep-alives", version=b"1.0"), b"1.0", False),
        (get(b"/", b"Connection: keep-alive", b"Content-Length: 5", version=b"1.0"), b"1.0", False),
        (
            get(b"/", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"),
            b"1.1",
            True,
        ),
        # h11 puts off what it thinks of the connection while a switch of protocols is asked for.
        (get(b"/", b"Connection: Upgrade, close", b"Upgrade: h2c"), b"1.1", False),
        (get(b"/", b"Connection: Upgrade", b"Upgrade: h2c", version=b"1.0"), b"1.0", False),
    ],
)
def test_keep_alive(head: bytes, version: bytes, keep_alive: bool) -> None:
    """RFC 9112 section 9.3. Content that nobody reads never keeps alive."""
    request = accepted(head)
    assert (request.version, request.keep_alive) == (version, keep_alive)


@pytest.mark.parametrize(
    ("lines", "has_body", "expect", "cacheable"),
    [
        ((), False, False, True),
        ((b"Content-Length: 000",), False, False, True),
        ((b"Content-Length: 1",), True, False, False),
        ((b"Expect: 100-continue",), False, True, False),
        ((b"Expect: 100-CONTINUE, ,",), False, True, False),
        ((b"Content-Length: 1", b"Expect: 100-continue"), True, True, False),
        ((b"Connection: Upgrade", b"Upgrade: websocket"), False, False, False),
    ],
)
def test_body_expect_memo(lines: tuple[bytes, ...], has_body: bool, expect: bool, cacheable: bool) -> None:
    request = accepted(get(b"/", *lines))
    assert (request.has_body, request.expect, request.cacheable) == (has_body, expect, cacheable)


def test_expect_is_unknown_to_http_1_0() -> None:
    """RFC 9110 section 10.1.1."""
    assert not accepted(get(b"/", b"Expect: 100-continue", version=b"1.0")).expect
    assert not accepted(get(b"/", b"Expect: x", version=b"1.0")).expect


def test_fields() -> None:
    """RFC 9110 section 5.3: repeated fields are one list; names in any case, values without their space."""
    request = accepted(get(b"/", b"aCCept: \t a \t", b"Range:", b"Cookie: c", b"ACCEPT: b,c"))
    assert request.field(b"accept") == b"a, b,c"
    assert request.field(b"range") == b""
    assert request.field(b"if-range") is None
    assert request.field(b"cookie") is None, "nothing may depend on a field that is not in ANSWER_FIELDS"


@pytest.mark.parametrize(
    "head", [b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/2.0\r\n\r\n", get(b"a", method=b"HEAD")]
)
def test_refused_head_gets_no_body(head: bytes) -> None:
    """RFC 9110 section 9.3.2."""
    assert refused(head).bodiless
    assert not refused(head.replace(b"HEAD", b"GET")).bodiless


def test_target_size_is_a_setting() -> None:
    assert isinstance(parse_request(get(b"/abc"), target_size_max=4), Request)
    assert parse_request(get(b"/abcd"), target_size_max=4) == HttpError(
        414, "The request target is too long."
    )


PIECES = st.sampled_from(
    [
        b"GET", b"HEAD", b"OPTIONS", b"POST", b" ", b"/", b"*", b"http://h", b"%", b"?", b"#", b" HTTP/1.1",
        b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: h", b"Host:",
        b"Content-Length: ", b"5", b"0", b"Transfer-Encoding: ", b"chunked", b"Connection: close",
        b"Expect: 100-continue", b"A: b", b":", b",", b"\t", b"\0", b"\x7f", b"\xff", b"a", b"Upgrade: x",
    ]
)  # fmt: skip
HEADS = st.one_of(
    st.binary(max_size=200),
    st.lists(PIECES, max_size=20).map(b"".join),
    # A good head with something put in, anywhere.
    st.builds(
        lambda head, piece, at, gone: head[: at % len(head)] + piece + head[at % len(head) + gone :],
        st.sampled_from(
            [
                get(),
                get(b"/a?b", b"A: b", b"C: d"),
                get(b"/", b"Content-Length: 5"),
                get(version=b"1.0"),
                get(b"*", method=b"OPTIONS"),
            ]
        ),
        st.one_of(PIECES, st.binary(max_size=3)),
        st.integers(min_value=0, max_value=200),
        st.integers(min_value=0, max_value=3),
    ),
)


@given(HEADS)
@example(get())
@example(get(b"/", b"Content-Length: 5"))
def test_any_bytes(head: bytes) -> None:
    """Whatever the bytes, a request or a http_error; and no request on what h11 reads in another way."""
    request = parse_request(head)
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    try:
        event: object = connection.next_event()
    except h11.RemoteProtocolError:
        event = None
    if isinstance(request, HttpError):
        assert request.status in PHRASES
        assert request.status >= 400
        return
    assert isinstance(event, h11.Request)
    assert connection.trailing_data == (b"", False)
    assert request.method.encode() == event.method
    assert request.headers == tuple(each for each in event.headers if each[0] in ANSWER_FIELDS)
    assert request.target == b"*" or request.target.startswith(b"/")
    assert request.target in b"/" + event.target
    assert head.endswith(b"\r\n\r\n")
    assert head.index(b"\r\n\r\n") == len(head) - 4
    assert request.has_body == (type(connection.next_event()) is not h11.EndOfMessage)
    assert not (request.keep_alive and request.has_body)
    assert not request.keep_alive or request.version == b"1.1" or b"keep-alive" in head.lower()


@given(HEADS)
def test_depends_on_the_bytes_alone(head: bytes) -> None:
    assert parse_request(head) == parse_request(head)

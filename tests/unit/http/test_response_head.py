"""Response heads, signed by h11: RFC 9112 sections 4 and 5."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.http import response_head as module
from zchttpd.http.dates import DATE_SIZE, format_date, parse_date
from zchttpd.http.request import Request, parse_request
from zchttpd.http.response_head import PHRASES, EncodedHead, HeadEncoder, encode_head

LENGTH = (b"Content-Length", b"5")


def request_of(head: bytes = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") -> Request:
    request = parse_request(head)
    assert isinstance(request, Request)
    return request


def test_the_bytes() -> None:
    encoded = encode_head(request_of(), 200, (LENGTH, (b"ETag", b'"1-2"')), keep_alive=True)
    assert encoded.head == (
        b'HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 5\r\nETag: "1-2"\r\n\r\n'
    )


@pytest.mark.parametrize("status", PHRASES)
def test_the_date_can_be_overwritten(status: int) -> None:
    headers = () if status in (204, 304) else (LENGTH, (b"Last-Modified", b"Fri, 31 Dec 9999 23:59:59 GMT"))
    encoded = encode_head(request_of(), status, headers, keep_alive=True)
    date = slice(encoded.date_at, encoded.date_at + DATE_SIZE)
    assert parse_date(encoded.head[date]) == 0
    patched = bytearray(encoded.head)
    patched[date] = format_date(1_700_000_000)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(bytes(patched))
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert (response.status_code, response.reason) == (status, PHRASES[status].encode())
    assert dict(response.headers)[b"date"] == b"Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_the_last_response_says_so(head: bytes) -> None:
    """RFC 9112 section 9.6."""
    request = request_of(head)
    encoded = encode_head(request, 200, (LENGTH,), keep_alive=request.keep_alive)
    assert encoded.head.lower().count(b"\r\nconnection: close\r\n") == 1


def test_closing_by_choice() -> None:
    assert b"\r\nConnection: close\r\n" in encode_head(request_of(), 503, (LENGTH,), keep_alive=False).head


def test_an_unknown_request() -> None:
    encoded = encode_head(None, 400, (LENGTH,), keep_alive=False)
    assert encoded.head.startswith(b"HTTP/1.1 400 Bad Request\r\nDate: ")
    assert encoded.head.endswith(b"\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("asked", [None, request_of(b"GET / HTTP/1.0\r\n\r\n")])
def test_a_promise_that_cannot_be_kept(asked: Request | None) -> None:
    with pytest.raises(ValueError, match="keep_alive"):
        encode_head(asked, 200, (LENGTH,), keep_alive=True)


def test_a_second_response_to_one_request() -> None:
    """The first may have been thrown away because something failed after it was signed."""
    request = request_of()
    first = encode_head(request, 200, (LENGTH,), keep_alive=True)
    assert encode_head(request, 200, (LENGTH,), keep_alive=True) == first


@pytest.mark.parametrize("value", [b"a\r\nB: c", b"a\nb", b"a\0b", b" a", b"a "])
def test_h11_refuses_to_split_a_response(value: bytes) -> None:
    with pytest.raises(h11.LocalProtocolError):
        encode_head(request_of(), 301, (LENGTH, (b"Location", value)), keep_alive=True)


def test_an_unknown_status() -> None:
    with pytest.raises(KeyError):
        encode_head(request_of(), 299, (LENGTH,), keep_alive=True)


FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"ETag", b"Vary", b"X-Date", b"Location", b"Cache-Control"]),
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(str.encode),
    ),
    max_size=6,
)


@given(FIELDS, st.booleans())
def test_any_fields(fields: list[tuple[bytes, bytes]], keep_alive: bool) -> None:
    """Whatever they are, they come out in their order, and Date is where it is said to be."""
    encoded = encode_head(request_of(), 404, (LENGTH, *fields), keep_alive=keep_alive)
    assert isinstance(encoded, EncodedHead)
    lines = encoded.head.split(b"\r\n")
    close = [] if keep_alive else [b"Connection: close"]
    assert lines[2:] == [
        b"Content-Length: 5",
        *(name + b": " + value for name, value in fields),
        *close,
        b"",
        b"",
    ]
    assert encoded.head[encoded.date_at :].startswith(format_date(0) + b"\r\n")


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"POST"])
@pytest.mark.parametrize("status", PHRASES)
def test_http_1_0_that_asks_for_it_is_told_that_it_is_kept_alive(method: bytes, status: int) -> None:
    request = request_of(method + b" / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
    assert request.keep_alive
    length = () if status in (204, 304) else (LENGTH,)
    head = encode_head(request, status, length, keep_alive=True).head
    of_1_1 = encode_head(
        request_of(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n"), status, length, keep_alive=True
    )
    assert head == of_1_1.head.removesuffix(b"\r\n") + b"Connection: keep-alive\r\n\r\n"
    closing = encode_head(request, status, length, keep_alive=False).head
    assert closing == of_1_1.head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n"


REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
)
VALUES = st.one_of(
    st.sampled_from([b"5", b"bytes 0-1/2", b'"1-2"', b"", b"a\tb", b" a", b"a\x00", b"\xe9"]),
    st.binary(max_size=4),
)
FIELDS = st.lists(
    st.tuples(st.sampled_from([b"ETag", b"Content-Range", b"Vary", b"X-A"]), VALUES), max_size=4
).map(tuple)


def written(
    write: HeadEncoder | None, head: bytes, status: int, fields: tuple[tuple[bytes, bytes], ...]
) -> object:
    """The head, or the kind of error that it raises."""
    request = request_of(head)
    encode = encode_head if write is None else write.encode
    length = () if status in (204, 304) else (LENGTH,)
    try:
        return encode(request, status, (*length, *fields), keep_alive=request.keep_alive)
    except h11.LocalProtocolError as error:
        return type(error)


@given(
    st.lists(
        st.tuples(st.sampled_from(REQUESTS), st.sampled_from([200, 204, 206, 304, 404]), FIELDS), max_size=8
    )
)
def test_an_encoder_writes_what_h11_writes(
    asked: list[tuple[bytes, int, tuple[tuple[bytes, bytes], ...]]],
) -> None:
    encoder = HeadEncoder()
    for head, status, fields in (*asked, *asked):
        assert written(encoder, head, status, fields) == written(None, head, status, fields)


def test_h11_writes_the_first_of_a_shape_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[int] = []

    def signing(request: Request, status: int, fields: object, *, keep_alive: bool) -> EncodedHead:
        signed.append(status)
        return encode_head(request, status, fields, keep_alive=keep_alive)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "encode_head", signing)
    encoder = HeadEncoder()
    for number in range(10):
        for head in REQUESTS:
            written(encoder, head, 200, ((b"ETag", b'"%d"' % number),))
    assert len(signed) == len(REQUESTS)
    monkeypatch.setattr(module, "SHAPES_MAX", len(REQUESTS))
    for _ in range(2):
        written(encoder, REQUESTS[0], 206, ())
    assert len(signed) == len(REQUESTS) + 2, "no room for another shape"
    with pytest.raises(ValueError, match="keep_alive"):
        encoder.encode(request_of(REQUESTS[2]), 200, (LENGTH,), keep_alive=True)

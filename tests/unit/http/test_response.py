"""Answers with a file: RFC 9110 sections 9.3, 13.2, 14, 15."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.http.response import Metadata, Response, Slice
from zchttpd.http.response_head import encode_head

from .oracle import (
    BR,
    CONTENT,
    DATE,
    LATER,
    METADATA,
    SITE,
    SIZE,
    TAG,
    ask,
    body_of,
    fields_of,
    received,
    respond,
)


def test_whole() -> None:
    request = ask()
    response = respond(request, METADATA)
    assert response == Response(
        200,
        (
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"10240"),
            (b"ETag", b'"1-2"'),
            (b"Last-Modified", DATE),
            (b"Accept-Ranges", b"bytes"),
            (b"X-Content-Type-Options", b"nosniff"),
        ),
        (Slice(0, SIZE),),
        keep_alive=True,
    )
    assert received(request, response) == CONTENT


def test_the_head_is_small() -> None:
    response = respond(
        ask(), Metadata(SIZE, '"17979cfe362a2a15-2800"', 1_700_000_000, "text/html; charset=utf-8")
    )
    encoded = encode_head(ask(), response.status, response.headers, keep_alive=True)
    assert len(encoded.head) <= 256


@pytest.mark.parametrize(
    "lines", [(), (b"Range: bytes=0-1",), (b"Range: bytes=99999-",), (b'If-None-Match: "x"',)]
)
@pytest.mark.parametrize("metadata", [METADATA, BR, SITE])
def test_head_is_get_without_content(lines: tuple[bytes, ...], metadata: Metadata) -> None:
    """RFC 9110 section 9.3.2; Range means GET alone (section 14.2)."""
    request = ask(*lines, method=b"HEAD")
    response = respond(request, metadata)
    assert response.headers == respond(ask(), metadata).headers
    assert (response.status, response.parts) == (200, ())
    assert received(request, response, b"HEAD") == b""


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((), 200),
        ((b'If-None-Match: "1-2"',), 200),
        ((b"If-None-Match: *",), 304),
        ((b"If-Modified-Since: " + DATE,), 304),
        ((b"Range: bytes=0-1",), 206),
        ((b"Range: bytes=0-1,5-6",), 206),
        ((b'If-Range: "1-2"', b"Range: bytes=0-1"), 200),
        ((b'If-Range: ""', b"Range: bytes=0-1"), 200),
        ((b"If-Range: " + DATE, b"Range: bytes=0-1"), 206),
        ((b"If-Match: *",), 200),
        ((b'If-Match: "1-2"',), 412),
        ((b'If-Match: ""',), 412),
    ],
)
def test_a_file_whose_tag_is_not_known(lines: tuple[bytes, ...], status: int) -> None:
    request = ask(*lines)
    response = respond(request, METADATA._replace(etag=None))
    assert response.status == status
    assert b"etag" not in fields_of(response)
    received(request, response)


def test_empty_file() -> None:
    response = respond(ask(), Metadata(0, TAG, None, "text/plain"))
    assert (response.status, response.parts) == (200, ())
    fields = fields_of(response)
    assert fields[b"content-length"] == b"0"
    assert b"last-modified" not in fields


@pytest.mark.parametrize("line", [b'If-None-Match: W/"1-2"', b"If-Modified-Since: " + DATE])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_not_modified(line: bytes, method: bytes) -> None:
    """RFC 9110 section 15.4.5: what 200 would say to caches, and nothing of content."""
    request = ask(line, b"Range: bytes=0-1", method=method)
    response = respond(request, SITE)
    assert (response.status, response.parts) == (304, ())
    assert fields_of(response) == {
        b"etag": b'"1-2"',
        b"cache-control": b"max-age=60",
        b"access-control-allow-origin": b"*",
        b"vary": b"Accept-Encoding, Origin",
    }
    assert received(request, response, method) == b""


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b'If-Match: "x"',), 412),
        ((b'If-Match: W/"1-2"',), 412),
        ((b"If-Match: *",), 200),
        ((b'If-Match: "x"', b'If-Match: "1-2"'), 200),
        ((b"If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT",), 412),
        ((b'If-Match: "x"', b'If-None-Match: "1-2"', b"Range: bytes=0-1"), 412),
        ((b'If-Match: "x"', b"Range: bytes=99999-"), 412),
        ((b'If-None-Match: "x"', b"If-Modified-Since: " + LATER), 200),
        ((b"If-Modified-Since: " + DATE, b"If-Modified-Since: " + DATE), 200),
        ((b'If-None-Match: "1-2"', b"Range: bytes=99999-"), 304),
        ((b'If-Match: "1-2"', b"Range: bytes=0-1"), 206),
        ((b"Range: bytes=0-1",), 206),
        ((b"Range: bytes=0-1", b"Range: bytes=5-6"), 200),
        ((b"Range: bytes=99999-",), 416),
        ((b"Range: x=0-1",), 200),
        ((b"Range: bytes=0-1", b'If-Range: "1-2"'), 206),
        ((b"Range: bytes=0-1", b"If-Range: " + DATE), 206),
        ((b"Range: bytes=0-1", b'If-Range: W/"1-2"'), 200),
        ((b"Range: bytes=0-1", b"If-Range: " + LATER), 200),
        ((b"Range: bytes=0-1", b'If-Range: "1-2"', b'If-Range: "1-2"'), 200),
        ((b"Range: bytes=99999-", b'If-Range: "x"'), 200),
        ((b"Range: bytes=99999-", b'If-Range: "1-2"'), 416),
        ((b'If-Range: "1-2"',), 200),
    ],
)
def test_precedence(lines: tuple[bytes, ...], status: int) -> None:
    """RFC 9110 section 13.2.2, with Range as its last step."""
    request = ask(*lines)
    response = respond(request, METADATA)
    assert response.status == status
    body = received(request, response)
    assert status != 200 or body == CONTENT
    assert status != 206 or body == CONTENT[:2]


@pytest.mark.parametrize("status", [412, 416])
def test_errors_with_facts(status: int) -> None:
    """They vary as the file does and keep CORS, but a lifetime of the file is not theirs."""
    lines = {412: b'If-Match: "x"', 416: b"Range: bytes=99999-"}
    fields = fields_of(respond(ask(lines[status]), SITE))
    assert fields[b"vary"] == b"Accept-Encoding, Origin"
    assert fields[b"access-control-allow-origin"] == b"*"
    assert b"cache-control" not in fields
    assert b"etag" not in fields
    assert fields.get(b"content-range") == (b"bytes */10240" if status == 416 else None)
    assert fields[b"content-type"] == b"text/html; charset=utf-8"


def test_one_range() -> None:
    response = respond(ask(b"Range: bytes=-10"), BR)
    assert response.parts == (Slice(SIZE - 10, 10),)
    assert fields_of(response) == {
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"10",
        b"content-range": b"bytes 10230-10239/10240",
        b"content-encoding": b"br",
        b"etag": b'"1-2-br"',
        b"last-modified": DATE,
        b"accept-ranges": b"bytes",
        b"x-content-type-options": b"nosniff",
        b"vary": b"Accept-Encoding",
    }


def parts_of(response: Response) -> list[tuple[int, int, bytes]]:
    """(first, last, bytes) of each part, read to the last byte (RFC 2046 section 5.1.1)."""
    boundary = fields_of(response)[b"content-type"].removeprefix(b"multipart/byteranges; boundary=")
    assert re.fullmatch(rb"[0-9a-f]{24}", boundary)
    body = body_of(response)
    opening, *parts, closing = body.split(b"\r\n--" + boundary)
    assert (opening, closing) == (b"", b"--\r\n")
    found = []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        match = re.fullmatch(
            rb"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes ([0-9]+)-([0-9]+)/10240",
            head,
        )
        assert match, head
        found.append((int(match[1]), int(match[2]), content))
    return found


def test_several_ranges() -> None:
    """RFC 9110 section 15.3.7.2."""
    request = ask(b"Range: bytes=-1,5000-5099,0-0")
    response = respond(request, METADATA)
    fields = fields_of(response)
    assert response.status == 206
    assert b"content-range" not in fields
    assert fields[b"etag"] == b'"1-2"'
    assert parts_of(response) == [
        (10239, 10239, CONTENT[-1:]),
        (5000, 5099, CONTENT[5000:5100]),
        (0, 0, CONTENT[:1]),
    ]
    assert int(fields[b"content-length"]) == len(received(request, response))


def test_boundaries_differ() -> None:
    """Who knew the next one could write it into a file."""
    seen = {fields_of(respond(ask(b"Range: bytes=0-0,-1"), METADATA))[b"content-type"] for _ in range(10)}
    assert len(seen) == 10


def test_ranges_joined_to_one() -> None:
    response = respond(ask(b"Range: bytes=0-9,5-20,21-30"), METADATA)
    assert fields_of(response)[b"content-range"] == b"bytes 0-30/10240"
    assert response.parts == (Slice(0, 31),)


def test_several_ranges_of_an_encoded_file() -> None:
    """The whole: no client could know how the parts are encoded."""
    response = respond(ask(b"Range: bytes=0-0,-1"), BR)
    assert (response.status, response.parts) == (200, (Slice(0, SIZE),))


@given(
    st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 3000)), min_size=1, max_size=6),
    st.sampled_from([b"GET", b"HEAD"]),
    st.sampled_from([METADATA, BR, SITE]),
)
def test_any_ranges(ranges: list[tuple[int, int]], method: bytes, metadata: Metadata) -> None:
    """Content-Length is exact, and every byte is that of the file."""
    value = b",".join(b"%d-%d" % (first, first + more) for first, more in ranges)
    request = ask(b"Range: bytes=" + value, method=method)
    response = respond(request, metadata)
    body = received(request, response, method)
    if method == b"GET":
        assert int(fields_of(response)[b"content-length"]) == len(body)
    if response.status == 206 and b"content-range" not in fields_of(response):
        assert all(content == CONTENT[first : last + 1] for first, last, content in parts_of(response))


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_error_page_of_the_site(method: bytes) -> None:
    """RFC 9110 section 13.2.1: preconditions and ranges are of what would be a 200."""
    request = ask(b'If-None-Match: "1-2"', b"Range: bytes=0-1", method=method)
    response = respond(request, SITE, status=404)
    assert response.status == 404
    assert fields_of(response) == {
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"10240",
        b"x-content-type-options": b"nosniff",
        b"access-control-allow-origin": b"*",
        b"vary": b"Accept-Encoding, Origin",
    }
    assert received(request, response, method) == (CONTENT if method == b"GET" else b"")


@pytest.mark.parametrize(
    "lines",
    [(), (b"Range: bytes=0-1",), (b'If-None-Match: "1-2"',), (b'If-Match: "x"',), (b"Range: bytes=99999-",)],
)
def test_keep_alive_is_the_requests(lines: tuple[bytes, ...]) -> None:
    assert respond(ask(*lines), METADATA).keep_alive
    assert not respond(ask(*lines, b"Connection: close"), METADATA).keep_alive
    assert not respond(ask(*lines, version=b"1.0"), METADATA).keep_alive

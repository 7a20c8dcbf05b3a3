"""The cache_key of a head says of it whatever is said of the head, and leaves out what nobody reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.http.cache_key import CACHE_KEY_SIZE_MAX, cache_key
from zchttpd.http.request import FIELDS_MAX, READ_FIELDS, Request, parse_request

LINE = b"GET /a?b HTTP/1.1\r\n"
HOST = b"Host: h\r\n"


def head(*lines: bytes) -> bytes:
    return LINE + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"Cookie: session=1; other=2",
        b"cookie:",
        b"COOKIE:\t x \t",
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        b"X-Forwarded-For: 192.0.2.1, 198.51.100.2",
        b"X: caf\xe9 \xff",
        b"Hosts: not a host",
        b"Content-Lengths: 5",
        b"accept-encodin: br",
    ],
)
def test_what_nobody_reads_is_left_out(line: bytes) -> None:
    assert cache_key(head(line)) == head()
    assert cache_key(head(line, b"Range: bytes=0-1", line)) == head(b"Range: bytes=0-1")


@pytest.mark.parametrize("name", sorted(READ_FIELDS))
def test_what_somebody_reads_stays_byte_for_byte(name: bytes) -> None:
    for spelt in (name, name.upper(), name.title()):
        whole = head(spelt + b":  some  thing ")
        assert cache_key(whole) == whole


@pytest.mark.parametrize(
    "line",
    [
        b"Cookie : a",
        b": a",
        b"Cookie",
        b"Coo kie: a",
        b"Cookie: a\x00b",
        b"Cookie: a\x7f",
        b"Cookie: a\rb",
        b"Cookie: \x0b",
        b" folded: a",
        b"\tfolded: a",
        b"Caf\xe9: a",
    ],
)
def test_what_is_not_valid_stays_and_is_refused(line: bytes) -> None:
    whole = head(b"Accept: */*", line)
    assert cache_key(whole) == whole
    assert not isinstance(parse_request(whole), Request)


def test_a_fold_behind_a_line_that_is_left_out_is_refused() -> None:
    whole = head(b"Cookie: a", b" b")
    assert cache_key(whole) == head(b" b")
    assert not isinstance(parse_request(whole), Request)
    assert parse_request(head(b" b")) == parse_request(whole)


def test_the_bounds() -> None:
    assert cache_key(head(*[b"A: b"] * (FIELDS_MAX - 1))) == head()
    assert cache_key(head(*[b"A: b"] * FIELDS_MAX)) is None
    room = CACHE_KEY_SIZE_MAX - len(head(b"Accept: "))
    assert cache_key(head(b"Accept: " + b"a" * room)) is not None
    assert cache_key(head(b"Accept: " + b"a" * (room + 1))) is None
    assert cache_key(head(b"Cookie: " + b"a" * 3 * CACHE_KEY_SIZE_MAX)) == head()


names = st.sampled_from(
    [*sorted(READ_FIELDS), b"cookie", b"user-agent", b"x-a", b"Accept", b"EXPECT", b"", b"b c", b"\xe9"]
)
values = st.one_of(
    st.sampled_from([b"h", b"5", b"chunked", b"close", b"100-continue", b"bytes=0-1", b"*", b"gzip;q=0.5"]),
    st.binary(max_size=12),
    st.text(alphabet="a ,;=/\t", max_size=12).map(str.encode),
)
ends = st.sampled_from([b"\r\n"] * 9 + [b"\n", b"\r", b"\r\n ", b"\r\n\t"])
lines = st.tuples(names, st.sampled_from([b":", b": ", b" :", b""]), values, ends).map(b"".join)
request_lines = st.sampled_from(
    [LINE] * 6 + [b"HEAD / HTTP/1.0\r\n", b"POST / HTTP/1.1\r\n", b"GET / HTTP/2.0\r\n", b"x\r\n", b""]
)


@given(request_lines, st.sampled_from([HOST, HOST, b""]), st.lists(lines, max_size=8))
def test_a_cache_key_is_parsed_as_its_head(first: bytes, host: bytes, rest: list[bytes]) -> None:
    whole = first + host + b"".join(rest) + b"\r\n"
    found = cache_key(whole)
    assert found is not None
    assert parse_request(found) == parse_request(whole)
    assert cache_key(found) == found, "the cache_key is its own cache_key"


@given(st.lists(lines, min_size=60, max_size=130))
def test_whoever_sends_too_many_fields_gets_no_cache_key(rest: list[bytes]) -> None:
    whole = LINE + HOST + b"".join(rest) + b"\r\n"
    found = cache_key(whole)
    assert (found is None) == (whole.count(b"\n") > FIELDS_MAX + 2)
    if found is not None:
        assert parse_request(found) == parse_request(whole)

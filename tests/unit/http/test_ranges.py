"""Ranges: RFC 9110 section 14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.http.ranges import GAP_SIZE_MAX, RANGES_MAX, Span, parse_range

SIZE = 10_000


def spans(value: bytes, size: int = SIZE) -> list[tuple[int, int]]:
    """(first, last) of each span."""
    result = parse_range(value, size)
    assert isinstance(result, tuple), result
    return [(span.first, span.end - 1) for span in result]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # The examples of section 14.1.2.
        (b"bytes=0-499", [(0, 499)]),
        (b"bytes=500-999", [(500, 999)]),
        (b"bytes=-500", [(9500, 9999)]),
        (b"bytes=9500-", [(9500, 9999)]),
        (b"bytes=0-0,-1", [(0, 0), (9999, 9999)]),
        (b"bytes= 0-999, 4500-5499, -1000", [(0, 999), (4500, 5499), (9000, 9999)]),
        (b"bytes=500-600,601-999", [(500, 999)]),
        (b"bytes=500-700,601-999", [(500, 999)]),
        (b"bytes=0-", [(0, 9999)]),
        (b"bytes=0-9999", [(0, 9999)]),
        (b"bytes=0-10000", [(0, 9999)]),
        (b"bytes=9999-", [(9999, 9999)]),
        (b"bytes=-1", [(9999, 9999)]),
        (b"bytes=-10000", [(0, 9999)]),
        (b"bytes=-10001", [(0, 9999)]),
        (b"BYTES=0-0", [(0, 0)]),
        (b"bytes=000-0005", [(0, 5)]),
        (b"bytes=,0-1,,", [(0, 1)]),
        (b"bytes=10000-,0-1", [(0, 1)]),
        (b"bytes=-0,0-1", [(0, 1)]),
        (b"bytes=0-18446744073709551615", [(0, 9999)]),
        (b"bytes=0-" + b"9" * 1000, [(0, 9999)]),
        (b"bytes=-" + b"9" * 1000, [(0, 9999)]),
    ],
)
def test_satisfiable(value: bytes, expected: list[tuple[int, int]]) -> None:
    assert spans(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"", b"bytes", b"bytes=", b"bytes=,", b"bytes=, ,", b"0-1", b"=0-1", b"bytes 0-1", b"bytes:0-1",
        b"bytes =0-1", b"bytes==0-1", b"byte=0-1", b"items=0-1", b"bytes=-", b"bytes=1", b"bytes=abc",
        b"bytes=9-5", b"bytes=a-b", b"bytes=0-0,9-5", b"bytes=0-0,x", b"bytes=0 - 5", b"bytes=--5",
        b"bytes=-1-5", b"bytes=1-2-3", b"bytes=+1-5", b"bytes=1-+5", b"bytes=0x1-2", b"bytes=1e1-2",
        b"bytes=1.0-2", b"bytes=1_0-2_0", b"bytes=0-5;", b"bytes=*", b"bytes=0-1, bytes=5-6",
        b"bytes=18446744073709551615-5", b"bytes=-9223372036854775808-", "bytes=\u0661-\u0662".encode(),
        b"bytes=0-1\n", b"bytes=0-" + b"9" * 1001,
    ],
)  # fmt: skip
def test_ignored(value: bytes) -> None:
    """Section 14.2: what is not valid, or not of bytes, is ignored as a whole."""
    assert parse_range(value, SIZE) is None
    assert parse_range(value, 0) is None


@pytest.mark.parametrize(
    "value",
    [
        b"bytes=10000-",
        b"bytes=10000-10001",
        b"bytes=-0",
        b"bytes=-000",
        b"bytes=10000-,-0,20000-30000",
        b"bytes=18446744073709551615-",
    ],
)
def test_unsatisfiable(value: bytes) -> None:
    assert parse_range(value, SIZE) == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-", ()),
        (b"bytes=-0", ()),
        (b"bytes=0-0,5-", ()),
        (b"bytes=-1", None),
        (b"bytes=0-, -5", None),
    ],
)
def test_empty_file(value: bytes, expected: object) -> None:
    """A suffix can be satisfied by nothing at all, but no Content-Range can say so."""
    assert parse_range(value, 0) is expected


def test_request_order_is_kept() -> None:
    """Section 15.3.7.2: parts come as they were asked for."""
    assert spans(b"bytes=-1,5000-5000,0-0") == [(9999, 9999), (5000, 5000), (0, 0)]


def test_joined_spans_ascend() -> None:
    assert spans(b"bytes=-1,5001-5001,5000-5000,0-0") == [(0, 0), (5000, 5001), (9999, 9999)]


def test_gaps() -> None:
    """What costs less than a part of its own is sent too."""
    first_apart = 10 + GAP_SIZE_MAX
    assert spans(b"bytes=0-9,%d-%d" % (first_apart, first_apart)) == [(0, 9), (first_apart, first_apart)]
    assert spans(b"bytes=0-9,%d-%d" % (first_apart - 1, first_apart)) == [(0, first_apart)]


@pytest.mark.parametrize("member", [b"0-", b"0-0", b"-1", b"20000-", b""])
def test_no_more_than_the_limit(member: bytes) -> None:
    """CVE-2011-3192: a thousand times the whole file."""
    assert parse_range(b"bytes=0-," + b",".join([member] * (RANGES_MAX - 1)), SIZE) is not None
    assert parse_range(b"bytes=0-," + b",".join([member] * RANGES_MAX), SIZE) is None


NUMBER = st.integers(min_value=0, max_value=12_000)
MEMBER = st.one_of(
    st.builds(lambda first, length: (first, first + length), NUMBER, NUMBER),
    st.builds(lambda first: (first, None), NUMBER),
    st.builds(lambda length: (None, length), NUMBER),
)
Member = tuple[int | None, int | None]


def written(member: Member) -> bytes:
    return b"-".join(b"" if number is None else b"%d" % number for number in member)


def wanted(member: Member, size: int) -> set[int]:
    """The bytes that a range asks for, one by one."""
    first, last = member
    if first is None:
        assert last is not None
        return set(range(max(0, size - last), size))
    return set(range(first, min(size, size if last is None else last + 1)))


@given(
    st.lists(MEMBER, min_size=1, max_size=8),
    st.one_of(st.integers(min_value=1, max_value=3000), st.just(SIZE)),
)
def test_windows_within_the_file(members: list[Member], size: int) -> None:
    """All that was asked for and exists is there, once; between joined ranges only small gaps are added."""
    asked = [wanted(member, size) for member in members]
    result = parse_range(b"bytes=" + b",".join(map(written, members)), size)
    if not any(asked):
        assert result == ()
        return
    assert isinstance(result, tuple)
    covered: set[int] = set()
    for span in result:
        assert 0 <= span.first < span.end <= size
        assert covered.isdisjoint(range(span.first, span.end))
        covered.update(range(span.first, span.end))
    everything = set().union(*asked)
    assert everything <= covered
    assert len(covered - everything) <= GAP_SIZE_MAX * len(members)
    ascending = sorted(result, key=lambda span: span.first)
    in_order = [Span(min(each), len(each)) for each in asked if each]
    assert list(result) in (ascending, in_order)


@given(
    st.one_of(st.binary(max_size=60), st.text("0123456789-,= \tbytesx", max_size=60).map(str.encode)),
    st.integers(min_value=0, max_value=2**63),
)
def test_any_bytes(value: bytes, size: int) -> None:
    for text in (value, b"bytes=" + value):
        result = parse_range(text, size)
        if isinstance(result, tuple):
            assert result
            assert all(0 <= span.first < span.end <= size for span in result)
            assert sum(span.length for span in result) <= size

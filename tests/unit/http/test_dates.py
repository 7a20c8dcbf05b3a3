"""HTTP-date: RFC 9110 section 5.6.7."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.http.dates import DATE_SIZE, format_date, parse_date

# The example of the RFC, in its three formats.
EXAMPLE_S = 784_111_777
YEAR_9999_S = 253_402_300_799
YEAR_1_S = -62_135_596_800


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE_S),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE_S),
        (b"Sun Nov  6 08:49:37 1994", EXAMPLE_S),
        (b"Sun Nov 06 08:49:37 1994", EXAMPLE_S),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Wed, 31 Dec 1969 23:59:59 GMT", -1),
        (b"Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", YEAR_9999_S),
    ],
)
def test_parse(value: bytes, seconds: int) -> None:
    assert parse_date(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"", b"yesterday", b"0", b"784111777", b"1994-11-06T08:49:37Z", b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC", b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"sun, 06 nov 1994 08:49:37 gmt", b"Sun, 6 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 94 08:49:37 GMT",
        b"Sun, 32 Nov 1994 08:49:37 GMT", b"Fri, 30 Feb 2024 00:00:00 GMT", b"Wed, 29 Feb 2023 00:00:00 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT", b"Sun, 06 Foo 1994 08:49:37 GMT", b"Xxx, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT", b"Sun, 06 Nov 1994 08:60:37 GMT", b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT", b"Sun, 06 Nov -994 08:49:37 GMT",
        b"Sun, 06 Nov 19940 08:49:37 GMT", b" Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT; length=5",
        b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 08:49:37 GMT\n",
        b"Sunday, 06-Nov-1994 08:49:37 GMT", b"Sun, 06-Nov-94 08:49:37 GMT", b"Sun Nov 6 08:49:37 1994",
        b"Sun Nov  6 08:49:37 94", "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT".encode(), b"9" * 10_000,
    ],
)  # fmt: skip
def test_no_date(value: bytes) -> None:
    assert parse_date(value) is None


def test_two_digits_of_a_year() -> None:
    """More than 50 years ahead means the past."""
    year_now = time.gmtime().tm_year
    for year in range(year_now - 49, year_now + 51):
        # The name of the day is not compared with the calendar.
        value = b"Monday, 01-Jan-%02d 00:00:00 GMT" % (year % 100)
        assert parse_date(value) == parse_date(b"Mon, 01 Jan %04d 00:00:00 GMT" % year), value


@given(st.integers(min_value=YEAR_1_S, max_value=YEAR_9999_S))
def test_round_trip(seconds: int) -> None:
    value = format_date(seconds)
    assert len(value) == DATE_SIZE
    assert parse_date(value) == seconds


@given(st.integers(min_value=0, max_value=YEAR_9999_S))
def test_as_the_standard_library_writes_it(seconds: int) -> None:
    assert format_date(seconds).decode() == formatdate(seconds, usegmt=True)


@given(st.integers(min_value=-(2**70), max_value=2**70))
def test_any_time_can_be_written(seconds: int) -> None:
    value = format_date(seconds)
    assert len(value) == DATE_SIZE
    assert parse_date(value) == min(max(seconds, YEAR_1_S), YEAR_9999_S)


@given(st.binary(max_size=40))
def test_any_bytes(value: bytes) -> None:
    seconds = parse_date(value)
    assert seconds is None or format_date(seconds)

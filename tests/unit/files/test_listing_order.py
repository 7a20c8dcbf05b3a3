"""The order of names in a listing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.files.listing import natural


@pytest.mark.parametrize(
    "names",
    [
        "dir2 dir10",
        "a A1 a2 a10 b",
        "img9.png img10.png img010a.png img11.png",
        "v1.2.9 v1.2.10 v1.10.0",
        "0 00 01 1 9 10 99 100",
        "2026-1-9 2026-1-10 2026-02-01",
        "-x 1 _z a",
        "f99999999999999999999 f100000000000000000000",
        "a1 a1b a1c a02",
    ],
)
def test_numbers_sort_as_people_count(names: str) -> None:
    expected = [name.encode() for name in names.split()]
    rows = [(natural(name), name) for name in expected]
    for given_rows in (rows, rows[::-1], rows[1:] + rows[:1]):
        assert sorted(given_rows) == rows


@given(st.binary(min_size=1, max_size=255), st.binary(min_size=1, max_size=255))
def test_what_sorts_a_name_tells_numbers_apart(one: bytes, other: bytes) -> None:
    def parts(name: bytes) -> list[tuple[int, int]]:
        """A number, in the place of a digit among other characters; or one character."""
        found = re.findall(rb"[0-9]+|[^0-9]", name.lower())
        return [(ord("0"), int(part)) if part.isdigit() else (ord(part), 0) for part in found]

    assert (natural(one) < natural(other)) == (parts(one) < parts(other))
    assert (natural(one) == natural(other)) == (parts(one) == parts(other))

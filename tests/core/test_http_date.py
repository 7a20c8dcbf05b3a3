"""The Date value, against email.utils."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zchttpd._core.testing import http_date

LAST_SECOND = 253_402_300_799  # of the year 9999


@given(st.integers(0, LAST_SECOND))
def test_any_second(second: int) -> None:
    assert http_date(second) == formatdate(second, usegmt=True).encode()


@pytest.mark.parametrize("year_begins", [951_782_400, 1_709_164_800, 4_107_542_400, 13_574_563_200])
def test_around_leap_days_and_centuries(year_begins: int) -> None:
    for second in range(year_begins - 3 * 86_400, year_begins + 3 * 86_400, 3_599):
        assert http_date(second) == formatdate(second, usegmt=True).encode()

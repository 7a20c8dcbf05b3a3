"""Accept and Sec-Fetch-Mode."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.http.accept import MEMBERS_MAX, navigates, prefers_json, wish
from zchttpd.http.request import Request, parse_request

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def request(*fields: str) -> Request:
    head = "".join(f"{line}\r\n" for line in ("GET /a HTTP/1.1", "Host: h", *fields))
    parsed = parse_request(head.encode() + b"\r\n")
    assert isinstance(parsed, Request)
    return parsed


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/html", 1000),
        (BROWSER, 1000),
        ("TEXT/HTML", 1000),
        ("text/html;q=0.5", 500),
        ("text/html ; q=0.001", 1),
        ("text/html;level=1;q=0.3", 300),
        ("text/html;q=0.2, text/html;level=1", 1000),
        ("text/html;q=0", 0),
        ("text/html;q=0.0", 0),
        ("*/*", 0),
        ("text/*", 0),
        ("text/htmlx, xtext/html", 0),
        ("application/json", 0),
        ("", 0),
        (",,;,", 0),
        ("x," * MEMBERS_MAX + "text/html", 0),
    ],
)
def test_wishes(accept: str, expected: int) -> None:
    assert wish(accept.encode(), b"text/html") == expected


def test_no_field_is_no_wish() -> None:
    assert wish(None, b"text/html") == 0


@pytest.mark.parametrize(
    ("fields", "route", "asset"),
    [
        ([f"Accept: {BROWSER}"], True, False),
        (["Accept: */*"], False, False),
        ([], False, False),
        (["Accept: image/avif,image/webp,*/*;q=0.8"], False, False),
        (["Sec-Fetch-Mode: navigate"], True, True),
        (["Sec-Fetch-Mode: navigate", "Accept: */*"], True, True),
        (["Sec-Fetch-Mode: no-cors", "Accept: */*"], False, False),
        (["Sec-Fetch-Mode: cors", "Accept: */*"], False, False),
        (["Sec-Fetch-Mode: cors", "Accept: text/html"], True, False),
        (["Accept: application/json", "Accept: text/html"], True, False),
    ],
)
def test_navigation(fields: list[str], route: bool, asset: bool) -> None:
    """To a path that is named like a route, and to one that is named like an asset."""
    assert navigates(request(*fields), asset=False) is route
    assert navigates(request(*fields), asset=True) is asset


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", True),
        ("application/json, text/plain, */*", True),
        ("application/json, text/html;q=0.9", True),
        ("application/json;q=0.5, text/html", False),
        ("application/json, text/html", False),
        ("*/*", False),
        (BROWSER, False),
        ("application/json;q=0", False),
    ],
)
def test_json(accept: str, expected: bool) -> None:
    assert prefers_json(request(f"Accept: {accept}")) is expected


@given(st.binary())
def test_any_bytes_are_some_wish(accept: bytes) -> None:
    assert 0 <= wish(accept, b"text/html") <= 1000

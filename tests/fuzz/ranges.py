# Every span lies in the file, none overlaps another, and all that was asked for is there with nothing but
# small gaps; a field that is not valid is ignored as a whole; the response has the bytes that its
# Content-Length says.
"""Fuzzes `zchttpd.http.ranges` and the answers made of it: two bytes of size, then the field value."""

from __future__ import annotations

import re
from itertools import pairwise

from zchttpd.http.ranges import GAP_SIZE_MAX, RANGES_MAX, parse_range
from zchttpd.http.request import Request, parse_request
from zchttpd.http.response import Metadata, ResponseBuilder

from ..unit.http.oracle import CONTENT, received

NUMBERS_MAX = 4
NO_LINE = bytes(byte for byte in range(0x20) if byte != 9) + b"\x7f"


def check(fuzz: bytes) -> None:
    size, value = int.from_bytes(fuzz[:2], "little") % (len(CONTENT) + 1), fuzz[2:]
    for text in (value, b"bytes=" + value):
        for edge in _edges(text, size):
            _spans(text, edge)
        _answer(text.translate(None, NO_LINE), size)


def _edges(value: bytes, size: int) -> set[int]:
    """This size, and those at which a number of the value begins or ceases to be outside."""
    numbers = [int(digits) for digits in re.findall(rb"(?<![0-9])[0-9]{1,5}(?![0-9])", value)[:NUMBERS_MAX]]
    return {size, 0, *(number + more for number in numbers for more in (0, 1, 2))}


def _spans(value: bytes, size: int) -> None:
    result = parse_range(value, size)
    members = _members(value)
    if members is None:
        assert result is None
        return
    asked = [span for member in members if (span := _wanted(member, size))]
    if not result:
        assert result == () or size == 0
        assert not asked
        return
    assert 0 < len(result) <= RANGES_MAX
    ascending = sorted((span.first, span.end) for span in result)
    assert all(0 <= first < end <= size for first, end in ascending)
    assert all(end <= later for (_, end), (later, _) in pairwise(ascending))
    for first, end in asked:
        assert any(low <= first and end <= high for low, high in ascending)
    # What nobody asked for costs less than a part of its own.
    edges = sorted({(first, end) for first, end in asked})
    reached = covered = 0
    for first, end in edges:
        covered += max(0, end - max(first, reached))
        reached = max(reached, end)
    assert sum(end - first for first, end in ascending) - covered <= GAP_SIZE_MAX * len(asked)


def _members(value: bytes) -> list[tuple[bytes, bytes]] | None:
    """(first, last) as written of each range; None for a set that is not valid, or too large a one."""
    unit, equals, rest = value.partition(b"=")
    if unit.lower() != b"bytes" or not equals or rest.count(b",") >= RANGES_MAX:
        return None
    found: list[tuple[bytes, bytes]] = []
    for text in re.split(rb"[ \t]*,[ \t]*", rest.strip(b" \t")):
        match = re.fullmatch(rb"([0-9]+)-([0-9]*)|()-([0-9]+)", text)
        if match is None:
            if text:
                return None
            continue
        first, last = (match[1], match[2]) if match[1] else (b"", match[4])
        if max(len(first), len(last)) > 1000 or (first and last and int(last) < int(first)):
            return None
        found.append((first, last))
    return found or None


def _wanted(member: tuple[bytes, bytes], size: int) -> tuple[int, int] | None:
    first, last = member
    if not first:
        span = max(0, size - int(last)), size
    else:
        span = int(first), min(size, int(last) + 1) if last else size
    return span if span[0] < span[1] else None


def _answer(value: bytes, size: int) -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\nRange: " + value + b"\r\n\r\n")
    if not isinstance(request, Request):
        return
    metadata = Metadata(size, '"1-2"', 1_700_000_000, "text/plain; charset=utf-8")
    response = ResponseBuilder(request).representation(metadata)
    assert response.status in (200, 206, 416)
    assert response.keep_alive
    content = CONTENT[:size]
    body = received(request, response, content=content)
    assert response.status != 200 or body == content

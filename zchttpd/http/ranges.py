"""Byte ranges (RFC 9110 section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

RANGES_MAX = 100
# Each part of a multipart answer costs about this many bytes of its own, so a smaller gap is cheaper to send.
GAP_SIZE_MAX = 80

# More than 1000 digits count as not valid: int() has limits of its own.
_SPEC = re.compile(rb"([0-9]{0,1000})-([0-9]{0,1000})")


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes, at least one, that begin at offset `first`."""

    first: int
    length: int

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.first + self.length


def parse_range(value: bytes, size: int) -> tuple[Span, ...] | None:
    """The spans that a Range field asks of a representation of `size` bytes.

    None means to ignore the field and send all: another unit, a set that is not valid, or one of more
    than RANGES_MAX ranges. Without spans it is 416: nothing asked for exists. Otherwise they do not overlap,
    all lie inside, and come in the order asked for, unless some were joined because they overlap or are
    closer than GAP_SIZE_MAX: then they ascend. The work is bounded by the length of the field and RANGES_MAX.
    """
    unit, equals, members = value.partition(b"=")
    if not equals or unit.lower() != b"bytes" or members.count(b",") >= RANGES_MAX:
        return None
    spans: list[Span] = []
    asked = 0
    for member in members.split(b","):
        text = member.strip(b" \t")
        if not text:
            continue
        span = _parse_spec(text, size)
        if span is None:
            return None
        asked += 1
        if span.length:
            spans.append(span)
    if not asked:
        return None
    if not spans:
        # A suffix of an empty file can be satisfied, but Content-Range cannot say so.
        return None if size == 0 and _has_suffix(members) else ()
    joined = _join(sorted(spans, key=lambda span: span.first)) if len(spans) > 1 else spans
    return tuple(spans if len(joined) == len(spans) else joined)


def _parse_spec(text: bytes, size: int) -> Span | None:
    """A span of length 0 when there is nothing there; None when the text is no range."""
    match = _SPEC.fullmatch(text)
    if match is None or text == b"-":
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return Span(size - length, length)
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    return Span(first, min(last, size - 1) - first + 1) if first < size else Span(size, 0)


def _has_suffix(members: bytes) -> bool:
    return any(int(digits) for digits in re.findall(rb"(?:^|,)[ \t]*-([0-9]+)", members))


def _join(ascending: list[Span]) -> list[Span]:
    joined = ascending[:1]
    for span in ascending[1:]:
        last = joined[-1]
        if span.first - last.end < GAP_SIZE_MAX:
            joined[-1] = Span(last.first, max(last.end, span.end) - last.first)
        else:
            joined.append(span)
    return joined

"""Answers to several ranges at once: multipart/byteranges, checked part by part (RFC 9110 section 14.6)."""

from __future__ import annotations

import hashlib
import random
import re
from typing import TYPE_CHECKING

from loadtest._client import WrongAnswer, field

if TYPE_CHECKING:
    from loadtest._site import File, Span

BOUNDARY = re.compile(rb'multipart/byteranges\s*;\s*boundary="?([^";]{1,70})"?', re.IGNORECASE)
SPAN_BYTES_MAX = 64 * 1024
# A server may join ranges that lie nearer to each other than what a part costs.
GAP_BYTES_MIN = 4096


def choose(file: File, count: int) -> tuple[Span, ...]:
    """At most `count` short spans of `file` in ascending order, far enough apart to stay apart."""
    small = [span for span in file.spans if span.length <= SPAN_BYTES_MAX]
    chosen: list[Span] = []
    for span in sorted(random.sample(small, min(count, len(small))), key=lambda each: each.first):
        if not chosen or chosen[-1].first + chosen[-1].length + GAP_BYTES_MIN <= span.first:
            chosen.append(span)
    return tuple(chosen)


def range_value(spans: tuple[Span, ...]) -> str:
    """The value of the Range field that asks for `spans`."""
    return "bytes=" + ",".join(f"{span.first}-{span.first + span.length - 1}" for span in spans)


def check(head: bytes, body: bytes, spans: tuple[Span, ...], size: int) -> None:
    """Raises WrongAnswer unless `body` holds exactly the `spans` of a file of `size` bytes, in any order."""
    found = BOUNDARY.match(field(head, b"content-type") or b"")
    if not found:
        raise WrongAnswer(
            f"206 with Content-Type {field(head, b'content-type')!r}, expected multipart/byteranges"
        )
    dash = b"--" + found[1]
    wanted = {b"bytes %d-%d/%d" % (span.first, span.first + span.length - 1, size): span for span in spans}
    at = 0
    # What comes before the first delimiter counts for nothing, RFC 2046 section 5.1.1; often it is a CRLF.
    if body.startswith(b"\r\n" + dash):
        at = 2
    while wanted:
        cut = body.find(b"\r\n\r\n", at)
        if not body.startswith(dash + b"\r\n", at) or cut < 0:
            raise WrongAnswer(f"{len(wanted)} of {len(spans)} parts are missing: {body[at : at + 80]!r}")
        part_head = body[at + len(dash) : cut + 4]
        place = field(part_head, b"content-range")
        span = wanted.pop(place or b"", None)
        if span is None:
            raise WrongAnswer(f"a part with Content-Range {place!r}, expected one of {sorted(wanted)}")
        start = cut + 4
        end = start + span.length
        if hashlib.sha256(body[start:end]).hexdigest() != span.sha256:
            raise WrongAnswer(f"the part {place!r} has the wrong SHA-256")
        if not body.startswith(b"\r\n", end):
            raise WrongAnswer(f"the part {place!r} ends in {body[end : end + 20]!r}")
        at = end + 2
    if body[at:].rstrip(b"\r\n") != dash + b"--":
        raise WrongAnswer(f"after the last part comes {body[at : at + 80]!r}")

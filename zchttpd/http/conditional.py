"""Preconditions (RFC 9110 section 13), asked only where the answer would otherwise be 200."""

from __future__ import annotations

import re
from enum import Enum

from zchttpd.http.dates import parse_date

_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ONE_TAG = re.compile(_TAG)
_TAG_LIST = re.compile(rb"[ \t]*(?:" + _TAG + rb"[ \t]*)?(?:,[ \t]*(?:" + _TAG + rb"[ \t]*)?)*")


class Outcome(Enum):
    """What the preconditions make of a request."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    PRECONDITION_FAILED = "precondition failed"


def evaluate(
    method: str,
    *,
    if_match: bytes | None,
    if_none_match: bytes | None,
    if_modified_since: bytes | None,
    if_unmodified_since: bytes | None,
    etag: str | None,
    last_modified_s: int | None,
) -> Outcome:
    """Evaluate the fields in the order of RFC 9110 section 13.2.2, against the selected representation.

    `etag` has its quotes; `last_modified_s` is in Unix seconds; None where there is none. A date that is
    not valid is ignored; a tag that is not valid matches nothing, and where there is no tag none matches.
    """
    tag = (etag or "").encode("ascii")
    if if_match is not None:
        if not _matches(if_match, tag, weak=False):
            return Outcome.PRECONDITION_FAILED
    elif if_unmodified_since is not None and last_modified_s is not None:
        limit = parse_date(if_unmodified_since)
        if limit is not None and last_modified_s > limit:
            return Outcome.PRECONDITION_FAILED
    safe = method in ("GET", "HEAD")
    if if_none_match is not None:
        if _matches(if_none_match, tag, weak=True):
            return Outcome.NOT_MODIFIED if safe else Outcome.PRECONDITION_FAILED
    elif if_modified_since is not None and last_modified_s is not None and safe:
        limit = parse_date(if_modified_since)
        if limit is not None and last_modified_s <= limit:
            return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def if_range_holds(value: bytes | None, etag: str | None, last_modified_s: int | None) -> bool:
    """Whether Range applies (RFC 9110 section 13.1.5): no If-Range, the same strong tag, or the same date.

    Whether a date is a strong validator (section 8.8.2.2) is for the client to decide: only it knows the Date
    that came with it.
    """
    if value is None:
        return True
    if _ONE_TAG.fullmatch(value):
        return not value.startswith(b"W/") and value == (etag or "").encode("ascii")
    return last_modified_s is not None and parse_date(value) == last_modified_s


def strong_tags(value: bytes | None) -> list[bytes]:
    """The strong entity tags, with their quotes, of an If-Range or If-Match field; none of a date or `*`."""
    return [tag for tag in _ONE_TAG.findall(value or b"") if not tag.startswith(b"W/")]


def _matches(value: bytes, tag: bytes, *, weak: bool) -> bool:
    """Whether a list of tags, or *, matches (RFC 9110 section 8.8.3.2). An empty `tag`: only * does."""
    if value == b"*":
        return True
    if not _TAG_LIST.fullmatch(value):
        return False
    if weak:
        opaque = tag.removeprefix(b"W/")
        return any(other.removeprefix(b"W/") == opaque for other in _ONE_TAG.findall(value))
    return not tag.startswith(b"W/") and tag in _ONE_TAG.findall(value)

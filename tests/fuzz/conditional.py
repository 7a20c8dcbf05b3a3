# A request is answered in the order of RFC 9110 section 13.2.2, as a reading of its text by the letter says;
# what is not valid is ignored or matches nothing; a date that is read is the date that is written.
"""Fuzzes `zchttpd.http.conditional` and `dates`: one field value a line, in the order of FIELDS."""

from __future__ import annotations

from zchttpd.http.conditional import Outcome, evaluate, if_range_holds
from zchttpd.http.dates import format_date, parse_date

FIELDS = 5
ETAG = b'"1-2"'
TIME_S = 1_700_000_000


def check(fuzz: bytes) -> None:
    lines = fuzz.split(b"\n", FIELDS - 1)
    values = [line.strip(b" \t") or None for line in lines]
    match, none_match, modified, unmodified, if_range = values + [None] * (FIELDS - len(values))
    for value in (modified, unmodified, if_range):
        _date(value)
    for method in ("GET", "HEAD", "PUT"):
        for etag in (ETAG, b"W/" + ETAG, None):
            for last_modified_s in (TIME_S, None):
                outcome = evaluate(
                    method,
                    if_match=match,
                    if_none_match=none_match,
                    if_modified_since=modified,
                    if_unmodified_since=unmodified,
                    etag=etag and etag.decode(),
                    last_modified_s=last_modified_s,
                )
                assert outcome is _by_the_letter(
                    method, match, none_match, modified, unmodified, etag, last_modified_s
                )
                holds = if_range_holds(if_range, etag and etag.decode(), last_modified_s)
                dated = last_modified_s is not None and if_range is not None
                assert holds is (
                    if_range is None
                    or if_range == etag == ETAG
                    or (dated and parse_date(if_range or b"") == last_modified_s)
                )


def _by_the_letter(
    method: str,
    match: bytes | None,
    none_match: bytes | None,
    modified: bytes | None,
    unmodified: bytes | None,
    etag: bytes | None,
    last_modified_s: int | None,
) -> Outcome:
    """The six steps of RFC 9110 section 13.2.2."""
    reading = method in ("GET", "HEAD")
    if match is not None:
        if match != b"*" and not (etag == ETAG and etag in _tags(match)):
            return Outcome.PRECONDITION_FAILED
    elif unmodified is not None and last_modified_s is not None:
        before = parse_date(unmodified)
        if before is not None and last_modified_s > before:
            return Outcome.PRECONDITION_FAILED
    if none_match is not None:
        if none_match == b"*" or (etag and {ETAG, b"W/" + ETAG} & set(_tags(none_match))):
            return Outcome.NOT_MODIFIED if reading else Outcome.PRECONDITION_FAILED
    elif reading and modified is not None and last_modified_s is not None:
        since = parse_date(modified)
        if since is not None and last_modified_s <= since:
            return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def _tags(value: bytes) -> list[bytes]:
    """The tags of a list (RFC 9110 section 8.8.3), read byte by byte; none of a list that is not valid."""
    found: list[bytes] = []
    rest, separated = value.strip(b" \t"), True
    while rest:
        if rest.startswith(b","):
            rest, separated = rest[1:].lstrip(b" \t"), True
            continue
        weak = 2 if rest.startswith(b"W/") else 0
        end = rest.find(b'"', weak + 1)
        opaque = rest[weak + 1 : end]
        if not separated or rest[weak : weak + 1] != b'"' or end < 0 or min(opaque, default=0x21) < 0x21:
            return []
        if 0x7F in opaque:
            return []
        found.append(rest[: end + 1])
        rest, separated = rest[end + 1 :].lstrip(b" \t"), False
    return found


def _date(value: bytes | None) -> None:
    seconds = None if value is None else parse_date(value)
    if seconds is not None:
        again = format_date(seconds)
        # A leap second in the last minute of the year 9999 is one that four digits cannot say.
        assert parse_date(again) == min(seconds, 253_402_300_799)
        assert value is not None
        assert value.endswith(b" GMT") or value[-4:].isdigit()

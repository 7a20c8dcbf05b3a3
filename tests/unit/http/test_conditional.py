"""Preconditions: RFC 9110 section 13."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.http.conditional import Outcome, evaluate, if_range_holds
from zchttpd.http.dates import format_date

TAG = '"1-2"'
WEAK = 'W/"1-2"'
TIME_S = 1_700_000_000
EQUAL, EARLIER, LATER = (format_date(TIME_S + by) for by in (0, -1, 1))
PROCEED, SAME, FAILED = Outcome.PROCEED, Outcome.NOT_MODIFIED, Outcome.PRECONDITION_FAILED
MANY = b", ".join(b'"%d"' % number for number in range(2000))


def outcome(
    method: str = "GET",
    *,
    match: bytes | None = None,
    none_match: bytes | None = None,
    modified: bytes | None = None,
    unmodified: bytes | None = None,
    etag: str = TAG,
    last_modified_s: int | None = TIME_S,
) -> Outcome:
    return evaluate(
        method,
        if_match=match,
        if_none_match=none_match,
        if_modified_since=modified,
        if_unmodified_since=unmodified,
        etag=etag,
        last_modified_s=last_modified_s,
    )


@pytest.mark.parametrize(
    ("value", "etag", "expected"),
    [
        (b'"1-2"', TAG, SAME),
        (b'W/"1-2"', TAG, SAME),
        (b'"1-2"', WEAK, SAME),
        (b'W/"1-2"', WEAK, SAME),
        (b"*", TAG, SAME),
        (b'"a", "1-2"', TAG, SAME),
        (b'"a","1-2","b"', TAG, SAME),
        (b'W/"a" , W/"1-2"', TAG, SAME),
        (b', ,"1-2",', TAG, SAME),
        (b'"a,b", "1-2"', TAG, SAME),
        (b"\t" + MANY + b', "1-2" ', TAG, SAME),
        (b'""', '""', SAME),
        (b'"a"', TAG, PROCEED),
        (b"", TAG, PROCEED),
        (b",", TAG, PROCEED),
        (b"1-2", TAG, PROCEED),
        (b'"1-2', TAG, PROCEED),
        (b'1-2"', TAG, PROCEED),
        (b'w/"1-2"', TAG, PROCEED),
        (b'W/ "1-2"', TAG, PROCEED),
        (b'"1-2" "a"', TAG, PROCEED),
        (b'x, "1-2"', TAG, PROCEED),
        (b'"*"', TAG, PROCEED),
        (b'*, "a"', TAG, PROCEED),
        (b'"x, "1-2', TAG, PROCEED),
        (b'"x,"1-2"', TAG, PROCEED),
        (b'"a "', TAG, PROCEED),
        (MANY, TAG, PROCEED),
    ],
)
def test_if_none_match(value: bytes, etag: str, expected: Outcome) -> None:
    """Section 13.1.2: weak comparison; what is no list of tags matches nothing."""
    assert outcome(none_match=value, etag=etag) is expected
    assert outcome("HEAD", none_match=value, etag=etag) is expected
    # Where nothing may be changed, the client must not believe that it was.
    assert outcome("PUT", none_match=value, etag=etag) is (FAILED if expected is SAME else PROCEED)


@pytest.mark.parametrize(
    ("value", "etag", "expected"),
    [
        (b'"1-2"', TAG, PROCEED),
        (b"*", TAG, PROCEED),
        (b"*", WEAK, PROCEED),
        (b'"a", "1-2"', TAG, PROCEED),
        (b'W/"a", "1-2"', TAG, PROCEED),
        (b'W/"1-2"', TAG, FAILED),
        (b'"1-2"', WEAK, FAILED),
        (b'W/"1-2"', WEAK, FAILED),
        (b'"a"', TAG, FAILED),
        (b"", TAG, FAILED),
        (b"1-2", TAG, FAILED),
        (b'"a" "1-2"', TAG, FAILED),
    ],
)
def test_if_match(value: bytes, etag: str, expected: Outcome) -> None:
    """Section 13.1.1: strong comparison."""
    assert outcome(match=value, etag=etag) is expected


@pytest.mark.parametrize("value", [b"", b"yesterday", b"0", EQUAL + b", " + EQUAL, EQUAL + b"; length=5"])
def test_a_bad_date_is_ignored(value: bytes) -> None:
    """Sections 13.1.3 and 13.1.4; a repeated field arrives as a list."""
    assert outcome(modified=value) is PROCEED
    assert outcome(unmodified=value) is PROCEED


@pytest.mark.parametrize(
    ("value", "modified", "unmodified"),
    [
        (EARLIER, PROCEED, FAILED),
        (EQUAL, SAME, PROCEED),
        (LATER, SAME, PROCEED),
        (b"Tuesday, 14-Nov-23 22:13:20 GMT", SAME, PROCEED),
        (b"Tue Nov 14 22:13:19 2023", PROCEED, FAILED),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", SAME, PROCEED),
    ],
)
def test_dates(value: bytes, modified: Outcome, unmodified: Outcome) -> None:
    assert outcome(modified=value) is modified
    assert outcome(unmodified=value) is unmodified
    assert outcome("PUT", modified=value) is PROCEED
    # Without a modification time, both are ignored.
    assert outcome(modified=value, last_modified_s=None) is PROCEED
    assert outcome(unmodified=value, last_modified_s=None) is PROCEED


@pytest.mark.parametrize(
    ("match", "unmodified", "none_match", "modified", "expected"),
    [
        (None, None, None, None, PROCEED),
        (b'"1-2"', EARLIER, None, None, PROCEED),
        (b'"a"', LATER, None, None, FAILED),
        (b'"a"', None, b'"1-2"', None, FAILED),
        (b'"1-2"', None, b'"1-2"', None, SAME),
        (None, EARLIER, b'"1-2"', None, FAILED),
        (None, EQUAL, None, EQUAL, SAME),
        (None, None, b'"a"', EQUAL, PROCEED),
        (None, None, b'"1-2"', EARLIER, SAME),
        (b'"1-2"', EARLIER, b'"a"', LATER, PROCEED),
    ],
)
def test_order(
    match: bytes | None,
    unmodified: bytes | None,
    none_match: bytes | None,
    modified: bytes | None,
    expected: Outcome,
) -> None:
    """Section 13.2.2."""
    assert outcome(match=match, unmodified=unmodified, none_match=none_match, modified=modified) is expected


@pytest.mark.parametrize(
    ("value", "etag", "expected"),
    [
        (None, TAG, True),
        (b'"1-2"', TAG, True),
        (EQUAL, TAG, True),
        (b"Tuesday, 14-Nov-23 22:13:20 GMT", TAG, True),
        (b'W/"1-2"', TAG, False),
        (b'W/"1-2"', WEAK, False),
        (b'"1-2"', WEAK, False),
        (b'"a"', TAG, False),
        (b'"1-2", "a"', TAG, False),
        (b"*", TAG, False),
        (b"1-2", TAG, False),
        (b"", TAG, False),
        (EARLIER, TAG, False),
        (LATER, TAG, False),
        (b"yesterday", TAG, False),
    ],
)
def test_if_range(value: bytes | None, etag: str, expected: bool) -> None:
    """Section 13.1.5: strong comparison, or exactly the date."""
    assert if_range_holds(value, etag, TIME_S) is expected
    if value is not None and not value.endswith(b'"'):
        assert not if_range_holds(value, etag, None)


OPAQUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"'), max_size=10)
SPACE = st.sampled_from([b"", b" ", b"\t", b" \t "])


@given(st.lists(st.tuples(st.sampled_from([b"", b"W/"]), OPAQUE, SPACE, SPACE), max_size=6), OPAQUE)
def test_lists(members: list[tuple[bytes, str, bytes, bytes]], current: str) -> None:
    """A list says what its members say."""
    value = b",".join(
        b'%s%s"%s"%s' % (before, weak, opaque.encode(), after) for weak, opaque, before, after in members
    )
    etag = f'"{current}"'
    strong = any(not weak and opaque == current for weak, opaque, _, _ in members)
    either = any(opaque == current for _, opaque, _, _ in members)
    assert outcome(match=value, etag=etag) is (PROCEED if strong else FAILED)
    assert outcome(none_match=value, etag=etag) is (SAME if either else PROCEED)


FIELD = st.one_of(
    st.none(),
    st.binary(max_size=30),
    st.sampled_from([b"*", TAG.encode(), WEAK.encode(), EARLIER, EQUAL, LATER]),
)


@given(FIELD, FIELD, FIELD, FIELD, st.one_of(st.none(), st.just(TIME_S)))
def test_any_bytes(
    match: bytes | None,
    none_match: bytes | None,
    modified: bytes | None,
    unmodified: bytes | None,
    last_modified_s: int | None,
) -> None:
    """Nothing raises, and GET never depends on how a field of lower precedence reads."""
    result = outcome(
        match=match,
        none_match=none_match,
        modified=modified,
        unmodified=unmodified,
        last_modified_s=last_modified_s,
    )
    if none_match is not None:
        assert result is outcome(
            match=match, none_match=none_match, unmodified=unmodified, last_modified_s=last_modified_s
        )
    if match is not None:
        assert result is outcome(
            match=match, none_match=none_match, modified=modified, last_modified_s=last_modified_s
        )
    assert if_range_holds(match, TAG, last_modified_s) in (True, False)

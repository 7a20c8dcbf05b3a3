"""Want-Repr-Digest and Want-Content-Digest, and what is answered to them."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.http.integrity import digest_value, wanted


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"sha-256=1", True),
        (b"sha-256=10", True),
        (b" sha-256=3 , sha-512=10", True),
        (b"unixsum=1, sha-256=2;x=y", True),
        (b"sha-256=0", False),
        (b"sha-512=3, sha-256=0", False),
        (b"sha-256=5, sha-256=0", False),  # the last of a name counts: RFC 9651 section 4.2.2
        (b"sha-512=10", None),
        (b"", None),
        (b"sha-256=11", None),
        (b"sha-256=-1", None),
        (b"sha-256", None),
        (b"sha-256=?1", None),
        (b"sha-256=1.0", None),
        (b'sha-256="1"', None),
        (b"sha-256=(1)", None),
        (b"sha-256=1, sha-512=11", None),
        (b"SHA-256=1", None),
        (b"sha-256=1,", None),
        (b"sha-256:1", None),
        (b"sha-256=\xff", None),
    ],
)
def test_wishes(value: bytes, expected: bool | None) -> None:
    assert wanted(value) is expected


def test_no_field_is_no_wish() -> None:
    assert wanted(None) is None


@given(st.binary(max_size=64))
def test_any_bytes_are_a_wish_or_none(value: bytes) -> None:
    assert wanted(value) in (True, False, None)


@given(st.binary(max_size=64))
def test_the_value_has_the_digest_between_colons(content: bytes) -> None:
    name, _, encoded = digest_value(hashlib.sha256(content).digest()).partition(b"=")
    assert name == b"sha-256"
    assert encoded[:1] == encoded[-1:] == b":"
    assert base64.b64decode(encoded[1:-1], validate=True) == hashlib.sha256(content).digest()

"""Content negotiation: RFC 9110 section 12.5.3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.config.names import IDENTITY
from zchttpd.http.accept import MEMBERS_MAX, PREFERENCE, negotiate

ALL = ("identity", "br", "zstd", "gzip")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "identity"),
        (b"", "identity"),
        (b"identity", "identity"),
        (b"br", "br"),
        (b"GZIP", "gzip"),
        (b"x-gzip", "gzip"),
        (b"X-GZip;q=0.5", "gzip"),
        (b"zstd", "zstd"),
        (b"gzip, deflate, br, zstd", "br"),
        (b"gzip, deflate, zstd", "zstd"),
        (b"*", "br"),
        (b"*, br;q=0, zstd;q=0", "gzip"),
        (b"*;q=0, gzip", "gzip"),
        (b"*;q=0.1, gzip;q=0.9", "gzip"),
        (b"*;q=0", "identity"),
        (b"*;q=0, identity", "identity"),
        (b"br;q=0", "identity"),
        (b"br;q=0.0", "identity"),
        (b"br;q=0.000", "identity"),
        (b"br;q=0, gzip;q=0.001", "gzip"),
        (b"gzip;q=0.5, br;q=0.4", "gzip"),
        (b"br;q=0.4, gzip;q=0.5", "gzip"),
        (b"br;q=1, gzip;q=0.8", "br"),
        (b"br;q=1.0, gzip;q=1.000", "br"),
        (b"br;q=0.001, gzip;q=0.002", "gzip"),
        (b"br;Q=0.1,gzip;Q=0.9", "gzip"),
        (b"br ; q=0.1 , gzip\t;\tq=0.9", "gzip"),
        (b"identity;q=1, br;q=0.5", "identity"),
        (b"identity;q=0.5, br;q=0.5", "br"),
        (b"identity;q=0.5, *;q=0.4", "identity"),
        (b"identity;q=0, gzip;q=0.001", "gzip"),
        (b", ,gzip,,", "gzip"),
        # Identity forbidden and nothing else allowed: it is served anyway.
        (b"identity;q=0", "identity"),
        (b"identity;q=0, deflate", "identity"),
        # Tokens are compared whole.
        (b"brr, xbr, gzipped, zstd2", "identity"),
        (b"compress, deflate, dcb, dcz", "identity"),
        (b"deflate;x=br", "identity"),
        # A member that is not valid is no wish.
        (b"br;q=abc", "identity"),
        (b"br;q=2", "identity"),
        (b"br;q=1.001", "identity"),
        (b"br;q=0.0001", "identity"),
        (b"br;q=-1", "identity"),
        (b"br;q=", "identity"),
        (b"br;;q=1", "identity"),
        (b"br;q=1;q=1", "identity"),
        (b"br;q =1", "identity"),
        (b"br gzip", "identity"),
        (b";q=1", "identity"),
        (b"br;q=abc, gzip", "gzip"),
        (b"\xff, gzip", "gzip"),
        (b"," * (MEMBERS_MAX - 1) + b"gzip", "gzip"),
        (b"," * MEMBERS_MAX + b"br,gzip", "identity"),
    ],
)
def test_negotiate(accept: bytes | None, expected: str) -> None:
    assert negotiate(accept, ALL) == expected


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (("identity",), "identity"),
        (("identity", "gzip"), "gzip"),
        (("gzip", "identity"), "gzip"),
        (("zstd", "gzip", "identity"), "zstd"),
    ],
)
def test_only_what_there_is(available: tuple[str, ...], expected: str) -> None:
    assert negotiate(b"gzip, deflate, br, zstd", available) == expected


WEIGHTS = st.integers(min_value=0, max_value=1000)
WISHES = st.dictionaries(
    st.sampled_from(["br", "gzip", "zstd", "identity", "*", "deflate"]), WEIGHTS, min_size=1
)
AVAILABLE = st.sets(st.sampled_from(PREFERENCE)).map(lambda some: tuple(some | {IDENTITY}))


@given(WISHES, AVAILABLE)
def test_the_highest_weight_wins(wishes: dict[str, int], available: tuple[str, ...]) -> None:
    value = ", ".join(f"{coding};q={weight // 1000}.{weight % 1000:03}" for coding, weight in wishes.items())
    chosen = negotiate(value.encode(), available)
    weights = {coding: wishes.get(coding, wishes.get("*", 0)) for coding in available}
    assert chosen in available
    assert weights[chosen] == max(weights.values()) or (chosen == IDENTITY and not any(weights.values()))
    # A refused encoding is never sent, but for identity where there is no other.
    assert weights[chosen] > 0 or chosen == IDENTITY


@given(st.binary(max_size=60), AVAILABLE)
def test_any_bytes(value: bytes, available: tuple[str, ...]) -> None:
    assert negotiate(value, available) in available

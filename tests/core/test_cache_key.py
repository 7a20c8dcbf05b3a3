"""The cache_key without the GIL against the one in Python: the same bytes, whatever the head."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zchttpd._core.testing import cache_key_of

from zchttpd.http.cache_key import CACHE_KEY_SIZE_MAX, cache_key
from zchttpd.http.request import FIELDS_MAX, READ_FIELDS

LINE = b"GET / HTTP/1.1\r\n"


def cases(name: bytes) -> list[bytes]:
    """The name, and its neighbours by letter case, by a bit, by length."""
    flipped = [name[:place] + bytes([name[place] ^ 0x20]) + name[place + 1 :] for place in range(len(name))]
    return [name, name.upper(), name.title(), name[:-1], name + b"s", b"x" + name, *flipped]


@pytest.mark.parametrize("name", sorted(READ_FIELDS))
def test_names(name: bytes) -> None:
    for spelt in cases(name):
        head = LINE + spelt + b": v\r\nOther: v\r\n\r\n"
        assert cache_key_of(head) == cache_key(head), spelt
    assert cache_key_of(LINE + name + b": v\r\nOther: v\r\n\r\n") == LINE + name + b": v\r\n\r\n"


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_in_a_name_and_in_a_value(byte: int) -> None:
    one = bytes([byte])
    for line in (b"A" + one + b"b: v", b"Cookie: a" + one + b"b", b"Cookie:" + one, one + b": v", one):
        head = LINE + line + b"\r\nHost: h\r\n\r\n"
        assert cache_key_of(head) == cache_key(head), line


def test_bounds() -> None:
    for count in (FIELDS_MAX - 1, FIELDS_MAX, FIELDS_MAX + 1):
        head = LINE + b"Cookie: a\r\n" * count + b"\r\n"
        assert cache_key_of(head) == cache_key(head)
    for size in range(CACHE_KEY_SIZE_MAX - 40, CACHE_KEY_SIZE_MAX + 2):
        head = LINE + b"Accept: " + b"a" * size + b"\r\nCookie: b\r\n\r\n"
        assert cache_key_of(head) == cache_key(head)
    assert cache_key_of(b"") is None


names = st.sampled_from([*sorted(READ_FIELDS), b"Cookie", b"User-Agent", b"HOST", b"", b"a b"])
lines = st.tuples(
    names,
    st.sampled_from([b":", b": ", b" :", b""]),
    st.binary(max_size=20),
    st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r"]),
).map(b"".join)


@given(st.lists(lines, max_size=10))
def test_any_lines(rest: list[bytes]) -> None:
    head = LINE + b"".join(rest) + b"\r\n"
    assert cache_key_of(head) == cache_key(head)


@given(st.binary(min_size=1, max_size=200), st.integers(0, 3))
def test_any_bytes(rest: bytes, ends: int) -> None:
    head = rest + b"\r\n" * ends
    assert cache_key_of(head) == cache_key(head)

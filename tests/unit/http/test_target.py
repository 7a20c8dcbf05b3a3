"""Request targets: RFC 3986 sections 2.1, 3.3, 5.2.4 and 6.2.2."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zchttpd.http.judge import Refusal
from zchttpd.http.target import Target, hidden, parse_target, quote_query


def parsed(target: bytes) -> Target:
    result = parse_target(target)
    assert isinstance(result, Target), result
    return result


@pytest.mark.parametrize(
    ("target", "segments", "directory", "raw_path"),
    [
        (b"/", (), True, b"/"),
        (b"/a", (b"a",), False, b"/a"),
        (b"/a/", (b"a",), True, b"/a/"),
        (b"/a/b.txt", (b"a", b"b.txt"), False, b"/a/b.txt"),
        # 5.2.4: dot segments.
        (b"/.", (), True, b"/"),
        (b"/./a", (b"a",), False, b"/a"),
        (b"/a/..", (), True, b"/"),
        (b"/a/../b", (b"b",), False, b"/b"),
        (b"/a/b/../../c/.", (b"c",), True, b"/c/"),
        (b"/mid/content=5/../6", (b"mid", b"6"), False, b"/mid/6"),
        (b"/a/b/c/./../../g", (b"a", b"g"), False, b"/a/g"),
        (b"/..a/...", (b"..a", b"..."), False, b"/..a/..."),
        (b"/..;/a", (b"..;", b"a"), False, b"/..;/a"),
        # 6.2.2.3: an encoded dot is a dot.
        (b"/a/%2e%2E/b", (b"b",), False, b"/b"),
        (b"/%2e/a", (b"a",), False, b"/a"),
        (b"/.%2e%2ea", (b"...a",), False, b"/...a"),
        # Decoded once, and only once.
        (b"/%252e%252e/a", (b"%2e%2e", b"a"), False, b"/%252e%252e/a"),
        (b"/%252f", (b"%2f",), False, b"/%252f"),
        (b"/%25%32%65", (b"%2e",), False, b"/%252e"),
        (b"/%c0%ae%c0%ae/a", (b"\xc0\xae\xc0\xae", b"a"), False, b"/%C0%AE%C0%AE/a"),
        (b"/a+b", (b"a+b",), False, b"/a+b"),
        (b"/%41", (b"A",), False, b"/A"),
        # Empty segments: never two slashes at the start of a Location.
        (b"//evil.test", (b"evil.test",), False, b"/evil.test"),
        (b"///evil.test//a//", (b"evil.test", b"a"), True, b"/evil.test/a/"),
        (b"//", (), True, b"/"),
        (b"/a/..//b", (b"b",), False, b"/b"),
        # A backslash is a byte, and safe in Location.
        (b"/\\evil.test", (b"\\evil.test",), False, b"/%5Cevil.test"),
        (b"/..\\a", (b"..\\a",), False, b"/..%5Ca"),
        (b"/%0d%0aA:%20b", (b"\r\nA: b",), False, b"/%0D%0AA:%20b"),
        (b'/<a>"', (b'<a>"',), False, b"/%3Ca%3E%22"),
        (b"/%3f%23", (b"?#",), False, b"/%3F%23"),
    ],
)
def test_path(target: bytes, segments: tuple[bytes, ...], directory: bool, raw_path: bytes) -> None:
    assert parsed(target) == Target(segments, directory, None, raw_path)


@pytest.mark.parametrize(
    ("target", "query"),
    [(b"/a", None), (b"/a?", b""), (b"/a?b=c?d", b"b=c?d"), (b"/?/../%zz%00%2f", b"/../%zz%00%2f")],
)
def test_query(target: bytes, query: bytes | None) -> None:
    """RFC 3986 section 3.4: a query is no path, and nothing in it is decoded."""
    assert parsed(target).query == query


@pytest.mark.parametrize(
    ("target", "status"),
    [
        *(
            (target, 400)
            for target in (
                b"/%",
                b"/a%",
                b"/a%1",
                b"/%zz",
                b"/%%",
                b"/%g0",
                b"/%0x41",
                b"/%+1",
                b"/%1/2",
                b"/%u0041",
            )
        ),
        *((target, 400) for target in (b"/%00", b"/a%00.html", b"/a/%00/b")),
        *(
            (target, 400)
            for target in (
                b"/..",
                b"/../a",
                b"/a/../..",
                b"/a/../../b",
                b"/%2e%2e/a",
                b"/.%2e",
                b"//../a",
                b"/./../a",
            )
        ),
        *((target, 404) for target in (b"/a%2fb", b"/a%2Fb", b"/%2f", b"/%2e%2e%2fa", b"/..%2fa")),
        *((target, 400) for target in (b"", b"a", b"*", b"?", b"\\")),
    ],
)
def test_refused(target: bytes, status: int) -> None:
    result = parse_target(target)
    assert isinstance(result, Refusal)
    assert result.status == status


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"", False),
        (b"a/b.c", False),
        (b".env", True),
        (b"a/.b/c", True),
        (b"...", True),
        (b".well-known", False),
        (b".well-known/a", False),
        (b".well-known/.env", True),
        (b".well-known-x/y", True),
        (b".well-knowN/y", True),
        (b"a/.well-known/b", True),
    ],
)
def test_hidden(path: bytes, expected: bool) -> None:
    """RFC 8615: only the exact first segment is public."""
    assert hidden(tuple(path.split(b"/")) if path else ()) is expected


@pytest.mark.parametrize(
    ("query", "quoted"),
    [
        (b"a=b&c=%20d/?:@!$'()*+,;", b"a=b&c=%20d/?:@!$'()*+,;"),
        (b"%0d%0aA:%20b", b"%0d%0aA:%20b"),
        (b'<a>"{}|\\^`#\r\n \xff', b"%3Ca%3E%22%7B%7D%7C%5C%5E%60%23%0D%0A%20%FF"),
        (b"", b""),
    ],
)
def test_quote_query(query: bytes, quoted: bytes) -> None:
    assert quote_query(query) == quoted


PIECES = st.sampled_from(
    [
        b"/",
        b"//",
        b".",
        b"..",
        b"%2e",
        b"%2E",
        b"%2f",
        b"%5c",
        b"\\",
        b"%00",
        b"%25",
        b"%",
        b"a",
        b"b;",
        b"?",
        b"%ff",
        b".env",
        b":",
        b"@",
    ]
)
TARGETS = st.one_of(st.lists(PIECES, max_size=12).map(b"".join), st.binary(max_size=30)).map(
    lambda rest: b"/" + rest
)


@given(TARGETS)
@example(b"//evil.test/%2e%2e/..")
def test_never_escapes(target: bytes) -> None:
    result = parse_target(target)
    if isinstance(result, Refusal):
        assert result.status in (400, 404)
        return
    for name in result.segments:
        assert name not in (b"", b".", b"..")
        assert b"/" not in name
        assert b"\0" not in name
    assert re.fullmatch(rb"/(?!/)(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*", result.raw_path)


@given(TARGETS)
def test_normal_form(target: bytes) -> None:
    """The path that goes into Location leads to the same place, and is already normal."""
    result = parse_target(target)
    if isinstance(result, Target):
        assert parse_target(result.raw_path) == Target(
            result.segments, result.directory, None, result.raw_path
        )


@given(
    st.lists(
        st.binary(min_size=1).filter(lambda name: not {b"/"[0], 0} & set(name) and name not in (b".", b"..")),
        max_size=5,
    )
)
def test_decodes_once(names: list[bytes]) -> None:
    """Any name that a file can have is found by its percent-encoding."""
    path = "/" + "/".join(quote_from_bytes(name, safe="") for name in names)
    result = parsed(path.encode("ascii"))
    assert result.segments == tuple(names)
    assert unquote_to_bytes(result.raw_path) == b"/" + b"/".join(names)


@given(st.binary(max_size=40))
def test_query_fits_into_a_field(query: bytes) -> None:
    quoted = quote_query(query)
    assert re.fullmatch(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*", quoted)
    assert unquote_to_bytes(quoted) == unquote_to_bytes(query)

"""Request targets: RFC 3986 sections 2.1, 3.3, 5.2.4 and 6.2.2."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zchttpd.http.request import HttpError
from zchttpd.http.response import ResponseBuilder
from zchttpd.http.target import Target, hidden, parse_target, quote_query, slash_added, slash_removed

from .oracle import ask


def parsed(target: bytes) -> Target:
    result = parse_target(target)
    assert isinstance(result, Target), result
    return result


@pytest.mark.parametrize(
    ("target", "segments", "directory"),
    [
        (b"/", (), True),
        (b"/a", (b"a",), False),
        (b"/a/", (b"a",), True),
        (b"/a/b.txt", (b"a", b"b.txt"), False),
        # 5.2.4: dot segments.
        (b"/.", (), True),
        (b"/./a", (b"a",), False),
        (b"/a/..", (), True),
        (b"/a/../b", (b"b",), False),
        (b"/a/b/../../c/.", (b"c",), True),
        (b"/mid/content=5/../6", (b"mid", b"6"), False),
        (b"/a/b/c/./../../g", (b"a", b"g"), False),
        (b"/..a/...", (b"..a", b"..."), False),
        (b"/..;/a", (b"..;", b"a"), False),
        # 6.2.2.3: an encoded dot is a dot.
        (b"/a/%2e%2E/b", (b"b",), False),
        (b"/%2e/a", (b"a",), False),
        (b"/.%2e%2ea", (b"...a",), False),
        # Decoded once, and only once.
        (b"/%252e%252e/a", (b"%2e%2e", b"a"), False),
        (b"/%252f", (b"%2f",), False),
        (b"/%25%32%65", (b"%2e",), False),
        (b"/%c0%ae%c0%ae/a", (b"\xc0\xae\xc0\xae", b"a"), False),
        (b"/a+b", (b"a+b",), False),
        (b"/%41", (b"A",), False),
        # Empty segments do not count.
        (b"//evil.test", (b"evil.test",), False),
        (b"///evil.test//a//", (b"evil.test", b"a"), True),
        (b"//", (), True),
        (b"/a/..//b", (b"b",), False),
        # A backslash is a byte.
        (b"/\\evil.test", (b"\\evil.test",), False),
        (b"/..\\a", (b"..\\a",), False),
        (b"/%0d%0aA:%20b", (b"\r\nA: b",), False),
        (b'/<a>"', (b'<a>"',), False),
        (b"/%3f%23", (b"?#",), False),
    ],
)
def test_path(target: bytes, segments: tuple[bytes, ...], directory: bool) -> None:
    assert parsed(target) == Target(segments, directory, None, target)
    assert parse_target(target, encoded_slash=True) == parsed(target)


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
    assert isinstance(result, HttpError)
    assert result.status == status


@pytest.mark.parametrize(
    ("target", "segments", "directory"),
    [
        (b"/@acme%2fleft", (b"@acme", b"left"), False),
        (b"/@acme%2Fleft/-/left-1.0.0.tgz", (b"@acme", b"left", b"-", b"left-1.0.0.tgz"), False),
        (b"/a%2f", (b"a",), True),
        (b"/%2fa%2f%2fb", (b"a", b"b"), False),
        (b"/a%2f..%2fb", (b"b",), False),
        (b"/a%2f%2e%2e%2f.env", (b".env",), False),
        # Decoded once, and no other character is a separator.
        (b"/a%252fb", (b"a%2fb",), False),
        (b"/a%5cb", (b"a\\b",), False),
        (b"/%2f", (), True),
        (b"/..%2fa", 400, False),
        (b"/a%2f..%2f..", 400, False),
        (b"/a/%2e%2e%2f%2e%2e/b", 400, False),
        (b"/a%2f%00", 400, False),
    ],
)
def test_encoded_slash(target: bytes, segments: tuple[bytes, ...] | int, directory: bool) -> None:
    result = parse_target(target, encoded_slash=True)
    if isinstance(segments, int):
        assert isinstance(result, HttpError)
        assert result.status == segments
    else:
        assert result == Target(segments, directory, None, target)


@pytest.mark.parametrize(
    ("target", "reference"),
    [
        (b"/hls", b"hls/"),
        (b"/a/b/hls?x", b"hls/"),
        (b"//evil.test", b"evil.test/"),
        (b"/x:y", b"./x:y/"),
        (b"/a/x%3Ay", b"./x:y/"),
        (b"/%5cevil.test", b"%5Cevil.test/"),
        (b"/%0d%0aA:%20b", b"./%0D%0AA:%20b/"),
        (b"/%3f%23%2573", b"%3F%23%2573/"),
        (b'/<a>"', b"%3Ca%3E%22/"),
        (b"/@acme%2fleft", b"@acme/left/"),
        (b"/%2f%2fevil.test", b"evil.test/"),
        (b"/a%2fx:y", b"a/x:y/"),
        (b"/b/a%2f..%2f..%2fc", b"a%2F..%2F..%2Fc/"),
        (b"/a%20b/c", b"../a%20b/c/"),
        (b"/a/b%C3%A9/c/x:y?q", b"../../b%C3%A9/c/x:y/"),
        (b"/a%20b//c", b"c/"),
        (b"/a%20b/%2e./c", b"c/"),
        (b"/a%2fb/c", b"c/"),
    ],
)
def test_slash_added(target: bytes, reference: bytes) -> None:
    result = parse_target(target, encoded_slash=True)
    assert isinstance(result, Target)
    assert slash_added(result) == reference


@pytest.mark.parametrize(
    ("target", "reference"),
    [
        (b"/about/", b"../about"),
        (b"/a/x:y/?q", b"../x:y"),
        (b"/a%20b/about/", b"../../a%20b/about"),
        (b"/a%20b//about/", b"../about"),
        (b"/a/%5Cb%20/", b"../%5Cb%20"),
        (b"/a%2fb/", b"../a/b"),
        # Clients do not agree where these lead.
        (b"/about//", None),
        (b"/about/.", None),
        (b"/about/x/..", None),
        (b"/about%2f", None),
        (b"/about%2f/", None),
        (b"/", None),
    ],
)
def test_slash_removed(target: bytes, reference: bytes | None) -> None:
    result = parse_target(target, encoded_slash=True)
    assert isinstance(result, Target)
    assert slash_removed(result) == reference


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


@given(TARGETS, st.booleans())
@example(b"//evil.test/%2e%2e/..", False)
@example(b"/%2e%2e%2f..", True)
def test_never_escapes(target: bytes, encoded_slash: bool) -> None:
    result = parse_target(target, encoded_slash=encoded_slash)
    if isinstance(result, HttpError):
        assert result.status in (400, 404)
        return
    for name in result.segments:
        assert name not in (b"", b".", b"..")
        assert b"/" not in name
        assert b"\0" not in name


def by_browser(path: bytes, reference: bytes) -> bytes:
    """RFC 3986 sections 5.2.3 and 5.2.4."""
    merged = path[: path.rindex(b"/") + 1] + reference
    kept: list[bytes] = []
    *pieces, last = merged.split(b"/")[1:]
    for piece in pieces:
        if piece == b"..":
            del kept[-1:]
        elif piece != b".":
            kept.append(piece)
    assert last not in (b".", b"..")
    return b"/" + b"/".join([*kept, last])


def by_python(path: bytes, reference: bytes) -> bytes:
    # The characters that a path may not have here stand for themselves; in a URL they would end it.
    base = b"http://wire.test" + path.replace(b"#", b"%23").replace(b"?", b"%3F")
    url = urlsplit(urljoin(base.decode("latin-1"), reference.decode("latin-1")))
    assert (url.scheme, url.netloc, url.query, url.fragment) == ("http", "wire.test", "", "")
    return url.path.encode("latin-1")


@given(TARGETS, st.booleans(), st.sampled_from([b"", b"/up", b"/up/deep"]))
@example(b"/b/a%2f..%2f..%2fc", True, b"/up")
@example(b"//a", False, b"")
@example(b"/x:y/", False, b"/up")
@example(b"/b;/", False, b"")
def test_references_lead_where_they_should(target: bytes, encoded_slash: bool, prefix: bytes) -> None:
    """Whoever resolves them, and whatever prefix a proxy took away."""
    result = parse_target(target, encoded_slash=encoded_slash)
    if isinstance(result, HttpError):
        return
    # What `parse_request` lets through; and clients do not agree on what `..` makes of an empty segment.
    path = result.path
    if not re.fullmatch(rb"[\x21-\x7e]+", path) or b"#" in path:
        return
    reference = slash_removed(result) if result.directory else slash_added(result)
    if reference is None:
        return
    assert dict(ResponseBuilder(ask()).redirect(reference, None).headers)[b"Location"] == reference
    resolvers = [by_python, by_browser]
    if b"//" in path and b".." in path:
        resolvers.remove(by_browser)
    for resolve in resolvers:
        found = resolve(prefix + path, reference)
        assert found.startswith(prefix + b"/")
        there = parse_target(found[len(prefix) :], encoded_slash=encoded_slash)
        assert isinstance(there, Target)
        assert (there.segments, there.directory) == (result.segments, not result.directory)


@pytest.mark.parametrize("path", ["/a b/c", "/a/%/b/c", "/a/\u00e9 ?#/x/y", "/a/b"])
def test_a_client_that_decodes_the_directories_gets_there_too(path: str) -> None:
    """As yarl joins them: what is left of the decoded path has nothing to encode."""
    target = parse_target(quote_from_bytes(path.encode()).encode())
    assert isinstance(target, Target)
    joined = path.rpartition("/")[0] + "/" + slash_added(target).decode()
    assert posixpath.normpath(joined) == quote_from_bytes(path.encode())
    slashed = parse_target(quote_from_bytes(path.encode()).encode() + b"/")
    assert isinstance(slashed, Target)
    reference = slash_removed(slashed)
    assert reference is not None
    assert posixpath.normpath(path + "/" + reference.decode()) == quote_from_bytes(path.encode())


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


@given(st.binary(max_size=40))
def test_query_fits_into_a_field(query: bytes) -> None:
    quoted = quote_query(query)
    assert re.fullmatch(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*", quoted)
    assert unquote_to_bytes(quoted) == unquote_to_bytes(query)

"""The parse cache says what `parse_request` says, of any bytes and after any other heads."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zchttpd.http import parse_cache as module
from zchttpd.http.parse_cache import FRAME_SIZE_MAX, PARSED_MAX, ParseCache
from zchttpd.http.request import ANSWER_FIELDS, FIELDS_MAX, FRAMING_FIELDS, HttpError, Request, parse_request


def get(target: bytes = b"/", *lines: bytes, host: bytes = b"h") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
        target,
        host,
        b"".join(line + b"\r\n" for line in lines),
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The heads that h11 had to parse."""
    heads: list[bytes] = []

    def parsing(head: bytes, *, target_size_max: int) -> Request | HttpError:
        heads.append(head)
        return parse_request(head, target_size_max=target_size_max)

    monkeypatch.setattr(module, "parse_request", parsing)
    return heads


def test_h11_parses_once_for_all_paths_and_answer_fields(asked: list[bytes]) -> None:
    parse_cache = ParseCache()
    for number in range(20):
        head = get(
            b"/%d?q" % number, b"Range: bytes=%d-" % number, b"Accept:  a, b ", b"Cookie: c", b"ACCEPT: d"
        )
        request = parse_cache.parse(head)
        assert request == parse_request(head)
        assert isinstance(request, Request)
        assert request.field(b"accept") == b"a, b, d"
    assert len(asked) == 1


@pytest.mark.parametrize(
    "head",
    [
        get(b"/", b"Connection: close"),
        get(b"/", b"Content-Length: 5"),
        get(b"/", b"Content-Length: 0"),
        get(b"/", b"Transfer-Encoding: chunked"),
        get(b"/", b"Expect: 100-continue"),
        get(b"/", b"Upgrade: h2c"),
        get(b"/").replace(b"HTTP/1.1", b"HTTP/1.0"),
        get(b"/").replace(b"HTTP/1.1", b"HTTP/1.2"),
        get(b"/").replace(b"GET", b"HEAD"),
        get(b"/", host=b"other"),
        get(b"http://h/"),
        get(b"*").replace(b"GET", b"OPTIONS"),
        get(b"/#"),
        get(b"/\x80"),
        get(b"/", b"Cookie : a"),
        get(b"/", b"Accept: a\x01"),
        get(b"/", b" a: b"),
        get(b"/", *[b"A: b"] * FIELDS_MAX),
        get(b"/" + b"a" * 9000),
        get() + b"Cookie: a\r\n",
        get() + get(),
        get()[:-2],
        get()[:-4],
        b"",
    ],
)
def test_what_makes_a_difference_is_told_apart(head: bytes) -> None:
    parse_cache = ParseCache()
    parse_cache.parse(get(b"/first"))
    for _ in range(2):
        assert parse_cache.parse(head) == parse_request(head)


def test_the_memory_is_bounded(asked: list[bytes]) -> None:
    parse_cache = ParseCache()
    for number in range(PARSED_MAX + 10):
        parse_cache.parse(get(host=b"host%d" % number))
    assert len(parse_cache) == PARSED_MAX
    for _ in range(2):
        parse_cache.parse(get(host=b"h" * FRAME_SIZE_MAX))
    assert asked[-1] == asked[-2], "too long a frame is parsed each time"
    assert len(parse_cache) == PARSED_MAX


lines = st.builds(
    lambda name, colon, value, end: name + colon + value + end,
    st.sampled_from([*sorted(FRAMING_FIELDS | ANSWER_FIELDS), b"Cookie", b"ACCEPT", b"Host", b"", b"a b"]),
    st.sampled_from([b":", b": ", b":  ", b" :", b""]),
    st.one_of(
        st.sampled_from([b"h", b"5", b"0", b"chunked", b"close", b"keep-alive", b"a , b", b"a\t", b""]),
        st.binary(max_size=5),
    ),
    st.sampled_from([*[b"\r\n"] * 8, b"\n", b"\r", b"\r\n "]),
)
targets = st.one_of(
    st.sampled_from([b"/", b"/a?b", b"*", b"http://h/a", b"a", b"/#", b"//x", b"/%", b"/a b"]),
    st.binary(max_size=4),
)
heads = st.builds(
    lambda method, target, version, host, rest, end: b"%b %b HTTP/%b\r\n%b%b%b" % (
        method, target, version, host, b"".join(rest), end),
    st.sampled_from([b"GET", b"GET", b"HEAD", b"OPTIONS", b"POST", b"get", b"CONNECT"]),
    targets,
    st.sampled_from([b"1.1", b"1.1", b"1.0", b"1.2", b"2.0"]),
    st.sampled_from([b"Host: h\r\n", b"Host: h\r\n", b"host:h\r\n", b""]),
    st.lists(lines, max_size=4),
    st.sampled_from([*[b"\r\n"] * 8, b"", b"\r\n\r\n", b"\r\nA: b\r\n"]),
)  # fmt: skip


@given(st.lists(st.one_of(heads, st.binary(max_size=20)), max_size=12))
@example([get(), get() + b"Cookie: a\r\n"])
def test_after_any_heads_of_any_head(asked: list[bytes]) -> None:
    parse_cache = ParseCache()
    for head in (*asked, *asked):
        assert parse_cache.parse(head) == parse_request(head)

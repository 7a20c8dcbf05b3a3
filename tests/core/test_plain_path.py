"""Which paths are plain, and which patterns they match: as Python has it."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zchttpd._core import testing_site
from zchttpd.config.rules import matcher
from zchttpd.files.lookup import SIBLINGS
from zchttpd.handler.templates import plain

LETTERS = "aZ09_-./%~?*[ \\"
NAMES = st.text(alphabet="ab.-", max_size=4)
TARGETS = st.one_of(
    st.text(alphabet=LETTERS, max_size=8).map(lambda text: "/" + text),
    st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names)),
    st.integers(245, 255).map(lambda size: "/" + "x" * size),
)


@given(
    TARGETS,
    st.sampled_from(["GET", "HEAD", "get", "POST"]),
    st.sampled_from([" HTTP/1.1", " HTTP/2", "HTTP/1.1", ""]),
)
@example("/a.br", "GET", " HTTP/1.1")
def test_the_machine_takes_for_plain_what_python_does(target: str, method: str, version: str) -> None:
    key = f"{method} {target}{version}\r\nHost: h\r\n\r\n".encode()
    found = testing_site.plain(key)
    as_get = plain(key.replace(b"HEAD ", b"GET ", 1))
    beside = target.endswith(tuple(suffix.decode() for _, suffix in SIBLINGS))
    expected = as_get is not None and method in ("GET", "HEAD") and not beside
    assert (found is not None) == expected
    if found is not None and as_get is not None:
        path, extension = found
        assert tuple(path.split(b"/")) == as_get.segments
        assert extension == as_get.segments[-1].rpartition(b".")[2] * (b"." in as_get.segments[-1])


@given(st.binary(max_size=40))
def test_any_bytes(key: bytes) -> None:
    found = testing_site.plain(key)
    assert found is None or re.match(rb"(GET|HEAD) /[\w./-]+ HTTP/1\.", key)


@given(st.text(alphabet="ab*?./", max_size=8), st.text(alphabet="ab./", max_size=8))
@example("*a*b", "/aab")
@example("**", "/")
@example("a?", "/a")
def test_a_pattern_matches_what_it_matches_in_python(pattern: str, path: str) -> None:
    whole = pattern if pattern.startswith("/") else "*/" + pattern
    assert testing_site.matches(whole.encode(), b"/" + path.encode()) == bool(matcher(pattern)("/" + path))


@pytest.mark.parametrize("pattern", ["\\", "{a}", "^", "$", "ä", "+"])
def test_no_other_byte_means_anything(pattern: str) -> None:
    assert re.compile(fnmatch.translate(pattern)).match(pattern)
    assert testing_site.matches(pattern.encode(), pattern.encode())
    assert not testing_site.matches(pattern.encode(), b"a")

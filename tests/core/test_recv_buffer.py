"""Where heads end: the framer against a model that looks for line ends, however the bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from zchttpd._core.testing import Heads

from zchttpd.http.request import _REQUEST_LINE

from .framing import can_begin, heads_in

LINE_MAX = 40
HEAD_MAX = 100

# What is behind any place of a request line is an end of this one.
GOOD = b"A /a HTTP/1.1\r\n"


def may_become(line: bytes) -> bool:
    """Whether some bytes behind these make a request line of them, or an empty line."""
    ends = (GOOD[at:] for at in range(len(GOOD) + 1))
    return line in (b"\r", b"\r\n") or any(_REQUEST_LINE.fullmatch(line + end) for end in ends)


def model(received: bytes) -> list[tuple[str, bytes]]:
    """(what, head) for each head in order; what ends it comes last."""
    found: list[tuple[str, bytes]] = []
    while received:
        what, length = model_head(received)
        found.append((what, received[:length]))
        if what != "head":
            break
        received = received[length:]
    return found


def model_head(received: bytes) -> tuple[str, int]:
    at = line = 0
    while True:
        end = received.find(b"\n", at)
        reached = len(received) if end < 0 else end + 1
        if line == 0 and not may_become(received[: min(reached, LINE_MAX)]):
            return "broken", 0
        if line == 0 and reached > LINE_MAX:
            return "line_long", 0
        if reached > HEAD_MAX:
            return "head_long", 0
        if end < 0:
            return "more", 0
        if end == at or received[end - 1 : end] != b"\r":
            return "broken", 0
        if end == at + 1:
            return "head", end + 1
        at, line = end + 1, line + 1


def frame_chopped(received: bytes, cuts: list[int]) -> list[tuple[str, bytes]]:
    """What the framer says of the same bytes when they arrive in pieces, as `model` says it."""
    ends = pairwise([0, *sorted(cuts), len(received)])
    *found, (what, waiting) = heads_in(
        (received[first:last] for first, last in ends if first != last), Heads(LINE_MAX, HEAD_MAX)
    )
    if what != "more":
        return [*found, (what, waiting)]
    return [*found, ("more", b"")] if waiting else found


LINES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\n",
        b"GET /",
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01",
        b"Host: a\r\n",
        b"x" * 37 + b"\r\n",
        b"x" * 38 + b"\r\n",
        b"x" * 39 + b"\r\n",
        b"x" * 39 + b"\n",
        b"x" * 45 + b"\n",
        b"Long: " + b"y" * 50 + b"\r\n",
        b"Bare: lf\n",
        b"\r\r\n",
        b"\n\r\n",
        b"partial",
    ]
)
INPUTS = st.lists(LINES, max_size=12).map(b"".join)


@given(INPUTS, st.data())
@example(b"x" * 45 + b"\n", None)
@example(b"a\r\n" + b"y" * 100 + b"\n", None)
def test_chopping_changes_nothing(received: bytes, choose: st.DataObject | None) -> None:
    expected = model(received)
    assert frame_chopped(received, []) == expected
    assert frame_chopped(received, list(range(len(received)))) == expected
    if choose is not None and received:
        cuts = choose.draw(st.lists(st.integers(0, len(received)), max_size=5))
        assert frame_chopped(received, cuts) == expected


@st.composite
def first_lines(draw: st.DrawFn) -> bytes:
    """Request lines, most of them with one byte changed, or cut."""
    words = [draw(st.sampled_from(each)) for each in (METHODS, TARGETS, VERSIONS)]
    line = b" ".join(words) + draw(st.sampled_from([b"\r\n", b"\r", b"\n", b""]))
    at = draw(st.integers(0, len(line)))
    return draw(st.sampled_from([line, line[:at], line[:at] + draw(BYTE) + line[at + 1 :]]))


BYTE = st.integers(0, 255).map(lambda byte: bytes([byte]))
METHODS = (b"GET", b"PRI", b"x!#$%&'*+-.^_`|~9", b"")
TARGETS = (b"/", b"*", b"http://a/", b"a b", b"", b"\xff")
VERSIONS = (b"HTTP/1.1", b"HTTP/2.0", b"HTTP/0.9", b"HTTPS/1.1", b"http/1.1", b"HTTP/1.10", b"")


@given(first_lines())
@example(b"SSH-2.0-x\r\n")
@example(b"GET /a\r\n")
@example(b"\x03\x00\x00\x13\x0e\xe0")
@example(b"\r\nGET / HTTP/1.1\r\n")
def test_a_first_line_is_refused_at_the_first_byte_with_which_none_can_begin(received: bytes) -> None:
    line = received[: received.find(b"\n") + 1 or None]
    heads = Heads(1000, 1000)
    for at in range(len(line)):
        assert can_begin(line[: at + 1]) == may_become(line[: at + 1])
        heads.append(line[at : at + 1])
        what, _ = heads.look()
        assert (what == "broken") == (not may_become(line[: at + 1]))
        if what != "more":
            break


@pytest.mark.parametrize("length", range(LINE_MAX - 3, LINE_MAX + 3))
def test_the_bound_of_the_request_line_counts_its_end(length: int) -> None:
    line = b"GET /" + b"x" * (length - 16) + b" HTTP/1.1\r\n"
    assert len(line) == length
    expected = "head" if length <= LINE_MAX else "line_long"
    for cuts in ([], list(range(length + 2))):
        assert frame_chopped(line + b"\r\n", cuts)[0][0] == expected


@pytest.mark.parametrize("length", range(HEAD_MAX - 3, HEAD_MAX + 4))
def test_the_bound_of_the_head_counts_its_end(length: int) -> None:
    head = b"GET / HTTP/1.1\r\n" + b"x" * (length - 20) + b"\r\n\r\n"
    assert len(head) == length
    expected = "head" if length <= HEAD_MAX else "head_long"
    for cuts in ([], list(range(length))):
        assert frame_chopped(head, cuts)[0][0] == expected


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3000), st.integers(0, 4000)), max_size=30))
def test_the_inbox_is_a_queue_of_bytes(moves: list[tuple[bytes, int]]) -> None:
    heads = Heads(LINE_MAX, HEAD_MAX)
    waiting = b""
    for received, consumed in moves:
        heads.append(received)
        waiting += received
        assert heads.waiting == waiting
        consumed = min(consumed, len(waiting))
        heads.consume(consumed)
        waiting = waiting[consumed:]
        assert heads.waiting == waiting
        assert heads.holds_memory == bool(waiting), "an idle connection must not hold memory"

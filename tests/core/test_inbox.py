"""Where heads end: the framer against a model that looks for line ends, however the bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from zchttpd._core.doors import Heads

LINE_MAX = 40
HEAD_MAX = 100


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
    """What the framer says of the same bytes when they arrive in pieces."""
    heads = Heads(LINE_MAX, HEAD_MAX)
    found: list[tuple[str, bytes]] = []
    for first, last in pairwise([0, *sorted(cuts), len(received)]):
        if first == last:
            continue
        heads.append(received[first:last])
        while heads.holds_memory:
            what, length = heads.look()
            if what == "more":
                break
            found.append((what, heads.waiting[: length or 0]))
            if length is None:
                return found
            heads.consume(length)
    if heads.holds_memory:
        found.append(("more", b""))
    return found


LINES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b"GET / HTTP/1.1\r\n",
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


@pytest.mark.parametrize("length", range(LINE_MAX - 3, LINE_MAX + 3))
def test_the_bound_of_the_request_line_counts_its_end(length: int) -> None:
    line = b"x" * (length - 2) + b"\r\n"
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

"""Request heads in the portable engine: where they end, and the cacheable."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from zchttpd.engines.portable_heads import Frame, Framer, Memo
from zchttpd.http.request import can_begin

LINE_MAX, HEAD_MAX = 32, 64


# ---- where a head ends ----


def frame_whole(received: bytes) -> tuple[Frame, int]:
    """What `Framer` is to find when all bytes come at once, by lines instead of by positions."""
    size = 0
    for number, line in enumerate(received.splitlines(keepends=True) if received else []):
        size += len(line)
        ended = line.endswith(b"\n")
        if number == 0 and not can_begin(line[:LINE_MAX]):
            return Frame.BROKEN, 0
        if number == 0 and size > LINE_MAX:
            return Frame.LINE_LONG, 0
        if size > HEAD_MAX:
            return Frame.HEAD_LONG, 0
        if ended and not line.endswith(b"\r\n"):
            return Frame.BROKEN, 0
        if line == b"\r\n":
            return Frame.HEAD, size
    return Frame.MORE, 0


# Lines end at LF alone here, so these have no other byte that bytes.splitlines would split at.
pieces = st.lists(
    st.sampled_from(
        [
            b"GET / HTTP/1.1",
            b"GET / HTTP/1.1\r\n",
            b"GET /" + b"a" * 30,
            b"A: b",
            b"\r\n",
            b"\r\n\r\n",
            b"\n",
            b"x" * 30,
            b" ",
            b"yy\r\n",
        ]
    ),
    max_size=12,
)


@given(pieces, st.data())
@example([b"\n"], None)
@example([b"x" * 30, b"x\r\n", b"\r\n"], None)
@example([b"x" * 30, b"\r\n", b"x" * 30, b"\r\n"], None)
def test_framer_finds_the_same_however_input_is_chopped(
    parts: list[bytes], data: st.DataObject | None
) -> None:
    received = b"".join(parts)
    framer = Framer(LINE_MAX, HEAD_MAX)
    chopped = bytearray()
    found = Frame.MORE
    while found is Frame.MORE and len(chopped) < len(received):
        step = 1 if data is None else data.draw(st.integers(1, len(received) - len(chopped)))
        chopped += received[len(chopped) : len(chopped) + step]
        found = framer.look(chopped)
    expected, size = frame_whole(received)
    assert found is expected
    if expected is Frame.HEAD:
        assert framer.length == size


def test_framer_begins_anew_after_each_head() -> None:
    framer = Framer(LINE_MAX, HEAD_MAX)
    assert framer.look(b"GET / HTTP/1.1\r\n\r\nGET") is Frame.HEAD
    assert framer.length == 18
    assert framer.look(b"GET") is Frame.MORE
    assert framer.look(b"GET / HTTP/1.0\r\n\r\n") is Frame.HEAD
    assert framer.length == 18
    assert framer.look(b"\r\n") is Frame.HEAD
    assert framer.length == 2


# ---- the cacheable ----


def test_memo_admits_the_eager_at_once_while_there_is_room() -> None:
    cacheable: Memo[int] = Memo(2)
    assert [cacheable.admit(b"%d" % number, number, eager=True) for number in range(3)] == [[], [], None]
    assert cacheable.admit(b"2", 2, eager=True) == [(b"0", 0)]


def test_memo_admits_on_second_sight_and_compares_whole_heads() -> None:
    cacheable: Memo[str] = Memo(8)
    assert cacheable.admit(b"head", "plan") is None
    assert cacheable.find(b"head") is None
    assert cacheable.admit(b"head", "plan") == []
    assert cacheable.find(b"head") == "plan"
    assert cacheable.find(b"heaD") is None
    assert cacheable.find(b"head ") is None
    assert cacheable.forget(b"head") == "plan"
    assert cacheable.find(b"head") is None


def admitted(cacheable: Memo[int], number: int) -> list[tuple[bytes, int]]:
    head = b"%d" % number
    cacheable.admit(head, number)
    forgotten = cacheable.admit(head, number)
    assert forgotten is not None
    return forgotten


def test_memo_is_bounded_and_forgets_what_is_not_used() -> None:
    cacheable: Memo[int] = Memo(3)
    lost = []
    for number in range(3):
        lost += admitted(cacheable, number)
    assert lost == []
    # All three count as used since they came: the first pass only marks them.
    assert [number for _, number in admitted(cacheable, 3)] == [0]
    assert cacheable.find(b"1") == 1
    assert [number for _, number in admitted(cacheable, 4)] == [2]
    assert len(cacheable) == 3
    assert cacheable.find(b"1") == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_memo_never_leads_astray(moves: list[tuple[bool, int]]) -> None:
    cacheable: Memo[int] = Memo(4)
    known: set[int] = set()
    for admits, number in moves:
        head = b"%d" % number
        if admits:
            forgotten = cacheable.admit(head, number)
            if forgotten is not None:
                known -= {lost for _, lost in forgotten}
                known.add(number)
        found = cacheable.find(head)
        assert found == (number if number in known else None)
        assert len(cacheable) == len(known) <= 4

"""Access records of the machine: what they say, in what order, and what happens when nobody takes them."""

from __future__ import annotations

import errno
import select
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.engine.access_records import unpack_records

from .bench import HEAD, HEAD_MAX, Bench

if TYPE_CHECKING:
    from zchttpd.telemetry.access_log import AccessRecord

CAPACITY = 1 << 16
# Bytes that are kept of a request line, and of each of Referer and User-Agent.
LINE_MAX = 2048
FIELD_MAX = 1024


class Logged(Bench):
    """A machine that keeps access records."""

    def __init__(self, capacity: int = CAPACITY, **limits: int) -> None:
        super().__init__(access_bytes=capacity, **limits)

    def taken(self) -> list[AccessRecord]:
        return list(unpack_records(self.machine.take_records()))

    def serve(self, head: bytes) -> None:
        """One request, answered whole, on a connection of its own that then ends."""
        recv = self.connect()
        ticket = self.ask(recv, head)
        plan = self.small(head_length=39)
        self.machine.answer(ticket, plan, False)
        self.machine.release(plan)
        [send] = self.ops()
        self.step(send.token, send.length)
        self.step(recv.token, 0)
        for op in self.ops():
            self.step(op.token, 0)


def test_a_record_is_kept_when_the_response_is_over() -> None:
    bench = Logged()
    recv = bench.connect()
    ticket = bench.ask(recv, b"GET /a HTTP/1.1\r\nUser-Agent: u\r\nReferer: r\r\n\r\n")
    bench.wait(30)
    bench.machine.answer(ticket, bench.plan([("literal", 0, 50)], image=b"h" * 50, head_length=39), False)
    [send] = bench.ops()
    bench.step(send.token, 20)
    bench.wait(12)
    assert bench.taken() == []
    [poll] = bench.ops()
    bench.step(poll.token, select.POLLOUT)
    [rest] = bench.ops()
    bench.step(rest.token, 30)
    [record] = bench.taken()
    assert (record.line, record.referer, record.agent) == (b"GET /a HTTP/1.1", b"r", b"u")
    assert (record.status, record.body_bytes, record.ended_at, record.zerocopy) == (200, 11, 100, False)
    assert record.duration_us == 42_000
    assert bench.taken() == []


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (b"", ""),
        (bytes((192, 0, 2, 1)), "192.0.2.1"),
        (bytes.fromhex("20010db8000000000000000000000001"), "2001:db8::1"),
    ],
)
def test_a_record_names_the_client(packed: bytes, text: str) -> None:
    bench = Logged()
    assert bench.accept(99, 0, packed, 4242)
    [recv] = bench.ops()
    bench.machine.answer(bench.ask(recv), bench.small(), False)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    assert [record.address for record in bench.taken()] == [text]


def test_a_reset_response_says_what_had_left() -> None:
    bench = Logged()
    recv = bench.connect()
    mapping = bench.mapping(b"m" * 3000, True)
    plan = bench.plan([("literal", 0, 39), ("mapped", 0, 3000)], mapping=mapping, head_length=39)
    bench.machine.answer(bench.ask(recv), plan, False)
    head, body = bench.ops()
    bench.step(head.token, 39)
    bench.step(recv.token, -errno.ECONNRESET)
    assert bench.taken() == [], "a send is under way"
    bench.step(body.token, 1234, True)
    for op in bench.ops():
        if op.kind != "reset":
            bench.step(op.token, 0)
    [record] = bench.taken()
    assert (record.status, record.body_bytes, record.zerocopy) == (200, 1234, True)


def test_a_refusal_shows_what_had_come() -> None:
    bench = Logged()
    recv = bench.connect()
    bench.hear(recv, b"\r\nGET /slow HTTP/1.1\r\nUser-Ag")
    bench.wait(10_200)
    [(_, ticket, status)] = bench.take_work()
    bench.machine.answer(ticket, bench.small(status=status, keep_alive=0, linger=1), False)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    [record] = bench.taken()
    assert (record.status, record.line, record.agent) == (408, b"GET /slow HTTP/1.1", b"")
    assert record.duration_us == 10_200_000


def test_each_of_a_pipeline_has_its_own_time() -> None:
    bench = Logged()
    recv = bench.connect()
    plan = bench.small()
    bench.machine.answer(bench.ask(recv, HEAD), plan, True)
    bench.hear(recv, HEAD * 2)
    for ms in (10, 20, 30):
        bench.wait(ms)
        [send] = [op for op in bench.ops() if op.kind == "send"]
        bench.step(send.token, send.length)
        for _, ticket, _ in bench.take_work():
            bench.machine.answer(ticket, plan, True)
    assert [record.duration_us // 1000 for record in bench.taken()] == [10, 20, 30]


def test_without_room_records_are_dropped_and_counted() -> None:
    bench = Logged(capacity=1024)
    for number in range(50):
        bench.serve(b"GET /%02d HTTP/1.1\r\n\r\n" % number)
    kept = bench.taken()
    assert [record.line for record in kept] == [b"GET /%02d HTTP/1.1" % number for number in range(len(kept))]
    assert 0 < len(kept) < 20
    assert bench.machine.gauge("access_dropped") == 50 - len(kept)


@given(st.lists(st.integers(0, 300), min_size=30, max_size=60), st.integers(1, 7))
def test_the_buffer_goes_round(sizes: list[int], every: int) -> None:
    bench = Logged(capacity=4096)
    taken: list[bytes] = []
    for number, size in enumerate(sizes):
        bench.serve(b"GET /" + b"x" * size + b" HTTP/1.1\r\n\r\n")
        if number % every == 0:
            taken += [record.line for record in bench.taken()]
    taken += [record.line for record in bench.taken()]
    assert taken == [b"GET /" + b"x" * size + b" HTTP/1.1" for size in sizes]
    assert bench.machine.gauge("access_dropped") == 0


def test_nothing_is_kept_without_a_log() -> None:
    bench = Bench()
    bench.machine.answer(bench.ask(bench.connect()), bench.small(), False)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    assert bench.machine.take_records() == b""


lines = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"Referer: a",
                b"referer:b",
                b"REFERER:\t c \t",
                b"User-Agent: d",
                b"user-agent:",
                b"Referer : e",
                b"\rx\r",
            ]
        ),
        st.binary(min_size=1, max_size=40).map(lambda text: text.replace(b"\n", b"") or b"x"),
        st.integers(1, 3000).map(lambda size: b"User-Agent:" + b"y" * size),
    ),
    min_size=1,
    max_size=6,
)


def logged_fields(head: bytes) -> tuple[bytes, bytes, bytes]:
    """(request line, Referer, User-Agent) of a head, as they are to be noted.

    It may be broken, and need not be whole.
    """
    asked: bytes | None = None
    fields: dict[bytes, bytes] = {}
    for each in head.split(b"\n"):
        line = each.removesuffix(b"\r")
        if asked is None:
            asked = line[:LINE_MAX] or None
            continue
        if not line:
            break
        for name in (b"referer:", b"user-agent:"):
            if name not in fields and line[: len(name)].lower() == name:
                fields[name] = line[len(name) :].lstrip(b" \t").rstrip(b" \t\r")[:FIELD_MAX]
    return asked or b"", fields.get(b"referer:", b""), fields.get(b"user-agent:", b"")


@given(lines)
def test_a_head_is_noted_as_the_reference_notes_it(parts: list[bytes]) -> None:
    """The head is framed by the machine here, so its lines end in CRLF; refusals show the rest."""
    head = b"".join(part + b"\r\n" for part in parts) + b"\r\n"
    bench = Logged(head_size_max=64 * HEAD_MAX, line_size_max=64 * HEAD_MAX)
    recv = bench.connect()
    bench.hear(recv, head)
    work = bench.take_work()
    [(kind, ticket, subject)] = work
    seen = head if kind == "refuse" else subject
    assert isinstance(seen, bytes)
    bench.machine.answer(ticket, bench.small(status=400 if kind == "refuse" else 200), False)
    [send] = bench.ops()
    bench.step(send.token, send.length)
    [record] = bench.taken()
    assert (record.line, record.referer, record.agent) == logged_fields(seen)
    assert len(record.line) <= LINE_MAX
    assert len(record.agent) <= FIELD_MAX

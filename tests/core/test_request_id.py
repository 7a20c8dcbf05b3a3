"""X-Request-Id: each answer tells its own, whoever else is being sent the same plan."""

from __future__ import annotations

import re

import pytest

from zchttpd.engine.access_records import unpack_records

from .bench import DATE, HEAD, LOOPBACK, Bench

PLACE = b"#" * 64
IMAGE = b"Date: " + DATE + b"\r\nX-Request-Id: " + PLACE + b"\r\n\r\nbody"
MADE = re.compile(rb"[0-9a-f]{32} {32}")


class Named(Bench):
    """A machine whose answers tell the id of their request."""

    def __init__(self, access_bytes: int = 0, **limits: int) -> None:
        super().__init__(access_bytes=access_bytes, request_ids=True, **limits)
        self.whole = self.plan([("literal", 0, len(IMAGE))], image=IMAGE, head_length=len(IMAGE) - 4)

    def told(self, address: int) -> bytes:
        """The id in an answer that is sent from there; the rest of it is what it is to be."""
        sent = self.machine.peek(address, len(IMAGE))
        before, _, behind = IMAGE.partition(PLACE)
        assert sent.startswith(before[-16:], len(before) - 16)
        assert sent.endswith(behind)
        return sent[len(before) : len(before) + len(PLACE)]


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (b"7f3a-41", True),
        (b"  a.b:c+d/e=f_G \t", True),
        (b"x" * 64, True),
        (b"x" * 65, False),
        (b"", False),
        (b"a b", False),
        (b'a"b', False),
        (b"a\\b", False),
        (b"a\xffb", False),
        (b"<a>", False),
        (b"a\rb", False),
    ],
)
def test_the_id_of_the_client_is_told_if_it_means_nothing_else(value: bytes, taken: bool) -> None:
    bench = Named()
    head = b"GET /a HTTP/1.1\r\nx-request-ID:" + value + b"\r\n\r\n"
    bench.machine.answer(bench.ask(bench.connect(), head), bench.whole, False)
    [send] = bench.ops()
    told = bench.told(send.address)
    assert told == value.strip().ljust(64) if taken else MADE.fullmatch(told)


def test_those_who_are_sent_one_plan_at_the_same_time_are_told_their_own() -> None:
    bench = Named()
    recvs = [bench.connect() for _ in range(3)]
    bench.machine.answer(bench.ask(recvs[0]), bench.whole, True)
    sends = bench.ops()
    for number, recv in enumerate(recvs[1:]):
        bench.hear(recv, HEAD[:-2] + b"X-Request-Id: %d\r\n\r\n" % number)
        sends += bench.ops()
    assert not bench.take_work(), "the head is known, whatever its id"
    told = [bench.told(send.address) for send in sends]
    assert MADE.fullmatch(told[0])
    assert told[1:] == [b"0".ljust(64), b"1".ljust(64)]
    for send in sends:
        bench.step(send.token, send.length)
    # Nobody sends from the image any more: it is written to, and not copied.
    bench.hear(recvs[0], HEAD)
    [send] = bench.ops()
    assert MADE.fullmatch(bench.told(send.address))
    assert bench.told(send.address) != told[0]
    assert bench.machine.gauge("held_bytes") == 0


def test_a_copy_that_there_is_no_room_for_ends_its_connection() -> None:
    large = IMAGE + bytes(8192)
    bench = Named(held_bytes_max=len(large))
    plan = bench.plan([("literal", 0, len(large))], image=large)
    recvs = [bench.connect() for _ in range(3)]
    bench.machine.answer(bench.ask(recvs[0]), plan, True)
    bench.hear(recvs[1], HEAD)
    assert [op.kind for op in bench.ops()] == ["send", "send"]
    bench.hear(recvs[2], HEAD)
    assert [op.kind for op in bench.ops()] == ["shutdown"]
    assert bench.machine.gauge("refused_memory") == 1


def test_the_log_has_what_the_answer_told_and_each_request_its_own() -> None:
    bench = Named(access_bytes=1 << 16)
    recv = bench.connect()
    told = []
    for field in (b"X-Request-Id: mine\r\n", b""):
        bench.hear(recv, HEAD[:-2] + field + b"\r\n")
        for _, ticket, _ in bench.take_work():
            bench.machine.answer(ticket, bench.whole, True)
        [send] = bench.ops()
        told.append(bench.told(send.address).rstrip())
        bench.step(send.token, send.length)
    records = [*unpack_records(bench.machine.take_records())]
    assert [record.request_id for record in records] == told
    assert told[0] == b"mine"
    assert MADE.fullmatch(told[1].ljust(64))
    assert [record.line for record in records] == [b"GET /a HTTP/1.1"] * 2


def test_who_is_refused_before_a_byte_came_has_an_id_too() -> None:
    bench = Named(connections_max=1)
    bench.ask(bench.connect())
    assert bench.accept(99, LOOPBACK)
    [(kind, ticket, _)] = bench.take_work()
    assert kind == "refuse"
    plan = bench.plan([("literal", 0, len(IMAGE))], image=IMAGE, status=503)
    bench.machine.answer(ticket, plan, False)
    [send] = [op for op in bench.ops() if op.kind == "send"]
    assert MADE.fullmatch(bench.told(send.address))


def test_a_head_without_the_place_of_an_id_is_refused() -> None:
    with pytest.raises(ValueError, match="X-Request-Id"):
        Named().small()

"""What requests and responses under way hold: counted, bounded, and what is beyond it refused."""

from __future__ import annotations

import errno

import pytest

from .bench import DATE, HEAD, Bench

SMALL = 4096  # bytes that are never refused
HELD_MAX = 40_000
SIZE = 15_000


@pytest.fixture
def bench() -> Bench:
    return Bench(held_bytes_max=HELD_MAX, head_size_max=16_000, connections_max=20)


def held(bench: Bench) -> int:
    counted = bench.machine.gauge("held_bytes")
    assert counted == bench.machine.held()
    return counted


def refused(bench: Bench) -> int:
    return bench.machine.gauge("refused_memory")


def image(size: int) -> bytes:
    return b"Date: " + DATE + b"\r\n\r\n" + bytes(size - 39)


def answer(bench: Bench, size: int = SIZE, **options: int) -> None:
    """A request whose answer is not remembered, to a client that does not read."""
    bench.ops()
    ticket = bench.ask(bench.connect())
    plan = bench.plan([("literal", 0, size)], image(size), **options)
    bench.machine.answer(ticket, plan, False)
    bench.machine.release(plan)


def test_an_answer_that_is_not_remembered_is_held(bench: Bench) -> None:
    answer(bench)
    [send] = bench.ops()
    assert held(bench) == SIZE
    assert bench.machine.image_bytes == 0
    bench.step(send.token, SIZE)
    assert held(bench) == 0


def test_one_that_is_remembered_is_not(bench: Bench) -> None:
    entry = bench.machine.entry(bench.now_ms + 10**6)
    ticket = bench.ask(bench.connect())
    plan = bench.plan([("literal", 0, SIZE)], image(SIZE), entry=entry)
    bench.machine.answer(ticket, plan, True)
    bench.machine.release(plan)
    assert held(bench) == 0
    assert bench.machine.image_bytes == SIZE
    # Until its entry has gone, and it is still being sent.
    bench.machine.retire(entry)
    assert held(bench) == SIZE
    assert bench.machine.image_bytes == 0
    [send] = bench.ops()
    bench.step(send.token, SIZE)
    assert held(bench) == 0


def test_beyond_the_bound_an_answer_is_refused_and_a_small_one_is_not(bench: Bench) -> None:
    for _ in range(HELD_MAX // SIZE):
        answer(bench)
    with pytest.raises(MemoryError):
        answer(bench)
    assert refused(bench) == 1
    answer(bench, SMALL)
    assert refused(bench) == 1
    assert held(bench) <= HELD_MAX + 2 * SMALL


def test_received_bytes_are_held(bench: Bench) -> None:
    recv = bench.connect()
    bench.hear(recv, HEAD + b"GET ")
    assert 0 < held(bench) <= SMALL
    ticket = bench.take_work()[0][1]
    bench.machine.abandon(ticket)
    assert held(bench) == 0


def fill_up(bench: Bench) -> None:
    for _ in range(HELD_MAX // SIZE):
        answer(bench)
    answer(bench, HELD_MAX % SIZE - SMALL)
    bench.ops()


def test_half_a_head_is_refused_when_it_is_long_and_there_is_no_room(bench: Bench) -> None:
    fill_up(bench)
    before = held(bench)
    short, long = bench.connect(), bench.connect()
    bench.hear(short, b"GET /a HTTP/1.1\r\nCookie: ")
    bench.hear(long, b"GET /a HTTP/1.1\r\nCookie: " + bytes(b"c" * (2 * SMALL)))
    assert [(kind, subject) for kind, _, subject in bench.take_work()] == [("refuse", 503)]
    assert refused(bench) == 1
    assert held(bench) - before <= SMALL


def test_half_heads_of_many_hold_what_is_allowed_and_a_little_each(bench: Bench) -> None:
    """A crowd of them is bounded, however long each is."""
    crowd = [bench.connect() for _ in range(20)]
    before = 0
    for recv in crowd:
        bench.hear(recv, b"GET /a HTTP/1.1\r\nCookie: " + bytes(b"c" * (SMALL - 100)))
        before, now = held(bench), before
        assert before - now == SMALL, "none of these is refused"
    for recv in crowd:
        bench.hear(recv, bytes(b"c" * 2 * SMALL))
        assert held(bench) <= HELD_MAX + len(crowd) * SMALL
    told = [(kind, subject) for kind, _, subject in bench.take_work()]
    assert told == [("refuse", 503)] * refused(bench)
    assert refused(bench) > 0


def test_who_sends_ahead_has_to_wait_when_there_is_no_room(bench: Bench) -> None:
    recv = bench.connect()
    bench.ask(recv)
    fill_up(bench)
    bench.hear(recv, HEAD * (SMALL // len(HEAD) + 1))
    [cancel] = bench.ops()
    assert (cancel.kind, cancel.offset) == ("cancel", recv.token)


def test_a_copy_of_an_image_is_held_and_refused_when_there_is_no_room(bench: Bench) -> None:
    """Two that do not read, in two seconds: the second has an image of its own."""
    entry = bench.machine.entry(bench.now_ms + 10**6)
    recvs = [bench.connect() for _ in range(4)]
    ticket = bench.ask(recvs[0])
    bench.machine.answer(ticket, bench.plan([("literal", 0, SIZE)], image(SIZE), entry=entry), True)
    for number, recv in enumerate(recvs[1:], 1):
        bench.wait(1000, 100 + number)
        bench.ops()
        bench.hear(recv, HEAD)
        assert held(bench) == min(number, 2) * SIZE
    assert refused(bench) == 1
    assert [op.kind for op in bench.ops()] == ["shutdown"]


def test_the_copy_of_an_image_is_of_its_first_segment(bench: Bench) -> None:
    """What follows has no Date, and is sent from where it is."""
    entry = bench.machine.entry(bench.now_ms + 10**6)
    recvs = [bench.connect() for _ in range(2)]
    plan = bench.plan([("literal", 0, 39), ("literal", 39, SIZE - 39)], image(SIZE), entry=entry)
    bench.machine.answer(bench.ask(recvs[0]), plan, True)
    [first] = bench.ops()
    bench.wait(1000, 101)
    bench.hear(recvs[1], HEAD)
    assert held(bench) == 39
    [copied] = bench.ops()
    assert copied.address != first.address
    rests = []
    for head in (first, copied):
        bench.step(head.token, 39)
        rests += bench.ops()
    assert [(rest.address, rest.length) for rest in rests] == [(first.address + 39, SIZE - 39)] * 2


def test_what_a_client_held_is_free_when_it_has_gone(bench: Bench) -> None:
    recv = bench.connect()
    ticket = bench.ask(recv)
    plan = bench.plan([("literal", 0, SIZE)], image(SIZE))
    bench.machine.answer(ticket, plan, False)
    bench.machine.release(plan)
    [send] = bench.ops()
    bench.hear(recv, HEAD)
    assert held(bench) > SIZE
    bench.step(send.token, -errno.ECONNRESET)
    for op in bench.ops():
        if op.kind in ("cancel_all", "close"):
            bench.step(op.token, 0)
    bench.step(recv.token, -errno.ECANCELED)
    assert held(bench) == 0

"""How many requests and bytes one address may have, counted by the clock of the machine."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .bench import WINDOW
from .gate import KEEPS, OF_HEAD, PLAIN, TICK_MS, WAYS, Gate, most, prepared

if TYPE_CHECKING:
    from zchttpd._core import testing

THERE = bytes([127, 0, 0, 2])
NETWORK = b"\x20\x01\x0d\xb8" + bytes(4)
# Whatever else, so many seconds' worth leave at once at most.
DEPTH_S = 1.0
READERS = 4


# ---- requests ----


def test_a_burst_and_then_the_rate() -> None:
    gate = Gate(requests_per_second=10, requests_burst=3)
    here, there = gate.come(), gate.come(THERE)
    assert [gate.asked(here) for _ in range(5)] == [0, 0, 0, KEEPS + 429, KEEPS + 429]
    assert gate.asked(gate.come()) == KEEPS + 429, "it is of the address, not of the connection"
    assert gate.asked(there) == 0
    assert gate.machine.gauge("refused_rate") == 3
    answered = 0
    for _ in range(100):
        gate.wait(20)
        answered += gate.asked(here) == 0
    assert answered == 20
    gate.wait(60_000)
    assert [gate.asked(here) for _ in range(4)] == [0, 0, 0, KEEPS + 429], "nobody saves up more"


@pytest.mark.parametrize("burst", [1, 3, 7, 1000])
def test_no_interval_has_more_than_its_bucket(burst: int) -> None:
    """Also where a second is no whole number of times what a request costs."""
    gate = Gate(requests_per_second=7, requests_burst=burst)
    recv = gate.come()
    assert sum(gate.asked(recv) == 0 for _ in range(burst + 5)) == burst
    gate.wait(1001)
    assert sum(gate.asked(recv) == 0 for _ in range(burst + 10)) == min(burst, 7)


def test_64_bits_of_ipv6_are_one_address() -> None:
    gate = Gate(requests_per_second=1, requests_burst=1)
    assert gate.asked(gate.come(NETWORK + b"\x01" * 8)) == 0
    assert gate.asked(gate.come(NETWORK + b"\x02" * 8)) == KEEPS + 429
    assert gate.asked(gate.come(b"\x20\x02" + bytes(14))) == 0


def test_who_has_no_address_has_no_limit() -> None:
    gate = Gate(requests_per_second=1, requests_burst=1, bytes_per_second=10)
    recv = gate.come(b"")
    assert [gate.asked(recv) for _ in range(50)] == [0] * 50


def test_what_was_sent_ahead_is_refused_one_by_one_and_the_connection_goes_on() -> None:
    gate = Gate(requests_per_second=1, requests_burst=1)
    recv = gate.come()
    gate.hear(recv, PLAIN * 3)
    seen: list[int] = []
    while work := gate.take_work():
        for kind, ticket, subject in work:
            status = subject if kind == "refuse" else 0
            assert isinstance(status, int)
            seen.append(status)
            gate.machine.answer(ticket, gate.refusal(status) if status else gate.small(), False)
        gate.serve()
        gate.wait(0)
    assert seen == [0, KEEPS + 429, KEEPS + 429]
    gate.wait(1001)
    assert gate.asked(recv) == 0


def test_a_known_head_counts_too() -> None:
    gate = Gate(requests_per_second=1, requests_burst=2)
    recv = gate.come()
    gate.hear(recv, PLAIN)
    [(_, ticket, _)] = gate.take_work()
    gate.machine.answer(ticket, gate.small(), True)
    gate.serve()
    gate.hear(recv, PLAIN)
    assert gate.take_work() == [], "it is remembered"
    gate.serve()
    assert gate.asked(recv) == KEEPS + 429


def test_a_head_that_waits_for_its_entry_counts_once() -> None:
    gate = Gate(requests_per_second=1, requests_burst=2)
    recv = gate.come()
    entry = gate.machine.entry(0)
    gate.hear(recv, PLAIN)
    [(_, ticket, _)] = gate.take_work()
    gate.machine.answer(ticket, gate.small(entry=entry), True)
    gate.serve()
    gate.hear(recv, PLAIN)
    [(kind, ticket, _)] = gate.take_work()
    assert kind == "stale"
    gate.machine.refresh(entry, gate.now_ms + 1000)
    gate.machine.retry(ticket)
    assert not gate.machine.gauge("refused_rate")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (PLAIN, KEEPS + 429),
        (PLAIN.replace(b"GET", b"HEAD"), KEEPS + OF_HEAD + 429),
        (PLAIN.replace(b"GET", b"POST"), 429),
        (PLAIN.replace(b"1.1", b"1.0"), 429),
        (PLAIN.replace(b"Accept: */*", b"Connection: close"), 429),
        (PLAIN.replace(b"Accept: */*", b"Content-Length: 5"), 429),
        (PLAIN.replace(b"Accept: */*", b"content-LENGTH : 5"), 429),
        (PLAIN.replace(b"Accept: */*", b"Transfer-Encoding: chunked"), 429),
        (PLAIN.replace(b"Accept: */*", b"Expect: 100-continue"), 429),
        (PLAIN.replace(b"Accept: */*", b" Content-Length: 5"), 429),
        (PLAIN.replace(b"X-Other: 1", b"X-Other: 1\rContent-Length: 5"), 429),
        (PLAIN.replace(b"X-Other", b"X Other"), 429),
        (PLAIN.replace(b"*/*\r\n", b"*/*\n"), 400),
        (b"GET /" + b"a" * 300 + PLAIN[5:], KEEPS + 429),
    ],
)
def test_only_what_is_plain_keeps_its_connection(head: bytes, status: int) -> None:
    """What may have content behind it must not have that read as a request."""
    gate = Gate(requests_per_second=1, requests_burst=1)
    assert gate.asked(gate.come()) == 0
    assert gate.asked(gate.come(), head) == status


def test_addresses_without_end_take_no_memory_and_let_nobody_off() -> None:
    gate = Gate(requests_per_second=1, requests_burst=100)
    answer = gate.small()

    def ask(recv: testing.ExecutedOp) -> bool:
        gate.hear(recv, PLAIN)
        [(kind, ticket, _)] = gate.take_work()
        gate.machine.answer(ticket, refusal if kind == "refuse" else answer, False)
        gate.serve()
        return kind == "head"

    refusal = gate.refusal(KEEPS + 429)
    debtor = gate.come(b"\x0a\x00\x00\x01")
    assert [ask(debtor) for _ in range(101)] == [True] * 100 + [False]
    before = gate.machine.live()
    for number in range(3000):
        recv = gate.come(number.to_bytes(8, "big") + bytes(8))
        assert ask(recv)
        gate.step(recv.token, 0)
        for op in gate.ops():
            if op.kind == "close":
                gate.step(op.token, 0)
    assert gate.machine.live() == before
    assert not ask(debtor)


# ---- bytes ----


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rate", [700, 20_000, 300_000])
def test_no_interval_has_more_than_a_second_beyond_its_rate(way: str, rate: int) -> None:
    gate, plan = prepared(way, rate)
    fds = set()
    for _ in range(READERS):
        recv = gate.come()
        fds.add(recv.fd)
        gate.large(recv, plan)
    gate.run(4000)
    sent = gate.bytes_of(fds)
    assert most(sent, rate) <= DEPTH_S
    total = sum(length for _, length in sent)
    # All that comes into the bucket leaves, but for what is in the air.
    assert total >= min(READERS * 64 * WINDOW, rate * 4 * 0.9)


@pytest.mark.parametrize("way", WAYS)
def test_connections_of_one_address_get_on_alike(way: str) -> None:
    rate = 16_000
    gate, plan = prepared(way, rate, 60 * WINDOW)
    recvs = [gate.come() for _ in range(READERS)]
    for recv in recvs:
        gate.large(recv, plan)
    gate.run(10_000)
    counts = Counter({recv.fd: 0 for recv in recvs})
    for _, fd, length in gate.sent:
        counts[fd] += length
    assert min(counts.values()) > 0
    # Who came first had what was in the bucket.
    assert max(counts.values()) - min(counts.values()) <= rate * DEPTH_S
    assert sum(counts.values()) >= rate * 10 * 0.9


@pytest.mark.parametrize("way", WAYS)
def test_others_are_not_slowed(way: str) -> None:
    gate, plan = prepared(way, 10_000, 60 * WINDOW)
    for _ in range(20):
        gate.large(gate.come(), plan)
    other = gate.come(THERE)
    gate.large(other, plan)
    gate.run(3000)
    assert sum(length for _, length in gate.bytes_of({other.fd})) >= 10_000 * 3


@pytest.mark.parametrize("way", WAYS)
def test_who_is_paced_is_no_stall_and_holds_nothing(way: str) -> None:
    gate, plan = prepared(way, 100, 2000, stall_ms_max=500, window_size=WINDOW)
    recv = gate.come()
    gate.large(recv, plan)
    paced = 0
    for _ in range(200):
        gate.run(100)
        conn = next(
            conn for conn in map(gate.machine.conn, range(5)) if conn["fd"] == recv.fd and conn["state"]
        )
        if conn["paced"]:
            paced += 1
            assert (conn["windows_held"], conn["waits"], conn["sends"]) == (0, 0, 0)
    assert paced > 100
    assert gate.machine.gauge("timeouts_stall") == 0
    assert sum(length for _, length in gate.bytes_of({recv.fd})) >= 2000


@pytest.mark.parametrize("way", WAYS)
def test_who_does_not_read_saves_nothing_up(way: str) -> None:
    """Twenty that do not read take a share each, once, and it comes back. Later they get no more."""
    rate = 20_000
    gate, plan = prepared(way, rate)
    recvs = [gate.come() for _ in range(21)]
    gate.deaf = {recv.fd for recv in recvs[1:]}
    for recv in recvs:
        gate.large(recv, plan)
    gate.run(5000)
    total = sum(length for _, length in gate.bytes_of({recvs[0].fd}))
    assert total >= min(64 * WINDOW, rate * 5 * 0.7)
    gate.deaf.clear()
    for token in [*gate.polls.values()]:
        gate.step(token, 4)
    gate.serve()
    gate.run(2000)
    assert most(gate.bytes_of({recv.fd for recv in recvs}), rate) <= DEPTH_S


def test_small_answers_are_paid_for_as_well() -> None:
    gate = Gate(bytes_per_second=1000)
    answer = gate.small()
    for _ in range(100):
        gate.large(gate.come(), answer)
    gate.run(8000)
    sent = [(at, length) for at, _, length in gate.sent]
    assert sum(length for _, length in sent) == 39 * 100
    assert most(sent, 1000) <= DEPTH_S


def test_who_goes_gives_back_what_was_not_sent() -> None:
    gate, plan = prepared("plain", 10_000)
    for _ in range(50):
        recv = gate.come()
        gate.large(recv, plan)
        gate.step(recv.token, -104)
        for op in gate.ops():
            if op.kind in ("cancel_all", "close"):
                gate.step(op.token, 0)
    last = gate.come()
    gate.large(last, plan)
    gate.run(3000)
    assert sum(length for _, length in gate.bytes_of({last.fd})) >= 10_000 * 2


def test_shares_that_nobody_came_for_are_paid_for_anew() -> None:
    """While the worker had something else to do their time has passed: they are not all sent at once."""
    gate, plan = prepared("plain", 50)
    recvs = [gate.come() for _ in range(6)]
    for recv in recvs:
        gate.large(recv, plan)
    for pause_ms in (1040, 300, 2000, 700):
        gate.wait(pause_ms)
        gate.serve()
    assert most(gate.bytes_of({recv.fd for recv in recvs}), 50) <= DEPTH_S + 1 / 50


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_comes_in_whatever_order(data: st.DataObject) -> None:
    rate = data.draw(st.sampled_from([50, 1999, 30_000]), label="rate")
    way = data.draw(st.sampled_from(WAYS), label="way")
    gate, plan = prepared(way, rate, 16 * WINDOW, idle_ms_max=600_000)
    recvs = [gate.come() for _ in range(5)]
    busy: set[int] = set()
    for _ in itertools.repeat(None, data.draw(st.integers(5, 40), label="moves")):
        move = data.draw(st.sampled_from(["ask", "wait", "sleep", "deaf", "hear"]))
        recv = data.draw(st.sampled_from(recvs))
        if move == "ask" and recv.fd not in busy:
            busy.add(recv.fd)
            gate.large(recv, plan)
        elif move == "wait":
            gate.run(data.draw(st.integers(1, 12)) * TICK_MS)
        elif move == "sleep":
            gate.wait(data.draw(st.integers(1, 5000)))
            gate.serve()
        elif move == "deaf":
            gate.deaf.add(recv.fd)
        elif move == "hear" and gate.takes_again(recv.fd):
            gate.serve()
    assert most(gate.bytes_of({recv.fd for recv in recvs}), rate) <= DEPTH_S + 1 / rate

"""How many connections one address may have."""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

import pytest

from .bench import HEAD, NO_LIMIT, Bench

RESET = -104
CANCELLED = -125
HERE, THERE = bytes([127, 0, 0, 1]), bytes([127, 0, 0, 2])
NETWORK = b"\x20\x01\x0d\xb8" + bytes(4)


class Guest(NamedTuple):
    fd: int
    slot: int
    recv: int  # token of its receive


class Inn(Bench):
    """A worker whose connections come from somewhere."""

    def __init__(self, most: int, **limits: int) -> None:
        super().__init__(connections_per_address=most, **limits)
        self.refusal = self.small(status=503, keep_alive=0, linger=1)
        self.guests: dict[int, Guest] = {}

    def come(self, address: bytes) -> Guest | None:
        """A new connection, or None where it is told 503."""
        self.fds += 1
        assert self.accept(self.fds, 0, address=address)
        ops = self.ops()
        for op in ops:
            if op.kind == "close":
                self.settle(op.fd, op.token)
        [recv] = [op for op in ops if op.kind == "recv"]
        guest = Guest(self.fds, recv.token >> 32 & 0xFFFFFF, recv.token)
        self.guests[guest.fd] = guest
        work = self.take_work()
        for kind, ticket, status in work:
            assert (kind, status) == ("refuse", 503)
            self.machine.answer(ticket, self.refusal, False)
            [send] = [op for op in self.ops() if op.kind == "send"]
            self.step(send.token, send.length)
        return None if work else guest

    def settle(self, fd: int, close: int) -> None:
        """The kernel closes."""
        self.step(self.guests.pop(fd).recv, CANCELLED)
        self.step(close, 0)

    def go(self, guest: Guest, res: int = 0) -> None:
        """It closes, or resets."""
        self.step(guest.recv, res)
        del self.guests[guest.fd]
        for op in self.ops():
            if op.kind in ("close", "cancel_all"):
                self.step(op.token, 0)

    def counted(self, guest: Guest) -> int:
        """Connections of its address."""
        conn = self.machine.conn(guest.slot)
        assert conn["fd"] == guest.fd
        counted: int = conn["of_address"]
        return counted

    def addresses(self) -> int:
        there: int = self.machine.live()["addresses"]
        return there

    def refused(self) -> int:
        gauge: int = self.machine.gauge("refused_address")
        return gauge


def test_an_address_has_what_it_may_have_and_no_more() -> None:
    inn = Inn(2)
    first, second = inn.come(HERE), inn.come(HERE)
    assert first
    assert second
    assert inn.come(HERE) is None
    assert inn.come(THERE), "another address is not concerned"
    assert inn.refused() == 1
    inn.go(first)
    again = inn.come(HERE)
    assert again
    assert inn.come(HERE) is None
    inn.go(second, RESET)
    assert inn.come(HERE)
    assert inn.refused() == 2
    assert inn.counted(again) == 2


def test_those_that_are_told_503_take_no_place_of_their_address() -> None:
    inn = Inn(1, refusals_max=16)
    first = inn.come(HERE)
    assert first
    for _ in range(5):
        assert inn.come(HERE) is None
    inn.go(first)
    assert inn.come(HERE)


def test_sixty_four_bits_of_ipv6_count_as_one_address() -> None:
    inn = Inn(2, connections_max=20)
    assert inn.come(NETWORK + bytes(7) + b"\1")
    assert inn.come(NETWORK + bytes(7) + b"\2")
    assert inn.come(NETWORK + bytes(7) + b"\3") is None
    neighbour = NETWORK[:7] + b"\1"
    assert inn.come(neighbour + bytes(7) + b"\1")
    # Of IPv4 every bit counts, and none of it is IPv6.
    assert inn.come(NETWORK[:4])
    assert inn.addresses() == 3


def test_who_has_no_address_has_no_limit() -> None:
    inn = Inn(1, connections_max=20)
    assert all(inn.come(b"") for _ in range(5))
    assert inn.addresses() == inn.refused() == 0


def test_without_a_limit_nothing_is_counted() -> None:
    inn = Inn(NO_LIMIT, connections_max=20)
    assert all(inn.come(HERE) for _ in range(5))
    assert inn.addresses() == inn.refused() == 0


def test_who_is_shed_gives_its_place_back() -> None:
    inn = Inn(2, connections_max=2)
    shed = inn.come(HERE)
    assert shed
    assert inn.come(HERE)
    inn.wait(2000)
    assert inn.come(THERE)
    assert shed.fd not in inn.guests
    assert inn.refused() == 0
    inn.wait(2000)
    assert inn.come(HERE), "of the two that it had one is left"


def test_draining_gives_every_place_back() -> None:
    inn = Inn(3, connections_max=20)
    idle, busy = inn.come(HERE), inn.come(HERE)
    assert idle
    assert busy
    inn.machine.deliver(busy.recv, len(HEAD), True, received=HEAD)
    inn.machine.step()
    [(_, ticket, _)] = inn.take_work()
    inn.machine.drain()
    [close] = [op for op in inn.ops() if op.kind == "close"]
    inn.settle(close.fd, close.token)
    assert inn.counted(busy) == 1
    inn.machine.abandon(ticket)
    assert [op.kind for op in inn.ops()] == ["shutdown"]
    inn.step(busy.recv, 0)
    [close] = inn.ops()
    inn.settle(close.fd, close.token)
    assert inn.addresses() == 0


@pytest.mark.parametrize("seed", range(10))
def test_counts_follow_a_model(seed: int) -> None:
    rng = random.Random(seed)
    most = rng.randint(1, 5)
    inn = Inn(most, connections_max=64, refusals_max=2000)
    # More addresses than chains, so that they share some.
    places = [rng.randbytes(rng.choice((4, 16))) for _ in range(90)]
    there: dict[Guest, bytes] = {}
    for _ in range(600):
        count = Counter(there.values())
        if rng.random() < 0.6 and len(there) < 64:
            place = rng.choice(places[: rng.choice((3, 90))])
            guest = inn.come(place)
            assert (guest is not None) is (count[place] < most)
            if guest:
                there[guest] = place
        elif there:
            guest = rng.choice(list(there))
            inn.go(guest, rng.choice((0, RESET)))
            del there[guest]
        count = Counter(there.values())
        assert inn.addresses() == len(count)
        assert all(inn.counted(guest) == count[place] for guest, place in there.items())

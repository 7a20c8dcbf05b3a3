"""What clients behind two fronts may ask for, at a time and in time, against a model."""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from .fronted import FRONT, OTHER_FRONT, PATIENT, REFUSED, Fronted

if TYPE_CHECKING:
    from zchttpd._core import testing


class Model:
    """Who has what, by address."""

    def __init__(self, at_a_time: int, rate: int, burst: int) -> None:
        self.at_a_time = at_a_time
        self.each_ns = -(-1_000_000_000 // rate)
        self.burst = burst
        self.full_ns: dict[str, int] = {}  # when its bucket is
        self.there: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def has_room(self, address: str) -> bool:
        return self.there[address] < self.at_a_time

    def asks(self, address: str, now_ns: int) -> int:
        """The status of its refusal, or 0 for a request that is there until it goes."""
        moved_ns = max(self.full_ns.get(address, 0), now_ns) + self.each_ns
        if not self.has_room(address):
            self.refused["address"] += 1
        elif moved_ns - now_ns > self.each_ns * self.burst:
            self.refused["rate"] += 1
        else:
            self.full_ns[address] = moved_ns
            self.there[address] += 1
            return 0
        return REFUSED


@dataclass(eq=False)
class Guest:
    recv: testing.ExecutedOp
    proxy: str  # its address, or nothing where it asks for itself
    counted: str = ""  # what its connection counts for, or its request
    ticket: int = 0  # of the request under way
    sends: bool = False  # nothing of its response has left yet


# What counts as one address, by name.
PEOPLE = {
    "192.0.2.1": "192.0.2.1",
    "192.0.2.2:4711": "192.0.2.2",
    "2001:db8::1": "2001:db8::",
    "[2001:db8::2]:80": "2001:db8::",
    "2001:db8:0:1::1": "2001:db8:0:1::",
    "10.0.0.2, unknown": "",
}
ALONE = "192.0.2.1"


class Crowd:
    """Clients that come through two fronts, and one that comes by itself too."""

    def __init__(self, rng: random.Random) -> None:
        at_a_time, rate, burst = rng.randint(1, 3), rng.choice((1, 3)), rng.choice((1, 4))
        self.rng = rng
        self.model = Model(at_a_time, rate, burst)
        self.gate = Fronted(
            connections_per_address=at_a_time, requests_per_second=rate, requests_burst=burst, **PATIENT
        )
        self.guests: list[Guest] = []

    @property
    def busy(self) -> list[Guest]:
        return [guest for guest in self.guests if guest.ticket]

    def come(self) -> None:
        front = self.rng.choice((FRONT, OTHER_FRONT))
        self.guests.append(Guest(self.gate.come(front), str(ipaddress.ip_address(front))))

    def come_alone(self) -> None:
        if self.model.has_room(ALONE):
            guest = Guest(self.gate.come(ipaddress.ip_address(ALONE).packed), "", ALONE)
            self.guests.append(guest)
            self.model.there[ALONE] += 1

    def ask(self, guest: Guest) -> None:
        if not guest.ticket and guest.proxy:
            name = self.rng.choice(list(PEOPLE))
            address = PEOPLE[name] or guest.proxy
            _, ticket, status = self.gate.begin(guest.recv, name)
            assert status == self.model.asks(address, self.gate.machine.now_us * 1000)
            if not status:
                guest.counted, guest.ticket = address, ticket

    def get_on(self, guest: Guest) -> None:
        """Its response begins, or ends."""
        fd = guest.recv.fd
        if guest.ticket and not guest.sends:
            self.gate.deaf.add(fd)
            self.gate.end(guest.ticket)
            guest.sends = True
        elif guest.ticket:
            assert self.gate.takes_again(fd)
            self.gate.serve()
            self.model.there[guest.counted] -= 1
            guest.counted, guest.ticket, guest.sends = "", 0, False

    def go(self, guest: Guest) -> None:
        self.gate.go(guest.recv)
        self.model.there[guest.counted] -= bool(guest.counted)
        self.guests.remove(guest)

    def check(self) -> None:
        counts = +self.model.there
        assert self.gate.addresses() == len(counts)
        conns = {conn["fd"]: conn["of_address"] for conn in map(self.gate.machine.conn, range(60))}
        assert all(
            conns[guest.recv.fd] == (counts[guest.counted] if guest.counted else 0) for guest in self.guests
        )
        for reason in ("address", "rate"):
            assert self.gate.machine.gauge(f"refused_{reason}") == self.model.refused[reason]


@pytest.mark.parametrize("seed", range(10))
def test_counts_follow_a_model(seed: int) -> None:
    rng = random.Random(seed)
    crowd = Crowd(rng)
    for _ in range(600):
        move = rng.random()
        if not crowd.guests or (move < 0.1 and len(crowd.guests) < 30):
            crowd.come()
        elif move < 0.15:
            crowd.come_alone()
        elif move < 0.2:
            crowd.go(rng.choice(crowd.guests))
        elif move < 0.5:
            crowd.ask(rng.choice(crowd.guests))
        elif move < 0.85:
            crowd.get_on(rng.choice(crowd.busy or crowd.guests))
        else:
            crowd.gate.wait(rng.choice((1, 30, 100)))
        crowd.check()
    assert all(crowd.model.refused[reason] for reason in ("address", "rate"))
    while crowd.guests:
        crowd.go(crowd.guests[0])
        crowd.check()
    assert crowd.gate.addresses() == 0

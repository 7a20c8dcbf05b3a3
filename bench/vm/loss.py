"""What holds on a bad path: a lease lasts until the acknowledgement or the reset, and all of them come back.

netem (tc-netem(8)) delays, loses and reorders in the guest; the link goes down; receivers stop, and reset.
Every body is checked by its SHA-256, so memory that is used again too early is seen.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.vm.machine import GATHERING
from bench.vm.modes import MODES
from benchlib import CannotMeasure, say
from benchlib.fetch import read_answer, request_bytes
from benchlib.scrape import lease_buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.vm.machine import Guest
    from benchlib.payload import Payload
    from benchlib.scrape import Counters

TIMEOUT_S = 60.0
SETTLE_S_MAX = 20.0
# For so long nothing may end that nobody has acknowledged.
WATCHED_S = 2.0
DOWN_S = 2
SMALL_BUFFER = 32768
# By name: words of tc-netem(8), and the time (s) in which nothing that was sent can be acknowledged.
DISTURBANCES = {
    "delay of 50 ms": ("delay 50ms", 0.05),
    "3 % lost, delay of 10 ms": ("delay 10ms loss 3%", 0.01),
    "reordered, delay of 25 ms": ("delay 25ms reorder 30% 50%", 0.0),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried; `leases`: how many ended in it; `wrong`: what must not be, or ""."""

    mode: str
    name: str
    leases: int
    wrong: str = ""


class Reader:
    """One connection that asks for one file, and reads it when it wants to."""

    def __init__(self, port: int, payload: Payload) -> None:
        self._payload = payload
        self._socket = socket.socket()
        self._socket.settimeout(TIMEOUT_S)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        self._socket.connect((GATHERING.guest, port))
        self._socket.sendall(request_bytes(GATHERING.guest, port, payload.target))

    def read(self) -> None:
        """All of it. Raises CannotMeasure where it is not the file."""
        with self._socket:
            if read_answer(self._socket, self._payload.target).sha256 != self._payload.sha256:
                raise CannotMeasure(f"{self._payload.target}: other bytes than the file's")

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def awaited(guest: Guest, mode: str, what: str, holds: Callable[[Counters], bool]) -> Counters:
    """The counters of `mode` once they are as wanted. Raises CannotMeasure."""
    until = time.monotonic() + SETTLE_S_MAX
    while True:
        counters = guest.ask("counters", mode)
        if holds(counters):
            return counters
        if time.monotonic() > until:
            raise CannotMeasure(
                f"{mode}: {what} does not come about: {counters['zchttpd_leases_open']} leases open"
            )
        time.sleep(0.2)


def none_open(guest: Guest, mode: str) -> Counters:
    return awaited(guest, mode, "the end of all leases", lambda now: not now["zchttpd_leases_open"])


def checks(guest: Guest, mode: str, small: Sequence[Payload], large: Payload) -> Iterator[Check]:
    """`small`: files that are cached, more than fit; `large`: more than a socket takes."""
    for name, (netem, least_s) in DISTURBANCES.items():
        before = none_open(guest, mode)
        guest.ask("disturb", *netem.split())
        try:
            _all_at_once(mode, [large, *small[:2]])
            after = none_open(guest, mode)
        finally:
            guest.ask("disturb")
        yield judged(mode, name, before, after, least_s)
    for name, ending in {
        f"link down for {DOWN_S} s": _unplugged,
        "receiver that stops, then reads": _stopped,
        "receiver that stops, then resets": _reset,
    }.items():
        before = none_open(guest, mode)
        wrong = ending(guest, mode, large)
        after = none_open(guest, mode)
        found = judged(mode, name, before, after, 0)
        yield Check(mode, name, found.leases, wrong or found.wrong)
    before = none_open(guest, mode)
    waiting = [Reader(MODES[mode].port, payload) for payload in small[:4]]
    awaited(guest, mode, "a lease", lambda now: now["zchttpd_leases_open"] > 0)
    for payload in small[4:]:
        _all_at_once(mode, [payload])
    for reader in waiting:
        reader.read()
    yield judged(mode, "memory wanted by others meanwhile", before, none_open(guest, mode), 0)


def judged(mode: str, name: str, before: Counters, after: Counters, least_s: float) -> Check:
    buckets = lease_buckets(before, after)
    early = max((count for bound, count in buckets if bound <= least_s), default=0)
    leases = int(buckets[-1][1]) if buckets else 0
    wrong = f"{early:.0f} leases ended within {least_s * 1000:.0f} ms" if early else ""
    return Check(mode, name, leases, wrong or ("" if leases else "no lease at all"))


def _all_at_once(mode: str, payloads: Sequence[Payload]) -> None:
    for reader in [Reader(MODES[mode].port, payload) for payload in payloads]:
        reader.read()


def _unplugged(guest: Guest, mode: str, large: Payload) -> str:
    reader = Reader(MODES[mode].port, large)
    awaited(guest, mode, "a lease", lambda now: now["zchttpd_leases_open"] > 0)
    wrong: list[str] = []

    def read() -> None:
        try:
            reader.read()
        except (CannotMeasure, OSError) as error:
            wrong.append(str(error))

    reading = threading.Thread(target=read)
    reading.start()
    guest.ask("unplug", str(DOWN_S))
    reading.join()
    return "; ".join(wrong)


def _held(guest: Guest, mode: str, large: Payload) -> tuple[Reader, str]:
    """A reader that has stopped, and what was wrong with the leases on what it was sent."""
    reader = Reader(MODES[mode].port, large)
    awaited(guest, mode, "a lease", lambda now: now["zchttpd_leases_open"] > 0)
    until = time.monotonic() + WATCHED_S
    while time.monotonic() < until:
        if not guest.ask("counters", mode)["zchttpd_leases_open"]:
            return reader, "leases ended although nothing was acknowledged"
    return reader, ""


def _stopped(guest: Guest, mode: str, large: Payload) -> str:
    reader, wrong = _held(guest, mode, large)
    reader.read()
    return wrong


def _reset(guest: Guest, mode: str, large: Payload) -> str:
    reader, wrong = _held(guest, mode, large)
    reader.reset()
    return wrong


def checked(guest: Guest, modes: Sequence[str], small: Sequence[Payload], large: Payload) -> list[Check]:
    """All of them, told as they come."""
    found = []
    for mode in modes:
        for check in checks(guest, mode, small, large):
            found.append(check)
            say(f"{check.mode}, {check.name}: {check.wrong or 'as it should be'} ({check.leases} leases)")
    return found

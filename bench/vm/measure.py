"""Measuring in the guest: the same bytes in each way of sending, round by round, and the controls."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from bench.vm.figures import Sample, usage
from bench.vm.machine import CARDS, COPYING, GATHERING
from bench.vm.modes import AUTO, MODES
from benchlib import CannotMeasure, say
from benchlib.fetch import read_answer, request_bytes
from benchlib.payload import MIB, Payload
from benchlib.scrape import growth, lease_buckets

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from bench.vm.machine import Guest
    from bench.vm.modes import Mode

_T = TypeVar("_T")

TIMEOUT_S = 30.0
# Leases end when the last acknowledgement is in, shortly behind the last byte.
SETTLE_S_MAX = 5.0
CONTROL_RESPONSES = 16
RESPONSES_MAX = 300
# `auto` tries 32 sends of a route before it decides.
DECIDING_RESPONSES = 48
# Of what is measured, so much is downloaded before.
WARM_PART = 4
SENDS = "zchttpd_sends_total"


def how_many(size: int, megabytes: int) -> int:
    """Responses to measure at `size`: one at least, 300 at most."""
    return min(RESPONSES_MAX, max(1, megabytes * MIB // max(size, 1)))


class Downloader:
    """Keep-alive connections to one server, used in turn: ask on all of them, then read them all."""

    def __init__(self, host: str, port: int, connections: int) -> None:
        self._where = (host, port)
        self._sockets = [socket.create_connection(self._where, timeout=TIMEOUT_S) for _ in range(connections)]

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def download(self, payload: Payload, count: int) -> None:
        """Download `payload` `count` times, and check it. Raises CannotMeasure, BadAnswer or OSError."""
        request = request_bytes(*self._where, payload.target)
        for done in range(0, count, len(self._sockets)):
            asked = self._sockets[: count - done]
            for each in asked:
                each.sendall(request)
            for each in asked:
                answer = read_answer(each, payload.target)
                if answer.status != 200:
                    raise CannotMeasure(f"{payload.target}: answered {answer.head!r}")
                if answer.sha256 != payload.sha256:
                    raise CannotMeasure(f"{payload.target}: other bytes than the file's")


def at_rest(read: Callable[[], dict[str, float]], name: str) -> dict[str, float]:
    """The counters of the server `name` once no lease is open. Raises CannotMeasure."""
    until = time.monotonic() + SETTLE_S_MAX
    while True:
        counters = read()
        if not counters.get("zchttpd_leases_open"):
            return counters
        if time.monotonic() > until:
            raise CannotMeasure(f"{name}: {counters['zchttpd_leases_open']} leases do not end")


def settled(guest: Guest, mode: str) -> dict[str, float]:
    """Those of a server in the guest. Raises CannotMeasure."""
    return at_rest(partial(guest.ask, "counters", mode), mode)


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """How far each count has grown."""
    return {name: count - before[name] for name, count in after.items()}


def measure(
    guest: Guest, connections: int, mode: str, payload: Payload, first: Payload, count: int, number: int
) -> Sample:
    """Measure one mode at one size once, on new connections, each after one download of `first`."""
    with closing(Downloader(GATHERING.guest, MODES[mode].port, connections)) as down:
        down.download(first, connections)
        return _measure(guest, down, mode, payload, count, number)


def _measure(guest: Guest, down: Downloader, mode: str, payload: Payload, count: int, number: int) -> Sample:
    before, clocks, emulator_s = settled(guest, mode), guest.ask("clocks"), guest.vcpu_s()
    down.download(payload, count)
    emulator_s = guest.vcpu_s() - emulator_s
    then, after = guest.ask("clocks"), settled(guest, mode)
    # A copy at the very end of a lease would come behind the clocks.
    copies = grown(clocks["copies"], guest.ask("clocks")["copies"])
    return Sample(
        mode,
        payload.size,
        number,
        count,
        count * payload.size,
        worker_s=(then["cpu_ns"][mode] - clocks["cpu_ns"][mode]) / 1e9,
        guest_s=then["busy_s"] - clocks["busy_s"],
        emulator_s=emulator_s,
        copies=copies,
        leases=lease_buckets(before, after),
        **usage(before, after),
    )


def in_turn(modes: Sequence[_T], number: int) -> list[_T]:
    """The modes as round `number` measures them: one after the other, each first in its turn."""
    first = number % len(modes)
    return [*modes[first:], *modes[:first]]


def rounds(
    guest: Guest, modes: Sequence[Mode], chosen: argparse.Namespace, payloads: list[Payload]
) -> Iterator[Sample]:
    """Measure every mode at every size in each round, another mode first in each, after a round that does not
    count: emulation translates what runs for the first time.

    A round that takes as long as the last and would not be done in the seconds that were given is not begun.
    Raises CannotMeasure when the first is not done by then.
    """
    counts = {each: how_many(each.size, chosen.megabytes) for each in payloads}
    names = [mode.name for mode in modes]
    for mode in modes:
        with closing(Downloader(GATHERING.guest, mode.port, chosen.connections)) as down:
            for payload, count in counts.items():
                if payload.size >= mode.smallest:
                    down.download(payload, max(2, count // WARM_PART))
        say(f"{mode.name} is warm")
    end = time.monotonic() + chosen.seconds
    for number in range(1, chosen.rounds + 1):
        began = time.monotonic()
        for payload, count in counts.items():
            told = []
            for name in in_turn(names, number):
                if payload.size < MODES[name].smallest:
                    continue
                if time.monotonic() > end:
                    raise CannotMeasure(f"{chosen.seconds} s are over in round {number}; see --seconds")
                sample = measure(guest, chosen.connections, name, payload, payloads[0], count, number)
                told.append(f"{name} {sample.emulator_per_gib:.1f}")
                yield sample
            say(f"round {number} of {chosen.rounds}, {payload.target}, s/GiB: {', '.join(told)}")
        now = time.monotonic()
        if number < chosen.rounds and now + (now - began) > end:
            say(f"another round would not fit in {chosen.seconds} s; see --seconds")
            break


def started(guest: Guest, modes: Sequence[Mode]) -> tuple[tuple[Mode, ...], dict[str, str]]:
    """Start them one after the other. Returns those that run, and why the others do not, by name."""
    absent = {}
    for mode in modes:
        began = time.monotonic()
        absent[mode.name] = guest.ask("start", mode.name)["absent"]
        done = f"has started in {time.monotonic() - began:.0f} s"
        say(f"{mode.name} {'does not run: ' + absent[mode.name] if absent[mode.name] else done}")
    running = tuple(mode for mode in modes if not absent[mode.name])
    return running, {name: words for name, words in absent.items() if words}


def control(guest: Guest, mode: str, route: str, payload: Payload) -> dict[str, Any]:
    """Send over a route that must copy, and count the same things."""
    before, copies = settled(guest, mode), guest.ask("clocks")["copies"]
    if route == "loopback":
        guest.ask("loopback", mode, payload.target, str(CONTROL_RESPONSES))
    else:
        down = Downloader(COPYING.guest, MODES[mode].port, 1)
        down.download(payload, CONTROL_RESPONSES)
        down.close()
    counts = usage(before, settled(guest, mode))
    return {"route": route, **counts, "copies": grown(copies, guest.ask("clocks")["copies"])}


def both_routes(guest: Guest, payload: Payload) -> dict[str, dict[str, int]]:
    """How one and the same server in mode auto sends over loopback and over the card, in turn, once it has
    made up its mind about each.
    """
    down = Downloader(GATHERING.guest, MODES[AUTO].port, 1)
    ways: dict[str, Callable[[int], object]] = {
        "loopback": lambda count: guest.ask("loopback", AUTO, payload.target, str(count)),
        "card": lambda count: down.download(payload, count),
    }
    for ask in ways.values():
        ask(DECIDING_RESPONSES)
    found = {}
    for _ in range(2):
        for route, ask in ways.items():
            before = settled(guest, AUTO)
            ask(CONTROL_RESPONSES)
            sends = growth(before, settled(guest, AUTO), SENDS)
            found[route] = {mode: int(count) for mode, count in sends.items() if count}
    down.close()
    return found


def ask_paths(guest: Guest) -> dict[str, dict[str, Any]]:
    """What the doctor in the guest says of the way to us, over each card and over loopback."""
    found = {}
    for card in CARDS:
        with socket.create_server((card.ours, 0)) as listener:
            found[card.tap] = guest.ask("path", f"{card.ours}:{listener.getsockname()[1]}")
    found["loopback"] = guest.ask("path", f"127.0.0.1:{MODES['plain'].port}")
    return found

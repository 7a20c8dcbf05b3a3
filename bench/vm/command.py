"""Does zchttpd really send without a copy, and from which size on does that pay?

Loopback always copies, so this needs a card: it boots a guest under QEMU (no KVM, no root) with a virtio
card, starts zchttpd in it in each send mode, and downloads from it. Two controls show that the counts can
come out otherwise: the guest's own loopback, and a second card that cannot gather scattered memory.

Needs Debian's qemu-system-x86, linux-image-amd64, busybox-static, iproute2, kmod and util-linux, and PyPI's
virtme-ng (vng); `make vm` installs them.

Exit status: 0 sent without a copy, 1 not, or cannot measure, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.options import at_least_one, prepare_outputs, sizes
from bench.vm.figures import MODES, ZEROCOPY, Results, Sample, document, proven, to_json, usage
from bench.vm.machine import (
    COPY_BY,
    COPYING,
    GATHERING,
    Guest,
    booted,
    enter_namespace,
    make_taps,
    newest_kernel,
)
from benchlib import CannotMeasure, say
from benchlib.fetch import BadAnswer, read_answer, request_bytes
from benchlib.payload import MIB, Payload, size_label, write_payload
from benchlib.proc import machine
from benchlib.scrape import lease_buckets
from benchlib.server import ends_on_signal, find_tool

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTS = dict(zip(MODES, (8081, 8082, 8083), strict=True))
SIZES = "4K,8K,16K,32K,64K,1M,16M"
TIMEOUT_S = 30.0
# Leases end when the last acknowledgement is in, shortly behind the last byte.
SETTLE_S_MAX = 5.0
CONTROL_RESPONSES = 16
RESPONSES_MAX = 300


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    words = f"sizes of the files (default: {SIZES})"
    add("--sizes", type=sizes, default=sizes(SIZES), metavar="LIST", help=words)
    add("--rounds", type=at_least_one, default=3, metavar="N")
    add("--connections", type=at_least_one, default=4, metavar="N", help="downloads at a time (default: 4)")
    words = "MiB of each size, mode and round, but at least one response on each connection and at most 300"
    add("--megabytes", type=at_least_one, default=24, metavar="N", help=words)
    add("--seconds", type=at_least_one, default=300, metavar="N", help="begin nothing new after this long")
    add("--kernel", metavar="RELEASE", help="the guest's kernel in /boot (default: the newest)")
    words = "how the guest copies: words makes copies look cheap, bytes dear (default: words)"
    add("--copy-by", choices=tuple(COPY_BY), default="words", help=words)
    add("--memory", default="1G", metavar="SIZE", help="the guest's memory (default: 1G)")
    beside = Path(sys.executable).parent
    add("--zchttpd", default=str(beside / "zchttpd"), metavar="PATH", help="default: beside this Python")
    add("--vng", default=str(beside / "vng"), metavar="PATH", help="virtme-ng; default: beside this Python")
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--markdown", type=Path, metavar="FILE", help="write the table for a document")
    add("--in-namespace", action="store_true", help=argparse.SUPPRESS)


def how_many(size: int, connections: int, megabytes: int) -> int:
    """Responses to measure at `size`: a multiple of `connections`, one for each at least, 300 at most."""
    wanted = min(RESPONSES_MAX, megabytes * MIB // max(size, 1))
    return max(1, wanted // connections) * connections


class Downloader:
    """Keep-alive connections to one server, used in turn: ask on all of them, then read them all."""

    def __init__(self, host: str, port: int, connections: int) -> None:
        self._where = (host, port)
        self._sockets = [socket.create_connection(self._where, timeout=TIMEOUT_S) for _ in range(connections)]

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def download(self, payload: Payload, count: int) -> None:
        """Download `payload` `count` times, a multiple of the connections, and check every byte. Raises
        CannotMeasure, BadAnswer or OSError.
        """
        request = request_bytes(*self._where, payload.target)
        for _ in range(count // len(self._sockets)):
            for each in self._sockets:
                each.sendall(request)
            for each in self._sockets:
                answer = read_answer(each, payload.target)
                if answer.status != 200:
                    raise CannotMeasure(f"{payload.target}: answered {answer.head!r}")
                if answer.sha256 != payload.sha256:
                    raise CannotMeasure(f"{payload.target}: other bytes than the file's")


def settled(guest: Guest, mode: str) -> dict[str, float]:
    """The server's counters once no lease is open. Raises CannotMeasure."""
    until = time.monotonic() + SETTLE_S_MAX
    while True:
        counters = guest.ask("counters", mode)
        if not counters["zchttpd_leases_open"]:
            return counters
        if time.monotonic() > until:
            raise CannotMeasure(f"{mode}: {counters['zchttpd_leases_open']} leases do not end")


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """How far each count has grown."""
    return {name: count - before[name] for name, count in after.items()}


def measure(guest: Guest, down: Downloader, mode: str, payload: Payload, count: int, number: int) -> Sample:
    """Measure one mode at one size once."""
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


def in_turn(modes: tuple[str, ...], number: int) -> tuple[str, ...]:
    """The modes as round `number` measures them: one after the other, each first in its turn."""
    first = number % len(modes)
    return modes[first:] + modes[:first]


def rounds(guest: Guest, chosen: argparse.Namespace, payloads: list[Payload], end: float) -> Iterator[Sample]:
    """Measure every mode at every size in each round, another mode first in each, after a round that does not
    count: emulation translates what runs for the first time.

    A round that takes as long as the last and would not be done by `end` (monotonic, s) is not begun. Raises
    CannotMeasure when the first is not done by then.
    """
    counts = {each: how_many(each.size, chosen.connections, chosen.megabytes) for each in payloads}
    with ExitStack() as stack:
        downs = {}
        for mode, port in PORTS.items():
            downs[mode] = Downloader(GATHERING.guest, port, chosen.connections)
            stack.callback(downs[mode].close)
            for payload, count in counts.items():
                downs[mode].download(payload, count)
        for number in range(1, chosen.rounds + 1):
            began = time.monotonic()
            for payload, count in counts.items():
                for mode in in_turn(MODES, number):
                    if time.monotonic() > end:
                        raise CannotMeasure(f"{chosen.seconds} s are over in round {number}; see --seconds")
                    yield measure(guest, downs[mode], mode, payload, count, number)
            now = time.monotonic()
            say(f"round {number} of {chosen.rounds} done in {now - began:.0f} s")
            if number < chosen.rounds and now + (now - began) > end:
                say(f"another would not fit in {chosen.seconds} s; see --seconds")
                break


def control(guest: Guest, route: str, payload: Payload) -> dict[str, Any]:
    """Send over a route that must copy, and count the same things."""
    before, copies = settled(guest, ZEROCOPY), guest.ask("clocks")["copies"]
    if route == "loopback":
        guest.ask("loopback", ZEROCOPY, payload.target, str(CONTROL_RESPONSES))
    else:
        down = Downloader(COPYING.guest, PORTS[ZEROCOPY], 1)
        down.download(payload, CONTROL_RESPONSES)
        down.close()
    counts = usage(before, settled(guest, ZEROCOPY))
    return {"route": route, **counts, "copies": grown(copies, guest.ask("clocks")["copies"])}


def write_plan(directory: Path, root: Path, zchttpd: str) -> None:
    """Say to the agent what to start."""
    servers = {
        mode: (port, ["--send-mode", mode, "--zc-size-min", "16K" if mode == "auto" else "1K"])
        for mode, port in PORTS.items()
    }
    addresses = {card.hardware: card.guest for card in (GATHERING, COPYING)}
    plan = {"root": str(root), "program": zchttpd, "servers": servers, "addresses": addresses}
    (directory / "plan.json").write_text(json.dumps(plan))


def run(chosen: argparse.Namespace) -> Results:
    """Boot, measure, stop. What was measured before an error or Ctrl-C is kept."""
    end = time.monotonic() + chosen.seconds
    samples: list[Sample] = []
    controls: list[dict[str, Any]] = []
    endings: dict[str, Any] = {}
    cut_short = ""
    kernel = chosen.kernel or newest_kernel(os.listdir("/boot"))
    with ends_on_signal(), tempfile.TemporaryDirectory(prefix="zchttpd-vm-") as name:
        directory = Path(name)
        root = directory / "root"
        root.mkdir()
        payloads = [write_payload(root, size) for size in chosen.sizes]
        write_plan(directory, root, chosen.zchttpd)
        make_taps()
        say(f"booting Linux {kernel}, which takes about half a minute")
        with booted(chosen.vng, kernel, directory, chosen.memory, chosen.copy_by) as guest:
            facts = guest.ask("facts")
            say(f"the guest is up; {len(payloads) * len(PORTS) * chosen.rounds} measurements")
            try:
                largest = payloads[-1] if payloads[-1].size <= MIB else payloads[-2]
                for route in ("loopback", "a card that does not gather"):
                    controls.append(control(guest, route, largest))
                for sample in rounds(guest, chosen, payloads, end):
                    samples.append(sample)
                endings = guest.ask("end")
            except (CannotMeasure, BadAnswer, OSError) as error:
                cut_short = str(error)
            except KeyboardInterrupt:
                cut_short = "interrupted"
    settings = {
        "sizes": ",".join(map(size_label, chosen.sizes)),
        "rounds": max((sample.round for sample in samples), default=0),
        "copy_by": chosen.copy_by,
        "connections": chosen.connections,
        "megabytes": chosen.megabytes,
    }
    return Results(machine(), facts, settings, samples, controls, endings, cut_short)


def main(chosen: argparse.Namespace) -> int:
    prepare_outputs(chosen.json, chosen.markdown)
    for program in (chosen.vng, chosen.zchttpd):
        if not os.access(program, os.X_OK):
            raise CannotMeasure(f"{program} is not a program; type: pip install virtme-ng . (see --help)")
    find_tool("qemu-system-x86_64", "qemu-system-x86")
    if not chosen.in_namespace:
        enter_namespace()
    results = run(chosen)
    if chosen.json:
        chosen.json.write_text(to_json(results))
    if chosen.markdown:
        chosen.markdown.write_text(document("vm.md.j2", results))
    print(document("vm.txt.j2", results))
    if results.cut_short == "interrupted":
        return 130
    return 0 if proven(results.samples).startswith("sent without") and not results.cut_short else 1

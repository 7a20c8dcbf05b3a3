"""What does a send cost on this processor where nothing is copied, beside one that copies?

Loopback copies, and the card of an emulated guest (bench vm) has no real processor. Here the servers and the
whole of the kernel's TCP are real, and the card is not: a pair of virtual interfaces, at whose far end a
program of BPF drops each packet unread, and a client that makes its packets itself acknowledges it. What a
driver costs is missing, in all modes alike. What is received is not looked at: every body is checked
beforehand over loopback, and `bench vm` looks at those that crossed a card.

Needs root, Linux 6.6, and Debian's iproute2, util-linux and nginx-light; `make sink` installs them.

Exit status: 0 next to nothing was copied, 1 more was, or cannot measure, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import psutil

from bench.load import wait_for_rest
from bench.namespaces import enter_namespace
from bench.options import add_cores, at_least_one, prepare_outputs
from bench.rounds import measuring
from bench.sink.figures import Results, Sample, document
from bench.sink.peer import SERVER, Link, drive
from bench.vm.figures import usage
from bench.vm.measure import at_rest, in_turn
from bench.vm.modes import MODES, add_modes
from benchlib import CannotMeasure, say
from benchlib.fetch import BadAnswer, fetch, request_bytes
from benchlib.payload import MIB, size_label, write_payload
from benchlib.proc import core_times, cpu_ns, machine
from benchlib.scrape import read_counters
from benchlib.server import HOST, find_program, running, with_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.load import Bench
    from benchlib.payload import Payload
    from benchlib.server import Server

SIZES = "4K,16K,64K,256K,1M,16M,64M"
# More than a processor's caches hold.
MANY = 256 * MIB
# Smaller files are not many.
FILES_MAX = 4096
# All of it is cached, but where it is to be streamed.
ROOM = ("--memory", "2G")
SEEN = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    add_modes(parser, SIZES, 16)
    add = parser.add_argument
    add("--seconds", type=at_least_one, default=1, metavar="N", help="of each measurement (default: 1)")
    add_cores(parser)
    beside = Path(sys.executable).parent
    add("--zchttpd", default=str(beside / "zchttpd"), metavar="PATH", help="default: beside this Python")
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--markdown", type=Path, metavar="FILE", help="write the table for a document")
    add("--in-namespace", action="store_true", help=argparse.SUPPRESS)


def threads_of(core: int) -> tuple[int, ...]:
    """The kernel's thread that works on packets where `core` has too many of them."""
    name = f"ksoftirqd/{core}"
    return tuple(each.pid for each in psutil.process_iter(["name"]) if each.info["name"] == name)


def counters(server: Server) -> dict[str, float]:
    """Those of a server of ours once no lease is open; none of a peer. Raises CannotMeasure, or OSError."""
    return at_rest(partial(read_counters, HOST, server.admin_port), server.name) if server.kind.ours else {}


def measure(
    link: Link,
    bench: Bench,
    server: Server,
    payloads: Sequence[Payload],
    wanted: Sequence[tuple[bytes, int]],
    number: int,
) -> Sample:
    """Measure one server once. Raises CannotMeasure."""
    cores = (bench.server_core,)
    pids, others = server.tree(), threads_of(bench.server_core)
    wait_for_rest((*cores, *bench.client_cores))
    before = counters(server)
    worker, threads, own, began = cpu_ns(pids), cpu_ns(others), core_times(cores), monotonic()
    received = drive(link, server.port, wanted, bench.connections, seconds=bench.seconds)
    passed, own = monotonic() - began, core_times(cores) - own
    threads, worker = cpu_ns(others) - threads, cpu_ns(pids) - worker
    busy = passed - own.idle_s
    return Sample(
        server.name,
        payloads[0].size,
        "one" if len(payloads) == 1 else "many",
        number,
        received.answers,
        received.bytes,
        received.packets,
        worker_s=worker / 1e9,
        core_s=busy,
        others_s=max(0.0, busy - (worker + threads) / 1e9),
        **{name: count for name, count in usage(before, counters(server)).items() if name != "fallbacks"},
    )


def looked_at(server: Server, payloads: Sequence[Payload]) -> list[tuple[bytes, int]]:
    """Get each file once over loopback, and look at its bytes. Returns the requests, and the lengths of their
    answers. Raises CannotMeasure, or BadAnswer.
    """
    found = []
    for payload in payloads:
        answer = fetch(HOST, server.port, payload.target)
        if answer.sha256 != payload.sha256:
            raise CannotMeasure(f"{server.name}: {payload.target}: other bytes than the file's")
        found.append((request_bytes(SERVER, server.port, payload.target), answer.wire_length))
    return found


def measure_size(
    link: Link, bench: Bench, servers: Sequence[Server], payloads: Sequence[Payload], rounds: int
) -> Iterator[Sample]:
    """Every server in each round, another one first in each. Raises CannotMeasure, or BadAnswer."""
    wanted = {}
    for server in servers:
        wanted[server.name] = looked_at(server, payloads)
        least = max(SEEN * len(payloads), bench.connections)
        drive(link, server.port, wanted[server.name], bench.connections, least=least)
    for number in range(1, rounds + 1):
        told = []
        for server in in_turn(servers, number):
            sample = measure(link, bench, server, payloads, wanted[server.name], number)
            told.append(f"{server.name} {sample.core_per_gib:.0f}")
            yield sample
        say(f"round {number} of {rounds}, {sample.workload}, ms/GiB: {', '.join(told)}")


def measured(chosen: argparse.Namespace) -> Results:
    """Measure everything. What was measured before an error or Ctrl-C is kept."""
    results = Results(machine())
    results.settings = {name: str(getattr(chosen, name)) for name in ("rounds", "seconds", "connections")}
    results.settings["sizes"] = ",".join(map(size_label, chosen.sizes))
    try:
        with ExitStack() as stack:
            link = stack.enter_context(closing(Link()))
            bench, site = stack.enter_context(measuring(chosen))
            os.sched_setaffinity(0, bench.client_cores)
            servers = []
            for mode in chosen.modes:
                more = ROOM if mode.kind.ours and not mode.smallest else ()
                kind = with_arguments(mode.kind, mode.name, *more)
                program = find_program(kind, chosen.zchttpd if kind.ours else None)
                try:
                    begun = running(kind, program, site, bench.server_core, "0.0.0.0")
                    servers.append(stack.enter_context(begun))
                except CannotMeasure as error:
                    results.absent[mode.name] = str(error)
            for size in chosen.sizes:
                many = max(2, MANY // size)
                count = many if many <= FILES_MAX else 1
                payloads = [write_payload(site.root, size, number) for number in range(count)]
                able = [server for server in servers if size >= MODES[server.name].smallest]
                for some in (payloads[:1], payloads) if count > 1 else (payloads,):
                    for sample in measure_size(link, bench, able, some, chosen.rounds):
                        results.samples.append(sample)
                for payload in payloads:
                    (site.root / payload.target.strip("/")).unlink()
    except (CannotMeasure, BadAnswer, OSError) as error:
        results.cut_short = str(error)
    except KeyboardInterrupt:
        results.cut_short = "interrupted"
    return results


def main(chosen: argparse.Namespace) -> int:
    prepare_outputs(chosen.json, chosen.markdown)
    if not chosen.in_namespace:
        enter_namespace(user=False)
    results = measured(chosen)
    if chosen.json:
        chosen.json.write_text(results.json())
    if chosen.markdown:
        chosen.markdown.write_text(document("sink.md.j2", results))
    print(document("sink.txt.j2", results))
    if results.cut_short == "interrupted":
        return 130
    return 0 if results.clean and not results.cut_short else 1

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
import random
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import psutil

from bench.load import wait_for_rest
from bench.namespaces import enter_namespace
from bench.options import add_cores, at_least_one, prepare_outputs, sizes
from bench.rounds import claim_cores
from bench.sink.figures import Results, Sample, document
from bench.sink.peer import SERVER, Link, drive
from bench.vm.figures import usage
from bench.vm.measure import SETTLE_S_MAX
from bench.vm.modes import MODES, chosen_modes
from benchlib import CannotMeasure, say
from benchlib.fetch import BadAnswer, fetch, request_bytes
from benchlib.payload import MIB, Payload, size_label, write_noise
from benchlib.proc import core_times, cpu_ns, default_cores, machine
from benchlib.scrape import read_counters
from benchlib.server import HOST, ends_on_signal, find_program, running, temporary_site, with_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchlib.server import Server, Site

SIZES = "4K,16K,64K,256K,1M,16M,64M"
# More than a processor's caches hold.
MANY = 256 * MIB
# Smaller files are not many.
FILES_MAX = 4096
# All of it is cached, but where it is to be streamed.
ROOM = ("--memory", "2G")
SEEN = 3
SETTLE_S = 0.05


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    words = f"sizes of the files (default: {SIZES})"
    add("--sizes", type=sizes, default=sizes(SIZES), metavar="LIST", help=words)
    add("--rounds", type=at_least_one, default=3, metavar="N")
    words = f"what to run, with commas (default: {','.join(MODES)})"
    add("--modes", type=chosen_modes, default=tuple(MODES.values()), metavar="LIST", help=words)
    add("--connections", type=at_least_one, default=16, metavar="N", help="downloads at a time (default: 16)")
    add("--seconds", type=at_least_one, default=1, metavar="N", help="of each measurement (default: 1)")
    add_cores(parser)
    beside = Path(sys.executable).parent
    add("--zchttpd", default=str(beside / "zchttpd"), metavar="PATH", help="default: beside this Python")
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--markdown", type=Path, metavar="FILE", help="write the table for a document")
    add("--in-namespace", action="store_true", help=argparse.SUPPRESS)


class Bench:
    """The link, the cores, and who uses that of the servers beside them."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        """Raises CannotMeasure, or OSError."""
        core, clients = default_cores()
        self.core = core if chosen.server_core is None else chosen.server_core
        self.clients = clients
        if chosen.client_cores is not None:
            self.clients = tuple(int(each) for each in chosen.client_cores.split(","))
        os.sched_setaffinity(0, self.clients)
        self.link = Link()
        self.chosen = chosen
        name = f"ksoftirqd/{self.core}"
        self._threads = tuple(each.pid for each in psutil.process_iter(["name"]) if each.info["name"] == name)

    def measure(
        self, server: Server, payloads: Sequence[Payload], wanted: Sequence[tuple[bytes, int]], number: int
    ) -> Sample:
        """Measure one server once. Raises CannotMeasure."""
        chosen, cores = self.chosen, (self.core,)
        wait_for_rest((self.core, *self.clients))
        pids = server.tree()
        before = counters(server)
        worker, threads, own, began = cpu_ns(pids), cpu_ns(self._threads), core_times(cores), monotonic()
        received = drive(self.link, server.port, wanted, chosen.connections, seconds=chosen.seconds)
        passed, own = monotonic() - began, core_times(cores) - own
        threads, worker = cpu_ns(self._threads) - threads, cpu_ns(pids) - worker
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


def counters(server: Server) -> dict[str, float]:
    """Those of a server of ours once no lease is open, and all that have ended are counted; none of a peer.
    Raises CannotMeasure, or OSError.
    """
    if not server.kind.ours:
        return {}
    until = monotonic() + SETTLE_S_MAX
    last: dict[str, float] = {}
    while True:
        found = read_counters(HOST, server.admin_port)
        if not found.get("zchttpd_leases_open") and usage(last, found) == usage({}, {}) and last:
            return found
        if monotonic() > until:
            raise CannotMeasure(f"{server.name}: {found['zchttpd_leases_open']} leases do not end")
        last = found
        sleep(SETTLE_S)


def write_files(site: Site, size: int, count: int) -> list[Payload]:
    """Files of `size` random bytes, other ones in each."""
    found = []
    for number in range(count):
        name = f"{size_label(size)}-{number}.bin"
        digest = write_noise(site.root / name, size, random.Random(f"{size} {number}"))
        found.append(Payload(f"/{name}", size, digest))
    return found


def looked_at(server: Server, payloads: Sequence[Payload]) -> list[tuple[bytes, int]]:
    """Get each file once over loopback, and look at its bytes. Returns the requests, and the lengths of their
    answers. Raises CannotMeasure.
    """
    found = []
    for payload in payloads:
        try:
            answer = fetch(HOST, server.port, payload.target)
        except BadAnswer as error:
            raise CannotMeasure(f"{server.name}: {error}") from error
        if answer.sha256 != payload.sha256:
            raise CannotMeasure(f"{server.name}: {payload.target}: other bytes than the file's")
        found.append((request_bytes(SERVER, server.port, payload.target), answer.wire_length))
    return found


def measure_size(
    bench: Bench, servers: Sequence[Server], payloads: Sequence[Payload], results: Results
) -> None:
    """Every server in each round, another one first in each. Raises CannotMeasure."""
    wanted = {}
    for server in servers:
        wanted[server.name] = looked_at(server, payloads)
        least = max(SEEN * len(payloads), bench.chosen.connections)
        drive(bench.link, server.port, wanted[server.name], bench.chosen.connections, least=least)
    for number in range(1, bench.chosen.rounds + 1):
        first = number % len(servers)
        told = []
        for server in (*servers[first:], *servers[:first]):
            sample = bench.measure(server, payloads, wanted[server.name], number)
            results.samples.append(sample)
            told.append(f"{server.name} {sample.core_per_gib:.0f}")
        say(f"round {number} of {bench.chosen.rounds}, {sample.workload}, ms/GiB: {', '.join(told)}")


def measured(chosen: argparse.Namespace) -> Results:
    """Measure everything. What was measured before an error or Ctrl-C is kept."""
    results = Results(machine())
    results.settings = {name: str(getattr(chosen, name)) for name in ("rounds", "seconds", "connections")} | {
        "sizes": ",".join(map(size_label, chosen.sizes))
    }
    try:
        with ExitStack() as stack:
            stack.enter_context(ends_on_signal())
            site = stack.enter_context(temporary_site())
            bench = Bench(chosen)
            claim_cores(stack, (bench.core, *bench.clients))
            servers = []
            for mode in chosen.modes:
                kind = with_arguments(
                    mode.kind, mode.name, *(ROOM if mode.kind.ours and not mode.smallest else ())
                )
                program = find_program(kind, chosen.zchttpd if kind.ours else None)
                try:
                    servers.append(stack.enter_context(running(kind, program, site, bench.core, "0.0.0.0")))
                except CannotMeasure as error:
                    results.absent[mode.name] = str(error)
            for size in chosen.sizes:
                many = max(2, MANY // size)
                payloads = write_files(site, size, many if many <= FILES_MAX else 1)
                able = [server for server in servers if size >= MODES[server.name].smallest]
                measure_size(bench, able, payloads[:1], results)
                if len(payloads) > 1:
                    measure_size(bench, able, payloads, results)
                for payload in payloads:
                    (site.root / payload.target.strip("/")).unlink()
    except (CannotMeasure, OSError) as error:
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

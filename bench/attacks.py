"""What keep honest clients while others attack? zchttpd beside nginx, each relative to itself in peace.

For each server and each attack in turn: wrk asks for a small file in peace, then again while the attack goes
on, and the share is what it keeps. Afterwards the server must come to rest. The attacks: connections that
never ask, halves of heads, clients that ask for much and read nothing, connections that are reset as soon as
they have asked, and the four modes of slowhttptest (slow headers, slow bodies, ranges, slow reading).

Goals: 0.8 with idle connections, halves of heads and resets; what nginx keeps with silent clients.

Exit status: 0 measured (whatever the verdict), 1 cannot measure, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench.idle import CONNECT_S_MAX, RESET, allow_files, ask, idle_connections
from bench.load import run_client
from bench.options import add_cores, add_programs, at_least_one, chosen_program, server_names
from bench.peers import KINDS
from bench.rounds import measuring
from benchlib import CannotMeasure, say
from benchlib.fetch import request_bytes
from benchlib.payload import KIB, MIB
from benchlib.report import Table
from benchlib.scrape import read_counters
from benchlib.server import HOST, die_with_parent, find_tool, running, stop

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from bench.load import Bench
    from benchlib.server import Server

SERVERS = "auto,portable,nginx"
GOAL = 0.8
HONEST = 16
REST_S_MAX = 90.0
SMALL, LARGE = "small.bin", "large.bin"
HEADINGS = ("attack", "server", "in peace, req/s", "attacked, req/s", "share", "rest")
HALF = b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: "
# Resets by a program of its own, so many a second as leave the clients' core to those who are measured.
STORM = """
import socket, struct, sys, time
port, request, rate = int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
began = time.monotonic()
for number in range(rate * 120):
    time.sleep(max(0, began + number / rate - time.monotonic()))
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(request)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much there is of each attack."""

    idle: int = 10_000
    silent: int = 1_000
    resets: int = 500  # a second
    slow: int = 1_000


@contextmanager
def idle(server: Server, _bench: Bench, scale: Scale) -> Iterator[None]:
    """Connections that never ask."""
    with idle_connections(server, scale.idle):
        yield


@contextmanager
def halves(server: Server, _bench: Bench, scale: Scale) -> Iterator[None]:
    """Each has sent a part of a head."""
    held: list[socket.socket] = []
    try:
        for _ in range(scale.idle):
            client = socket.create_connection((HOST, server.port), CONNECT_S_MAX)
            held.append(client)
            client.sendall(HALF)
        yield
    finally:
        leave(held)


@contextmanager
def silent(server: Server, _bench: Bench, scale: Scale) -> Iterator[None]:
    """They ask for much and read nothing."""
    held: list[socket.socket] = []
    try:
        for _ in range(scale.silent):
            held.append(ask(server.port, f"{server.kind.prefix}/{LARGE}", 64 * KIB))
        yield
    finally:
        leave(held)


@contextmanager
def resets(server: Server, bench: Bench, scale: Scale) -> Iterator[None]:
    """One after the other asks, and resets."""
    request = request_bytes(HOST, server.port, f"{server.kind.prefix}/{LARGE}").decode()
    arguments = [sys.executable, "-c", STORM, str(server.port), request, str(scale.resets)]
    with beside(bench, arguments):
        yield


def slowly(mode: str, *more: str) -> Callable[[Server, Bench, Scale], AbstractContextManager[None]]:
    """A mode of slowhttptest."""

    @contextmanager
    def attack(server: Server, bench: Bench, scale: Scale) -> Iterator[None]:
        program = find_tool("slowhttptest", "slowhttptest")
        url = f"http://{HOST}:{server.port}{server.kind.prefix}/{LARGE}"
        size = ["-c", str(scale.slow), "-r", str(scale.slow), "-i", "1", "-l", "600"]
        with beside(bench, [program, mode, *size, *more, "-v", "0", "-u", url]):
            time.sleep(1.5)  # until all have come
            yield

    return attack


ATTACKS = {
    "idle": idle,
    "halves": halves,
    "silent": silent,
    "resets": resets,
    "slow headers": slowly("-H"),
    "slow bodies": slowly("-B", "-t", "GET"),
    "ranges": slowly("-R", "-t", "HEAD", "-a", "1", "-b", "3000"),
    "slow reading": slowly("-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"),
}
WANTED = ("idle", "halves", "resets")


@contextmanager
def beside(bench: Bench, command: list[str]) -> Iterator[None]:
    """Run a program on the cores of the clients meanwhile."""
    pinned = ["taskset", "-c", ",".join(map(str, bench.client_cores)), *command]
    nothing = subprocess.DEVNULL
    child = subprocess.Popen(
        pinned,
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        yield
        # slowhttptest ends by itself where the server has got rid of all that it had.
        if child.poll():
            raise CannotMeasure(f"{command[0]} failed ({child.returncode})")
    finally:
        stop(child)


def leave(clients: list[socket.socket]) -> None:
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()


def honest(server: Server, bench: Bench, seconds: int) -> float:
    """Requests per second of those who mean well. Raises CannotMeasure."""
    cores = ",".join(map(str, bench.client_cores))
    url = f"http://{HOST}:{server.port}{server.kind.prefix}/{SMALL}"
    command = ["taskset", "-c", cores, "wrk", "-t1", f"-c{HONEST}", f"-d{seconds}s", "--timeout", "30s", url]
    output, _ = run_client(command, seconds)
    found = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    if found is None:
        raise CannotMeasure(f"wrk said:\n{output}")
    return float(found[1])


def rests(server: Server) -> str:
    """Whether everything that clients had has come back; of peers nothing is known."""
    if not server.kind.ours:
        return ""
    until = time.monotonic() + REST_S_MAX
    names = ("connections_open", "leases_open", "windows_open", "held_bytes")
    while True:
        counters = read_counters(HOST, server.admin_port)
        left = {name: counters.get(f"zchttpd_{name}", 0) for name in names}
        if not any(left.values()):
            return "yes"
        if time.monotonic() > until:
            return ", ".join(f"{count:.0f} {name}" for name, count in left.items() if count)
        time.sleep(0.25)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Requests per second of one server in peace and under one attack, and how it rests."""

    attack: str
    server: str
    peace: float
    attacked: float
    rest: str

    @property
    def share(self) -> float:
        return self.attacked / self.peace

    def row(self) -> tuple[str, ...]:
        figures = (f"{self.peace:,.0f}", f"{self.attacked:,.0f}", f"{self.share:.2f}")
        return (self.attack, self.server, *figures, self.rest)


def endure(server: Server, bench: Bench, name: str, scale: Scale, seconds: int, rounds: int) -> Outcome:
    """One server under one attack, medians of the rounds."""
    peace, attacked, rest = [], [], ""
    for _ in range(rounds):
        peace.append(honest(server, bench, seconds))
        with ATTACKS[name](server, bench, scale):
            attacked.append(honest(server, bench, seconds))
        rest = rests(server)
    outcome = Outcome(name, server.name, median(peace), median(attacked), rest)
    say(f"{name}, {server.name}: {outcome.share:.2f} of {outcome.peace:,.0f} req/s; at rest: {rest or '-'}")
    return outcome


def verdicts(outcomes: list[Outcome]) -> list[str]:
    """A line for each goal that is missed."""
    nginx = {each.attack: each.share for each in outcomes if each.server == "nginx"}
    lines = []
    for each in outcomes:
        if each.server == "nginx":
            continue
        goal = GOAL if each.attack in WANTED else nginx.get(each.attack) if each.attack == "silent" else None
        if goal is not None and each.share < goal:
            lines.append(f"missed: {each.server} keeps {each.share:.2f} under {each.attack}, not {goal:.2f}")
        if each.rest not in ("", "yes"):
            lines.append(f"missed: {each.server} does not rest after {each.attack}: {each.rest}")
    return lines or ["all goals met"]


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    words = f"of {', '.join(KINDS)} (default: {SERVERS})"
    add("--servers", type=server_names, default=server_names(SERVERS), metavar="LIST", help=words)
    add("--seconds", type=at_least_one, default=4, metavar="N", help="of each measurement (default: 4)")
    add("--rounds", type=at_least_one, default=3, metavar="N", help="how often each is measured (default: 3)")
    add("--attacks", default=",".join(ATTACKS), metavar="LIST", help="some of the attacks (default: all)")
    add_cores(parser)
    add_programs(parser)
    parser.set_defaults(connections=HONEST)


def main(chosen: argparse.Namespace) -> int:
    names = [name for name in ATTACKS if name in chosen.attacks.split(",")]
    programs = {name: chosen_program(name, chosen) for name in chosen.servers}
    find_tool("wrk", "wrk")
    scale = Scale()
    allow_files(scale.idle)
    outcomes: list[Outcome] = []
    with measuring(chosen) as (bench, site):
        (site.root / SMALL).write_bytes(bytes(KIB))
        (site.root / LARGE).write_bytes(bytes(10 * MIB))
        for name, program in programs.items():
            with ExitStack() as stack:
                server = stack.enter_context(running(KINDS[name], program, site, bench.server_core))
                for attack in names:
                    outcomes.append(endure(server, bench, attack, scale, chosen.seconds, chosen.rounds))
    outcomes.sort(key=lambda each: names.index(each.attack))
    print(f"load of the machine in the last minute: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(Table("", HEADINGS, [each.row() for each in outcomes], (0, 1, len(HEADINGS) - 1)).plain())
    print("\n".join(verdicts(outcomes)))
    return 0

"""Four servers behind HAProxy, with deploy/haproxy/haproxy.cfg, each in a network namespace of its own.

What does it bring that the path chooses the server? First servers under each policy are asked for the
same files, drawn by Zipf's law: more than one of them may keep in memory, and fewer than all. Then, under
load, one is killed, one drained and stopped, one added, one unplugged, and the first comes back: clients
count what has failed.

`--run COMMAND` does neither: it runs a command beside HAProxy, which is http://192.0.2.1 there, before
servers of the files in --root.

Needs Debian's haproxy, iproute2 and util-linux, and no rights.

Exit status: 0 no request failed, 1 some did, or it cannot measure, 2 wrong arguments, 130 interrupted;
with --run that of the command.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.fleet.changes import STEPS, Changes
from bench.fleet.front import fronted, policies
from bench.fleet.load import loaded
from bench.fleet.servers import NAMES, Server, machines
from bench.namespaces import enter_namespace
from bench.options import TOP, at_least_one, chosen_program, prepare_outputs
from bench.workloads import zipf_ranks
from benchlib import CannotMeasure, say
from benchlib.options import names_of
from benchlib.payload import KIB, MIB, Payload, parse_size, size_label, write_noise
from benchlib.proc import machine
from benchlib.report import Table
from benchlib.scrape import total
from benchlib.server import ends_on_signal, find_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.fleet.front import Front
    from bench.fleet.servers import Machine

CONFIG = TOP / "deploy" / "haproxy" / "haproxy.cfg"
SERVERS = 4
POLICIES = "policies"
ALL = (POLICIES, *STEPS)
# What fits into one packet has been passed on whole, or not at all: HAProxy can ask all of it again.
WHOLE = KIB
WHOLE_FILES = 200
LOAD_MAX = 1_000_000
REQUESTS, FILLS, FILL_BYTES = "zchttpd_requests_total", "zchttpd_fills_total", "zchttpd_fill_bytes_total"
HIT, READ = "files found in memory", "bytes read into memory"


@dataclass
class Policy:
    """What warm servers did under one policy, together: requests, and of these fills of memory and their
    bytes. `shares`: of the requests, by server.
    """

    name: str
    requests: int
    failures: int
    fills: int
    fill_bytes: int
    shares: list[float]

    @property
    def hit_rate(self) -> float:
        return 1 - self.fills / self.requests


@dataclass
class Results:
    """`changes`: what happened, in order; `answers`, `failures` and `longest_s`: of the clients meanwhile;
    `retries` and `redispatches`: of HAProxy.
    """

    machine: dict[str, str]
    settings: dict[str, object]
    policies: list[Policy] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    retries: int = 0
    redispatches: int = 0

    @property
    def failed(self) -> int:
        return len(self.failures) + sum(policy.failures for policy in self.policies)


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--files", type=at_least_one, default=2000, metavar="N", help="files (default: 2000)")
    add("--size", type=parse_size, default=64 * KIB, help="of each file (default: 64K)")
    words = "--memory of each server (default: 48M)"
    add("--memory", type=parse_size, default=48 * MIB, metavar="SIZE", help=words)
    add("--requests", type=at_least_one, default=30_000, metavar="N", help="of each policy (default: 30000)")
    add("--clients", type=at_least_one, default=8, metavar="N", help="clients at a time (default: 8)")
    add("--config", type=Path, default=CONFIG, metavar="FILE", help="HAProxy's (default: that of deploy/)")
    words = f"what to do, with commas (default: {','.join(ALL)})"
    add("--steps", type=names_of("step", ALL), default=ALL, metavar="LIST", help=words)
    add("--root", type=Path, metavar="DIR", help="with --run: what is served")
    add("--run", metavar="COMMAND", help="only run this in a shell, beside HAProxy")
    add("--zchttpd", metavar="PATH", help="default: beside this Python, then on PATH")
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--markdown", type=Path, metavar="FILE", help="write the table for a document")
    add("--in-namespace", action="store_true", help=argparse.SUPPRESS)


@contextmanager
def fleet(
    on: list[Machine], start: Callable[[Machine], Server], config: str, folder: Path
) -> Iterator[tuple[dict[str, Server], Front]]:
    """A server on each of these machines, by name, and HAProxy, which finds all of them up."""
    servers: dict[str, Server] = {}
    try:
        for each in on:
            server = start(each)
            servers[server.name] = server
        with fronted(config, folder) as front:
            for name in servers:
                front.wait_until(name, "UP")
            yield servers, front
    finally:
        for server in servers.values():
            server.stop()


def write_files(folder: Path, count: int, size: int) -> list[Payload]:
    """`count` files of `size` bytes, a hundred in a folder."""
    source, made = random.Random(count), []
    for number in range(count):
        path = folder / f"{number // 100:03}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        target = f"/{path.relative_to(folder.parent)}"
        made.append(Payload(target, size, write_noise(path, size, source)))
    return made


def asked(
    name: str,
    config: str,
    on: list[Machine],
    start: Callable[[Machine], Server],
    folder: Path,
    draws: list[Payload],
    clients: int,
) -> Policy:
    """Ask new servers for all `draws` under one policy. The first half warms them and is not counted."""
    with fleet(on, start, config, folder) as (servers, _):
        say(f"{name}: {len(draws)} requests")
        warm = len(draws) // 2
        with loaded(draws[:warm], clients) as first:
            pass
        before = [server.counters() for server in servers.values()]
        with loaded(draws[warm:], clients) as second:
            pass
        after = [server.counters() for server in servers.values()]
    pairs = list(zip(after, before, strict=True))
    answers = [total(now, REQUESTS) - total(had, REQUESTS) for now, had in pairs]
    return Policy(
        name,
        second.answers,
        len(first.failures) + len(second.failures),
        round(sum(now[FILLS] - had[FILLS] for now, had in pairs)),
        round(sum(now[FILL_BYTES] - had[FILL_BYTES] for now, had in pairs)),
        [round(each / sum(answers), 3) for each in answers],
    )


def changed(
    found: Results,
    steps: list[str],
    config: str,
    on: list[Machine],
    start: Callable[[Machine], Server],
    folder: Path,
    files: list[Payload],
    clients: int,
) -> None:
    """Change the fleet under load. The last of the machines has no server at first."""
    draws = random.Random(clients).choices(files, k=LOAD_MAX)
    with fleet(on[:-1], start, config, folder) as (servers, front), loaded(draws, clients) as load:
        found.changes += Changes(front, load, start, servers).perform(steps, on[-1])
        load.ended.set()
        backend = front.stats("BACKEND")
    found.answers, found.failures, found.longest_s = load.answers, load.failures, load.longest_s
    found.retries, found.redispatches = int(backend["wretr"]), int(backend["wredis"])


def table(found: Results) -> Table:
    lines = [
        (
            policy.name,
            f"{policy.hit_rate:.1%}",
            f"{policy.fill_bytes / MIB:,.0f} MiB",
            " ".join(f"{share:.0%}" for share in policy.shares),
            str(policy.failures),
        )
        for policy in found.policies
    ]
    return Table("", ("policy", HIT, READ, "requests of each server", "failed"), lines, (0, 3))


def sentence(found: Results) -> str:
    return (
        f"{', '.join(found.changes)}: {found.answers:,} answers, {len(found.failures)} failed; HAProxy asked"
        f" {found.retries} times again, {found.redispatches} times of another server. The longest that a"
        f" client had to wait was {found.longest_s:.1f} s."
    )


def report(chosen: argparse.Namespace, found: Results) -> int:
    if chosen.json:
        chosen.json.write_text(json.dumps(asdict(found), indent=1) + "\n")
    told = [sentence(found)] if found.changes else []
    tables = [table(found)] if found.policies else []
    if chosen.markdown:
        chosen.markdown.write_text("\n\n".join([*(each.markdown() for each in tables), *told]) + "\n")
    print("\n\n".join([*(each.plain() for each in tables), *told]))
    for failure in found.failures[:10]:
        print(f"failed: {failure}")
    return 1 if found.failed else 0


def ran(
    chosen: argparse.Namespace, on: list[Machine], start: Callable[[Machine], Server], folder: Path
) -> int:
    """Run the command before servers; its exit status."""
    with fleet(on, start, chosen.config.read_text(), folder) as (servers, _):
        status = subprocess.run(["sh", "-c", chosen.run], check=False).returncode
        for name, server in servers.items():
            say(f"{name}: {server.answers():,.0f} answers")
    return status


def main(chosen: argparse.Namespace) -> int:
    if bool(chosen.run) != bool(chosen.root):
        raise CannotMeasure("--run wants --root with what is served, and the other way round")
    prepare_outputs(chosen.json, chosen.markdown)
    program = chosen_program("auto", chosen)
    if not chosen.in_namespace:
        enter_namespace("--mount")
    subprocess.run([find_tool("mount", "mount"), "-t", "tmpfs", "tmpfs", "/run"], check=True)
    Path("/run/haproxy").mkdir()
    config = chosen.config.read_text()
    settings = {"files": chosen.files, "size": size_label(chosen.size), "memory": size_label(chosen.memory)}
    found = Results(machine(), {**settings, "requests": chosen.requests, "clients": chosen.clients})
    with ends_on_signal(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zchttpd-fleet-")))
        root = chosen.root or folder / "root"
        options = ("--memory", str(chosen.memory)) if not chosen.run else ()

        def start(on: Machine) -> Server:
            return Server(on, program, root, folder, *options)

        on = stack.enter_context(machines(len(NAMES)))
        if chosen.run:
            return ran(chosen, on[:SERVERS], start, folder)
        if POLICIES in chosen.steps:
            files = write_files(root / "large", chosen.files, chosen.size)
            ranks = zipf_ranks(chosen.files, chosen.requests, random.Random(chosen.files))
            draws = [files[rank] for rank in ranks]
            for name, text in policies(config).items():
                found.policies.append(asked(name, text, on[:SERVERS], start, folder, draws, chosen.clients))
        steps = [step for step in STEPS if step in chosen.steps]
        if steps:
            small = write_files(root / "small", WHOLE_FILES, WHOLE)
            changed(found, steps, config, on, start, folder, small, chosen.clients)
    return report(chosen, found)

"""Run one load client against one server for some seconds and account for both sides."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.clients import Pace, Plan
from bench.idle import idle_connections
from benchlib import CannotMeasure
from benchlib.fetch import request_bytes
from benchlib.proc import CoreTimes, core_times, cpu_ns, resident_bytes
from benchlib.server import HOST, die_with_parent

if TYPE_CHECKING:
    from bench.check import Checked
    from bench.workloads import Workload
    from benchlib.server import Server

WARM_S_MAX = 1.0
# Before each measurement: cores that are idle for so much of a look are at rest.
REST_S_MAX = 20.0
REST_LOOK_S = 0.2
REST_SHARE = 0.85
SATURATED = 0.95
# Above this the paced client's own core is the limit, and the latencies are the client's.
PACED_BUSY_SHARE = 0.9
CLIENTS = Path(__file__).with_name("clients.py")
LUA = Path(__file__).with_name("lua")


@dataclass(frozen=True, slots=True)
class Bench:
    """What stays the same over a run: cores, connections, seconds, and a directory for what clients read."""

    server_core: int
    client_cores: tuple[int, ...]
    connections: int
    seconds: float
    directory: Path

    def connections_of(self, workload: Workload) -> int:
        return workload.connections or self.connections


@dataclass(frozen=True, slots=True)
class Load:
    """What a client says of its run: `seconds` is its own measuring time, `requests` whole responses."""

    seconds: float
    requests: int
    bytes: int
    errors: int
    p50_us: float
    p99_us: float
    client_cpu_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One server under one workload, once. Zero-copy counts are None for servers that have none."""

    server: str
    workload: str
    client: str
    round: int
    seconds: float
    requests: float
    completed: int
    bytes: int
    errors: int
    server_cpu_s: float
    client_cpu_s: float
    wall_s: float
    client_cores: int
    server_idle_share: float
    client_idle_share: float
    others_share: float
    client_others_share: float
    steal_share: float
    p50_us: float
    p99_us: float
    resident_bytes: int
    zero_copied: int | None = None
    copied: int | None = None
    unanswered: ClassVar[int] = 0

    requests_per_s = property(lambda self: self.requests / self.seconds)
    s_per_request = property(lambda self: self.seconds / self.requests)
    bytes_per_s = property(lambda self: self.bytes / self.seconds)
    bytes_per_request = property(lambda self: self.bytes / self.requests)
    cpu_us_per_request = property(lambda self: self.server_cpu_s * 1e6 / self.requests)
    bytes_per_cpu_s = property(lambda self: self.bytes / self.server_cpu_s)
    disturbed_share = property(lambda self: self.others_share + self.steal_share)

    @property
    def server_share(self) -> float:
        """How much of its one core the server used."""
        return self.server_cpu_s / self.seconds

    @property
    def client_share(self) -> float:
        """How much of its cores the client used."""
        return self.client_cpu_s / (self.wall_s * self.client_cores)

    @property
    def client_bound(self) -> bool:
        """True when the client was the limit: its cores were full and the server's was not.

        A core is full when the program used it up, or when others left nothing of it.
        """
        client_full = max(self.client_share, 1 - self.client_idle_share) > SATURATED
        server_full = max(self.server_share, 1 - self.server_idle_share) > SATURATED
        return client_full and not server_full


@dataclass(frozen=True, slots=True)
class PacedSample:
    """One server at one fixed rate, once. `workload` says which rate: "own" or "common"."""

    server: str
    workload: str
    round: int
    knee: float
    pace: Pace
    server_cpu_s: float
    server_idle_share: float
    others_share: float
    client_others_share: float
    steal_share: float
    client: ClassVar[str] = "paced"
    errors: ClassVar[int] = 0

    def ms(self, figure: str) -> float:
        """A latency of `pace`, infinite where answers did not come in time."""
        latency_us = getattr(self.pace, figure)
        return math.inf if latency_us is None else latency_us / 1000

    p50_ms = property(lambda self: self.ms("p50_us"))
    p99_ms = property(lambda self: self.ms("p99_us"))
    p999_ms = property(lambda self: self.ms("p999_us"))
    rate = property(lambda self: self.pace.rate)
    unanswered = property(lambda self: self.pace.unanswered)
    client_bound = property(lambda self: self.pace.busy_share > PACED_BUSY_SHARE)
    server_share = property(lambda self: self.server_cpu_s / self.pace.seconds)
    cpu_us_per_request = property(lambda self: self.server_cpu_s * 1e6 / max(1, self.pace.answered))
    disturbed_share = property(
        lambda self: max(self.others_share, self.client_others_share) + self.steal_share
    )


def last_json(output: str) -> dict[str, Any]:
    """Read the last JSON line of a client. Raises CannotMeasure when there is none."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise CannotMeasure(f"the load client printed no result, only:\n{output}")


def parse_load(output: str, client_cpu_s: float) -> Load:
    """Read what a client found; wrk does not count its own CPU. Raises CannotMeasure."""
    return Load(**{"client_cpu_s": client_cpu_s, **last_json(output)})


def equivalent_requests(load: Load, checked: Checked, connections: int) -> float:
    """Return the requests served. Where all answers are of one length, those cut off at the end count in
    part: received bytes / bytes of one answer; counting whole ones only would lose up to one per connection,
    percents of the whole at 10 MiB.

    Raises CannotMeasure when the bytes do not fit the count: then the answers were not the ones compared
    beforehand.
    """
    requests = load.bytes / checked.mean_length if checked.same else float(load.requests)
    if not load.errors:
        slack = 1 + load.requests / 1000
        over = load.bytes / checked.mean_length - load.requests
        if not checked.same:
            turn = min(len(checked.requests), load.requests)
            slack += (turn + connections) * checked.longest / checked.mean_length + load.requests / 100
        if not -slack <= over <= connections + slack:
            raise CannotMeasure(
                f"{load.requests} answers of {checked.mean_length:.0f} bytes do not make {load.bytes} bytes: "
                "under load the server answered something else than it did before"
            )
    if requests <= 0:
        raise CannotMeasure(f"not a single response arrived, {load.errors} errors")
    return requests


def wrk_command(
    bench: Bench, server: Server, workload: Workload, checked: Checked, seconds: float
) -> list[str]:
    """Return wrk's command line, and write the requests that it reads where they are more than one."""
    first = checked.requests[0]
    script, arguments, fields = "done.lua", [], []
    requests = bench.directory / f"{server.name}.requests"
    if workload.cookie:
        text = request_bytes(HOST, server.port, first.target, (*first.fields, ("Cookie", "session=")))
        requests.write_bytes(text.removesuffix(b"\r\n\r\n"))
        # Never the same twice, not in the next round either.
        script, arguments = "cookie.lua", ["--", str(requests), str(time.monotonic_ns())]
    elif len(checked.requests) > 1:
        texts = (request_bytes(HOST, server.port, each.target, each.fields) for each in checked.requests)
        requests.write_bytes(b"\0".join(texts))
        script, arguments = "table.lua", ["--", str(requests)]
    else:
        fields = [word for name, value in first.fields for word in ("-H", f"{name}: {value}")]
    size = [f"-t{len(bench.client_cores)}", f"-c{bench.connections_of(workload)}"]
    # wrk takes whole seconds only.
    duration = ["-d", str(max(1, round(seconds))), "--timeout", "60s", "--latency"]
    url = f"http://{HOST}:{server.port}{first.target}"
    return ["wrk", *size, *duration, "-s", str(LUA / script), *fields, url, *arguments]


def client_command(
    bench: Bench, server: Server, workload: Workload, checked: Checked, seconds: float, rate: float = 0.0
) -> list[str]:
    """Return the pinned command line of the client; with a `rate` of requests/s that of the paced one."""
    pinned = ["taskset", "-c", ",".join(map(str, bench.client_cores))]
    if not rate and workload.client != "discard":
        return [*pinned, *wrk_command(bench, server, workload, checked, seconds)]
    first, connections = checked.requests[0], bench.connections_of(workload)
    request = request_bytes(HOST, server.port, first.target, first.fields).decode("ascii")
    plan = Plan(server.port, request, checked.longest, connections, seconds, rate)
    client = "paced" if rate else "discard"
    return [*pinned, sys.executable, str(CLIENTS), client, json.dumps(asdict(plan))]


def run_client(argv: list[str], seconds: float) -> tuple[str, float]:
    """Run a client to its end and return its output and its CPU seconds; it is stopped if this is
    interrupted. Raises CannotMeasure.
    """
    used_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds + 90,
            check=False,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise CannotMeasure(f"{' '.join(argv)} did not end") from None
    if done.returncode:
        raise CannotMeasure(f"{' '.join(argv)} failed ({done.returncode}):\n{done.stdout}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, used.ru_utime + used.ru_stime - used_before.ru_utime - used_before.ru_stime


@dataclass(frozen=True, slots=True)
class Side:
    """What both sides used while a client ran, and what was left of their cores."""

    output: str
    wall_s: float
    server_cpu_s: float
    client_cpu_s: float
    own: CoreTimes
    theirs: CoreTimes
    resident: int

    def shares(self, client_cores: int) -> dict[str, Any]:
        """The fields of a sample that say who else used the cores."""
        server_busy_s = self.wall_s - self.own.idle_s - self.own.steal_s
        client_busy_s = self.wall_s * client_cores - self.theirs.idle_s - self.theirs.steal_s
        return {
            "server_idle_share": self.own.idle_s / self.wall_s,
            "others_share": max(0.0, server_busy_s - self.server_cpu_s) / self.wall_s,
            "client_others_share": max(0.0, client_busy_s - self.client_cpu_s) / self.wall_s / client_cores,
            "steal_share": max(self.own.steal_s, self.theirs.steal_s / client_cores) / self.wall_s,
        }


def wait_for_rest(cores: tuple[int, ...], seconds_max: float = REST_S_MAX) -> bool:
    """Wait until `cores` have next to nothing to do: a server that was measured before may still be busy
    with the end of thousands of connections. Whether they have, after `seconds_max` at the latest.
    """
    until = time.monotonic() + seconds_max
    before, since = core_times(cores), time.monotonic()
    while since < until:
        time.sleep(REST_LOOK_S)
        now, at = core_times(cores), time.monotonic()
        if (now - before).idle_s >= REST_SHARE * (at - since) * len(cores):
            return True
        before, since = now, at
    return False


def _watched(bench: Bench, server: Server, argv: list[str]) -> Side:
    """Run a client and watch, when nothing else runs any more. Raises CannotMeasure, also when the server
    lost or replaced a process.
    """
    wait_for_rest((bench.server_core, *bench.client_cores))
    tree = server.tree()
    try:
        own, theirs = core_times((bench.server_core,)), core_times(bench.client_cores)
        cpu_before, started = cpu_ns(tree), time.monotonic()
        output, client_cpu_s = run_client(argv, bench.seconds)
        server_cpu_s, wall_s = (cpu_ns(tree) - cpu_before) / 1e9, time.monotonic() - started
        own, theirs = core_times((bench.server_core,)) - own, core_times(bench.client_cores) - theirs
        resident = resident_bytes(tree)
    except (ProcessLookupError, FileNotFoundError) as error:
        raise CannotMeasure("a server process ended") from error
    if server.tree() != tree:
        raise CannotMeasure("a server process was replaced")
    return Side(output, wall_s, server_cpu_s, client_cpu_s, own, theirs, resident)


def warm_up(bench: Bench, server: Server, workload: Workload, checked: Checked) -> None:
    """Let the server see the load once, uncounted. Raises CannotMeasure."""
    seconds = min(WARM_S_MAX, bench.seconds)
    run_client(client_command(bench, server, workload, checked, seconds), seconds)


def measure(bench: Bench, server: Server, workload: Workload, checked: Checked, round_number: int) -> Sample:
    """Measure once. Raises CannotMeasure."""
    argv = client_command(bench, server, workload, checked, bench.seconds)
    with idle_connections(server, workload.idle) if workload.idle else nullcontext():
        before = server.notifications()
        side = _watched(bench, server, argv)
        after = server.notifications()
    load = parse_load(side.output, side.client_cpu_s)
    discards, cores = workload.client == "discard", len(bench.client_cores)
    copies: dict[str, Any] = {}
    if before is not None and after is not None:
        copies = {kind: int(after.get(kind, 0) - before.get(kind, 0)) for kind in ("zero_copied", "copied")}
    requests = equivalent_requests(load, checked, bench.connections_of(workload))
    return Sample(
        server=server.name,
        workload=workload.name,
        client=workload.client,
        round=round_number,
        **{**asdict(load), "requests": requests, "completed": load.requests},
        server_cpu_s=side.server_cpu_s,
        # The discarding client is one process and counts its own CPU within its own measuring time.
        wall_s=load.seconds if discards else side.wall_s,
        client_cores=1 if discards else cores,
        client_idle_share=side.theirs.idle_s / side.wall_s / cores,
        **side.shares(cores),
        resident_bytes=side.resident,
        **copies,
    )


def measure_paced(
    bench: Bench,
    server: Server,
    workload: Workload,
    checked: Checked,
    rate: tuple[str, float, float],
    round_number: int,
) -> PacedSample:
    """Measure once at `rate`: its name, requests/s, and the knee it was derived from. Raises
    CannotMeasure.
    """
    name, per_s, knee = rate
    side = _watched(bench, server, client_command(bench, server, workload, checked, bench.seconds, per_s))
    pace, shares = Pace(**last_json(side.output)), side.shares(len(bench.client_cores))
    return PacedSample(server.name, name, round_number, knee, pace, side.server_cpu_s, **shares)

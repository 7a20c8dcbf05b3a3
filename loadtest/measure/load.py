"""Run one load client against one server for some seconds and account for both sides."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from measure.fetch import fetch
from measure.servers import HOST, CannotMeasure, die_with_parent
from measure.usage import core_times, cpu_ns, resident_bytes

if TYPE_CHECKING:
    from measure.payload import Payload
    from measure.servers import Server

CLIENTS = ("wrk", "discard")
WARM_S_MAX = 1.0
SATURATED = 0.95
DISCARD = Path(__file__).with_name("discard.py")

# Only done() is defined: a Lua function called per request or response would cost the client CPU.
WRK_SCRIPT = """\
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"seconds": %.6f, "requests": %d, "bytes": %.0f, "errors": %d, ' ..
        '"p50_us": %.1f, "p99_us": %.1f}\\n',
        summary.duration / 1e6, summary.requests, summary.bytes,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""


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
    """One server under one client at one size, once. Zero-copy counts are None for servers that have none."""

    server: str
    size: int
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
    steal_share: float
    p50_us: float
    p99_us: float
    resident_bytes: int
    zero_copied: int | None = None
    copied: int | None = None

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds

    @property
    def bytes_per_s(self) -> float:
        return self.bytes / self.seconds

    @property
    def cpu_us_per_request(self) -> float:
        return self.server_cpu_s * 1e6 / self.requests

    @property
    def bytes_per_cpu_s(self) -> float:
        return self.bytes / self.server_cpu_s

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
class Bench:
    """What stays the same over a run: cores, connections, seconds, and where wrk's script lies."""

    server_core: int
    client_cores: tuple[int, ...]
    connections: int
    seconds: float
    script: Path


def parse_load(output: str, client_cpu_s: float | None = None) -> Load:
    """Read the last JSON line of a client; wrk's has no `client_cpu_s`, so it comes from the caller.

    Raises CannotMeasure when there is none.
    """
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            fields = json.loads(line)
            if client_cpu_s is not None:
                fields["client_cpu_s"] = client_cpu_s
            return Load(**fields)
    raise CannotMeasure(f"the load client printed no result, only:\n{output}")


def equivalent_requests(load: Load, wire_length: int, connections: int) -> float:
    """Return the requests served, those cut off at the end in part: received bytes / bytes of one
    response.

    Counting complete responses only would lose up to one per connection, percents of the whole at 10 MiB.
    Raises CannotMeasure when the bytes do not fit the count: then the responses were not the ones compared
    beforehand.
    """
    requests = load.bytes / wire_length
    partial = requests - load.requests
    slack = 1 + load.requests / 1000
    if not load.errors and not -slack <= partial <= connections + slack:
        raise CannotMeasure(
            f"{load.requests} responses of {wire_length} bytes do not make {load.bytes} bytes: "
            "under load the server answered something else than it did before"
        )
    if requests <= 0:
        raise CannotMeasure(f"not a single response arrived, {load.errors} errors")
    return requests


def client_command(client: str, bench: Bench, port: int, target: str, seconds: float) -> list[str]:
    """Return the pinned command line of `client` ("wrk" or "discard")."""
    pinned = ["taskset", "-c", ",".join(map(str, bench.client_cores))]
    if client == "discard":
        return [
            *pinned,
            sys.executable,
            "-S",
            str(DISCARD),
            HOST,
            str(port),
            target,
            "--connections",
            str(bench.connections),
            "--seconds",
            str(seconds),
        ]
    # wrk takes whole seconds only.
    duration = f"-d{max(1, round(seconds))}"
    return [
        *pinned,
        "wrk",
        f"-t{len(bench.client_cores)}",
        f"-c{bench.connections}",
        duration,
        "--timeout",
        "60s",
        "--latency",
        "-s",
        str(bench.script),
        f"http://{HOST}:{port}{target}",
    ]


def run_client(client: str, bench: Bench, port: int, target: str, seconds: float) -> Load:
    """Run `client` to its end; it is stopped if this is interrupted. Raises CannotMeasure."""
    argv = client_command(client, bench, port, target, seconds)
    used_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        output, _ = child.communicate(timeout=seconds + 90)
    except subprocess.TimeoutExpired:
        raise CannotMeasure(f"{' '.join(argv)} did not end") from None
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode:
        raise CannotMeasure(f"{' '.join(argv)} failed ({child.returncode}):\n{output}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime - used_before.ru_utime - used_before.ru_stime
    return parse_load(output, cpu_s if client == "wrk" else None)


def measure(bench: Bench, server: Server, payload: Payload, client: str, round_number: int) -> Sample:
    """Warm up, then measure once. Raises CannotMeasure, also when the server lost or replaced a process
    meanwhile.
    """
    wire_length = fetch(HOST, server.port, payload.target).wire_length
    run_client(client, bench, server.port, payload.target, min(WARM_S_MAX, bench.seconds))
    counters_before = server.counters()
    tree = server.tree()
    try:
        own, theirs = core_times((bench.server_core,)), core_times(bench.client_cores)
        cpu_before, started = cpu_ns(tree), time.monotonic()
        load = run_client(client, bench, server.port, payload.target, bench.seconds)
        server_cpu_s, wall_s = (cpu_ns(tree) - cpu_before) / 1e9, time.monotonic() - started
        own, theirs = core_times((bench.server_core,)) - own, core_times(bench.client_cores) - theirs
        resident = resident_bytes(tree)
    except (ProcessLookupError, FileNotFoundError) as error:
        raise CannotMeasure("a server process ended") from error
    if server.tree() != tree:
        raise CannotMeasure("a server process was replaced")
    counters = server.counters()
    client_cores = len(bench.client_cores)
    busy_s = wall_s - own.idle_s - own.steal_s
    return Sample(
        server=server.name,
        size=payload.size,
        client=client,
        round=round_number,
        seconds=load.seconds,
        requests=equivalent_requests(load, wire_length, bench.connections),
        completed=load.requests,
        bytes=load.bytes,
        errors=load.errors,
        server_cpu_s=server_cpu_s,
        client_cpu_s=load.client_cpu_s,
        # The discarding client is one process and counts its own CPU within its own measuring time.
        wall_s=load.seconds if client == "discard" else wall_s,
        client_cores=1 if client == "discard" else client_cores,
        server_idle_share=own.idle_s / wall_s,
        client_idle_share=theirs.idle_s / wall_s / client_cores,
        others_share=max(0.0, busy_s - server_cpu_s) / wall_s,
        steal_share=max(own.steal_s, theirs.steal_s / client_cores) / wall_s,
        p50_us=load.p50_us,
        p99_us=load.p99_us,
        resident_bytes=resident,
        zero_copied=_gain("zero_copied", counters_before, counters),
        copied=_gain("copied", counters_before, counters),
    )


def _gain(name: str, before: dict[str, int] | None, after: dict[str, int] | None) -> int | None:
    return None if before is None or after is None else after[name] - before[name]


def default_cores() -> tuple[int, tuple[int, ...]]:
    """Return (server core, client cores): the first two this program may use. Raises CannotMeasure on one
    core.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise CannotMeasure(
            "one core for server and client together measures nothing; give this machine two cores"
        )
    return allowed[0], (allowed[1],)

"""Samples and answers to build a bench of, for its tests."""

from __future__ import annotations

from bench.check import Checked
from bench.clients import Pace
from bench.idle import Taken
from bench.load import PacedSample, Sample
from bench.results import Peer, Results
from bench.workloads import Request

MIB = 2**20


def make_checked(*lengths: int) -> Checked:
    """What a server answers whose answers have these lengths, in turn."""
    requests = tuple(Request(f"/{number}") for number in range(len(lengths)))
    mean = sum(lengths) / len(lengths)
    return Checked(requests, mean, max(lengths), len(lengths) == 1, "", ("identity",))


def make_sample(server: str = "zerocopy", round_number: int = 1, /, **changed: object) -> Sample:
    """A quiet sample: 1000 requests of 1 KiB in 1 s, 10 us of server CPU each, both cores half idle."""
    fields: dict[str, object] = {
        "server": server, "workload": "1K", "client": "wrk", "round": round_number, "seconds": 1.0,
        "requests": 1000.0, "completed": 1000, "bytes": 1_250_000, "errors": 0, "server_cpu_s": 0.01,
        "client_cpu_s": 0.5, "wall_s": 1.0, "client_cores": 1, "server_idle_share": 0.5,
        "client_idle_share": 0.5, "others_share": 0.0, "client_others_share": 0.0, "steal_share": 0.0,
        "p50_us": 500.0, "p99_us": 900.0, "resident_bytes": 10_000_000,
        **changed,
    }  # fmt: skip
    return Sample(**fields)  # type: ignore[arg-type]


def make_paced(
    server: str, workload: str, p99_us: float | None, round_number: int = 1, **pace: object
) -> PacedSample:
    """A quiet second at 1000 requests/s, a twentieth of the client's core needed."""
    fields: dict[str, object] = {
        "rate": 1000.0, "seconds": 1.0, "asked": 1000, "answered": 1000, "unanswered": 0, "bytes": 1_250_000,
        "busy_share": 0.05, "p50_us": 100.0, "p99_us": p99_us, "p999_us": p99_us, "max_us": p99_us,
        "wait_p99_us": 90.0, **pace,
    }  # fmt: skip
    return PacedSample(
        server,
        workload,
        round_number,
        1500.0,
        Pace(**fields),
        0.01,
        0.9,
        0.0,
        0.0,
        0.0,  # type: ignore[arg-type]
    )


def make_taken(server: str, available: int, number: int = 1, *, steady: bool = True) -> Taken:
    """Ten silent clients that took `available` bytes together."""
    return Taken(server, number, 10, available, tcp=20480, slab=10240, resident=0, left=0, steady=steady)


def make_results(*servers: str) -> Results:
    """A run without figures; zchttpd's are those named as its modes are."""
    head = "HTTP/1.1 200 OK\r\nDate: x\r\nETag: y\r\n\r\n"
    peers = [
        Peer(
            name,
            name in ("zerocopy", "plain", "auto"),
            f"{name} 1",
            f"{name} -c RUN/{name}.conf",
            "sendfile on;",
            {"1K": head},
            {"1K": "identity"},
        )
        for name in servers
    ]
    return Results({"kernel": "Linux"}, {"connections": 64, "seconds": 2.0}, peers, {"1K": "1K, keep-alive"})

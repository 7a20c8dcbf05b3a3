"""The order of a run: compare the answers first, then measure every server in turn, round after round
(ABAB...).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from measure.fetch import BadAnswer, fetch
from measure.load import WRK_SCRIPT, Bench, Sample, default_cores, measure
from measure.options import say
from measure.payload import size_label
from measure.servers import HOST, CannotMeasure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from measure.payload import Payload
    from measure.servers import Server, Site

INTERRUPTED = "interrupted"
# Warm-up, checks and the start of the client, per measurement.
OVERHEAD_S = 1.3


def make_bench(chosen: argparse.Namespace, site: Site) -> Bench:
    """Choose cores and write wrk's script. Raises CannotMeasure, or ValueError for a core that is not a
    number.
    """
    if chosen.server_core is None or chosen.client_cores is None:
        server_core, client_cores = default_cores()
    if chosen.server_core is not None:
        server_core = chosen.server_core
    if chosen.client_cores is not None:
        client_cores = tuple(int(core) for core in chosen.client_cores.split(","))
    if server_core in client_cores:
        raise CannotMeasure(
            f"server and client would share core {server_core}; choose with --server-core, --client-cores"
        )
    script = site.directory / "done.lua"
    script.write_text(WRK_SCRIPT)
    return Bench(server_core, client_cores, chosen.connections, float(chosen.seconds), script)


def compare_answers(servers: list[Server], payloads: list[Payload]) -> dict[str, dict[str, str]]:
    """Fetch each file from each server; return heads by server and size label. Raises CannotMeasure where
    bodies differ.
    """
    heads: dict[str, dict[str, str]] = {}
    for server in servers:
        for payload in payloads:
            try:
                answer = fetch(HOST, server.port, payload.target)
            except (OSError, BadAnswer) as error:
                raise CannotMeasure(
                    f"{server.name}: {payload.target}: {error}; log:\n{server.log_tail()}"
                ) from error
            if answer.status != 200 or answer.sha256 != payload.sha256:
                raise CannotMeasure(f"{server.name} serves other bytes for {payload.target}: {answer.head!r}")
            heads.setdefault(server.name, {})[size_label(payload.size)] = answer.head.decode("latin-1")
    return heads


def alternate(
    bench: Bench,
    servers: list[Server],
    payloads: list[Payload],
    rounds: int,
    clients: Callable[[int], tuple[str, ...]],
) -> Iterator[Sample]:
    """Measure everything in turn, with the clients that `clients` names for a size, and say how far it is."""
    plan = [
        (payload, client, number, server)
        for payload in payloads
        for client in clients(payload.size)
        for number in range(1, rounds + 1)
        for server in servers
    ]
    say(f"{len(plan)} measurements, about {len(plan) * (bench.seconds + OVERHEAD_S) / 60:.0f} min")
    started = time.monotonic()
    for index, (payload, client, number, server) in enumerate(plan, 1):
        try:
            sample = measure(bench, server, payload, client, number)
        except CannotMeasure as error:
            where = f"{server.name}, {size_label(payload.size)}, {client}"
            raise CannotMeasure(f"{where}: {error}; log:\n{server.log_tail()}") from error
        left_s = (time.monotonic() - started) / index * (len(plan) - index)
        errors = f", {sample.errors} ERRORS" if sample.errors else ""
        say(
            f"[{index}/{len(plan)}] {size_label(payload.size)} {client} round {number} {server.name}: "
            f"{sample.requests_per_s:,.0f} req/s, {sample.cpu_us_per_request:.2f} us CPU/req, server "
            f"{sample.server_share:.0%}, client {sample.client_share:.0%}{errors}; {left_s:.0f} s left"
        )
        yield sample


def collect(stream: Iterator[Sample]) -> tuple[list[Sample], str]:
    """Gather `stream`; return the samples and why it ended early: "", INTERRUPTED or what failed."""
    samples = []
    try:
        for sample in stream:
            samples.append(sample)
    except KeyboardInterrupt:
        return samples, INTERRUPTED
    except CannotMeasure as error:
        return samples, str(error)
    return samples, ""


def exit_status(samples: list[Sample], cut_short: str) -> int:
    """Return 130 for an interrupted run, 1 for one that failed or saw errors under load, else 0."""
    if cut_short == INTERRUPTED:
        return 130
    return 1 if cut_short or any(sample.errors for sample in samples) else 0

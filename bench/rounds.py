"""The order of a run: for each workload write its files, start every server afresh, compare the answers, then
measure all servers in turn, round after round (ABAB...).
"""

from __future__ import annotations

import math
import shutil
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.check import Unfit, check
from bench.idle import take
from bench.load import Bench, client_command, measure, measure_paced, parse_load, run_client, warm_up
from bench.results import Absent, Peer
from benchlib import CannotMeasure, say
from benchlib.proc import congestion_control, default_cores
from benchlib.server import ends_on_signal, running, temporary_site

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from bench.check import Checked
    from bench.results import Results
    from bench.workloads import Workload
    from benchlib.server import Kind, Server, Site

    # Who takes part in a workload, and what it is asked.
    Fit = dict[str, tuple[Server, Checked]]

INTERRUPTED = "interrupted"
# Of congestion control.
PACING = "bbr"
# About what comes on top of the seconds of measuring.
START_S, OVERHEAD_S, SILENT_S = 0.8, 0.45, 12.0
OWN_SHARE, COMMON_SHARE = 0.65, 0.6
# A server whose knee is below this share of the highest one is not asked at the common rate.
FAST_SHARE = 0.1


@contextmanager
def measuring(chosen: argparse.Namespace) -> Iterator[tuple[Bench, Site]]:
    """Choose cores and make a site. SIGTERM and SIGHUP end the block as exceptions. Raises CannotMeasure, or
    ValueError for a core that is not a number.
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
    if congestion_control() == PACING:
        say(
            "WARNING: BBR paces large responses by timers, which in a virtual machine cost more than what is"
            " measured. Debian's default does not; type: sudo make bench BENCH_ARGS=--own-network"
        )
    with ExitStack() as stack:
        stack.enter_context(ends_on_signal())
        site = stack.enter_context(temporary_site())
        claim_cores(stack, (server_core, *client_cores))
        yield (
            Bench(server_core, client_cores, chosen.connections, float(chosen.seconds), site.directory),
            site,
        )


def claim_cores(stack: ExitStack, cores: tuple[int, ...]) -> None:
    """Say so when another run measures on one of `cores`. A name in the abstract namespace goes when we
    do.
    """
    for core in cores:
        claim = stack.enter_context(socket.socket(socket.AF_UNIX))
        try:
            claim.bind(f"\0zchttpd-bench-core-{core}")
        except OSError:
            say(
                f"WARNING: another bench uses core {core}; both will see each other as noise (mark: others). "
                "Wait for it, or choose with --server-core, --client-cores"
            )


@dataclass(slots=True)
class Progress:
    """How far a run is: steps are counted in the seconds they were planned to take."""

    planned_s: float
    clock: Callable[[], float] = time.monotonic
    done_s: float = 0.0
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    def left(self) -> str:
        """ "12:34 left": what the plan still holds, stretched as what is done has been."""
        passed = self.clock() - self.started_s
        # At the beginning the plan knows better than a second or two.
        stretch = (passed + 30) / (self.done_s + 30)
        left = round(max(0.0, self.planned_s - self.done_s) * stretch)
        return f"{left // 60}:{left % 60:02} left"

    def step(self, planned_s: float, text: str) -> None:
        self.done_s += planned_s
        share = min(1.0, self.done_s / self.planned_s) if self.planned_s else 1.0
        say(f"[{share:4.0%}, {self.left()}] {text}")


@dataclass(slots=True)
class Run:
    """What one run works with."""

    bench: Bench
    site: Site
    kinds: list[Kind]
    programs: dict[str, str]
    rounds: int | None
    results: Results
    progress: Progress

    def absent(self, server: str, workload: str, reason: str) -> None:
        self.results.absent.append(Absent(server, workload, reason))
        say(f"  {server}: absent from {workload or 'everything'}: {reason}")


def planned_s(workload: Workload, servers: int, seconds: float, rounds: int | None) -> float:
    """About how long a workload takes."""
    turns, once = rounds or workload.rounds, seconds + OVERHEAD_S
    if workload.name == "silent":
        return workload.files_s + servers * turns * (START_S + SILENT_S)
    turns = 2 * turns + 1 if workload.name == "rate" else turns
    return workload.files_s + servers * (START_S + 1 + OVERHEAD_S + turns * once)


def start(run: Run, stack: ExitStack, workload: Workload) -> Fit:
    """Start and check every server; the ones that cannot take part are noted as absent."""
    fit: Fit = {}
    for kind in run.kinds:
        reason = dict(kind.skips).get(workload.name)
        if reason is not None:
            run.absent(kind.name, workload.name, reason)
            continue
        # A stack of its own, so that an unfit one does not stay.
        with ExitStack() as own:
            try:
                server = own.enter_context(
                    running(kind, run.programs[kind.name], run.site, run.bench.server_core)
                )
                checked = check(server, workload)
            except (CannotMeasure, Unfit) as error:
                run.absent(kind.name, workload.name, str(error))
                continue
            stack.push(own.pop_all())
        note_peer(run.results, server, checked, workload.name)
        run.progress.done_s += START_S
        fit[kind.name] = (server, checked)
    return fit


def note_peer(results: Results, server: Server, checked: Checked, workload: str) -> None:
    """Keep what a report says of a server."""
    peer = results.peer(server.name)
    if peer is None:
        peer = Peer(server.name, server.kind.ours, server.version, server.command, server.config)
        results.peers.append(peer)
    peer.heads[workload] = checked.head
    peer.codings[workload] = ", ".join(checked.codings)


@contextmanager
def dropping(run: Run, fit: Fit, name: str, workload: str) -> Iterator[None]:
    """A server that fails under load is noted with its last words, and left out of `fit` from then on."""
    try:
        yield
    except CannotMeasure as error:
        words = fit.pop(name)[0].log_tail()
        run.absent(name, workload, f"{error}; its last words: {words[-300:]}")


def in_turn(fit: Fit, rounds: int) -> Iterator[tuple[int, str, Server, Checked]]:
    """(round, name, server, what it is asked) in measuring order, of who is still in `fit`."""
    for number in range(1, rounds + 1):
        for name in tuple(fit):
            yield number, name, *fit[name]


def closed_loop(run: Run, workload: Workload, rounds: int) -> None:
    """Every server as fast as the client can."""
    with ExitStack() as stack:
        fit = start(run, stack, workload)
        for _, name, server, checked in in_turn(fit, 1):
            with dropping(run, fit, name, workload.name):
                warm_up(run.bench, server, workload, checked)
        for number, name, server, checked in in_turn(fit, rounds):
            with dropping(run, fit, name, workload.name):
                sample = measure(run.bench, server, workload, checked, number)
                run.results.samples.append(sample)
                errors = f", {sample.errors} ERRORS" if sample.errors else ""
                run.progress.step(
                    run.bench.seconds + OVERHEAD_S,
                    f"{workload.name} {number}/{rounds} {name}: {sample.requests_per_s:,.0f} req/s, "
                    f"{sample.cpu_us_per_request:,.2f} us CPU/req, server {sample.server_share:.0%}, "
                    f"client {sample.client_share:.0%}{errors}",
                )


def common_rate(knees: dict[str, float]) -> tuple[float, list[str]]:
    """Return a rate that all fast servers bear, and who they are: those whose knee is at least FAST_SHARE of
    the highest one.
    """
    fast = [name for name, knee in knees.items() if knee >= FAST_SHARE * max(knees.values())]
    return COMMON_SHARE * min(knees[name] for name in fast), fast


def find_knee(bench: Bench, server: Server, workload: Workload, checked: Checked) -> float:
    """Return the requests/s of a closed loop. Raises CannotMeasure."""
    warm_up(bench, server, workload, checked)
    output, _ = run_client(client_command(bench, server, workload, checked, bench.seconds), bench.seconds)
    load = parse_load(output, 0.0)
    if load.errors or not load.requests:
        raise CannotMeasure(f"{load.requests} answers and {load.errors} errors in a closed loop")
    return load.requests / load.seconds


def fixed_rate(run: Run, workload: Workload, rounds: int) -> None:
    """Every server at a share of its own knee, and the fast ones at one common rate."""
    once = run.bench.seconds + OVERHEAD_S
    with ExitStack() as stack:
        fit = start(run, stack, workload)
        knees: dict[str, float] = {}
        for _, name, server, checked in in_turn(fit, 1):
            with dropping(run, fit, name, workload.name):
                knees[name] = find_knee(run.bench, server, workload, checked)
                run.progress.step(once, f"rate, knee of {name}: {knees[name]:,.0f} req/s")
        if not knees:
            return
        common, fast = common_rate(knees)
        for name in knees.keys() - set(fast):
            run.absent(name, "common", f"its knee is below {FAST_SHARE:.0%} of the highest")
        for number, name, server, checked in in_turn(fit, rounds):
            rates = [("own", OWN_SHARE * knees[name], knees[name])]
            rates += [("common", common, knees[name])] if name in fast else []
            with dropping(run, fit, name, workload.name):
                for rate in rates:
                    sample = measure_paced(run.bench, server, workload, checked, rate, number)
                    run.results.paced.append(sample)
                    p99 = "over" if math.isinf(sample.p99_ms) else f"{sample.p99_ms:.2f} ms"
                    words = f"{name} at {rate[1]:,.0f} req/s ({rate[0]}): p99 {p99}"
                    run.progress.step(once, f"rate {number}/{rounds} {words}")


def silent(run: Run, workload: Workload, rounds: int) -> None:
    """Every server alone, for others' memory would be in the figure."""
    for number in range(1, rounds + 1):
        for kind in run.kinds:
            try:
                with ExitStack() as stack:
                    for server, checked in start(replace(run, kinds=[kind]), stack, workload).values():
                        taken = take(server, checked.requests[0].target, workload, number)
                        run.results.takings.append(taken)
                        disturbed = (
                            "" if taken.steady else ", disturbed: something else changes the machine's memory"
                        )
                        words = f"{taken.per_connection / 1024:,.0f} KiB per connection{disturbed}"
                        run.progress.step(
                            START_S + SILENT_S, f"silent {number}/{rounds} {kind.name}: {words}"
                        )
            except (CannotMeasure, OSError) as error:
                run.absent(kind.name, workload.name, str(error))


def perform(run: Run, workload: Workload) -> None:
    """Do one workload from its files to its figures; its files are gone afterwards."""
    folder = run.site.root / workload.name
    folder.mkdir()
    done_s = run.progress.done_s + planned_s(workload, len(run.kinds), run.bench.seconds, run.rounds)
    try:
        say(f"{workload.name}: writing the files of {workload.about}; {run.progress.left()}")
        measure_all = {"paced": fixed_rate, "silent": silent}.get(workload.client, closed_loop)
        made = workload.made(folder, f"/{workload.name}")
        measure_all(run, made, run.rounds or workload.rounds)
        run.results.workloads[workload.name] = workload.title
    finally:
        # Starts, and what absent servers did not take.
        run.progress.done_s = done_s
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)


def perform_all(
    run: Run, workloads: Iterable[Workload], after_each: Callable[[], None] = lambda: None
) -> None:
    """Do one workload after the other until interrupted. One that fails as a whole is noted, and the next is
    done.
    """
    try:
        for workload in workloads:
            try:
                perform(run, workload)
            except (CannotMeasure, OSError, ValueError) as error:
                run.results.cut_short = f"{workload.name}: {error}"
                run.absent("every server", workload.name, str(error))
            after_each()
    except KeyboardInterrupt:
        run.results.cut_short = INTERRUPTED


def exit_status(results: Results) -> int:
    """Return 130 for an interrupted run, 1 for one that failed or saw errors under load, else 0."""
    if results.cut_short == INTERRUPTED:
        return 130
    return 1 if results.cut_short or any(sample.errors for sample in results.samples) else 0

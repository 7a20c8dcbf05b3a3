"""The state of one locust process: the stage, readings while a test runs, and the report when it ends.

The process that locust calls local or master owns the servers and writes the report; a worker asks it for the
stage by a message and reports what CPU it used.
"""

from __future__ import annotations

import atexit
import logging
import os
import shlex
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import gevent
from gevent.event import Event
from gevent.monkey import get_original
from locust.runners import MasterRunner, WorkerRunner

from benchlib import CannotMeasure, say
from benchlib.proc import machine
from loadtest import _summary as outputs
from loadtest._samples import (
    ClientCost,
    Moment,
    Results,
    Target,
    difference,
    paired_ratios,
    read_target,
    scenes_of,
    slices,
)
from loadtest._targets import Stage, parse_targets, split_host, start_own, visit_running
from loadtest._verdict import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

    from locust.env import Environment

    from loadtest._samples import Reading
    from loadtest._verdict import Finding

    State = Literal["idle", "running", "writing", "failed", "done"]

log = logging.getLogger(__name__)
ASK, TELL = "zchttpd_stage_please", "zchttpd_stage"
CPU = "zchttpd_cpu"
LOOK_S = 1.0
WATCH_S = 0.05
PROGRESS_S = 5.0
STAGE_S_MAX = 30.0
# Workers report every 3 s: so long may the last report of a test take that the web interface stopped.
LAST_REPORTS_S = 3.5

_sessions: WeakKeyDictionary[Environment, Session] = WeakKeyDictionary()


def of(environment: Environment) -> Session:
    return _sessions[environment]


def begin(environment: Environment) -> Session:
    """Make the session of this process. Exits with status 1 when there is nothing to test."""
    _sessions[environment] = made = Session(environment)
    return made


def clocks() -> tuple[float, float]:
    """CPU and wall seconds of this process, since some moment."""
    return time.process_time(), time.monotonic()


@contextmanager
def signals_wait() -> Iterator[Callable[[str], None]]:
    """While servers start, SIGINT, SIGTERM and SIGHUP take effect when the next word of progress is said, a
    second one at once. An exception at any moment could fall into the fork of a server, where Python swallows
    it. Yields what says that word.
    """
    came: list[int] = []

    def note(number: int, _frame: object) -> None:
        if came:
            raise SystemExit(128 + number)
        came.append(number)

    def say_or_leave(text: str = "") -> None:
        if came:
            raise SystemExit(128 + came[0])
        if text:
            say(text)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, action in before.items():
        if action is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield say_or_leave
        say_or_leave()
    finally:
        for number, action in before.items():
            signal.signal(number, action)


class Session:
    def __init__(self, environment: Environment) -> None:
        assert environment.runner is not None
        assert environment.parsed_options is not None
        self.environment = environment
        self.runner = environment.runner
        self.options = environment.parsed_options
        self.is_worker = isinstance(self.runner, WorkerRunner)
        self.stage: Stage | None = None
        self._own: Stage | None = None
        self._host: str | None = None
        self._told = Event()
        self._stack = ExitStack()
        self._test: Test | None = None
        self.last_report: Path | None = None
        self.verdict: Sequence[Finding] = ()
        self.state: State = "idle"
        self._finishing: gevent.Greenlet | None = None
        self._summary = ""
        self.began = clocks()
        self.worker_cpu: dict[str, tuple[float, float]] = {}
        events = environment.events
        events.test_start.add_listener(self._test_start)
        if self.is_worker:
            self.runner.register_message(TELL, self._be_told)
            events.report_to_master.add_listener(self._report_cpu)
            return
        atexit.register(self.close)
        events.quit.add_listener(lambda **_: self.close())
        events.test_stop.add_listener(self._test_stop)
        events.worker_report.add_listener(self._worker_report)
        if isinstance(self.runner, MasterRunner):
            self.runner.register_message(ASK, self._answer_worker)
        try:
            with signals_wait() as say_or_leave:
                self.choose(environment.host or "", say_or_leave)
        except CannotMeasure as error:
            say(f"loadtest: {error}")
            sys.exit(1)
        # A closed terminal is none of locust's concerns.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            gevent.signal_handler(signal.SIGHUP, os.kill, os.getpid(), signal.SIGTERM)

    # The stage

    def choose(self, host: str, say: Callable[[str], None] = say) -> None:
        """Have --targets tested, else `host` (of --host, or of the web interface), else our own servers.
        Raises CannotMeasure, and then nothing has changed.
        """
        if self.stage is not None and host == self._host:
            return
        if self.options.targets:
            self.stage = visit_running(parse_targets(self.options.targets), self.options.paths, say)
        elif host:
            target = Target("host", *split_host(host), self.options.target_admin)
            self.stage = visit_running((target,), self.options.paths, say)
        else:
            if self._own is None:
                with ExitStack() as starting:
                    self._own = start_own(self.options.modes, self.options.large, say, starting)
                    self._stack.push(starting.pop_all())
            self.stage = self._own
        self._host = host

    def stage_for_user(self) -> Stage | None:
        """The stage, for a user that starts. On a worker this waits for the owner's message; None: none
        came.
        """
        if self.is_worker and not self._told.wait(STAGE_S_MAX):
            words = "no word of the servers from the master for %.0f s: does it run the same loadtest/?"
            log.error(words, STAGE_S_MAX)
        return self.stage

    def _answer_worker(self, msg: Any, **_: object) -> None:
        if self.stage is not None:
            self.runner.send_message(TELL, self.stage.to_message(), client_id=msg.node_id)

    def _be_told(self, msg: Any, **_: object) -> None:
        self.stage = Stage.from_message(msg.data)
        if self.stage.own and self.options.master_host not in ("127.0.0.1", "::1", "localhost"):
            log.error(
                "the master's servers listen on its loopback only, this worker cannot reach them; "
                "start servers yourself and give the master --targets"
            )
        self._told.set()

    # A test

    def _test_start(self, **_: object) -> None:
        self.began = clocks()
        if self.is_worker:
            self._told.clear()
            self.runner.send_message(ASK, {})
            return
        try:
            self.choose(self.environment.host or "")
        except CannotMeasure as error:
            say(f"loadtest: {error}")
            self.stage = None
            gevent.spawn(self.runner.stop)
            return
        self.worker_cpu.clear()
        self.state = "running"
        self._test = Test(self)

    def _test_stop(self, **_: object) -> None:
        if isinstance(self.runner, MasterRunner):
            # The workers' last words are still on their way; `close` does not wait for this.
            gevent.spawn_later(LAST_REPORTS_S, self.finish_test, self._test)
        elif self.options.headless:
            self.finish_test(self._test)
        else:
            self._finishing = gevent.spawn(self.finish_test, self._test)

    def finish_test(self, test: Test | None) -> None:
        """Write the report of `test`, once."""
        if test is None or test is not self._test:
            return
        self._test = None
        self.state = "writing"
        folder = Path(self.options.results)
        try:
            work = (test.results(), folder, say, self._report_ready)
            if self.options.headless:
                _, self._summary = outputs.write_all(*work)
            else:
                # The web page is to answer meanwhile.
                _, self._summary = gevent.get_hub().threadpool.apply(outputs.write_all, work)
                self._print_summary()
        except Exception:
            log.exception("the report could not be made")
            self.environment.process_exit_code = 1
            self.state = "failed"

    def _report_ready(self, report: Path, verdict: Sequence[Finding]) -> None:
        self.last_report, self.verdict = report, verdict
        self.state = "done"

    def used(self) -> tuple[float, float]:
        """CPU and wall seconds of this process since the test began."""
        (cpu_s, wall_s), (cpu_s_before, wall_s_before) = clocks(), self.began
        return cpu_s - cpu_s_before, wall_s - wall_s_before

    def _report_cpu(self, data: dict[str, Any], **_: object) -> None:
        data[CPU] = self.used()

    def _worker_report(self, client_id: str, data: dict[str, Any], **_: object) -> None:
        if CPU in data:
            self.worker_cpu[client_id] = tuple(data[CPU])

    def _print_summary(self) -> None:
        if self._summary:
            print(f"\n{self._summary}", flush=True)
            self._summary = ""

    def close(self) -> None:
        """Finish a test that still runs, stop the servers that were started here, and have the last word:
        locust has printed its long tables by now.
        """
        try:
            self.finish_test(self._test)
            if self._finishing is not None:
                self._finishing.join()
        finally:
            self._stack.close()
            self._print_summary()


class Test:
    """From test_start to the report, in the process that owns the servers."""

    # pytest must not take it for one of its own.
    __test__ = False

    def __init__(self, session: Session) -> None:
        assert session.stage is not None
        self.session = session
        self.stage = session.stage
        self.started = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        self.started_s = time.monotonic()
        self.readings: dict[str, list[Reading]] = {each.mode: [] for each in self.stage.targets}
        self.moments: list[Moment] = []
        self.users = 0
        self._told_s = self.started_s
        self._look_at_servers()
        self._ended = False
        # In a thread: users keep this one so busy that looks would come late, and too few for a verdict.
        self._watching = gevent.get_hub().threadpool.spawn(self._watch)
        self._looking = gevent.spawn(self._look_at_users)

    def _look_at_servers(self) -> None:
        # All or none, so that the readings of different servers pair up.
        found = {each.mode: read_target(each) for each in self.stage.targets}
        for mode, reading in found.items():
            if reading is not None:
                self.readings[mode].append(reading)

    def _watch(self) -> None:
        sleep = get_original("time", "sleep")
        due_s = self.started_s
        while not self._ended:
            now_s = time.monotonic()
            if now_s >= due_s + LOOK_S:
                due_s = max(due_s + LOOK_S, now_s - LOOK_S)
                self._look_at_servers()
            sleep(WATCH_S)

    def _look_at_users(self) -> None:
        while True:
            gevent.sleep(LOOK_S)
            runner, at_s = self.session.runner, time.monotonic() - self.started_s
            total, users = runner.stats.total, runner.user_count
            self.users = max(self.users, users)
            self.moments.append(Moment(at_s, users, total.current_rps, total.current_fail_per_sec))
            self._tell(at_s)

    def _tell(self, at_s: float) -> None:
        """A line of progress where locust prints no table."""
        options, total = self.session.options, self.session.runner.stats.total
        if self.started_s + at_s < self._told_s + PROGRESS_S or not (
            options.headless and options.only_summary
        ):
            return
        self._told_s = self.started_s + at_s
        of_all = f" of {options.run_time}" if options.run_time else ""
        say(
            f"{at_s:.0f}{of_all} s: {self.session.runner.user_count} users, {total.num_requests:,} answers "
            f"({total.current_rps:,.0f} per second), {total.num_failures:,} failures"
        )

    def _client_cost(self) -> ClientCost:
        used = list(self.session.worker_cpu.values()) or [self.session.used()]
        shares = [cpu_s / wall_s for cpu_s, wall_s in used if wall_s > 0]
        return ClientCost(sum(cpu_s for cpu_s, _ in used), len(used), max(shares, default=0.0))

    def results(self) -> Results:
        """End the readings and sum up."""
        self._looking.kill()
        self._ended = True
        self._watching.get()
        client = self._client_cost()
        self._look_at_servers()
        stats = self.session.runner.stats
        modes = tuple(self.readings)
        base = self.readings.get(PLAIN, [])
        errors = sorted(stats.errors.values(), key=lambda error: -error.occurrences)
        return Results(
            started=self.started,
            seconds=time.monotonic() - self.started_s,
            users=self.users,
            shape=self.session.options.shape,
            command=shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
            machine=machine(),
            own=self.stage.own,
            targets=self.stage.targets,
            files=len(self.stage.tree.files),
            file_bytes=self.stage.tree.total_bytes(),
            scenes=scenes_of(stats.entries.values(), modes),
            errors=tuple((error.name, str(error.error), error.occurrences) for error in errors),
            sides=tuple(difference(mode, found) for mode, found in self.readings.items() if len(found) > 1),
            slices={mode: tuple(slices(found, self.started_s)) for mode, found in self.readings.items()},
            ratios={
                mode: tuple(paired_ratios(found, base))
                for mode, found in self.readings.items()
                if mode != PLAIN
            },
            moments=tuple(self.moments),
            client=client,
            missing=self.stage.missing,
        )

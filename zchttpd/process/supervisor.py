"""The parent of the workers: opens sockets, forks, reports the start, restarts workers, shuts down."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, cast

from zchttpd.config.options import SettingsError, StartError, split_address
from zchttpd.engine.limits import files_needed, memory_locked, raise_limits
from zchttpd.process import privileges
from zchttpd.process.checks import check_links_into, check_root
from zchttpd.process.memory_limit import OutOfMemory, advised, budgets, memory_limit, most, shown
from zchttpd.process.report import Report, how_it_ended
from zchttpd.process.sockets import exposures, open_for, open_listeners, url_for_others, url_of
from zchttpd.process.starter import Terminal
from zchttpd.process.worker import (
    EXIT_CONFIGURATION,
    EXIT_CRASHED,
    Choice,
    Worker,
    choose,
    die_with_parent,
)
from zchttpd.telemetry import log
from zchttpd.telemetry.access_log import check_log
from zchttpd.telemetry.shared_stats import SharedStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.config.settings import Settings
    from zchttpd.process.starter import Starter
    from zchttpd.telemetry.admin import Admin
    from zchttpd.telemetry.metrics import WorkerInfo

EXIT_OK = 0
EXIT_FAILED = 1

DRAIN_MARGIN_S = 2.0
BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 10.0
STEADY_S = 30.0
TERMINAL = Terminal()
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)


@dataclass(slots=True)
class _Child:
    """One worker as the parent sees it. Times in monotonic seconds; `pid` 0: not running."""

    worker: int
    listener: socket.socket
    pid: int = 0
    report_fd: int = -1
    report: bytes = b""
    started_at: float = 0.0
    restart_at: float | None = None
    backoff_s: float = BACKOFF_S_MIN
    cpu_s_before: float = 0.0
    restarts: int = 0


def run(settings: Settings, notes: Sequence[str] = (), starter: Starter = TERMINAL) -> int:
    """Serve until SIGTERM, SIGHUP or Ctrl-C, or nobody is left to serve for; the exit code: 0 stopped as
    asked, 1 could not start.

    `notes`: lines that follow the start line.
    """
    log.setup(settings.log_level, "supervisor")
    # For a user who has no CAP_IPC_LOCK, the limit of locked memory will count: raise it while we may.
    raise_limits(files_needed(settings), memory_locked(settings) if settings.user else 0)
    try:
        supervisor = Supervisor(settings, notes, starter)
        _give_up_privileges(settings)
        check_log(settings)
        choice = choose(settings.engine)
    except (StartError, SettingsError) as error:
        starter.failed(error.problem if isinstance(error, SettingsError) else str(error))
        return EXIT_FAILED
    except ImportError as error:
        starter.failed(f"the compiled part is missing ({error}). Type: pip install zchttpd")
        return EXIT_FAILED
    return supervisor.run(choice)


def _give_up_privileges(settings: Settings) -> None:
    """Raises StartError, and SettingsError when the user of --user may not enter the root."""
    privileges.confine()
    if settings.user:
        privileges.preload()
        privileges.become(privileges.resolve(settings.user))
        check_root(settings.root)
        check_links_into(settings.links_into)


class Supervisor:
    """Owns the listening sockets, the counters and the workers. One thread: forking is safe."""

    def __init__(self, settings: Settings, notes: Sequence[str], starter: Starter) -> None:
        self._settings = settings
        self._starter = starter
        self._choice: Choice
        self._stats = SharedStats(settings.worker_count)
        passed = starter.passed()
        listeners = open_for(settings, passed, settings.worker_count)
        self._children = [_Child(worker, listener) for worker, listener in enumerate(listeners)]
        self._url = url_of(listeners[0])
        # The name of a socket that was passed is not ours to remove.
        self._unix = _identity(settings.unix) if settings.unix and not passed else None
        self._admin_listener: socket.socket | None = None
        self._admin: Admin | None = None
        if settings.admin:
            host, port = split_address(settings.admin)
            [self._admin_listener] = open_listeners(
                host, port, 1, stall_ms=settings.stall_ms_max, flag="--admin"
            )
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._report = Report(notes=list(notes))
        self._announced = False
        self._stopping = False
        self._kill_at: float | None = None
        self._exit_code = EXIT_OK
        self._out_of_memory = OutOfMemory()

    def run(self, choice: Choice) -> int:
        """Fork the workers and watch over them until the last one has gone."""
        self._choice = choice
        self._catch_signals()
        if self._starter.gone >= 0:
            self._selector.register(self._starter.gone, selectors.EVENT_READ, self._left_alone)
        # What there is now is shared with the workers, as long as nobody's collector touches it.
        gc.collect()
        gc.freeze()
        for child in self._children:
            self._fork(child)
        while not self._stopping or any(child.pid for child in self._children):
            for key, _ in self._selector.select(self._wait_s(time.monotonic())):
                key.data(time.monotonic())
            self._tick(time.monotonic())
        if self._admin is not None:
            self._admin.close()
        return self._exit_code

    # Signals: the interpreter writes each one's number to a socket that the selector watches.

    def _catch_signals(self) -> None:
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            # nohup(1) has it ignored, so that a terminal can go and the server stays.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._signalled)

    def _signalled(self, now: float) -> None:
        for number in self._wake_read.recv(4096):
            if number == signal.SIGINT and self._stopping:
                self._kill_at = now
            elif number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                self._stop(now)
            elif number == signal.SIGUSR1:
                self._signal_workers(signal.SIGUSR1)
        # Signals of one kind merge, so look for the dead whatever arrived.
        self._reap(now)

    def _left_alone(self, now: float) -> None:
        self._selector.unregister(self._starter.gone)
        self._stop(now)

    # Workers

    def _fork(self, child: _Child) -> None:
        child.report = b""
        child.report_fd, write_fd = os.pipe()
        log.flush()
        # Until the child has its own handlers, a signal must not reach it through the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        parent = os.getpid()
        child.pid = os.fork()
        if child.pid == 0:
            self._be_worker(child, parent, write_fd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(write_fd)
        child.started_at = time.monotonic()
        self._selector.register(
            child.report_fd, selectors.EVENT_READ, lambda now: self._read_report(child, now)
        )

    def _be_worker(self, child: _Child, parent: int, report_fd: int) -> NoReturn:
        code = EXIT_CRASHED
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # The engine hears it when it has a log to reopen.
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            # A terminal that goes tells all of its processes: the supervisor says what is to be done.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            die_with_parent(parent)
            self._close_inherited(child)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            block = self._stats.block(child.worker)
            code = Worker(self._choice, self._settings, child.listener, block, child.worker, report_fd).run()
        except BaseException:
            log.LOGGER.exception("worker %d failed", child.worker)
        finally:
            # The parent's frames are below this one: unwinding into them would be a second supervisor.
            os._exit(code)

    def _close_inherited(self, child: _Child) -> None:
        self._selector.close()
        self._starter.close_inherited()
        self._wake_read.close()
        self._wake_write.close()
        if self._admin is not None:
            self._admin.close_inherited()
        elif self._admin_listener is not None:
            self._admin_listener.close()
        for other in self._children:
            if other.report_fd >= 0:
                os.close(other.report_fd)
            if other is not child:
                other.listener.close()

    def _read_report(self, child: _Child, _now: float) -> None:
        if child.report_fd < 0:
            # Heard to the end when its death was noticed, earlier in the same batch of events.
            return
        received = os.read(child.report_fd, 65536)
        child.report += received
        if not received:
            self._close_report(child)
            if (
                not self._announced
                and not self._stopping
                and all(each.report_fd < 0 for each in self._children)
            ):
                self._announce()

    def _close_report(self, child: _Child) -> None:
        self._selector.unregister(child.report_fd)
        os.close(child.report_fd)
        child.report_fd = -1

    def _reap(self, now: float) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                child.cpu_s_before += usage.ru_utime + usage.ru_stime
                child.pid = 0
                self._on_death(child, os.waitstatus_to_exitcode(status), now)

    def _on_death(self, child: _Child, code: int, now: float) -> None:
        while child.report_fd >= 0:
            # The writing end is closed with the worker, so this ends.
            self._read_report(child, now)
        self._stats.clear_gauges(child.worker)
        if self._stopping:
            return
        if code == EXIT_CONFIGURATION or not self._announced:
            why = (
                _report_of(child).get("error")
                or f"worker {child.worker} {how_it_ended(code)} while starting. Type: zchttpd doctor"
            )
            self._starter.failed(str(why))
            self._explain_kill(child, code)
            self._exit_code = EXIT_FAILED
            self._stop(now)
            return
        if now - child.started_at >= STEADY_S:
            child.backoff_s = BACKOFF_S_MIN
        log.LOGGER.error(
            "worker %d %s; another one starts in %.1f s", child.worker, how_it_ended(code), child.backoff_s
        )
        self._explain_kill(child, code)
        child.restart_at = now + child.backoff_s
        child.backoff_s = min(child.backoff_s * 2, BACKOFF_S_MAX)

    def _explain_kill(self, child: _Child, code: int) -> None:
        if code == -signal.SIGKILL and self._out_of_memory.risen():
            limit = memory_limit()
            log.LOGGER.error(
                "worker %d was killed because there was no memory left (oom_kill has risen): %s, and %s. Type"
                " --memory %s, or raise the limit",
                child.worker,
                f"{budgets(self._settings)} may take {shown(most(self._settings))} in all",
                limit,
                shown(advised(self._settings, limit)),
            )

    # Time

    def _wait_s(self, now: float) -> float | None:
        moments = [child.restart_at for child in self._children] + [self._kill_at]
        if self._admin is not None:
            moments.append(self._admin.expire(now))
        known = [moment for moment in moments if moment is not None]
        return max(0.0, min(known) - now) if known else None

    def _tick(self, now: float) -> None:
        for child in self._children:
            if child.restart_at is not None and child.restart_at <= now:
                child.restart_at = None
                child.restarts += 1
                self._fork(child)
        if self._kill_at is not None and self._kill_at <= now:
            self._kill_at = None
            left = sum(1 for child in self._children if child.pid)
            log.LOGGER.warning("%d of %d workers killed before they had drained", left, len(self._children))
            self._signal_workers(signal.SIGKILL)

    def _stop(self, now: float) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._starter.stopping()
        self._kill_at = now + self._settings.drain_ms_max / 1000 + DRAIN_MARGIN_S
        for child in self._children:
            # While this copy is open the kernel goes on accepting connections that nobody will answer.
            child.listener.close()
            child.restart_at = None
        self._unlink()
        self._signal_workers(signal.SIGTERM)

    def _unlink(self) -> None:
        """Remove the name of our unix socket, if it still is ours. The next start replaces what is left."""
        with contextlib.suppress(OSError):
            if self._unix is not None and _identity(self._settings.unix) == self._unix:
                os.unlink(self._settings.unix)

    def _signal_workers(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, number)

    # What is said

    def _announce(self) -> None:
        reports = [_report_of(child) for child in self._children]
        if not all("engine" in said for said in reports):
            # One of them died before it was ready; its end is about to be reaped and says why.
            return
        for said in reports:
            self._report.add(said)
        self._announced = True
        if self._admin_listener is not None:
            self._open_admin(self._admin_listener)
        admin = url_of(self._admin_listener) if self._admin_listener is not None else ""
        others = url_for_others(self._children[0].listener)
        lines = self._report.lines(self._settings, self._url, admin=admin, others=others)
        self._starter.ready(lines, admin)
        for warning in exposures(self._settings, self._children[0].listener, self._admin_listener):
            log.LOGGER.warning("%s", warning)

    def _open_admin(self, listener: socket.socket) -> None:
        # Only now: a worker has no use for what these import.
        from zchttpd.telemetry.admin import Admin, Routes
        from zchttpd.telemetry.metrics import StatsCollector

        collector = StatsCollector(self._stats, self._worker_info)
        served = self._children[0].listener
        port = 0 if served.family == socket.AF_UNIX else served.getsockname()[1]
        self._admin = Admin(listener, self._selector, Routes(collector.families, self._healthy), port)

    def _healthy(self) -> bool:
        return not self._stopping and all(child.pid for child in self._children)

    def _worker_info(self) -> list[WorkerInfo]:
        from zchttpd.telemetry.metrics import WorkerInfo

        return [
            WorkerInfo(each.worker, each.pid, each.cpu_s_before, each.restarts) for each in self._children
        ]


def _identity(path: str) -> tuple[int, int]:
    facts = os.lstat(path)
    return facts.st_dev, facts.st_ino


def _report_of(child: _Child) -> dict[str, object]:
    return cast("dict[str, object]", json.loads(child.report)) if child.report else {}

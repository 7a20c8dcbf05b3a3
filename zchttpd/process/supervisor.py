"""The parent of the workers: opens sockets, reports the start, reloads, hands over, shuts down."""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from zchttpd.config.options import SettingsError, StartError, problem_of
from zchttpd.engine import tls
from zchttpd.engine.limits import files_needed, memory_locked, raise_limits
from zchttpd.process import privileges, upgrade
from zchttpd.process.checks import check_roots
from zchttpd.process.health import Health
from zchttpd.process.inherited import inherited
from zchttpd.process.listeners import Listeners
from zchttpd.process.pid_file import remove_pid, write_pid
from zchttpd.process.reload import changes, fixed_of, keep
from zchttpd.process.report import Report
from zchttpd.process.signals import Signals
from zchttpd.process.sockets import exposures, open_admin, url_of
from zchttpd.process.starter import Terminal
from zchttpd.process.worker import Choice, choose_for
from zchttpd.process.workers import Workers
from zchttpd.telemetry import log
from zchttpd.telemetry.access_log import check_log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zchttpd.config.settings import Settings
    from zchttpd.process.starter import Starter
    from zchttpd.telemetry.admin import Admin
    from zchttpd.telemetry.admin_access import Access

EXIT_OK = 0
EXIT_FAILED = 1
TERMINAL = Terminal()


def run(
    settings: Settings,
    notes: Sequence[str] = (),
    starter: Starter | None = None,
    *,
    reread: Callable[[], tuple[Settings, list[str]]] | None = None,
) -> int:
    """Serve until SIGTERM, SIGQUIT or Ctrl-C, or nobody is left to serve for; the exit code: 0 stopped as
    asked, 1 could not start.

    `notes`: lines that follow the start line. `reread` reads the options again, for SIGHUP, which stops a
    server without it; it raises SettingsError.
    """
    log.setup(settings.log_level, "supervisor")
    predecessor = upgrade.taking_over(os.environ) if starter is None else None
    starter = starter or predecessor or TERMINAL
    try:
        if predecessor is not None:
            settings, kept = keep(settings, predecessor.fixed)
            notes = [*notes, *kept]
        # For a user who has no CAP_IPC_LOCK, the limit of locked memory will count: raise it while we may.
        raise_limits(files_needed(settings), memory_locked(settings) if settings.user else 0)
        if settings.tls_cert:
            privileges.keep_memory_out_of_cores()
        agreed = tls.load(settings)
        supervisor = Supervisor(settings, notes, starter, reread)
        _give_up_privileges(settings)
        check_log(settings)
        supervisor.read_access(settings)
        choice = choose_for(settings.engine, agreed)
    except (StartError, SettingsError) as error:
        starter.failed(problem_of(error))
        return EXIT_FAILED
    except ImportError as error:
        starter.failed(f"the compiled part is missing ({error}). Type: pip install zchttpd")
        return EXIT_FAILED
    return supervisor.run(choice)


def _give_up_privileges(settings: Settings) -> None:
    """Raises StartError, and SettingsError when the user of --user may not enter the root."""
    privileges.confine()
    if settings.user:
        privileges.preload(*(["zchttpd.engine.tls_transport"] if settings.tls_cert else []))
        if "capabilities" not in settings.without:
            # A container may have kept what that takes.
            with suppress(OSError):
                privileges.empty_bounding_set()
        privileges.become(privileges.resolve(settings.user))
        check_roots(settings)


class Supervisor:
    """Owns the listening sockets and the workers; acts on signals."""

    def __init__(
        self,
        settings: Settings,
        notes: Sequence[str],
        starter: Starter,
        reread: Callable[[], tuple[Settings, list[str]]] | None,
    ) -> None:
        self._settings = settings
        self._starter = starter
        self._reread = reread
        self._choice: Choice
        self._listeners = Listeners(settings, starter.passed(), settings.worker_count)
        self._admin_listener = open_admin(settings, starter.admin)
        self._admin: Admin | None = None
        self._access: Access
        self._selector = selectors.DefaultSelector()
        self._workers = Workers(self, self._selector, self._listeners)
        self._health = Health(self._workers)
        self._successor: upgrade.Successor | None = None
        self._signals: Signals
        self._report = Report(notes=list(notes))
        # All that was meant has been taken over.
        self._inherited = inherited([settings.access_log])
        for fd in self._inherited:
            os.set_inheritable(fd, False)
        self._stopping = False
        self._put_off: set[str] = set()  # until nothing else is under way: "reload", "renew", "upgrade"
        self._exit_code = EXIT_OK

    def read_access(self, settings: Settings) -> None:
        """Who may ask the admin listener when there are workers with `settings`. Raises StartError."""
        if self._admin_listener is None:
            return
        # What it imports is of no use to who has no such listener.
        from zchttpd.telemetry.admin_access import access_of

        served = [each.socket for each in self._listeners.first]
        ports = [each.getsockname()[1] for each in served if each.family != socket.AF_UNIX]
        self._access = access_of(settings, self._admin_listener.getsockname()[0], ports)

    def run(self, choice: Choice) -> int:
        """Have workers and watch over them until the last one has gone."""
        self._choice = choice
        self._signals = Signals()
        self._selector.register(self._signals, selectors.EVENT_READ, self._signalled)
        if self._starter.gone >= 0:
            self._selector.register(self._starter.gone, selectors.EVENT_READ, self._left_alone)
        # What there is now is shared with the workers, as long as nobody's collector touches it.
        gc.collect()
        gc.freeze()
        # No queue may be without a worker, also where more were passed than there are to be workers.
        self._workers.begin(self._settings, choice, len(self._listeners))
        if self._starter.admin < 0:
            # Whoever asks is told that it starts. Else the old version still answers.
            self._open_admin()
        while not self._stopping or not self._workers.have_ended:
            for key, _ in self._selector.select(self._wait_s(time.monotonic())):
                key.data(time.monotonic())
            self._workers.tick(time.monotonic())
        if self._admin is not None:
            self._admin.close()
        if self._settings.pid_file:
            remove_pid(self._settings.pid_file)
        return self._exit_code

    def _wait_s(self, now: float) -> float | None:
        moments = [*self._workers.moments()]
        if self._admin is not None:
            soonest = self._admin.expire(now)
            moments += [soonest] if soonest is not None else []
        return max(0.0, min(moments) - now) if moments else None

    def close_inherited(self) -> None:
        """See `workers.Owner`."""
        self._signals.close_inherited()
        self._starter.close_inherited()
        if self._admin is not None:
            self._admin.close_inherited()
        elif self._admin_listener is not None:
            self._admin_listener.close()
        if self._successor is not None:
            self._successor.channel.close()
        for fd in self._inherited:
            os.close(fd)

    # Signals

    def _signalled(self, now: float) -> None:
        for number in self._signals.take():
            if number == signal.SIGINT and self._stopping:
                self._workers.kill(now)
            elif number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                self._stop(now, signal.SIGQUIT if number == signal.SIGQUIT else signal.SIGTERM)
            elif number == signal.SIGHUP and self._signals.terminal_has_gone():
                if not self._signals.nohup:
                    self._stop(now)
            elif number == signal.SIGHUP:
                self._reload(now)
            elif number == signal.SIGUSR1:
                self._workers.send(signal.SIGUSR1)
            elif number == signal.SIGUSR2:
                self._upgrade()
        # Signals of one kind merge, so look for the dead whatever arrived.
        self._workers.reap(now)

    def _left_alone(self, now: float) -> None:
        self._selector.unregister(self._starter.gone)
        self._stop(now)

    def _stop(self, now: float, number: signal.Signals = signal.SIGTERM) -> None:
        if self._stopping:
            return
        self._stopping = self._health.stopping = True
        if self._successor is not None:
            self._successor.stop()
        self._starter.stopping()
        # While a copy is open the kernel goes on accepting connections that nobody will answer.
        self._listeners.close()
        self._listeners.unlink()
        self._workers.stop(number, now)

    # News of the workers

    def on_ready(self, now: float) -> None:
        """See `workers.Owner`."""
        assert self._workers.coming is not None
        first, said = self._workers.serving is None, [child.said for child in self._workers.coming.children]
        self._workers.replace(now)
        assert self._workers.serving is not None
        settings = self._workers.serving.settings
        changed_from, self._settings = self._settings, settings
        if first:
            for each in said:
                self._report.add(each)
            self._announce()
            if len(said) != settings.worker_count:
                # Those that were passed beyond what is asked for are emptied, and closed.
                self._workers.begin(settings, self._choice, settings.worker_count)
        elif settings is not changed_from:
            log.setup(settings.log_level, "supervisor")
            self._listeners.set_stall(settings.stall_ms_max)
            if self._admin is not None:
                self._admin.access = self._access
            for note in [note for each in said for note in self._report.add(each)]:
                log.LOGGER.info("%s", note)
            log.LOGGER.info("reloaded: %s", changes(changed_from, settings))
            self._starter.renewed()
        self._catch_up(now)

    def on_moved(self, now: float) -> None:
        """See `workers.Owner`."""
        if self._stopping:
            return
        if self._workers.coming is not None or self._successor is not None:
            self._put_off.add("renew")
            return
        log.LOGGER.info("the root is another directory: other workers serve that one")
        self._workers.begin(self._settings, self._choice, self._settings.worker_count)

    def on_failed(self, why: str, now: float) -> None:
        """See `workers.Owner`."""
        if self._workers.serving is not None:
            self._workers.give_up(now)
            self._not_reloaded(why)
            self._catch_up(now)
        else:
            self._starter.failed(why)
            self._exit_code = EXIT_FAILED
            self._stop(now)

    # Other settings, and another version

    def _reload(self, now: float) -> None:
        """Read the options again, and have new workers serve with them; if one is wrong, nothing changes."""
        if self._reread is None:
            self._stop(now)
            return
        if self._stopping:
            return
        if self._workers.coming is not None or self._successor is not None:
            self._put_off.add("reload")
            return
        self._starter.reloading()
        try:
            settings, notes = self._reread()
            settings, kept = keep(settings, fixed_of(self._settings))
            check_log(settings)
            self.read_access(settings)
            choice = self._choice_of(settings)
        except (SettingsError, StartError) as error:
            self._not_reloaded(problem_of(error))
            return
        except Exception:
            # A fault in here must not end those who serve.
            log.LOGGER.exception("the options could not be read")
            self._not_reloaded("see above")
            return
        for line in kept:
            log.LOGGER.warning("%s", line)
        for note in self._report.add({"notes": notes}):
            log.LOGGER.info("%s", note)
        raise_limits(files_needed(settings))
        self._workers.begin(settings, choice, settings.worker_count)

    def _choice_of(self, settings: Settings) -> Choice:
        """With the certificate as it is now. Raises SettingsError, and StartError."""
        if bool(settings.tls_cert) != bool(self._settings.tls_cert):
            fix = "Restart it for that"
            raise SettingsError("tls_cert", f"--tls-cert: TLS neither begins nor ends while it runs. {fix}")
        agreed = tls.load(settings)
        return self._choice if agreed is None else choose_for(settings.engine, agreed)

    def _not_reloaded(self, why: str) -> None:
        log.LOGGER.error("not reloaded, and the old settings stay: %s", why)
        self._starter.renewed()

    def _catch_up(self, now: float) -> None:
        """Do what was wanted while something else was under way."""
        if self._workers.coming is not None:
            return
        wanted, self._put_off = self._put_off, set()
        if "reload" in wanted:
            self._reload(now)
        if "renew" in wanted and self._workers.coming is None:
            self.on_moved(now)
        if "upgrade" in wanted:
            self._upgrade()

    def _upgrade(self) -> None:
        """Start the new version; this one goes when that serves."""
        if self._stopping:
            return
        if self._workers.coming is not None:
            self._put_off.add("upgrade")
            return
        obstacle = self._starter.obstacle
        if self._successor is not None:
            obstacle = f"process {self._successor.pid} is just starting"
        if obstacle:
            log.LOGGER.error("no new version is started: %s", obstacle)
            return
        fixed = {**fixed_of(self._settings), "engine": self._choice.engine}
        try:
            self._successor = upgrade.begin(
                self._listeners.all, self._admin_listener, fixed, os.environ, nohup=self._signals.nohup
            )
        except OSError as error:
            log.LOGGER.error("no new version is started: %s", error)
            return
        self._selector.register(self._successor, selectors.EVENT_READ, self._hear)

    def _hear(self, now: float) -> None:
        """The new version serves, or cannot."""
        assert self._successor is not None
        if not self._successor.hear():
            return
        successor, self._successor = self._successor, None
        self._selector.unregister(successor)
        successor.channel.close()
        why = successor.failure()
        if not why:
            log.LOGGER.info("process %d serves from now on", successor.pid)
            self._listeners.disown()
            self._starter.replaced(successor.pid)
            if "reload" in self._put_off:
                successor.reload()
            if self._admin is not None:
                self._admin.accept_no_more()
            self._stop(now, signal.SIGQUIT)
        elif not self._stopping:
            log.LOGGER.error("the new version cannot serve, and this one goes on: %s", why)
            self._catch_up(now)

    # What is said

    def _announce(self) -> None:
        self._open_admin()
        admin = url_of(self._admin_listener) if self._admin_listener is not None else ""
        lines = self._report.lines(self._settings, self._listeners.first, admin=admin)
        if self._settings.pid_file:
            write_pid(self._settings.pid_file)
        self._starter.ready(lines, admin)
        served = [each.socket for each in self._listeners.first]
        for warning in exposures(self._settings, served, self._admin_listener):
            log.LOGGER.warning("%s", warning)

    def _open_admin(self) -> None:
        if self._admin_listener is None or self._admin is not None:
            return
        # Only now: a worker has no use for what these import.
        from zchttpd.telemetry.admin import Admin, Routes
        from zchttpd.telemetry.metrics import StatsCollector

        collector = StatsCollector(self._workers.stats, self._workers.info)
        routes = Routes(collector.families, self._health.checks())
        self._admin = Admin(self._admin_listener, self._selector, routes, self._access)

"""The processes that serve: forked, heard, restarted, replaced, ended. One thread: forking is safe."""

from __future__ import annotations

import os
import selectors
import signal
import time
from typing import TYPE_CHECKING, NoReturn, Protocol

from zchttpd.process.generation import Child, Generation
from zchttpd.process.memory_limit import OutOfMemory, advised, budgets, memory_limit, most, shown
from zchttpd.process.report import how_it_ended
from zchttpd.process.signals import CAUGHT
from zchttpd.process.worker import EXIT_CRASHED, Worker, die_with_parent
from zchttpd.telemetry import log
from zchttpd.telemetry.shared_stats import SharedStats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zchttpd.config.settings import Settings
    from zchttpd.process.listeners import Listeners
    from zchttpd.process.worker import Choice
    from zchttpd.telemetry.metrics import WorkerInfo

# For how long a worker that gets no successor goes on to accept what was on its way to it.
EMPTYING_S = 1.0
_FORK_FIX = "Raise the limits of open files, processes and memory. See: zchttpd doctor"


class Owner(Protocol):
    """What the workers want of the supervisor."""

    def close_inherited(self) -> None:
        """In a worker: close what is the supervisor's."""

    def on_ready(self, now: float) -> None:
        """All of `Workers.coming` accept."""

    def on_moved(self, now: float) -> None:
        """The path of the root leads to another directory, which only new workers can open."""

    def on_failed(self, why: str, now: float) -> None:
        """`Workers.coming` cannot serve. `why`: one line."""


class Workers:
    """Those that serve, those that are to, and those that have been replaced and finish what is under way.

    What they are called with as `now` is the monotonic time in seconds.
    """

    def __init__(self, owner: Owner, selector: selectors.BaseSelector, listeners: Listeners) -> None:
        self.stats = SharedStats(0)
        self.serving: Generation | None = None
        self.coming: Generation | None = None
        self._leaving: list[Generation] = []
        self._owner = owner
        self._selector = selector
        self._listeners = listeners
        self._stopping = False
        self._out_of_memory = OutOfMemory()
        # Workers write to it when they see the root moved.
        self._moved = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        selector.register(self._moved, selectors.EVENT_READ, self._hear_moved)

    @property
    def are_alive(self) -> bool:
        """Whether all that are to serve do."""
        return self.serving is not None and all(child.pid for child in self.serving.children)

    @property
    def have_ended(self) -> bool:
        """Whether no process is left."""
        return not any(child.pid for _, child in self._everybody())

    def _generations(self) -> list[Generation]:
        found = (self.serving, self.coming, *self._leaving)
        return [generation for generation in found if generation is not None]

    def _everybody(self) -> list[tuple[Generation, Child]]:
        return [(generation, child) for generation in self._generations() for child in generation.children]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all."""
        for _, child in self._everybody():
            child.send(number)

    # Beginning

    def begin(self, settings: Settings, choice: Choice, count: int) -> None:
        """Fork new workers: `coming`. Where that fails, the owner is told."""
        self.coming = Generation(settings, choice)
        try:
            self._listeners.grow(count)
            for worker in range(count):
                child = Child(worker, self._listeners[worker], self.stats.add())
                self.coming.children.append(child)
                self._fork(self.coming, child)
        except OSError as error:
            why = f"a worker cannot be made ({error.strerror}). {_FORK_FIX}"
            self._owner.on_failed(why, time.monotonic())

    def _fork(self, generation: Generation, child: Child) -> None:
        """Raises OSError where there is no descriptor, process or memory left for it."""
        child.started_at = time.monotonic()
        child.report = b""
        child.report_fd, write_fd = os.pipe()
        log.flush()
        # Until the child has its own handlers, a signal must not reach it through the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)
        parent = os.getpid()
        try:
            child.pid = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
            os.close(child.report_fd)
            os.close(write_fd)
            child.report_fd = -1
            raise
        if child.pid == 0:
            self._be_worker(generation, child, parent, write_fd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
        os.close(write_fd)
        self._selector.register(
            child.report_fd, selectors.EVENT_READ, lambda now: self._read_report(generation, child, now)
        )

    def _be_worker(self, generation: Generation, child: Child, parent: int, report_fd: int) -> NoReturn:
        code = EXIT_CRASHED
        try:
            self._selector.close()
            self._owner.close_inherited()
            die_with_parent(parent)
            self._listeners.close(keep=child.listeners)
            for _, other in self._everybody():
                if other.report_fd >= 0:
                    os.close(other.report_fd)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
            settings, choice = generation.settings, generation.choice
            worker = Worker(
                choice, settings, child.listeners, child.stats, child.worker, report_fd, self._moved
            )
            code = worker.run()
        except BaseException:
            log.LOGGER.exception("worker %d failed", child.worker)
        finally:
            # The parent's frames are below this one: unwinding into them would be a second supervisor.
            os._exit(code)

    def _read_report(self, generation: Generation, child: Child, now: float) -> None:
        if child.report_fd < 0:
            # Heard to the end when its death was noticed, earlier in the same batch of events.
            return
        received = os.read(child.report_fd, 65536)
        child.report += received
        if received:
            return
        self._selector.unregister(child.report_fd)
        os.close(child.report_fd)
        child.report_fd = -1
        # One of them may have died before it was ready; its end is about to be reaped and says why.
        if generation is self.coming and generation.is_ready and not self._stopping:
            self._owner.on_ready(now)

    def _hear_moved(self, now: float) -> None:
        os.eventfd_read(self._moved)
        self._owner.on_moved(now)

    # Replacing

    def replace(self, now: float) -> None:
        """Those that come serve from now on, and those that did go: who gets no successor a little later."""
        assert self.coming is not None
        old, self.serving, self.coming = self.serving, self.coming, None
        if old is None:
            return
        count = len(self.serving.children)
        for heir, child in zip(self.serving.children, old.children, strict=False):
            heir.cpu_s_before, heir.restarts = child.cpu_s_before, child.restarts
            child.cpu_s_before = 0.0
        try:
            self._listeners.choose(count)
        except OSError as error:
            log.LOGGER.warning("who waits for a worker that goes may be reset: %s", error)
        surplus = Generation(old.settings, old.choice, old.children[count:], leave_at=now + EMPTYING_S)
        del old.children[count:]
        self._leave(old, now)
        if surplus.children:
            self._leaving.append(surplus)

    def give_up(self, now: float) -> None:
        """Those that come are not to serve; those that do go on."""
        assert self.coming is not None
        failed, self.coming = self.coming, None
        self._leave(failed, now)
        if self.serving is not None:
            self._listeners.drop(len(self.serving.children))

    def _leave(self, generation: Generation, now: float) -> None:
        generation.leave(signal.SIGQUIT, now)
        self._leaving.append(generation)
        self._bury(generation)

    def _bury(self, generation: Generation) -> None:
        """Of those that have been replaced: what they counted stays, and their CPU time with their heirs."""
        for child in [each for each in generation.children if not each.pid]:
            self.stats.retire(child.stats)
            generation.children.remove(child)
            for heir in self.serving.children if self.serving is not None else ():
                if heir.worker == child.worker:
                    heir.cpu_s_before += child.cpu_s_before
        if not generation.children:
            self._leaving.remove(generation)

    # Ending

    def stop(self, number: signal.Signals, now: float) -> None:
        """Have all of them drain (see `Generation.leave`)."""
        self._stopping = True
        for generation in self._generations():
            generation.leave(number, now)

    def kill(self, now: float) -> None:
        """Have those that are left end in this tick."""
        for generation in self._generations():
            generation.kill_at = now

    def reap(self, now: float) -> None:
        """Look for those that have ended."""
        for generation, child in self._everybody():
            if not child.pid:
                continue
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                child.cpu_s_before += usage.ru_utime + usage.ru_stime
                child.pid = 0
                self._on_death(generation, child, os.waitstatus_to_exitcode(status), now)

    def _on_death(self, generation: Generation, child: Child, code: int, now: float) -> None:
        while child.report_fd >= 0:
            # The writing end is closed with the worker, so this ends.
            self._read_report(generation, child, now)
        self.stats.clear_gauges(child.stats)
        if generation in self._leaving:
            self._bury(generation)
        elif self._stopping:
            return
        elif generation is self.coming:
            how = f"worker {child.worker} {how_it_ended(code)} while starting. Type: zchttpd doctor"
            self._owner.on_failed(str(child.said.get("error") or how), now)
            self._explain_kill(generation, child, code)
        else:
            why = child.said.get("error")
            how = f"cannot start: {why}" if why else how_it_ended(code)
            pause_s = child.schedule(now)
            log.LOGGER.error("worker %d %s; another one starts in %.1f s", child.worker, how, pause_s)
            self._explain_kill(generation, child, code)

    def _explain_kill(self, generation: Generation, child: Child, code: int) -> None:
        if code == -signal.SIGKILL and self._out_of_memory.risen():
            limit, settings = memory_limit(), generation.settings
            log.LOGGER.error(
                "worker %d was killed because there was no memory left (oom_kill has risen): %s, and %s. Type"
                " --memory %s, or raise the limit",
                child.worker,
                f"{budgets(settings)} may take {shown(most(settings))} in all",
                limit,
                shown(advised(settings, limit)),
            )

    # Time

    def _restart(self, generation: Generation, child: Child, now: float) -> None:
        child.restart_at = None
        try:
            self._fork(generation, child)
        except OSError as error:
            log.LOGGER.error(
                "worker %d cannot be made (%s); another try in %.1f s. %s",
                child.worker,
                error.strerror,
                child.schedule(now),
                _FORK_FIX,
            )
            return
        child.restarts += 1

    def moments(self) -> Iterator[float]:
        """When `tick` has something to do."""
        for generation in self._generations():
            yield from generation.moments()

    def tick(self, now: float) -> None:
        """Do what is due."""
        for generation, child in self._everybody():
            if child.restart_at is not None and child.restart_at <= now:
                self._restart(generation, child, now)
        for generation in self._generations():
            if generation.leave_at is not None and generation.leave_at <= now:
                generation.leave(signal.SIGQUIT, now)
                self._bury(generation)
                if self.serving is not None:
                    self._listeners.drop(len(self.serving.children))
            if generation.kill_at is not None and generation.kill_at <= now:
                count, left = len(generation.children), generation.kill()
                log.LOGGER.warning("%d of %d workers killed before they had drained", left, count)

    def info(self) -> list[WorkerInfo]:
        """Of each that serves, with the CPU time of those that it has replaced."""
        from zchttpd.telemetry.metrics import WorkerInfo, cpu_seconds

        found = []
        for child in self.serving.children if self.serving is not None else ():
            cpu_s = child.cpu_s_before
            for generation in self._leaving:
                cpu_s += sum(
                    cpu_seconds(each.pid) for each in generation.children if each.worker == child.worker
                )
            found.append(WorkerInfo(child.worker, child.pid, cpu_s, child.restarts))
        return found

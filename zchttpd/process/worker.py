"""The choice of the engine, and one worker: run it until it has drained, and tell how that went."""

from __future__ import annotations

import ctypes
import errno
import gc
import importlib
import json
import os
import signal
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from zchttpd.config.options import StartError
from zchttpd.files import compressor
from zchttpd.process import checks, doctor, sandbox
from zchttpd.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zchttpd.config.settings import Settings
    from zchttpd.engine.listener import Listener
    from zchttpd.engine.tls import Tls

EXIT_OK = 0
EXIT_CRASHED = 1
PR_SET_PDEATHSIG = 1

# Collections of the middle generation between two of the oldest (gc.set_threshold); 10 is Python's own.
OLDEST_WALK_EVERY = 1000
# A thread that wants the interpreter gets it after so long; the default of 5 ms is felt by every connection.
SWITCH_S = 0.0005

# Blocks of so many bytes and more are mapped (mallopt(3)).
M_MMAP_THRESHOLD = -3
MAPPED_FROM = 256 * 1024

URING = "uring"
PORTABLE = "portable"
_REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)


class Serve(Protocol):
    """What an engine is: serve until SIGTERM or SIGINT, drain, return. It calls `ready` when it can accept.

    `listeners`: this worker's own. `stats`: this worker's block of shared counters, whose values it goes
    on from. `moved`: called when the root is another directory, which this worker cannot open; None where it
    can. `ready` takes a report: `engine` and `send_mode` (str, for the start line),
    `missing` (names of features) and `notes` (lines of text).
    """

    def __call__(
        self,
        settings: Settings,
        listeners: Sequence[Listener],
        stats: memoryview,
        worker: int,
        *,
        moved: Callable[[], None] | None,
        ready: Callable[[dict[str, object]], None],
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine to run, and a line to say when it is not the one that was hoped for."""

    engine: str
    serve: Serve
    note: str = ""


def choose(engine: str) -> Choice:
    """The engine for the setting `auto`, `uring` or `portable`, imported: the workers share its memory.

    Raises StartError when there is none.
    """
    if engine == PORTABLE:
        return _portable()
    try:
        error = str(doctor.probe_ring().get("error") or "")
        if not error:
            serve = partial(cast("Any", _load(URING)), lockable=doctor.lockable())
            return Choice(URING, cast("Serve", serve))
        cause, fix = doctor.refusal(error)
    except ImportError as missing:
        cause = f"this build has no io_uring engine ({missing})"
        fix = "apt-get install liburing-dev pkg-config, then install zchttpd again from source"
    if engine == URING:
        raise StartError(f"--engine uring cannot run: {cause}. Type --engine portable, or: {fix}")
    return _portable(cause, fix)


def choose_for(engine: str, tls: Tls | None) -> Choice:
    """The same for a server that may speak TLS, which one engine does. Raises StartError."""
    if tls is None:
        return choose(engine)
    choice = _portable()
    instead = "without io_uring, as it has no TLS; the portable engine serves instead"
    serve = cast("Serve", partial(cast("Any", choice.serve), tls=tls))
    return replace(choice, serve=serve, note="" if engine == PORTABLE else instead)


def _portable(cause: str = "", fix: str = "") -> Choice:
    """The portable engine; `cause` and `fix` are why it stands in for io_uring, when it does."""
    note = f"without io_uring: {cause}; the portable engine serves instead. Fix: {fix}" if cause else ""
    try:
        return Choice(PORTABLE, _load(PORTABLE), note)
    except ImportError as missing:
        also = f"{cause}, and " if cause else ""
        raise StartError(
            f"{also}the portable engine cannot be loaded ({missing}). Type: pip install zchttpd again"
        ) from None


def _load(name: str) -> Serve:
    return cast("Serve", importlib.import_module(f"zchttpd.engine.{name}").serve)


def die_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when `parent`, the parent's pid, ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        # It ended before the kernel was told.
        os._exit(EXIT_OK)


def return_large_blocks() -> None:
    """Have the memory of a large block go back to the kernel when it is freed (mallopt(3)).

    glibc raises the size from which on it maps blocks with each that is freed, up to 32 MiB, and keeps what
    it has not mapped, in an arena for each thread: what files are compressed and hashed in. musl has no such
    call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)


@dataclass(slots=True)
class Worker:
    """Runs in a process of its own. `report_fd`: a pipe to the supervisor; it gets one line of JSON.
    `moved_fd`: an eventfd of it, for workers that see the root moved.
    """

    choice: Choice
    settings: Settings
    listeners: Sequence[Listener]
    stats: memoryview
    worker: int
    report_fd: int
    moved_fd: int
    is_ready: bool = False
    missing: list[str] = field(default_factory=list)

    def run(self) -> int:
        """Serve until told to stop; the exit code of the process."""
        log.setup(self.settings.log_level, f"worker {self.worker}")
        return_large_blocks()
        # Before there is a thread, or a ring: they do what the thread may that makes them.
        self.missing = sandbox.confine_files(self.settings)
        try:
            self._serve(self.choice)
        except StartError as error:
            self._tell({"error": str(error)})
            return EXIT_CRASHED
        except Exception:
            log.LOGGER.exception("the engine failed")
            return EXIT_CRASHED
        return EXIT_OK

    def _serve(self, choice: Choice) -> None:
        try:
            self._run_engine(choice)
        except OSError as error:
            if self.is_ready:
                raise
            if choice.engine == URING and self.settings.engine != URING and error.errno in _REFUSALS:
                self._run_engine(_portable(*doctor.refusal(errno.errorcode[error.errno])))
                return
            raise StartError(
                f"the {choice.engine} engine cannot start: {error}. Type: zchttpd doctor"
            ) from error

    def _run_engine(self, choice: Choice) -> None:
        def ready(report: dict[str, object]) -> None:
            notes = [
                *cast("list[str]", report.get("notes", [])),
                *(doctor.notes(self.settings) if choice.engine == URING else ()),
                *compressor.notes(self.settings),
                *checks.notes(self.settings),
            ]
            # All is set up: what that took is not called again.
            self.missing += sandbox.confine_calls(self.settings)
            missing = [*cast("list[str]", report.get("missing", [])), *self.missing]
            self._ready(
                {**report, "missing": missing, "notes": [choice.note, *notes] if choice.note else notes}
            )

        moved = None if "landlock" in self.missing else self._tell_moved
        choice.serve(self.settings, self.listeners, self.stats, self.worker, moved=moved, ready=ready)

    def _tell_moved(self) -> None:
        os.eventfd_write(self.moved_fd, 1)

    def _ready(self, report: dict[str, object]) -> None:
        self.is_ready = True
        # What was made while starting lives as long as the worker: the collector need not walk it again.
        gc.collect()
        gc.freeze()
        # A walk through all that a full cache holds stops the loop for tens of milliseconds, to find next to
        # nothing: only a refused head leaves a cycle, and it dies young.
        gc.set_threshold(*gc.get_threshold()[:2], OLDEST_WALK_EVERY)
        sys.setswitchinterval(SWITCH_S)
        self._tell(report)

    def _tell(self, report: dict[str, object]) -> None:
        try:
            os.write(self.report_fd, json.dumps(report).encode("ascii") + b"\n")
        except BrokenPipeError:
            # The supervisor is gone; the signal that tells this worker so is on its way.
            pass
        finally:
            os.close(self.report_fd)

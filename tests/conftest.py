"""What all tests share: Hypothesis profiles, and skips that fail where nothing may be skipped."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# After `make dev` the import compiles what has changed: here once, before there are several processes.
import zchttpd

if TYPE_CHECKING:
    from collections.abc import Generator

assert zchttpd.__version__

# Wall-clock deadlines fail on a busy machine, not on a slow function.
settings.register_profile("quick", max_examples=15, deadline=None)
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=500, deadline=None, print_blob=True)
settings.register_profile(
    "night", max_examples=20_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--matrix`: tests/wire/runs.py says what runs without it."""
    parser.addoption(
        "--matrix",
        action="store_true",
        help="send every HTTP case to every engine and send mode, whole, byte by byte and pipelined",
    )


def may_lock_memory() -> bool:
    """Whether locking memory has no bound: CAP_IPC_LOCK (bit 14), or no hard RLIMIT_MEMLOCK (setrlimit(2)).

    The bound counts for all of a user's processes together, and the first server of a test takes it whole.
    """
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY:
        return True
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> 14 & 1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("locked") and not may_lock_memory():
        pytest.skip("this user may not lock enough memory. Type: sudo prlimit --memlock=unlimited --pid $$")


@pytest.fixture(scope="session", autouse=True)
def children_heed_signals() -> None:
    """A shell has its background jobs ignore SIGINT, nohup(1) a command SIGHUP: children inherit it.
    A handler is not inherited (execve(2)), and one that does nothing ignores the signal too.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With NO_SKIPS=1 (the CI job of a machine that has everything) a skip is a failure, so no layer can rot
    unseen.
    """
    report = yield
    if report.skipped and os.environ.get("NO_SKIPS") == "1":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and NO_SKIPS=1 forbids that: {report.longrepr}"
    return report

"""The command `zchttpd` with stubs for what is compiled: a script for test_supervisor.

STUB in the environment is a JSON object: `error` (what the ring's probe says), `missing` and `notes` (what
the engine reports), `unbuilt` (modules that cannot be imported), `start` (how the engine starts: "well",
"oserror:NAME", "raise", "killed"), `deaf` (ignores SIGTERM).
Requests, one for each connection: /pid, /fds, /confined (what TRIALS meet), /hold (answered when told to
stop), /fail, /burn, /frozen, any.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BURN_S = 0.3  # of CPU time, after /burn

CELL_COUNTS = {
    "requests": 600,
    "fallbacks": 8,
    "lease_buckets": 4,
    "zerocopy_active": 2,
    "compressions": 24,
    "compression_us": 4,
    "digests": 4,
    "latency_buckets": 6,
    "latency_us_sum": 2,
    "admissions": 4,
    "route_bytes": 9,
    "route_delivered": 4,
    **dict.fromkeys(
        (
            *("sends_zerocopy", "sends_plain", "sends_splice"),
            *("send_bytes_zerocopy", "send_bytes_plain", "send_bytes_splice"),
            *("notifications_zero_copied", "notifications_copied", "notifications_unknown"),
            *("delivered_zero_copied", "delivered_copied"),
            *("due_ms", "evicted_bytes", "plans_admitted", "plans_declined", "plans_evicted"),
            *(
                "leases_open",
                "leased_bytes",
                "lease_us_sum",
                "mappings_open",
                "mapped_bytes",
                "registered_bytes",
            ),
            *("zombies_open", "windows_open", "pool_bytes", "entries_open"),
            *("compressions_pending", "compressed_bytes", "digest_bytes"),
            *("connections_open", "connections_total"),
            *("plan_hits", "plan_misses", "plans_open", "stale_completions", "enters", "completions"),
            *("tls_handshakes_completed", "tls_handshakes_failed", "tls_handshakes_timeout"),
            *("tls_connections_kernel", "tls_connections_library"),
            *("timeouts_head", "timeouts_idle", "timeouts_stall", "aborts", "accept_errors"),
            *(
                "access_dropped",
                "fills",
                "fill_bytes",
                "evictions",
                "held_bytes",
                "refused_memory",
                "refused_address",
                "refused_proxy_peer",
                "refused_proxy_header",
                "refused_rate",
            ),
        ),
        1,
    ),
}


def stub_stats() -> Any:
    """A stub of zchttpd._core.stats."""
    module: Any = ModuleType("zchttpd._core.stats")
    module.CELLS = {}
    first = 0
    for name, count in CELL_COUNTS.items():
        module.CELLS[name] = (first, count)
        first += count
    module.STATS_BYTES = (first * 8 + 4095) // 4096 * 4096
    module.LEASE_BOUNDS_US = (10, 1000, 2_500_000)
    module.LATENCY_BOUNDS_US = (100, 2_500_000)
    module.LATENCY_LABELS = (("2xx", "0"), ("2xx", "16K"))
    module.ADMISSIONS = ("admitted", "seldom", "no_room", "outweighed")
    module.FALLBACK_REASONS = ("copied", "memlock", "windows")
    module.ROUTES = ("loopback", "network")
    return module


class _StubEngine:
    def __init__(self, name: str, plan: dict[str, Any]) -> None:
        self.name = name
        self.plan = plan

    def serve(
        self,
        settings: Any,
        listeners: Any,
        stats: memoryview,
        worker: int,
        *,
        moved: Callable[[], None] | None,
        ready: Callable[[dict[str, object]], None],
        **_more: Any,
    ) -> None:
        listener: socket.socket = listeners[0].socket
        start = self.plan.get("start", "well")
        if start == "raise":
            raise RuntimeError("no such luck")
        if start == "killed":
            signal.raise_signal(signal.SIGKILL)
        if start.startswith("oserror:") and self.name == "uring":
            number = getattr(errno, start.partition(":")[2])
            raise OSError(number, os.strerror(number))
        stop_read, stop_write = os.pipe()
        if not self.plan.get("deaf"):
            # A handler in Python does not run for a signal that comes just before select(2) begins.
            os.set_blocking(stop_write, False)
            signal.set_wakeup_fd(stop_write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda *_: None)
        cells = stats.cast("Q")
        counts = {name: first for name, (first, _) in sys.modules["zchttpd._core.stats"].CELLS.items()}
        ready(
            {
                "engine": "io_uring" if self.name == "uring" else self.name,
                "send_mode": settings.send_mode,
                "missing": self.plan.get("missing", []),
                "notes": self.plan.get("notes", []),
            }
        )
        while stop_read not in select.select([listener.fileno(), stop_read], [], [])[0]:
            connection, _ = listener.accept()
            cells[counts["connections_open"]] += 1
            with connection:
                target = connection.recv(65536).split()[1]
                if target == b"/hold":
                    connection.send(b"holding\n")
                    select.select([stop_read], [], [])
                    listener.close()
                    connection.send(b"done\n")
                    return
                elif target == b"/fail":
                    raise RuntimeError("a fault of the engine")
                else:
                    cells[counts["requests"] + 200] += 1
                    connection.send(self.answer(target))
                cells[counts["connections_open"]] -= 1

    def answer(self, target: bytes) -> bytes:
        if target == b"/pid":
            return b"%d" % os.getpid()
        if target == b"/frozen":
            return b"%d" % gc.get_freeze_count()
        if target == b"/burn":
            while time.process_time() < BURN_S:
                pass
        if target == b"/confined":
            return json.dumps({name: tried(act) for name, act in TRIALS.items()}).encode()
        if target == b"/fds":
            kinds = []
            for name in os.listdir("/proc/self/fd"):
                try:
                    kinds.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
                except FileNotFoundError:  # the descriptor of the listing itself
                    continue
            return json.dumps(kinds).encode()
        return b"ok"


# What somebody would try who has taken a worker over.
TRIALS: dict[str, Callable[[], object]] = {
    "read the root": lambda: os.listdir(os.environ["STUB_ROOT"]),
    "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "read by a link of proc": lambda: os.open("/proc/self/root/etc/passwd", os.O_RDONLY),
    "make a file": lambda: os.open(os.environ["STUB_ROOT"] + "/made", os.O_WRONLY | os.O_CREAT),
    "make a process": lambda: os.fork() or os._exit(0),
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "make a socket": socket.socket,
    "rename": lambda: os.rename("/nowhere", "/else"),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "leave its namespaces": lambda: libc("unshare", 0),
    "a call that nobody knows": lambda: libc("syscall", 1000),
    "connect to a port": lambda: socket.create_connection(("127.0.0.1", 9), 60),
    "use a capability": lambda: os.chroot("/"),
    "a thread": lambda: threading.Thread(target=int).start(),
}


def libc(name: str, argument: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(ctypes.c_long(argument)) < 0:
        raise OSError(ctypes.get_errno(), "")


def tried(act: Callable[[], object]) -> str:
    """The name of the errno, or nothing."""
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def main() -> int:
    plan = json.loads(os.environ.get("STUB", "{}"))
    ring: Any = ModuleType("zchttpd._core.ring_setup")
    ring.probe = lambda: {"error": plan.get("error", "")}
    sys.modules["zchttpd._core.stats"] = stub_stats()
    sys.modules["zchttpd._core.ring_setup"] = ring
    for name in ("uring", "portable"):
        sys.modules[f"zchttpd.engine.{name}"] = _StubEngine(name, plan)  # type: ignore[assignment]
    for name in plan.get("unbuilt", []):
        sys.modules[name] = None  # type: ignore[assignment]

    from zchttpd.cli import main as zchttpd

    return zchttpd(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

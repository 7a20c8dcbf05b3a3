"""CPU, memory and machine readings from the kernel. Linux only; units are in the names."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchlib import CannotMeasure

CPUCLOCK_SCHED = 2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def process_tree(pid: int) -> tuple[int, ...]:
    """Return `pid` and all its descendants, sorted. A process that ends meanwhile is left out."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    return tuple(sorted((pid, *(child.pid for child in children))))


def cpu_ns(pids: tuple[int, ...]) -> int:
    """Return the CPU time in ns that `pids` have used: user and system, all threads, ended ones and
    io_uring workers too.

    Reads each process's CPU clock; its id is (~pid << 3) | CPUCLOCK_SCHED, see clock_getcpuclockid(3). Unlike
    the 10 ms ticks of /proc/PID/stat it counts ns, and unlike /proc/PID/schedstat it covers the whole thread
    group. Raises ProcessLookupError when one of them is gone.
    """
    total = 0
    for pid in pids:
        try:
            total += time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)
        except OSError as error:
            raise ProcessLookupError(f"process {pid} is gone") from error
    return total


def resident_bytes(pids: tuple[int, ...]) -> int:
    """Return the memory of `pids` in bytes: the proportional set size (Pss), so that shared pages count once.
    Raises OSError when one of them is gone.
    """
    texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    lines = (line for text in texts for line in text.splitlines())
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """Seconds since boot, added over some cores."""

    idle_s: float
    steal_s: float

    def __sub__(self, earlier: CoreTimes) -> CoreTimes:
        return CoreTimes(self.idle_s - earlier.idle_s, self.steal_s - earlier.steal_s)


def core_times(cores: tuple[int, ...], stat: str | None = None) -> CoreTimes:
    """Read idle (with iowait) and stolen time of `cores` from /proc/stat, or from `stat` when given; see
    proc(5). By name, as a core that is off has no line.
    """
    idle = steal = 0
    for line in (Path("/proc/stat").read_text() if stat is None else stat).splitlines():
        name, *fields = line.split()
        if name in {f"cpu{core}" for core in cores}:
            idle += int(fields[3]) + int(fields[4])
            steal += int(fields[7])
    return CoreTimes(idle / TICKS_PER_S, steal / TICKS_PER_S)


def default_cores() -> tuple[int, tuple[int, ...]]:
    """Return (server core, client cores): the first two this program may use. Raises CannotMeasure on one
    core.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise CannotMeasure(
            "one core for server and client together measures nothing; give this machine two cores"
        )
    return allowed[0], (allowed[1],)


def siblings(core: int) -> str:
    """Return the hardware threads that share `core`'s execution units, as the kernel lists them ("0" or
    "0,4").
    """
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    return path.read_text().strip() if path.exists() else str(core)


@dataclass(frozen=True, slots=True)
class Memory:
    """Machine-wide memory, bytes."""

    available: int
    slab: int
    tcp: int


def read_memory(sockstat: str | None = None) -> Memory:
    """The machine's memory, and the TCP pages of /proc/net/sockstat or of the given text."""
    text = Path("/proc/net/sockstat").read_text() if sockstat is None else sockstat
    words = next(line for line in text.splitlines() if line.startswith("TCP:")).split()
    memory = psutil.virtual_memory()
    return Memory(memory.available, memory.slab, int(words[words.index("mem") + 1]) * PAGE_BYTES)


def congestion_control() -> str:
    """What new TCP connections of this network namespace use; see tcp(7)."""
    return CONGESTION_CONTROL.read_text().strip()


def machine() -> dict[str, str]:
    """Return what a reader needs to compare figures with another machine's."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    states = {
        entry.name: entry.read_text().strip()
        for entry in sorted(Path("/sys/devices/system/cpu/vulnerabilities").glob("*"))
    }
    mitigations = [f"{name}: {text}" for name, text in states.items() if text != "Not affected"]
    return {
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": models[0].partition(":")[2].strip() if models else "unknown",
        "cores": str(os.cpu_count()),
        "memory_GiB": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "mitigations": "; ".join(mitigations) or "none",
        "congestion_control": congestion_control(),
        "python": platform.python_version(),
    }

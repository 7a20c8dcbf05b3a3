"""CPU, memory and machine readings from the kernel. Linux only; units are in the names."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

CPUCLOCK_SCHED = 2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def process_tree(pid: int) -> tuple[int, ...]:
    """Return `pid` and all its descendants, sorted. A process that ends meanwhile is left out."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            # The name in parentheses may hold spaces and parentheses itself.
            parent = int(stat[stat.rindex(")") + 2 :].split()[1])
            parents.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo.extend(parents.get(found[-1], []))
    return tuple(sorted(found))


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
    """Return the memory of `pids` in bytes: the proportional set size (Pss), so that shared pages count
    once.
    """
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """Seconds since boot, added over some cores."""

    idle_s: float
    steal_s: float

    def __sub__(self, earlier: CoreTimes) -> CoreTimes:
        return CoreTimes(self.idle_s - earlier.idle_s, self.steal_s - earlier.steal_s)


def core_times(cores: tuple[int, ...], stat: str | None = None) -> CoreTimes:
    """Read idle (with iowait) and stolen time of `cores` from /proc/stat, or from `stat` when given; see
    proc(5).
    """
    idle = steal = 0
    for line in (Path("/proc/stat").read_text() if stat is None else stat).splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            idle += int(fields[3]) + int(fields[4])
            steal += int(fields[7])
    return CoreTimes(idle / TICKS_PER_S, steal / TICKS_PER_S)


@dataclass(frozen=True, slots=True)
class Memory:
    """Machine-wide memory, bytes."""

    available: int
    slab: int
    tcp: int


def read_memory(meminfo: str | None = None, sockstat: str | None = None) -> Memory:
    """Read MemAvailable and Slab of /proc/meminfo and the TCP pages of /proc/net/sockstat, or the given
    texts.
    """
    fields = {}
    for line in (Path("/proc/meminfo").read_text() if meminfo is None else meminfo).splitlines():
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    tcp_pages = 0
    for line in (Path("/proc/net/sockstat").read_text() if sockstat is None else sockstat).splitlines():
        words = line.split()
        if words[0] == "TCP:":
            tcp_pages = int(words[words.index("mem") + 1])
    return Memory(fields["MemAvailable"], fields["Slab"], tcp_pages * PAGE_BYTES)


def machine() -> dict[str, str]:
    """Return what a reader needs to compare figures with another machine's."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    mitigations = set()
    for entry in Path("/sys/devices/system/cpu/vulnerabilities").glob("*"):
        text = entry.read_text().strip()
        if text != "Not affected":
            mitigations.add(f"{entry.name}: {text}")
    return {
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "memory_GiB": f"{os.sysconf('SC_PHYS_PAGES') * PAGE_BYTES / 2**30:.1f}",
        "mitigations": "; ".join(sorted(mitigations)) or "none",
        "python": platform.python_version(),
    }


def siblings(core: int) -> str:
    """Return the hardware threads that share `core`'s execution units, as the kernel lists them ("0" or
    "0,4").
    """
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    return path.read_text().strip() if path.exists() else str(core)

"""The memory limit of this process, and smaller defaults of the memory options below it.

The limits are those of the control groups of this process (cgroups(7): memory.max and memory.high, or
memory.limit_in_bytes of version 1), of its own and of all above it, and the memory of the machine. What a
worker registers and what it caches counts there, and none of it can be written back.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zchttpd.config.options import MIB, flag_of, format_size
from zchttpd.engine.limits import TLS_CONNECTION_SIZE, evicted_max, held_max, parts_max

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zchttpd.config.load import Given
    from zchttpd.config.settings import Settings

# Of each process, the supervisor too: Python, its modules, buffers; measured at 12 MiB when idle.
PROCESS_SIZE = 16 * MIB
# Of the rest, what the defaults take: evicted files that are still read, connections and heads take more.
DEFAULTS_PART = 2
_VERSION_2 = ("memory.max", "memory.high")
_VERSION_1 = ("memory.limit_in_bytes",)


@dataclass(frozen=True, slots=True)
class Limit:
    """`size`: bytes that this process and its children may use; `source`: who says so, for a sentence."""

    size: int
    source: str

    def __str__(self) -> str:
        return f"{self.source} is {shown(self.size)}"


def memory_limit(top: Path = Path("/")) -> Limit:
    """The lowest limit. `top`: where proc and sys are."""
    found = [Limit(_machine_size(top), "the memory of this machine")]
    for mount, own, names in _groups(top):
        for group in (own, *own.parents):
            for name in names:
                text = read(group / name)
                if text.isdecimal():
                    found.append(Limit(int(text), f"{name} of {'/' / group.relative_to(top)}"))
            if group == mount:
                break
    return min(found, key=lambda limit: limit.size)


class OutOfMemory:
    """Counts kills by the kernel for lack of memory: of this control group, or of this machine where there is
    none.
    """

    def __init__(self, top: Path = Path("/")) -> None:
        self._files = [
            own / ("memory.events" if names is _VERSION_2 else "memory.oom_control")
            for _, own, names in _groups(top)
        ]
        self._files.append(top / "proc/vmstat")
        self._count = self._kills()

    def risen(self) -> bool:
        """Whether there were any since the last call."""
        before, self._count = self._count, self._kills()
        return self._count > before

    def _kills(self) -> int:
        for file in self._files:
            match = re.search(r"^oom_kill (\d+)$", read(file), re.MULTILINE)
            if match:
                return int(match[1])
        return 0


def fit(given: Given, limit: Limit) -> tuple[Settings, list[str]]:
    """The settings with defaults that fit below `limit`, and lines for the start report: what became less,
    and what was given and may not fit. All options of memory are for each worker.
    """
    settings, sizes = given.settings, _sizes(given.settings)
    free = {name: size for name, size in sizes.items() if name not in given.sources}
    room = _room(settings, limit) - (sum(sizes.values()) - sum(free.values()))
    lines = []
    less: dict[str, Any] = {}
    if sum(free.values()) > room:
        for name, default in free.items():
            share = max(0, room) * default // sum(free.values()) // MIB * MIB
            less[name] = min(default, max(share, _least(settings, name)))
        told = [
            f"{flag_of(name)} is {shown(size)} instead of {shown(free[name])}"
            for name, size in less.items()
            if size < free[name]
        ]
        if told:
            lines.append(
                f"memory: {', '.join(told)}, because {limit}. Raise that, or type the size that you want"
            )
        settings = replace(settings, **less)
    if most(settings) > limit.size and len(free) < len(sizes):
        lines.append(
            f"memory: {budgets(settings)} may take {shown(most(settings))} in all, and {limit}, so workers"
            f" may be killed. Type --memory {shown(advised(settings, limit))}, or raise the limit"
        )
    return settings, lines


def budgets(settings: Settings) -> str:
    """The options of memory as they are typed, and how often they count."""
    told = " ".join(f"{flag_of(name)} {shown(size)}" for name, size in _sizes(settings).items())
    return f"{told} for each of {settings.worker_count} workers" if settings.worker_count > 1 else told


def most(settings: Settings) -> int:
    """Bytes that all processes take at most, but for what the kernel keeps for connections."""
    each = sum(_sizes(settings).values()) + beside(settings)
    return settings.worker_count * (each + PROCESS_SIZE) + PROCESS_SIZE


def beside(settings: Settings) -> int:
    """Bytes of each worker beside the options of memory: what clients have it hold, and receive buffers."""
    received = settings.recv_buffers * settings.recv_buffer_size
    tls = settings.connections_max * TLS_CONNECTION_SIZE if settings.tls_cert else 0
    return evicted_max(settings) + held_max(settings) + parts_max(settings) + received + tls


def advised(settings: Settings, limit: Limit) -> int:
    """A --memory that fits below `limit`, and is less than the one of `settings`."""
    others = sum(_sizes(settings).values()) - settings.memory
    wanted = min(settings.memory // 2, _room(settings, limit) - others)
    return max(MIB, wanted // MIB * MIB)


def shown(size: int) -> str:
    """As one would type it, without more digits than help."""
    return format_size(size if size < 8 * MIB else size // MIB * MIB)


def _sizes(settings: Settings) -> dict[str, int]:
    """The options of memory that count, by name."""
    sizes = {"memory": settings.memory, "stream_memory": settings.stream_memory}
    return {**sizes, "compress_memory": settings.compress_memory} if settings.compress else sizes


def _least(settings: Settings, name: str) -> int:
    """The size that the other options need."""
    if name == "stream_memory":
        return settings.window_size * settings.windows_per_connection
    return settings.compress_size_max if name == "compress_memory" else MIB


def _room(settings: Settings, limit: Limit) -> int:
    """Bytes for the options of memory of one worker."""
    left = limit.size - PROCESS_SIZE * (settings.worker_count + 1)
    return max(0, left) // DEFAULTS_PART // settings.worker_count


def _machine_size(top: Path) -> int:
    match = re.search(r"^MemTotal: +(\d+) kB$", read(top / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups(top: Path) -> Iterator[tuple[Path, Path, tuple[str, ...]]]:
    """(where it is mounted, this process's own group, names of limits) of each hierarchy with memory."""
    own: dict[str, str] = {}
    for line in read(top / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    for line in read(top / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = (*after.split(" "), "", "")[:3]
        controller = {"cgroup2": "", "cgroup": "memory"}.get(kind)
        if controller not in own or (controller and controller not in options.split(",")):
            continue
        path, names = own[controller], _VERSION_1 if controller else _VERSION_2
        # proc_pid_mountinfo(5): the part of the hierarchy that is mounted, and where.
        part, place = (
            re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), each) for each in before.split()[3:5]
        )
        part = part.rstrip("/")
        # A namespace shows its own group as the topmost one.
        inside = path[len(part) :] if f"{path}/".startswith(f"{part}/") and ".." not in path else ""
        mount = top / place.lstrip("/")
        yield mount, mount / inside.strip("/"), names


def read(path: Path) -> str:
    """The text of a file of the kernel; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

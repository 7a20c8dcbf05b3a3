"""What a server holds: of each process its descriptors, mappings, threads and memory; of all what is open."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..wire.servers import Server

KIB = 1024
MIB = 1024 * KIB
# What the shared counters must say at rest, where every file has been forgotten.
GAUGES = (
    "leases_open",
    "leased_bytes",
    "mappings_open",
    "mapped_bytes",
    "zombie_mappings_open",
    "windows_open",
    "held_bytes",
    "connections_open",
    "compressions_pending",
)
# A few stay open for the next splice: two descriptors each (_core/pipes.pyx). A loop has one of its own.
PIPES_MAX = 10
# Pools get their threads one by one, as they are wanted (files/singleflight.py, _core/readers.pyx).
THREADS_MAX = 48
# Of each: a stack, its guard, and two of the allocator.
MAPPINGS_OF_A_THREAD = 4
# Allocators keep what they were given, each in pieces of its own.
MAPPINGS_SPARE = 32
MEMORY_SPARE = 24 * MIB


@dataclass(frozen=True)
class Process:
    """What one process holds; memory in bytes. Mappings and memory are 0 where a sanitizer has its own."""

    descriptors: Counter[str]
    mappings: int
    threads: int
    resident: int
    proportional: int

    @staticmethod
    def of(pid: int) -> Process:
        """That of a process that runs."""
        at = Path("/proc", str(pid))
        kinds: Counter[str] = Counter()
        for fd in (at / "fd").iterdir():
            with suppress(FileNotFoundError):
                kinds[re.sub(r"\d+|:.*", "", str(fd.readlink()))] += 1
        maps = (at / "maps").read_text().splitlines()
        # Those of libraries, which are loaded when they are first wanted, are left out.
        sanitized = any("libasan" in line for line in maps)
        mappings = 0 if sanitized else sum(".so" not in line for line in maps)
        rollup = (at / "smaps_rollup").read_text()

        def memory(field: str) -> int:
            match = re.search(rf"^{field}: +(\d+) kB", rollup, re.MULTILINE)
            assert match, f"no {field} of {pid}"
            return 0 if sanitized else int(match[1]) * KIB

        # Those of io_uring itself come and go.
        names = [(task / "comm").read_text() for task in (at / "task").iterdir()]
        threads = sum(not name.startswith("iou-") for name in names)
        return Process(kinds, mappings, threads, memory("Rss"), memory("Pss"))

    def growth(self, before: Process) -> list[str]:
        """What is more than it was, beyond what may be kept for the next time."""
        grown = []
        for kind, count in self.descriptors.items():
            most = max(before.descriptors[kind], PIPES_MAX) if kind == "pipe" else before.descriptors[kind]
            if count > most:
                grown.append(f"descriptors of {kind}: {before.descriptors[kind]} -> {count}")
        more_threads = max(0, self.threads - before.threads)
        for name, spare in (
            ("mappings", MAPPINGS_SPARE + MAPPINGS_OF_A_THREAD * more_threads),
            ("resident", MEMORY_SPARE),
            ("proportional", MEMORY_SPARE),
        ):
            was, now = getattr(before, name), getattr(self, name)
            if now > was + spare:
                grown.append(f"{name}: {was} -> {now}")
        if self.threads > max(before.threads, THREADS_MAX):
            grown.append(f"threads: {before.threads} -> {self.threads}")
        return grown


@dataclass(frozen=True)
class Footprint:
    """A server at rest."""

    supervisor: Process
    workers: tuple[Process, ...]
    metrics: Mapping[str, float]

    @staticmethod
    def of(server: Server) -> Footprint:
        """That of a server that nobody asks anything."""
        metrics = server.metrics()
        workers = [Process.of(pid) for pid in server.pids() if pid != server.pid]
        assert workers
        return Footprint(Process.of(server.pid), tuple(workers), metrics)

    def growth(self, before: Footprint) -> list[str]:
        """What has grown since. Both have as many workers, which need not be the same ones."""
        assert len(self.workers) == len(before.workers)
        grown = [f"supervisor, {what}" for what in self.supervisor.growth(before.supervisor)]
        by_size = [sorted(each.workers, key=lambda worker: worker.resident) for each in (self, before)]
        for now, was in zip(*by_size, strict=True):
            grown += [f"worker, {what}" for what in now.growth(was)]
        return grown + [f"{name}: {self.metrics[name]:g}" for name in GAUGES if self.metrics[name]]

    def row(self, when: str) -> str:
        """A line of the table below `HEADER`."""
        cells = [
            (
                name,
                sum(each.descriptors.values()),
                each.mappings,
                each.threads,
                each.resident,
                each.proportional,
            )
            for name, each in (("supervisor", self.supervisor), *(("worker", each) for each in self.workers))
        ]
        return "\n".join(
            f"| {when} | {name} | {fds} | {maps} | {threads} | {rss / MIB:.1f} | {pss / MIB:.1f} |"
            for name, fds, maps, threads, rss, pss in cells
        )


HEADER = """\
| when | process | descriptors | mappings | threads | RSS, MiB | PSS, MiB |
|---|---|---|---|---|---|---|"""

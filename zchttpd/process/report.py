"""The start report: the start line, and a line for each thing that is missing or too low. Ends of workers."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from zchttpd import __version__
from zchttpd.engine.limits import files_needed, memory_needed
from zchttpd.process import doctor
from zchttpd.process.sockets import url_for_others, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from zchttpd.config.settings import Settings
    from zchttpd.engine.listener import Listener


@dataclass(slots=True)
class Report:
    """What the workers said when they were ready, none of it twice."""

    engine: str = ""
    send_mode: str = ""
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, said: Mapping[str, object]) -> list[str]:
        """What one worker said: see `zchttpd.process.worker.Serve`. Returns the notes that are new."""
        self.engine = str(said.get("engine", self.engine))
        self.send_mode = str(said.get("send_mode", self.send_mode))
        count = len(self.notes)
        for known, key in ((self.missing, "missing"), (self.notes, "notes")):
            known.extend(str(line) for line in cast("list[str]", said.get(key, [])) if line not in known)
        return self.notes[count:]

    def lines(self, settings: Settings, listeners: Sequence[Listener], *, admin: str) -> list[str]:
        """The whole report. `listeners`: where files are served; `admin`: where metrics are, or empty."""
        count = settings.worker_count
        workers = "1 worker" if count == 1 else f"{count} workers"
        root = str(settings.root).rstrip("/") + "/"
        url = url_of(listeners[0].socket, tls=bool(settings.tls_cert))
        lines = [
            f"zchttpd {__version__} serving {root} at {url}"
            f" ({self.engine}, send mode {self.send_mode}, {workers})"
        ]
        if admin:
            lines.append(f"metrics at {admin}/metrics")
        for index, each in enumerate(listeners):
            lines += _about(each, settings, first=index == 0)
        lines += sites_of(settings)
        if settings.user:
            memory = doctor.locked_memory(memory_needed(settings))
            # Where it is low the workers have said so.
            text = "" if memory.fix else f"; locked memory: {memory.text}"
            lines.append(f"user {settings.user}, uid {os.getuid()}{text}")
        for name in self.missing:
            lines.append(doctor.missing_feature(name, asked=name in settings.without))
        lines += self.notes
        files = doctor.open_files(files_needed(settings))
        if files.fix:
            lines.append(f"{files.subject}: {files.text}. Fix: {files.fix}")
        return lines


def _about(listener: Listener, settings: Settings, *, first: bool) -> Iterator[str]:
    tls = bool(settings.tls_cert)
    url, others = url_of(listener.socket, tls=tls), url_for_others(listener.socket, tls=tls)
    if not first:
        yield f"also at {url}"
    if listener.proxy:
        named = ", ".join(map(str, settings.proxy_from)) if listener.who == "named" else "whoever may enter"
        yield f"PROXY headers name the clients at {url}, from {named}"
    elif others:
        yield f"listening on all addresses; from other machines: {others}"


def sites_of(settings: Settings) -> Iterator[str]:
    """A line for each site, and one for the hosts of none."""
    for site in settings.sites:
        root = str(site.of(settings).root).rstrip("/") + "/"
        yield f"site {', '.join(site.names)}: {root}"
    if settings.sites:
        others = f"{settings.root}".rstrip("/") + "/"
        yield f"any other host: {others if settings.unknown_host == 'root' else settings.unknown_host}"


def how_it_ended(code: int) -> str:
    """How a process ended, in words; `code` as `os.waitstatus_to_exitcode` gives it."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"left with exit code {code}"

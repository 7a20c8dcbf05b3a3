"""What happens to a fleet under load: a worker is killed, a server is killed, drained, added, unplugged, and
one comes back.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench.fleet.servers import ADMIN_PORT, PORT, Server
from benchlib import CannotMeasure, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.fleet.front import Front
    from bench.fleet.load import Load
    from bench.fleet.servers import Machine

STEPS = ("worker", "kill", "drain", "add", "unplug")
# Answers that must come between one change and the next.
BETWEEN = 300


class Changes:
    """`start` puts a server on a machine. Whoever runs is in `servers`, by name."""

    def __init__(
        self, front: Front, load: Load, start: Callable[[Machine], Server], servers: dict[str, Server]
    ) -> None:
        self._front = front
        self._load = load
        self._start = start
        self._servers = servers

    def perform(self, steps: Sequence[str], spare: Machine) -> Iterator[str]:
        """Those of STEPS that are named, in their order, and what has happened; who was killed comes back in
        the end. Raises CannotMeasure where one has not.
        """
        changes: dict[str, Callable[[], str]] = {
            "worker": partial(self._kill_worker, "four"),
            "kill": partial(self._kill, "one"),
            "drain": partial(self._drain, "two"),
            "add": partial(self._add, spare),
            "unplug": partial(self._unplug, "three"),
        }
        chosen = [change for step, change in changes.items() if step in steps]
        if "kill" in steps:
            chosen.append(partial(self._restart, "one"))
        for change in chosen:
            self._load.wait_for_more(BETWEEN)
            what = change()
            say(f"{what}; {self._load.answers} answers, {len(self._load.failures)} failures")
            yield what
        self._load.wait_for_more(BETWEEN)

    def _kill_worker(self, name: str) -> str:
        self._servers[name].kill_worker()
        return f"a worker of {name} killed"

    def _kill(self, name: str) -> str:
        self._servers[name].kill()
        self._front.wait_until(name, "DOWN")
        return f"{name} killed"

    def _drain(self, name: str) -> str:
        """As a new version of the machine itself is put in: nobody new, the last answer, then it leaves."""
        self._front.order(f"set server files/{name} state drain")
        self._front.wait_for(name, "without work", lambda row: row["scur"] == "0")
        code = self._servers.pop(name).leave()
        if code:
            raise CannotMeasure(f"{name} was told to leave, and ended with {code}")
        self._front.order(f"set server files/{name} state maint")
        return f"{name} drained"

    def _add(self, machine: Machine) -> str:
        server = self._start(machine)
        self._servers[server.name] = server
        where = f"{machine.address}:{PORT}"
        how = f"send-proxy-v2 check port {ADMIN_PORT} inter 1s fall 2 rise 2 observe layer4"
        self._front.order(f"add server files/{server.name} {where} id {machine.number} {how}")
        self._front.order(f"enable health files/{server.name}")
        self._front.order(f"enable server files/{server.name}")
        self._works(server)
        return f"{server.name} added"

    def _unplug(self, name: str) -> str:
        self._servers[name].machine.unplug()
        self._front.wait_until(name, "DOWN")
        return f"{name} unplugged"

    def _restart(self, name: str) -> str:
        server = self._servers[name] = self._start(self._servers[name].machine)
        self._works(server)
        return f"{name} started again"

    def _works(self, server: Server) -> None:
        """Until it has its share of the requests."""
        self._front.wait_until(server.name, "UP")
        before = int(self._front.stats(server.name)["stot"])
        self._front.wait_for(server.name, "asked for files", lambda row: int(row["stot"]) > before)

"""Machines of a network of this run's own, and a zchttpd on each."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from bench.namespaces import run_ip
from benchlib import CannotMeasure
from benchlib.proc import process_tree
from benchlib.scrape import read_counters, total
from benchlib.server import START_S_MAX, die_with_parent, find_tool, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What deploy/haproxy/haproxy.cfg has (RFC 5737, TEST-NET-1).
FRONT = "192.0.2.1"
NAMES = ("one", "two", "three", "four", "five")
PORT, ADMIN_PORT = 8080, 9090
END_S_MAX = 30.0


class Machine:
    """A network namespace with one address on the bridge, for as long as `holder` lives."""

    def __init__(self, number: int, holder: subprocess.Popen[str]) -> None:
        self.number = number
        self.address = f"192.0.2.{10 + number}"
        self._port = f"port{number}"
        net = f"--net=/proc/{holder.pid}/ns/net"
        self.inside = (find_tool("nsenter", "util-linux"), net)
        run_ip(f"link add {self._port} type veth peer name eth0 netns {holder.pid}")
        run_ip(f"link set {self._port} master fleet up")
        run_ip(f"addr add {self.address}/24 dev eth0", inside=self.inside)
        for device in ("lo", "eth0"):
            run_ip(f"link set {device} up", inside=self.inside)

    def unplug(self) -> None:
        """Nothing comes or goes any more, and nobody is told."""
        run_ip(f"link set {self._port} down")


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """A bridge where this program is, with `count` machines on it. Raises CannotMeasure."""
    run_ip("link set lo up")
    run_ip("link add fleet type bridge")
    run_ip(f"addr add {FRONT}/24 dev fleet")
    run_ip("link set fleet up")
    unshare = find_tool("unshare", "util-linux")
    with ExitStack() as stack:
        made = []
        for number in range(1, count + 1):
            holder = subprocess.Popen(
                [unshare, "--net", "sh", "-c", "echo ready; exec cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
            stack.enter_context(holder)
            stack.callback(holder.kill)
            assert holder.stdout is not None
            if not holder.stdout.readline():
                raise CannotMeasure(
                    "a network namespace cannot be made; see /proc/sys/user/max_net_namespaces"
                )
            made.append(Machine(number, holder))
        yield made


class Server:
    """A zchttpd with one worker on a machine of its own. Raises CannotMeasure when it does not start."""

    def __init__(self, machine: Machine, program: str, root: Path, log: Path, *options: str) -> None:
        self.machine = machine
        self.name = NAMES[machine.number - 1]
        self._log = log / f"{self.name}.log"
        address = machine.address
        where = ("--listen", f"{address}:{PORT},proxy", "--proxy-from", FRONT)
        argv = [program, "--root", str(root), *where, "--admin", f"{address}:{ADMIN_PORT}", *options]
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                [*machine.inside, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        until = time.monotonic() + START_S_MAX
        while True:
            if self._child.poll() is not None or time.monotonic() > until:
                self.stop()
                raise CannotMeasure(f"{self.name} did not start:\n{self._log.read_text()}")
            with suppress(OSError):
                self.counters()
                return
            time.sleep(0.05)

    def counters(self) -> dict[str, float]:
        """Raises OSError."""
        return read_counters(self.machine.address, ADMIN_PORT)

    def answers(self) -> float:
        """Responses so far. Raises OSError."""
        return total(self.counters(), "zchttpd_requests_total")

    def kill(self) -> None:
        """As the kernel kills for lack of memory: all of it, without a word."""
        os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def kill_worker(self) -> None:
        """As a fault of its own ends it; returns when another one is there. Raises OSError, CannotMeasure."""
        before, until = self._restarts(), time.monotonic() + START_S_MAX
        worker = next(pid for pid in process_tree(self._child.pid) if pid != self._child.pid)
        os.kill(worker, signal.SIGKILL)
        while self._restarts() == before:
            if time.monotonic() > until:
                raise CannotMeasure(f"{self.name} has no worker any more:\n{self._log.read_text()}")
            time.sleep(0.05)

    def _restarts(self) -> float:
        return total(self.counters(), "zchttpd_worker_restarts_total")

    def leave(self) -> int:
        """Ask it to drain; its exit code."""
        self._child.terminate()
        return self._child.wait(END_S_MAX)

    def stop(self) -> None:
        stop(self._child)

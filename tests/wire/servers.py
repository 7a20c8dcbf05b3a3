"""Servers under test: real subprocesses on ports of their own, and what can be read of them from outside."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client import Address, Peer, Reply, eventually, refused, request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# (engine, send mode); every case runs on each of them.
ENGINES: tuple[tuple[str, str], ...] = (
    ("uring", "zerocopy"),
    ("uring", "plain"),
    ("uring", "auto"),
    ("portable", "zerocopy"),
    ("portable", "auto"),
)

CONFINED = Path(__file__).with_name("confined.py")
START_S = 60.0
PR_SET_CHILD_SUBREAPER = 36
_LOOPBACK = r"https?://(?:127\.0\.0\.1|0\.0\.0\.0):(\d+)"
SENDS_ZEROCOPY = 'sends_total{mode="zerocopy"}'


def command() -> str:
    """The `zchttpd` to test: ZCHTTPD in the environment, else the one installed beside this interpreter."""
    named = os.environ.get("ZCHTTPD")
    found = named or shutil.which("zchttpd", path=str(Path(sys.executable).parent))
    assert found, "no zchttpd beside this interpreter. Type: make dev (or set ZCHTTPD to the command to test)"
    return found


def confined_by(confinement: list[str]) -> list[str]:
    """What starts a server with less than this user has: always without the right to read every file.
    Where that is all, setpriv(1) does it in a tenth of the time.
    """
    if confinement:
        return [sys.executable, str(CONFINED), *confinement]
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def name_of(engine: str, send_mode: str) -> str:
    """How a server is called in test ids."""
    return f"{engine}-{send_mode}"


def flags_of(name: str, value: object) -> list[str]:
    """How an option is typed: True as a switch, a tuple as many times, a tuple in it as several words; None
    not at all.
    """
    flag = "--" + name.replace("_", "-")
    if value is None:
        return []
    if value is True:
        return [flag]
    texts = value if isinstance(value, tuple) else (value,)
    words = [text if isinstance(text, tuple) else (text,) for text in texts]
    return [word for each in words for word in (flag, *map(str, each))]


class Server:
    """One running `zchttpd`. Options are fields of Settings: `revalidate_ms=50` is `--revalidate-ms 50`.

    `passed`: a listener that it is given, with a name, as a service manager does.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        engine: str = "uring",
        send_mode: str = "auto",
        memlock: int | None = None,
        nofile: int | None = None,
        cgroup: Path | None = None,
        passed: socket.socket | None = None,
        passed_name: str = "http",
        left_open: Sequence[int] = (),
        **options: object,
    ) -> None:
        chosen = {
            "root": root,
            "port": 0,
            "admin": "127.0.0.1:0",
            "engine": engine,
            "send_mode": send_mode,
            **options,
        }
        flags = [text for name, value in chosen.items() for text in flags_of(name, value)]
        limits = {"--memlock": memlock, "--nofile": nofile, "--cgroup": cgroup}
        confinement = [
            word for flag, value in limits.items() if value is not None for word in (flag, str(value))
        ]
        if passed is not None:
            confinement += ["--pass", str(passed.fileno()), passed_name]
        self.name = name_of(engine, send_mode)
        self.send_mode = send_mode
        self.lost_workers = False
        self._stderr = os.memfd_create("stderr")
        self._stdout = os.memfd_create("stdout")
        self._process = subprocess.Popen(
            [*confined_by(confinement), command(), *flags],
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
            env=environment(),
            pass_fds=[*left_open, *(() if passed is None else (passed.fileno(),))],
        )
        self.pid = self._process.pid
        self._successors: list[int] = []
        try:
            if passed is not None and passed.family == socket.AF_UNIX:
                self.address: Address = passed.getsockname()
            else:
                self.address = str(options["unix"]) if "unix" in options else self._listening()
            self.admin = self._announced(rf"\b(?:admin|metrics) at {_LOOPBACK}")
        except BaseException:
            self.kill()
            raise

    def _listening(self) -> tuple[str, int]:
        return self._announced(rf"^(?!.*\b(?:admin|metrics) at).* at {_LOOPBACK}")

    def _announced(self, pattern: str) -> tuple[str, int]:
        """The address that a start line tells."""

        def settled() -> bool:
            return bool(re.search(pattern, self.stdout(), re.MULTILINE)) or self._process.poll() is not None

        eventually("the server says its address", settled, START_S)
        match = re.search(pattern, self.stdout(), re.MULTILINE)
        assert match, f"the server did not start: exit {self._process.poll()}\n{self.stdout()}{self.stderr()}"
        return ("127.0.0.1", int(match[1]))

    def stdout(self) -> str:
        """What it has printed so far."""
        return os.pread(self._stdout, 1 << 20, 0).decode()

    def stderr(self) -> str:
        """What it has complained about so far."""
        return os.pread(self._stderr, 1 << 20, 0).decode()

    def peer(self, *, receive_buffer: int | None = None, source: str | None = None) -> Peer:
        """A new connection to it."""
        return Peer(self.address, receive_buffer=receive_buffer, source=source)

    def ask(self, request: bytes) -> Reply:
        """One request on a connection of its own."""
        with self.peer() as peer:
            return peer.ask(request)

    def metrics(self) -> dict[str, float]:
        """Samples of /metrics.json by `name` or `name{label="value"}`, without the prefix `zchttpd_`."""
        url = f"http://127.0.0.1:{self.admin[1]}/metrics.json"
        with urllib.request.urlopen(url, timeout=START_S) as answer:
            samples: dict[str, float] = json.load(answer)
        return {name.removeprefix("zchttpd_"): value for name, value in samples.items()}

    def metric(self, name: str) -> float:
        """One sample; a name that does not exist is an error, not a zero."""
        samples = self.metrics()
        assert name in samples, f"no metric {name}; there are {sorted(samples)}"
        return samples[name]

    def at_rest(self) -> bool:
        """Whether nothing is open and every zero-copy send has had its notification, but for those of workers
        that were killed: `lost_workers` says that there were some.
        """
        now = self.metrics()
        notifications = sum(
            value for name, value in now.items() if name.startswith("zerocopy_notifications_total")
        )
        missing = now[SENDS_ZEROCOPY] - notifications
        accounted = missing == 0 or (missing > 0 and self.lost_workers)
        return now["leases_open"] == 0 and now["connections_open"] == 0 and accounted

    def wait_for_rest(self) -> None:
        """Until `at_rest`; fails with the numbers that stand out."""
        try:
            eventually("at rest", self.at_rest)
        except AssertionError as error:
            odd = {
                name: value for name, value in self.metrics().items() if re.search("open|sends|notif", name)
            }
            raise AssertionError(f"{self.name} does not come to rest: {odd}") from error

    def pids(self) -> list[int]:
        """The supervisor and its workers."""
        family, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except (FileNotFoundError, ProcessLookupError):
                # It has ended since its parent was asked.
                continue
            family.append(pid)
            queue += map(int, children.split())
        return sorted(family)

    def fds(self) -> int:
        """Open file descriptors of the workers; the supervisor's come and go with the metrics."""
        return len(self._fds())

    def fds_but_pipes(self) -> int:
        """The same without pipes: a few of them stay open for the next splice."""
        return sum(not name.startswith("pipe:") for name in self._fds())

    def _fds(self) -> list[str]:
        workers = [pid for pid in self.pids() if pid != self.pid] or [self.pid]
        names = []
        for fd in (fd for pid in workers for fd in Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(FileNotFoundError):  # closed since
                names.append(str(fd.readlink()))
        return names

    def resident(self, field: str = "VmRSS") -> int:
        """Bytes resident now (or, with VmHWM, at most so far) in the largest process of the family."""

        def of(pid: int) -> int:
            match = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
            assert match, f"no {field} of {pid}"
            return int(match[1]) * 1024

        return max(of(pid) for pid in self.pids())

    def send(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        os.kill(self.pid, number)

    def says(self, pattern: str) -> list[str]:
        """What it has said so far of this kind, on either stream: groups, or whole matches."""
        return re.findall(pattern, self.stdout() + self.stderr())

    def reload(self) -> str:
        """Have it read its options again; the line that says how that went."""
        how = r"supervisor: ((?:not )?reloaded.*)"
        before = self.says(how)
        self.send(signal.SIGHUP)
        eventually("it has read its options", lambda: len(self.says(how)) > len(before))
        # Both streams have grown at their ends alone.
        return next(line for line in self.says(how) if self.says(how).count(line) > before.count(line))

    def upgrade(self) -> None:
        """Have a new version take over, which is `pid` from then on."""
        # It comes to us when the old one has left.
        _adopt_orphans(True)
        how = r"process (\d+) serves from now on"
        before = len(self.says(how))
        self.send(signal.SIGUSR2)
        eventually("a new version serves", lambda: len(self.says(how)) > before, START_S)
        self.pid = int(self.says(how)[-1])
        self._successors.append(self.pid)

    def terminate(self) -> None:
        """Ask it to drain and leave; `wait` tells how that went."""
        self.send(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code."""
        code = self._process.wait(timeout=START_S)
        for pid in self._successors:
            assert code == 0, f"a version that was replaced left with {code}"
            fd = os.pidfd_open(pid)
            assert select.select([fd], [], [], START_S)[0], f"{pid} does not end"
            os.close(fd)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._forget()
        return code

    def _forget(self) -> None:
        if self._successors:
            self._successors.clear()
            self.pid = self._process.pid
            _adopt_orphans(False)

    def kill(self) -> None:
        """Without asking; for a server that a failed test leaves behind."""
        if self._successors:
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait(timeout=START_S)
            for pid in self._successors:
                os.waitpid(pid, 0)
            self._forget()
        if self._process.poll() is None:
            orphans = [pid for pid in self.pids() if pid != self.pid]
            self._process.kill()
            self._process.wait(timeout=START_S)
            for pid in orphans:
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)
        os.close(self._stdout)
        os.close(self._stderr)

    def leave_clean(self, complaint: str = "") -> None:
        """At rest, then SIGTERM, exit 0, nobody left behind, and on stderr nothing but lines that match
        `complaint`.
        """
        try:
            self.wait_for_rest()
            workers = self.pids()
            self.terminate()
            code = self.wait()
            errors = [
                line for line in self.stderr().splitlines() if not (complaint and re.search(complaint, line))
            ]
            assert (code, errors) == (0, []), f"{self.name}: exit {code}, stderr: {errors}"
            left = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
            assert not left, f"{self.name} left processes behind: {left}"
            assert refused(self.address), f"{self.name} is gone, but its port still answers"
        finally:
            self.kill()


def _adopt_orphans(adopt: bool) -> None:
    """Whether what is left by processes below this one comes to it (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0) == 0


@dataclass(frozen=True)
class Corner:
    """A directory of one test's own, beneath the root of a server that several tests share."""

    server: Server
    path: Path

    @property
    def url(self) -> str:
        """The path of the directory, without the slash that follows."""
        return f"/{self.path.name}"

    def ask(self, path: str, *lines: str | bytes, method: str = "GET") -> Reply:
        """One request for what is in it, on a connection of its own."""
        return self.server.ask(request(self.url + path, *lines, method=method))


@contextmanager
def serving(root: Path | None, *, complaint: str = "", **options: Any) -> Iterator[Server]:
    """A server of one test, which must leave clean."""
    server = Server(root, **options)
    try:
        yield server
    except BaseException:
        print(f"{server.name} said: {server.stdout()}{server.stderr()}")
        server.kill()
        raise
    server.leave_clean(complaint)


def environment() -> dict[str, str]:
    """This environment without options of the server, and without PYTHONPATH: what is installed is tested."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ZCHTTPD_") and name != "PYTHONPATH"
    }

"""The servers under test: how each is configured, started on one core, and always stopped again."""

from __future__ import annotations

import ctypes
import grp
import hashlib
import http.client
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from measure.fetch import BadAnswer, fetch
from measure.usage import process_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from measure.kinds import Kind

HOST = "127.0.0.1"
START_S_MAX = 30.0
STOP_S_MAX = 15.0
START_TRIES = 3
NONCE = "nonce.txt"
BROTLI_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
PR_SET_PDEATHSIG = 1
COUNTERS = {
    "zero_copied": 'zchttpd_zerocopy_notifications_total{usage="zero_copied"}',
    "copied": 'zchttpd_zerocopy_notifications_total{usage="copied"}',
    "sends_zerocopy": 'zchttpd_sends_total{mode="zerocopy"}',
    "sends_plain": 'zchttpd_sends_total{mode="plain"}',
}


class CannotMeasure(Exception):
    """The measurement cannot go on; the message gives the cause and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `command` and `config` have the temporary directory replaced by RUN."""

    name: str
    kind: Kind
    pid: int
    port: int
    admin_port: int
    version: str
    command: str
    config: str
    log: Path

    def tree(self) -> tuple[int, ...]:
        return process_tree(self.pid)

    def log_tail(self) -> str:
        return _tail(self.log)

    def counters(self) -> dict[str, int] | None:
        """Return zchttpd's own zero-copy counters (COUNTERS), or None for a peer. Raises CannotMeasure."""
        if not self.kind.ours:
            return None
        try:
            connection = http.client.HTTPConnection(HOST, self.admin_port, timeout=10)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise CannotMeasure(
                f"{self.name}: no answer from its admin listener ({error}); log:\n{self.log_tail()}"
            ) from error
        return parse_counters(text)


def parse_counters(text: str) -> dict[str, int]:
    """Pick COUNTERS out of a Prometheus text page; one that is missing counts 0."""
    values = dict(re.findall(r"^([a-z_]+\{[^}]*\}) ([0-9.eE+]+)$", text, re.MULTILINE))
    return {name: int(float(values.get(sample, "0"))) for name, sample in COUNTERS.items()}


def find_tool(program: str, package: str) -> str:
    """Return the path of `program`. Raises CannotMeasure naming the Debian package to install."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        cure = f"apt-get install {package}" if package else f"pip install . (or give --{program} PATH)"
        raise CannotMeasure(f"there is no program {program!r}; type: {cure}")
    return path


def find_program(kind: Kind, override: str | None) -> str:
    """Return the path of `kind`'s program, `override` if given. Raises CannotMeasure saying what to
    install.
    """
    find_tool("taskset", "util-linux")
    if override is None:
        return find_tool(kind.program, kind.package)
    if not os.access(override, os.X_OK):
        raise CannotMeasure(f"{override} is not a program; give --{kind.program} the path of {kind.program}")
    return override


def free_port() -> int:
    """Return a TCP port of HOST that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def die_with_parent() -> None:
    """Run in a child before exec: ask for SIGTERM when the parent dies, even by SIGKILL; see prctl(2)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) or "(nothing)"


def _version(program: str, kind: Kind) -> str:
    done = subprocess.run(
        [program, *kind.version_arguments], capture_output=True, text=True, timeout=30, check=False
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].removeprefix("nginx version: ") if lines else "unknown"


def _stop(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for the server's own process group; nothing of it may outlive the run."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            print(
                f"{child.args!r} ignored SIGTERM for {STOP_S_MAX:.0f} s; killing it",
                file=sys.stderr,
                flush=True,
            )
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _wait_ready(child: subprocess.Popen[bytes], port: int, target: str, nonce_sha256: str) -> bool:
    """Wait until the server on `port` serves this run's nonce. False: it ended, or another run's server
    has the port. Raises CannotMeasure when nobody answers.
    """
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        if child.poll() is not None:
            return False
        try:
            answer = fetch(HOST, port, target, timeout_s=2.0)
        except (OSError, BadAnswer):
            time.sleep(0.05)
            continue
        return answer.status == 200 and answer.sha256 == nonce_sha256
    raise CannotMeasure(f"no answer within {START_S_MAX:.0f} s")


def _nginx_brotli() -> dict[str, str]:
    """Return the lines that let nginx send .br files, empty ones where its module is not installed."""
    for folder in BROTLI_MODULES:
        module = Path(folder) / "ngx_http_brotli_static_module.so"
        if module.exists():
            return {"modules": f"load_module {module};", "brotli": "brotli_static on;"}
    return {"modules": "", "brotli": ""}


class Site:
    """A temporary directory of this run alone: served files below `root`, everything else beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.root.mkdir()
        # Servers that drop privileges must be able to read what mkdtemp made for us alone.
        directory.chmod(0o755)
        nonce = secrets.token_bytes(32)
        (self.root / NONCE).write_bytes(nonce)
        self.nonce_sha256 = hashlib.sha256(nonce).hexdigest()


@contextmanager
def temporary_site() -> Iterator[Site]:
    """Make a Site and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="zchttpd-bench-") as directory:
        yield Site(Path(directory))


@contextmanager
def running(kind: Kind, program: str, site: Site, core: int) -> Iterator[Server]:
    """Start `kind` on `core`, yield it when it answers, and stop it with all its children. Raises
    CannotMeasure.
    """
    log = site.directory / f"{kind.name}.log"
    run = site.directory / f"{kind.name}.run"
    run.mkdir(exist_ok=True)
    config_path = site.directory / f"{kind.name}{kind.suffix}"
    user = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name
    for _ in range(START_TRIES):
        port, admin_port = free_port(), free_port()
        names = {
            "root": site.root,
            "run": run,
            "config": config_path,
            "host": HOST,
            "port": port,
            "admin": admin_port,
            "user": user,
            "group": group,
            "directory": site.directory,
            **_nginx_brotli(),
        }
        config = kind.config.format(**names)
        config_path.write_text(config)
        argv = ["taskset", "-c", str(core), program, *(item.format(**names) for item in kind.arguments)]
        more = {name: value.format(**names) for name, value in kind.environment}
        with log.open("wb") as output:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **more},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        try:
            if _wait_ready(child, port, f"{kind.prefix}/{NONCE}", site.nonce_sha256):
                shown = " ".join([*(f"{name}={value}" for name, value in more.items()), *argv])
                shown = shown.replace(program, Path(program).name).replace(str(site.directory), "RUN")
                yield Server(
                    kind.name,
                    kind,
                    child.pid,
                    port,
                    admin_port,
                    _version(program, kind),
                    shown,
                    config.replace(str(site.directory), "RUN"),
                    log,
                )
                return
        finally:
            _stop(child)
    raise CannotMeasure(f"{kind.name} did not start in {START_TRIES} tries; its last words:\n{_tail(log)}")


@contextmanager
def all_running(
    kinds: list[Kind], programs: dict[str, str], site: Site, core: int, say: Callable[[str], None]
) -> Iterator[list[Server]]:
    """Start every kind of `kinds`, yield them in that order, and stop them all whatever happens."""
    with ExitStack() as stack:
        servers = []
        for kind in kinds:
            say(f"starting {kind.name} on core {core}")
            servers.append(stack.enter_context(running(kind, programs[kind.name], site, core)))
        yield servers


@contextmanager
def ends_on_signal() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that `finally` clauses stop the servers."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)

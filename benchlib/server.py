"""The servers under test: how each is configured, started on one core, and always stopped again.

zchttpd's own are here; the peers are in bench/peers.py.
"""

from __future__ import annotations

import ctypes
import dataclasses
import grp
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from benchlib import CannotMeasure, say
from benchlib.fetch import BadAnswer, fetch
from benchlib.proc import process_tree
from benchlib.scrape import NOTIFICATIONS, Counters, growth, read_counters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOST = "127.0.0.1"
START_S_MAX = 30.0
STOP_S_MAX = 15.0
START_TRIES = 3
NONCE = "nonce.txt"
BROTLI_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
PR_SET_PDEATHSIG = 1
TEMPLATES = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of server: program, Debian package, command line for (root, run, config, host, port, admin), and
    the template of a configuration with `values` of its own.

    `prefix`: what it wants before every target. `skips`: workloads that it is not put through, and why.
    """

    name: str
    program: str
    package: str
    version_arguments: tuple[str, ...]
    arguments: tuple[str, ...]
    config: Path | None = None
    values: tuple[tuple[str, str], ...] = ()
    ours: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    skips: tuple[tuple[str, str], ...] = ()


def with_arguments(kind: Kind, name: str, *extra: str) -> Kind:
    """Return `kind` under another name with more command-line arguments."""
    return dataclasses.replace(kind, name=name, arguments=(*kind.arguments, *extra))


def _zchttpd(name: str, *extra: str) -> Kind:
    fixed = ("--root", "{root}", "--host", "{host}", "--port", "{port}", "--admin", f"{HOST}:{{admin}}")
    # As many connections as the peers get.
    limits = ("--workers", "1", "--connections-max", "16384")
    return Kind(name, "zchttpd", "", ("--version",), (*fixed, *limits, *extra), ours=True)


OURS = {
    kind.name: kind
    for kind in (
        *(_zchttpd(mode, "--send-mode", mode) for mode in ("zerocopy", "plain", "auto")),
        _zchttpd("portable", "--engine", "portable"),
    )
}


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

    def notifications(self) -> Counters | None:
        """Return how many zero-copy sends have ended, by what the kernel did; None for a peer. Raises
        CannotMeasure.
        """
        if not self.kind.ours:
            return None
        try:
            return growth({}, read_counters(HOST, self.admin_port), NOTIFICATIONS)
        except OSError as error:
            raise CannotMeasure(f"{self.name}: {error}; log:\n{self.log_tail()}") from error


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


def stop(child: subprocess.Popen[bytes], patience_s: float = STOP_S_MAX) -> None:
    """SIGTERM, then SIGKILL for the process group of `child`; nothing of it may outlive the run."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            say(f"{child.args!r} ignored SIGTERM for {patience_s:.0f} s; killing it")
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


def fill(kind: Kind, names: Mapping[str, object]) -> str:
    """The text of the configuration of `kind`."""
    if kind.config is None:
        return ""
    module = "ngx_http_brotli_static_module.so"
    modules = [str(path) for folder in BROTLI_MODULES if (path := Path(folder) / module).exists()]
    template = TEMPLATES.from_string(kind.config.read_text())
    return template.render(names, brotli_module="".join(modules[:1]), **dict(kind.values))


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
def running(kind: Kind, program: str, site: Site, core: int, host: str = HOST) -> Iterator[Server]:
    """Start `kind` on `core`, yield it when it answers, and stop it with all its children. `host`: where it
    listens, HOST among it. Raises CannotMeasure.
    """
    log = site.directory / f"{kind.name}.log"
    run = site.directory / f"{kind.name}.run"
    run.mkdir(exist_ok=True)
    names: dict[str, object] = {
        "root": site.root,
        "run": run,
        "config": run / kind.config.name if kind.config else "",
        "host": host,
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "group": grp.getgrgid(os.getegid()).gr_name,
    }
    for _ in range(START_TRIES):
        port, admin_port = free_port(), free_port()
        names.update(port=port, admin=admin_port)
        config = fill(kind, names)
        if kind.config:
            (run / kind.config.name).write_text(config)
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
                shown = shown.replace(program, Path(program).name)
                shown, config = (text.replace(str(site.directory), "RUN") for text in (shown, config))
                version = _version(program, kind)
                yield Server(kind.name, kind, child.pid, port, admin_port, version, shown, config, log)
                return
        finally:
            stop(child)
    raise CannotMeasure(f"{kind.name} did not start in {START_TRIES} tries; its last words:\n{_tail(log)}")


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

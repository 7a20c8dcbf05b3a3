"""The README's two commands on machines that have nothing: `fresh.py [SUITE...]`, as root.

For each Debian suite (bookworm and trixie where none is named) debootstrap makes a minimal root file system
with python3, make, git and sudo. In a copy of it for each user (root, and an ordinary one with sudo) the
committed tree is cloned, `make serve` is started as that user and asked for a page, and the quick tests run.
Nothing is cached there, neither Debian's packages nor Python's. Of this machine they get only the way to the
package registries: proxies, indexes, certificates.

All of it happens in namespaces of its own for mounts and processes, which end with this program, however that
ends. What it prints is kept in build/fresh/transcript.txt, beside the log of each step. The root file systems
stay in build/fresh/ for the next time. Exit status: 0 all went well, 1 not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).resolve().parents[1]
PLACE = TOP / "build" / "fresh"
SUITES = ("bookworm", "trixie")
USERS = ("root", "visitor")
# The clone may be another user's than root's.
GIT = ("git", "-c", f"safe.directory={TOP}")
PACKAGES = "python3,make,git,ca-certificates,sudo"
SYSTEM_CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")

SERVE_S = 1800.0
TESTS_S = 3600.0
END_S = 60.0

# What pip and others need to get through to the registries; never where something lies ready on this machine.
PASSED = ("index_url", "extra_index_url", "cert", "proxy", "trusted_host", "default_timeout", "retries")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


class Failed(Exception):
    """A step did not go well; the text says which and what to look at."""


def say(text: str) -> None:
    """Print a line, and keep it."""
    print(text, flush=True)
    with (PLACE / "transcript.txt").open("a") as transcript:
        print(text, file=transcript)


def output(*command: str) -> str:
    """What a command of this machine prints; empty where there is no such command or it fails."""
    with contextlib.suppress(OSError):
        return subprocess.run(command, cwd=TOP, capture_output=True, text=True).stdout
    return ""


def settings() -> dict[str, str]:
    """The environment inside: pip without a cache, and with this machine's way to its index."""
    env = {name: os.environ[name] for name in (*PROXIES, *CERTIFICATES) if name in os.environ}
    for line in output(sys.executable, "-m", "pip", "config", "list").splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2].replace("-", "_")
        value = " ".join(each for each in value.strip("'").split() if not each.startswith("file:"))
        if name in PASSED and value:
            env[f"PIP_{name.upper()}"] = value
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**env, "PATH": path, "PIP_NO_CACHE_DIR": "1"}


def mirror() -> list[str]:
    """The Debian mirror that this machine's apt uses, where it has one; debootstrap knows another."""
    target = ("Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main")
    return output("apt-get", "indextargets", "--format", "$(REPO_URI)", *target).split()[:1]


def make_base(suite: str) -> Path:
    """A minimal root file system, made once. Raises Failed."""
    base = PLACE / suite / "base"
    made = PLACE / suite / "made"
    if made.exists():
        return base
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    log = PLACE / f"{suite}-debootstrap.log"
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(base), *mirror()]
    with log.open("w") as file:
        if subprocess.run(command, stdout=file, stderr=file).returncode:
            raise Failed(f"debootstrap failed; see {log}")
    for left in (base / "var/cache/apt/archives").glob("*.deb"):
        left.unlink()
    for left in (base / "var/lib/apt/lists").glob("*_*"):
        left.unlink()
    kept = ("Acquire::http", "Acquire::Check-")
    lines = [line for line in output("apt-config", "dump", "Acquire").splitlines() if line.startswith(kept)]
    (base / "etc/apt/apt.conf.d/99fresh").write_text("".join(f"{line}\n" for line in lines))
    if (Path("/") / SYSTEM_CERTIFICATES).exists():
        shutil.copy(Path("/") / SYSTEM_CERTIFICATES, base / SYSTEM_CERTIFICATES)
    made.touch()
    return base


@contextlib.contextmanager
def copied(base: Path, user: str) -> Iterator[Path]:
    """A copy of a root file system, mounted what a system has, with the user made; removed in the end."""
    root = base.parent / user
    subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)
    subprocess.run(["cp", "-a", "--reflink=auto", base, root], check=True)
    mounts = [("proc", "-t", "proc", "proc"), ("dev", "--rbind", "/dev"), ("sys", "--rbind", "/sys")]
    for name, *how in mounts:
        subprocess.run(["mount", *how, root / name], check=True)
    try:
        if user != "root":
            subprocess.run(["chroot", root, "useradd", "--create-home", user], check=True)
            (root / "etc/sudoers.d" / user).write_text(f"{user} ALL=(ALL) NOPASSWD: ALL\n")
        bundle = root / "tmp" / "zchttpd.bundle"
        subprocess.run([*GIT, "bundle", "create", "--quiet", bundle, "HEAD"], cwd=TOP, check=True)
        bundle.chmod(0o644)
        yield root
    finally:
        for name, *_ in mounts:
            subprocess.run(["umount", "--recursive", "--lazy", root / name])
        subprocess.run(["rm", "-rf", "--one-file-system", root])


class Machine:
    """A copy of a root file system, and one user who types commands in it."""

    def __init__(self, suite: str, user: str, root: Path) -> None:
        self.suite = suite
        self.user = user
        self.root = root
        self.home = "/root" if user == "root" else f"/home/{user}"

    def log(self, step: str) -> Path:
        """Where the output of a step goes."""
        return PLACE / f"{self.suite}-{self.user}-{step.replace(' ', '-')}.log"

    def start(self, step: str, command: str) -> subprocess.Popen[bytes]:
        """Begin a shell command in the user's home, in a process group of its own."""
        env = {**settings(), "HOME": self.home, "USER": self.user}
        variables = [f"{name}={value}" for name, value in env.items()]
        line = ["chroot", f"--userspec={self.user}:{self.user}", str(self.root), "env", "-i", *variables]
        with self.log(step).open("wb") as log:
            return subprocess.Popen(
                [*line, "sh", "-c", f"cd {self.home} && {command}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, step: str, command: str, seconds: float) -> None:
        """Run a command to its end. Raises Failed where that is a bad one, or does not come in time."""
        started = time.monotonic()
        child = self.start(step, command)
        try:
            status = child.wait(seconds)
        except subprocess.TimeoutExpired:
            end(child)
            raise self.failure(step, f"not done after {seconds:.0f} s") from None
        if status:
            raise self.failure(step, f"exit status {status}")
        self.report(step, started)

    def report(self, step: str, started: float) -> None:
        """Say how long a step took and what it said last."""
        took = time.monotonic() - started
        say(f"{self.suite} {self.user}: {step}: {took:.0f} s: {self.last(step, 1)}")

    def last(self, step: str, count: int) -> str:
        """The last lines of a step's output."""
        lines = self.log(step).read_text(errors="replace").split("\n")
        return "\n".join([line for line in lines if line.strip()][-count:])

    def failure(self, step: str, why: str) -> Failed:
        """What to raise where a step did not go well."""
        text = f"{self.suite} {self.user}: {step} failed: {why}; see {self.log(step)}"
        return Failed(f"{text}\n{self.last(step, 20)}")


def end(child: subprocess.Popen[bytes]) -> None:
    """Ctrl-C for a process group, and harder where that does not end it in a minute."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(END_S)
            return


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def page(port: int) -> bytes | None:
    """The page at the root, or nothing as long as nobody listens."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply,
    ):
        body: bytes = reply.read()
        return body
    return None


def serve(machine: Machine) -> None:
    """`make serve` until it has served a page, then Ctrl-C. Raises Failed."""
    step, port = "make serve", free_port()
    started = time.monotonic()
    child = machine.start(step, f"cd zchttpd && make serve PORT={port} ADMIN=127.0.0.1:{free_port()}")
    try:
        while (body := page(port)) is None:
            if child.poll() is not None:
                raise machine.failure(step, f"exit status {child.returncode}")
            if time.monotonic() - started > SERVE_S:
                raise machine.failure(step, f"no page after {SERVE_S:.0f} s")
            time.sleep(0.2)
        took = time.monotonic() - started
        if body != output(*GIT, "show", "HEAD:www/index.html").encode():
            raise machine.failure(step, "the page is not www/index.html")
    finally:
        end(child)
    if page(port) is not None:
        raise machine.failure(step, "it serves on after Ctrl-C")
    if (machine.root / machine.home[1:] / "zchttpd/.venv/bin/pytest").exists():
        raise machine.failure(step, "it has installed the test tools")
    say(f"{machine.suite} {machine.user}: {step}: {took:.0f} s to {len(body)} bytes of www/index.html")


def prove(suite: str, user: str, base: Path) -> None:
    """The README's commands, as one user of one machine. Raises Failed."""
    with copied(base, user) as root:
        machine = Machine(suite, user, root)
        machine.run("git clone", "git clone --quiet /tmp/zchttpd.bundle zchttpd && echo cloned", END_S)
        serve(machine)
        machine.run("make quick", "cd zchttpd && make quick", TESTS_S)


def alone() -> int:
    """Run this program again in namespaces of its own, and end what is in them with it."""
    inside = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        __file__,
    ]
    child = subprocess.Popen([*inside, *sys.argv[1:]])
    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is for the one inside, which cleans up
            return child.wait()


def main() -> int:
    """Prove it for each suite and user."""
    if os.geteuid():
        print("chroot and mount want root. Type: sudo make fresh", file=sys.stderr)
        return 1
    if os.getpid() != 1:
        return alone()
    PLACE.mkdir(parents=True, exist_ok=True)
    for old in (PLACE / "transcript.txt", *PLACE.glob("*.log")):
        old.unlink(missing_ok=True)
    say(f"the tree is {output(*GIT, 'log', '-1', '--format=%h %s').strip()}")
    if output(*GIT, "status", "--porcelain"):
        say("what is not committed is not in it")
    failed = False
    for suite in sys.argv[1:] or SUITES:
        try:
            base = make_base(suite)
            version = (base / "etc/debian_version").read_text().strip()
            say(f"{suite}: Debian {version}, {PACKAGES}")
            for user in USERS:
                try:
                    prove(suite, user, base)
                except Failed as err:
                    failed = True
                    say(str(err))
        except Failed as err:
            failed = True
            say(str(err))
    say("failed" if failed else "all went well")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

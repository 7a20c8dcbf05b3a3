"""The README's two commands on machines that have nothing: `fresh.py [SUITE...]`, as root.

For each Debian suite (bookworm and trixie where none is named) debootstrap makes a minimal root file system
with python3, make, git and sudo. In a copy of it for each user (root, and an ordinary one with sudo) the
committed tree is cloned, `make serve` is started as that user and asked for a page, and the quick tests run.
debian_root.py says what such a machine has. What this prints is kept in build/fresh/transcript.txt, beside
the log of each step. The root file systems stay in build/fresh/ for the next time. Exit status: 0 all went
well, 1 not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

from debian_root import GIT, TOP, Failed, alone, bundle_into, copied, line_in, make_base, output
from first_byte import free_port

if TYPE_CHECKING:
    from pathlib import Path

PLACE = TOP / "build" / "fresh"
SUITES = ("bookworm", "trixie")
USERS = ("root", "visitor")
PACKAGES = "python3,make,git,ca-certificates,sudo"
SERVE_S = 1800.0
TESTS_S = 3600.0
END_S = 60.0


def say(text: str) -> None:
    """Print a line, and keep it."""
    print(text, flush=True)
    with (PLACE / "transcript.txt").open("a") as transcript:
        print(text, file=transcript)


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
        with self.log(step).open("wb") as log:
            return subprocess.Popen(
                [*line_in(self.root, self.user, self.home), "sh", "-c", f"cd {self.home} && {command}"],
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
        if user != "root":
            subprocess.run(["chroot", root, "useradd", "--create-home", user], check=True)
            (root / "etc/sudoers.d" / user).write_text(f"{user} ALL=(ALL) NOPASSWD: ALL\n")
        bundle_into(root)
        machine = Machine(suite, user, root)
        machine.run("git clone", "git clone --quiet /tmp/zchttpd.bundle zchttpd && echo cloned", END_S)
        serve(machine)
        machine.run("make quick", "cd zchttpd && make quick", TESTS_S)


def main() -> int:
    """Prove it for each suite and user."""
    if (status := alone("fresh")) is not None:
        return status
    PLACE.mkdir(parents=True, exist_ok=True)
    for old in (PLACE / "transcript.txt", *PLACE.glob("*.log")):
        old.unlink(missing_ok=True)
    say(f"the tree is {output(*GIT, 'log', '-1', '--format=%h %s').strip()}")
    if output(*GIT, "status", "--porcelain"):
        say("what is not committed is not in it")
    failed = False
    for suite in sys.argv[1:] or SUITES:
        try:
            base = make_base(PLACE / suite, suite, PACKAGES)
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

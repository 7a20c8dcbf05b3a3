"""HAProxy in front, as deploy/haproxy/haproxy.cfg has it, and its runtime API."""

from __future__ import annotations

import csv
import re
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchlib import CannotMeasure
from benchlib.server import START_S_MAX, die_with_parent, find_tool, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

API = "/run/haproxy/admin.sock"
POLL_S = 0.05
WAIT_S_MAX = 60.0
# Only root can become another user.
PRIVILEGES = re.compile(r"^ +(?:user|group|chroot) .*\n", re.MULTILINE)
BALANCE = re.compile(r"^( +balance) .*$", re.MULTILINE)
HASH = re.compile(r"^ +hash-type .*\n", re.MULTILINE)
LIMIT = re.compile(r"^ +hash-balance-factor .*\n", re.MULTILINE)


def policies(config: str) -> dict[str, str]:
    """The same configuration as it is, without a limit for who is asked most, and with each server in turn.
    Raises CannotMeasure.
    """
    for pattern in (BALANCE, HASH, LIMIT):
        if len(pattern.findall(config)) != 1:
            raise CannotMeasure(f"the configuration of HAProxy has not one line like {pattern.pattern!r}")
    unlimited = LIMIT.sub("", config)
    return {
        "hash of the path": config,
        "the same without hash-balance-factor": unlimited,
        "round robin": BALANCE.sub(r"\1 roundrobin", HASH.sub("", unlimited)),
    }


class Front:
    """A running HAProxy, whose one backend is `files`."""

    def command(self, text: str) -> str:
        """What the runtime API answers (HAProxy Management Guide, section 9.3)."""
        with socket.socket(socket.AF_UNIX) as api:
            api.connect(API)
            api.sendall(f"{text}\n".encode("ascii"))
            answer = b""
            while piece := api.recv(65536):
                answer += piece
        return answer.decode("ascii").strip()

    def stats(self, server: str) -> dict[str, str]:
        """What it knows of a server, or of all of them: BACKEND."""
        lines = self.command("show stat").removeprefix("# ").splitlines()
        return next(
            row for row in csv.DictReader(lines) if (row["pxname"], row["svname"]) == ("files", server)
        )

    def wait_for(self, server: str, what: str, holds: Callable[[dict[str, str]], bool]) -> None:
        """Until its figures are as wanted. Raises CannotMeasure."""
        until = time.monotonic() + WAIT_S_MAX
        while not holds(self.stats(server)):
            if time.monotonic() > until:
                raise CannotMeasure(f"HAProxy does not see that {server} is {what}: {self.stats(server)}")
            time.sleep(POLL_S)

    def wait_until(self, server: str, status: str) -> None:
        """UP, DOWN or DRAIN. Raises CannotMeasure."""
        self.wait_for(server, status, lambda row: row["status"].split()[0] == status)

    def order(self, text: str) -> None:
        """A command that answers nothing of interest where it goes well. Raises CannotMeasure."""
        answer = self.command(text)
        if answer and "New server registered" not in answer:
            raise CannotMeasure(f"HAProxy answers {text!r} with: {answer}")


@contextmanager
def fronted(config: str, folder: Path) -> Iterator[Front]:
    """Start it with `config`, until it answers. Raises CannotMeasure."""
    file, log = folder / "haproxy.cfg", folder / "haproxy.log"
    file.write_text(PRIVILEGES.sub("", config))
    with log.open("ab") as output:
        child = subprocess.Popen(
            [find_tool("haproxy", "haproxy"), "-db", "-f", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    made = Front()
    until = time.monotonic() + START_S_MAX
    try:
        while True:
            if child.poll() is not None or time.monotonic() > until:
                raise CannotMeasure(f"HAProxy did not start:\n{log.read_text()}")
            try:
                made.command("show info")
                break
            except OSError:
                time.sleep(POLL_S)
        yield made
    finally:
        stop(child)

"""Networks of a run's own: anybody may make them in a user namespace, and the machine's stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchlib import CannotMeasure
from benchlib.proc import CONGESTION_CONTROL
from benchlib.server import find_tool

# Of Ubuntu: programs that AppArmor does not know have no rights in the user namespaces that they make.
RESTRICTED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


def enter_namespace(*more: str, user: bool = True) -> None:
    """Run this program again as root of a network namespace of its own, and of those that the options `more`
    of unshare(1) name. `user`: of a user namespace too, so that anybody may; without one only root can, and
    keeps its rights over the kernel. The process id stays. Raises CannotMeasure.
    """
    if not user and os.geteuid() != 0:
        raise CannotMeasure("only root may; type: sudo and the same again")
    if os.geteuid() != 0 and RESTRICTED.exists() and RESTRICTED.read_text().strip() == "1":
        raise CannotMeasure(
            f"{RESTRICTED.name} is 1: only root has a network of its own here; type: sudo sysctl -w"
            f" kernel.{RESTRICTED.name}=0"
        )
    unshare = find_tool("unshare", "util-linux")
    command = (sys.executable, "-m", "bench", *sys.argv[1:])
    os.execv(
        unshare,
        [
            unshare,
            *(("--user", "--map-root-user") if user else ()),
            "--net",
            *more,
            *command,
            "--in-namespace",
        ],
    )


def begin_network() -> None:
    """Of a namespace of our own: loopback, and Reno, which every namespace may choose, and which does what
    CUBIC does where nothing is lost. BBR paces by timers, which in a virtual machine cost more than all that
    is sent. Raises CannotMeasure, or OSError.
    """
    CONGESTION_CONTROL.write_text("reno")
    run_ip("link set lo up")


def run_ip(arguments: str, needs: str = "", *, inside: tuple[str, ...] = ()) -> None:
    """Run ip(8) with `arguments`; `inside`: what brings it into another namespace. Raises CannotMeasure with
    what it said, and what it `needs`.
    """
    ip = find_tool("ip", "iproute2")
    done = subprocess.run([*inside, ip, *arguments.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        cause = "; ".join(text for text in (done.stderr.strip(), needs) if text)
        raise CannotMeasure(f"ip {arguments}: {cause}")

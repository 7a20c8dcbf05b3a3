"""A guest under QEMU without KVM that shares this machine's root file system, and the line to its agent."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from compileall import compile_dir
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.namespaces import run_ip
from bench.vm.agent import CONTROL_PORT
from benchlib import CannotMeasure
from benchlib.proc import process_tree
from benchlib.server import die_with_parent, find_tool, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

# An emulated processor that shares this one with others is slow.
BOOT_S_MAX = 600.0
ANSWER_S_MAX = 300.0
STOP_S_MAX = 5.0
# With erms the guest's kernel copies by "rep movsb", which QEMU emulates byte by byte; without, by 8 bytes.
COPY_BY = {"words": "max,-erms,-fsrm", "bytes": "max,+erms"}
# In front of the exit status of a command in the guest.
STATUS = "exit status "
VCPU_THREAD = re.compile(r"CPU \d+/TCG")


class Card:
    """A virtio card of the guest on a tap of ours. `gathers`: whether it takes scattered memory (NETIF_F_SG),
    without which TCP silently copies.
    """

    def __init__(self, number: int, *, gathers: bool) -> None:
        self.tap = f"zcguest{number}"
        self.ours = f"10.0.{number}.2"
        self.guest = f"10.0.{number}.15"
        self.hardware = f"52:54:00:00:{number:02x}:15"
        # virtio offers scatter-gather together with checksums; without them it has neither.
        extra = "" if gathers else ",csum=off,gso=off"
        self.options = (
            f"-netdev tap,id={self.tap},ifname={self.tap},script=no,downscript=no "
            f"-device virtio-net-pci,netdev={self.tap},mac={self.hardware}{extra}"
        )


GATHERING = Card(2, gathers=True)
COPYING = Card(3, gathers=False)
CARDS = (GATHERING, COPYING)


def newest_kernel(names: list[str]) -> str:
    """Return the newest release among names of /boot's files. Raises CannotMeasure when there is none."""
    releases = [name.removeprefix("vmlinuz-") for name in names if name.startswith("vmlinuz-")]
    if not releases:
        raise CannotMeasure(
            "no kernel in /boot; type: apt-get install linux-image-amd64, or name one with --kernel RELEASE"
        )
    return max(releases, key=lambda release: [int(number) for number in re.findall(r"\d+", release)])


def make_taps() -> None:
    """Make one tap for each card. Raises CannotMeasure."""
    for card in CARDS:
        run_ip(f"tuntap add dev {card.tap} mode tap", "needs /dev/net/tun: modprobe tun")
        run_ip(f"addr add {card.ours}/24 dev {card.tap}")
        run_ip(f"link set {card.tap} up")


class Guest:
    """A running guest. `vcpu_s`: CPU seconds that emulating its processors has cost this machine."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self._line = line
        self._stream = line.makefile("rw", encoding="utf-8")
        self._threads = [
            task
            for each in process_tree(pid)
            for task in Path(f"/proc/{each}/task").iterdir()
            if VCPU_THREAD.fullmatch((task / "comm").read_text().strip())
        ]
        if not self._threads:
            raise CannotMeasure("QEMU's processor threads are not to be found by name (CPU 0/TCG)")

    def ask(self, *words: str) -> dict[str, Any]:
        """Ask the agent one thing. Raises CannotMeasure."""
        try:
            self._stream.write(" ".join(words) + "\n")
            self._stream.flush()
            answer: dict[str, Any] = json.loads(self._stream.readline() or '{"error": "it hung up"}')
        except OSError as error:
            raise CannotMeasure(f"the guest does not answer: {error}") from error
        if "error" in answer:
            raise CannotMeasure(f"inside the guest: {answer['error']}")
        return answer

    def vcpu_s(self) -> float:
        # schedstat, field 1: time on the CPU in ns. What others take from this machine is not in it.
        return sum(int((task / "schedstat").read_text().split()[0]) for task in self._threads) / 1e9

    def close(self) -> None:
        self._stream.close()
        self._line.close()


def _connect(child: subprocess.Popen[bytes], log: Path) -> socket.socket:
    until = time.monotonic() + BOOT_S_MAX
    while time.monotonic() < until and child.poll() is None:
        try:
            line = socket.create_connection((GATHERING.guest, CONTROL_PORT), timeout=1.0)
        except OSError:
            time.sleep(0.25)
        else:
            line.settimeout(ANSWER_S_MAX)
            return line
    words = log.read_text(errors="replace").strip()[-1500:] or "(nothing)"
    state = f"did not come up within {BOOT_S_MAX:.0f} s" if child.poll() is None else "ended while it booted"
    raise CannotMeasure(f"the guest {state}; its last words:\n{words}")


def _launch(
    vng: str, kernel: str, memory: str, options: str, command: list[str], **streams: Any
) -> subprocess.Popen[bytes]:
    """A guest that runs `command` and ends with it."""
    find_tool("qemu-system-x86_64", "qemu-system-x86")
    argv = [vng, "--run", kernel, "--disable-kvm", "--force-9p", "--cpus", "1", "--memory", memory]
    return subprocess.Popen(
        [*argv, f"--qemu-opts={options}", "--exec", shlex.join(command)],
        stdin=subprocess.DEVNULL,
        # vng looks for its own helpers there.
        env={**os.environ, "PATH": f"{Path(vng).parent}:{os.environ.get('PATH', '')}"},
        start_new_session=True,
        preexec_fn=die_with_parent,
        **streams,
    )


# While the guest computes, time there passes by instructions, and not by the clock of this machine: however
# slow that is, nobody in the guest comes near a deadline for it.
OWN_TIME = "-icount shift=0"
# The guest reads this machine's files anew each time, and a Python reads many: those it keeps in memory.
FILES = (
    "-fsdev local,id=files,path=/,security_model=none,readonly=on,multidevs=remap"
    " -device virtio-9p-pci,fsdev=files,mount_tag=files"
)
CACHED = (
    "mkdir /run/files; mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose files"
    ' /run/files; for each in {}; do mount --bind "/run/files$each" "$each"; done'
)
# What the guest has for /tmp cannot tell what is in the page cache (RWF_NOWAIT); disks can. This one is in
# its memory, which gets back what deleted files had.
DISK = (
    "modprobe -a loop ext4; truncate -s 1G /run/disk; mkfs.ext4 -q /run/disk; mkdir /run/there;"
    " mount -o loop,discard /run/disk /run/there;"
    " export TMPDIR=/run/there HYPOTHESIS_STORAGE_DIRECTORY=/run/there/examples PYTHONUNBUFFERED=1"
)
# As systemd does, so that there are control groups with a limit.
GROUPS = "echo +memory >/sys/fs/cgroup/cgroup.subtree_control"


def run_inside(vng: str, kernel: str, directory: Path, memory: str, copy_by: str, command: list[str]) -> int:
    """Run `command` in a guest here and show what it prints; return its exit status. Raises CannotMeasure.

    `directory` is for what the guest is told.
    """
    read = {"/usr", sys.prefix, sys.base_prefix, os.getcwd(), *filter(os.path.isdir, sys.path)}
    cached = CACHED.format(" ".join(map(shlex.quote, sorted(read))))
    # It cannot write here, and would compile what it imports each time that a server starts.
    compile_dir(os.getcwd(), quiet=2)
    # The kernel's command line, by which vng passes a command on, ends after 2 KiB.
    script = directory / "command"
    script.write_text(
        f"{cached}; {DISK}; {GROUPS}; cd {shlex.quote(os.getcwd())}; {shlex.join(command)}; status=$?;"
        # Whoever was killed leaves a line without an end.
        f" echo; echo {STATUS}$status\n"
    )
    options = f"-cpu {COPY_BY[copy_by]} {OWN_TIME} {FILES}"
    child = _launch(vng, kernel, memory, options, ["/bin/sh", str(script)], stdout=subprocess.PIPE)
    status = None
    try:
        assert child.stdout is not None
        for line in child.stdout:
            text = line.decode(errors="replace").rstrip()
            if text.startswith(STATUS):
                status = int(text.removeprefix(STATUS))
            else:
                print(text, flush=True)
    finally:
        _stop(child)
    if status is None:
        raise CannotMeasure("the guest ended before the command in it did")
    return status


@contextmanager
def booted(vng: str, kernel: str, directory: Path, memory: str, copy_by: str) -> Iterator[Guest]:
    """Boot a guest that runs agent.py with `directory`/plan.json; stop it in every case."""
    log = directory / "guest.log"
    agent = [sys.executable, str(Path(__file__).with_name("agent.py")), str(directory)]
    options = f"-cpu {COPY_BY[copy_by]} -name zchttpd,debug-threads=on " + " ".join(
        card.options for card in CARDS
    )
    with log.open("wb") as output:
        child = _launch(vng, kernel, memory, options, agent, stdout=subprocess.DEVNULL, stderr=output)
    try:
        guest = Guest(child.pid, _connect(child, log))
        try:
            yield guest
        finally:
            guest.close()
    finally:
        _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    tree = process_tree(child.pid)[1:] if child.poll() is None else ()
    stop(child, STOP_S_MAX)
    # QEMU is in vng's group, unless another vng gives it one of its own.
    for pid in tree:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

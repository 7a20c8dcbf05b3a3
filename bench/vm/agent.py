"""The part that runs inside the guest: cards, a count of the kernel's copying, servers, answers to the host.

One JSON line for each line asked. It ends, and the guest with it, when the host hangs up.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import platform
import shutil
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchlib.fetch import fetch
from benchlib.proc import cpu_ns, process_tree
from benchlib.scrape import Counters, read_counters

CONTROL_PORT = 9000
HOST_S_MAX = 120.0
# What is served, in the guest's memory.
SITE = Path("/run/zchttpd-site")
START_S_MAX = 240.0
# Exit status of a zchttpd that does not have what is asked for.
USAGE = 2
STOP_S_MAX = 15.0
# ethtool.h, sockios.h
SIOCETHTOOL = 0x8946
ETHTOOL_GSG = 0x18
ETHTOOL_GTSO = 0x1E
TRACING = Path("/sys/kernel/tracing")
# Where the kernel copies the bytes of a zero-copy send after it took it: for a receiver on the same machine,
# and, which its notification does not tell, for a card that does not gather (validate_xmit_skb, skb_segment).
COPIERS = ("skb_copy_ubufs", "skb_copy_and_csum_bits")
PROBE = "zchttpd_"


def feature(card: str, command: int) -> bool:
    """Whether an offload of `card` is on (netdevice(7), ethtool's ioctl)."""
    value = ctypes.create_string_buffer(struct.pack("II", command, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sP", card.encode(), ctypes.addressof(value))
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)
    return bool(struct.unpack("II", value.raw[:8])[1])


def _run(*words: str) -> None:
    subprocess.run(["/usr/bin/env", "PATH=/usr/sbin:/sbin:/usr/bin:/bin", *words], check=True)


def cards_up(addresses: dict[str, str]) -> list[dict[str, object]]:
    """Give each card, found by its hardware address, its IPv4 address; return what they are."""
    cards: list[dict[str, object]] = []
    for path in sorted(Path("/sys/class/net").iterdir()):
        address = addresses.get((path / "address").read_text().strip())
        if address is None:
            continue
        _run("ip", "link", "set", path.name, "up")
        _run("ip", "addr", "add", f"{address}/24", "dev", path.name)
        cards.append(
            {
                "address": address,
                "device": path.name,
                "driver": (path / "device/driver").resolve().name,
                "gathers": feature(path.name, ETHTOOL_GSG),
                "segments": feature(path.name, ETHTOOL_GTSO),
            }
        )
    return cards


def count_copies() -> None:
    """Put a kprobe on each of COPIERS; see Documentation/trace/kprobetrace.rst."""
    if not (TRACING / "kprobe_events").exists():
        subprocess.run(["/bin/mount", "-t", "tracefs", "none", str(TRACING)], check=True)
    events = "".join(f"p:{PROBE}{copier} {copier}\n" for copier in COPIERS)
    (TRACING / "kprobe_events").write_text(events)
    for copier in COPIERS:
        (TRACING / "events/kprobes" / f"{PROBE}{copier}" / "enable").write_text("1")


def hits(profile: str) -> dict[str, int]:
    """How often each of COPIERS was called, from name, hits and misses on each line. Raises ValueError."""
    found = {}
    for line in profile.splitlines():
        name, fired, missed = line.split()
        found[name] = int(fired) + int(missed)
    lost = [copier for copier in COPIERS if PROBE + copier not in found]
    if lost:
        raise ValueError(f"kprobe_profile does not have {', '.join(lost)}")
    return {copier: found[PROBE + copier] for copier in COPIERS}


@dataclass(frozen=True, slots=True)
class Running:
    """A server in the guest; `admin`: the port of its counters, or 0."""

    child: subprocess.Popen[bytes]
    port: int
    admin: int
    log: Path

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0):
                return not self.admin or bool(self.counters())
        except OSError:
            return False

    def counters(self) -> Counters:
        return read_counters("127.0.0.1", self.admin) if self.admin else {}

    def words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


class Agent:
    """The servers and the answers. `plan`: program, servers (see `modes.write_plan`), addresses."""

    def __init__(self, plan: dict[str, Any], directory: Path) -> None:
        self._program = plan["program"]
        self._cards = cards_up(plan["addresses"])
        count_copies()
        # What the guest shares with the host is never in its page cache, from which nginx sends.
        shutil.copytree(plan["root"], SITE)
        self._plan = plan["servers"]
        self._directory = directory
        self._servers: dict[str, Running] = {}

    def start(self, name: str) -> dict[str, object]:
        """Start a server, and wait until it answers. `absent`: its last words where it refuses to run so."""
        each, log = self._plan[name], self._directory / f"{name}.log"
        Path(each["run"]).mkdir(exist_ok=True)
        with log.open("wb") as output:
            child = subprocess.Popen(each["argv"], stdout=output, stderr=output)
        server = Running(child, each["port"], each["admin"], log)
        until = time.monotonic() + START_S_MAX
        while not server.answers():
            status = child.poll()
            if status == USAGE:
                return {"absent": server.words().strip()}
            if status is not None or time.monotonic() > until:
                raise OSError(f"{name} did not start; its last words:\n{server.words()}")
            time.sleep(0.1)
        self._servers[name] = server
        return {"absent": ""}

    def facts(self) -> dict[str, object]:
        """What the guest is."""
        argv = [self._program, "doctor", "--root", "/"]
        doctor = subprocess.run(argv, capture_output=True, text=True, check=False)
        flags = Path("/proc/cpuinfo").read_text().split()
        return {
            "kernel": platform.release(),
            "cards": self._cards,
            "copy_by": [flag for flag in ("erms", "fsrm", "rep_good") if flag in flags],
            "doctor": doctor.stdout,
        }

    def clocks(self) -> dict[str, object]:
        """What is cheap to read: CPU of each server's workers (ns), busy time of the guest, copies."""
        cpu, times = {}, psutil.cpu_times()
        for name, server in self._servers.items():
            supervisor = server.child.pid
            cpu[name] = cpu_ns(tuple(pid for pid in process_tree(supervisor) if pid != supervisor))
        return {
            "cpu_ns": cpu,
            # What guests of this guest used is in user and nice already.
            "busy_s": sum(times[:8]) - times.idle - times.iowait,
            "copies": hits((TRACING / "kprobe_profile").read_text()),
        }

    def counters(self, name: str) -> Counters:
        """The server's own counters."""
        return self._servers[name].counters()

    def loopback(self, name: str, target: str, count: str) -> dict[str, str]:
        """Download `target` over the guest's own loopback, which always copies."""
        for _ in range(int(count)):
            fetch("127.0.0.1", self._servers[name].port, target)
        return {"count": count}

    def path(self, target: str) -> dict[str, Any]:
        """What zchttpd doctor says of the way to the host, by HOST:PORT."""
        argv = [self._program, "doctor", "--path", target, "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        found: dict[str, Any] = json.loads(done.stdout or "{}")
        return {"status": done.returncode, "outcome": found.get("outcome", done.stderr)}

    def disturb(self, *netem: str) -> dict[str, object]:
        """Have the gathering card treat what it sends as tc-netem(8) says; without words, as usual."""
        device = next(str(card["device"]) for card in self._cards if card["gathers"])
        what = (
            ["replace", "dev", device, "root", "netem", *netem] if netem else ["del", "dev", device, "root"]
        )
        _run("tc", "qdisc", *map(str, what))
        return {}

    def unplug(self, seconds: str) -> dict[str, object]:
        """Take the gathering card down for so long; the answer comes when it is up again."""
        device = next(str(card["device"]) for card in self._cards if card["gathers"])
        _run("ip", "link", "set", device, "down")
        time.sleep(float(seconds))
        _run("ip", "link", "set", device, "up")
        return {}

    def end(self) -> dict[str, object]:
        """SIGTERM to every server; return exit status (None: it had to be killed) and last words."""
        last: dict[str, object] = {}
        for server in self._servers.values():
            server.child.terminate()
        for name, server in self._servers.items():
            status: int | None
            try:
                status = server.child.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                server.child.kill()
                status = None
            last[name] = {"status": status, "log": server.words()}
        return last


def main(directory: Path) -> None:
    plan = json.loads((directory / "plan.json").read_text())
    agent = Agent(plan, Path("/run"))
    with socket.create_server(("", CONTROL_PORT)) as listener:
        listener.settimeout(HOST_S_MAX)
        connection, _ = listener.accept()
    with connection, connection.makefile("rw", encoding="utf-8") as lines:
        connection.settimeout(HOST_S_MAX)
        for line in lines:
            what, *arguments = line.split()
            try:
                answer = getattr(agent, what)(*arguments)
            except (OSError, ValueError, subprocess.CalledProcessError) as error:
                answer = {"error": f"{what}: {error!r}"}
            lines.write(json.dumps(answer) + "\n")
            lines.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

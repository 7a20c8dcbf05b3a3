"""The units of deploy/systemd: what systemd says of them, and the server under a systemd of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..wire.client import eventually
from ..wire.servers import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .conftest import Run

TOP = Path(__file__).resolve().parents[2]
UNITS = TOP / "deploy" / "systemd"
START = Path(__file__).with_name("start_systemd.sh")
EXPOSURE_MAX = 1.5
# What every service wants, unless it says otherwise (systemd.special(7)).
TARGETS = ("basic", "multi-user", "network", "paths", "shutdown", "slices", "sockets", "sysinit", "timers")
TARGET = "[Unit]\nDefaultDependencies=no\nDescription=one that is always there\n"
PORT, ADMIN_PORT = 8000, 9090


def written(place: Path, root: Path, more: str = "") -> None:
    """The units as they are, for the server of this test and the directory `root`."""
    text = (UNITS / "zchttpd.service").read_text(encoding="utf-8")
    assert "/opt/zchttpd/bin/zchttpd --root /srv/www " in text
    text = text.replace("/opt/zchttpd/bin/zchttpd --root /srv/www", f"{command()} --root {root}")
    (place / "zchttpd.service").write_text(text)
    socket = (UNITS / "zchttpd.socket").read_text(encoding="utf-8")
    (place / "zchttpd.socket").write_text(re.sub(r"(?m)^ListenStream=.*$", f"ListenStream={PORT}", socket))
    if not more:
        return
    for target in TARGETS:
        (place / f"{target}.target").write_text(TARGET)
    for folder in ("zchttpd.service.d", "multi-user.target.wants"):
        (place / folder).mkdir()
    (place / "zchttpd.service.d" / "test.conf").write_text(f"[Service]\n{more}")
    (place / "multi-user.target.wants" / "zchttpd.service").symlink_to("../zchttpd.service")


def analyze(run: Run, place: Path, more: str = "") -> float:
    """The exposure of the service, from 0 to 10, with lines `more`."""
    (place / "zchttpd.service").write_text((UNITS / "zchttpd.service").read_text(encoding="utf-8") + more)
    words = ("--offline=true", "--no-pager", str(place / "zchttpd.service"))
    said = run("systemd-analyze", "security", *words, SYSTEMD_COLORS="0")
    found = re.search(r"Overall exposure level for zchttpd\.service: ([\d.]+)", said)
    assert found, said
    return float(found[1])


def test_it_is_little_exposed(run: Run, tmp_path: Path) -> None:
    assert analyze(run, tmp_path) <= EXPOSURE_MAX
    assert analyze(run, tmp_path, "[Service]\nSystemCallFilter=\nPrivateUsers=no\n") > EXPOSURE_MAX


def test_systemd_has_nothing_to_say_of_it(run: Run, tmp_path: Path) -> None:
    written(tmp_path, tmp_path)
    files = [str(tmp_path / name) for name in ("zchttpd.service", "zchttpd.socket")]
    assert run("systemd-analyze", "verify", "--man=no", *files) == ""


class Manager:
    """A running systemd, and what the service of this test has said."""

    def __init__(self, pid: int, said: Path) -> None:
        self._pid = pid
        self._said = said

    def run(self, *words: str, check: bool = True) -> str:
        """What a command prints where this systemd is process 1."""
        inside = ["nsenter", "--target", str(self._pid), "--all", *words]
        return subprocess.run(inside, stdout=subprocess.PIPE, text=True, check=check).stdout

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.run("systemctl", "show", "--value", "--property", name, "zchttpd.service").strip()

    def says(self) -> str:
        return self._said.read_text() if self._said.exists() else ""

    def get(self, path: str, port: int = PORT) -> str:
        return self.run("curl", "-sS", "-f", f"http://127.0.0.1:{port}{path}")

    def counters(self) -> dict[str, float]:
        found: dict[str, float] = json.loads(self.get("/metrics.json", ADMIN_PORT))
        return found


@contextmanager
def cgroup() -> Iterator[Path]:
    """A control group of version 2, removed with all that has been made below it."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    tops = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    assert tops, "no control groups of version 2. Type: mount -t cgroup2 none /sys/fs/cgroup"
    made = Path(tempfile.mkdtemp(prefix="zchttpd-test-", dir=tops[0]))
    try:
        yield made
    finally:
        for folder in sorted((path for path in made.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        made.rmdir()


@contextmanager
def managing(root: Path, engine: str, drop_ins: Mapping[str, str]) -> Iterator[Manager]:
    """The service runs, with the socket passed and `drop_ins` by unit. Of its protections only what hides the
    test is taken away.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can start a systemd. Type: sudo make clients")
    # DynamicUser may not pass directories that are their owner's alone.
    units = Path(tempfile.mkdtemp(prefix="zchttpd-units-"))
    units.chmod(0o755)
    said = units / "said"
    written(units, root, shown_to_test(root, said, engine))
    for unit, text in drop_ins.items():
        (units / f"{unit}.d").mkdir(exist_ok=True)
        (units / f"{unit}.d" / "front.conf").write_text(text)
    spaces = ("--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--net", "--cgroup")
    with cgroup() as group:
        join = f"echo $$ >{group}/cgroup.procs && exec unshare {' '.join(spaces)} sh {START} {units}"
        started = subprocess.Popen(["sh", "-c", join], stdin=subprocess.DEVNULL)
        try:
            children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
            eventually("it has forked", lambda: started.poll() is not None or children.read_text())
            made = Manager(int(children.read_text()), said)
            ready = ("systemctl", "is-system-running", "--wait")
            eventually("systemd answers", lambda: "running" in made.run(*ready, check=False) or made.says())
            eventually("the service has started", lambda: made.show("ActiveState") not in ("activating", ""))
            yield made
        finally:
            started.kill()
            started.wait()
            eventually("all of it has ended", lambda: ended(group))
            shutil.rmtree(units)


def shown_to_test(root: Path, said: Path, engine: str) -> str:
    """Lines of the service that make it see this tree, and its words be seen."""
    seen = {sys.prefix, sys.base_prefix, str(TOP), str(root), *filter(os.path.isdir, sys.path)}
    lines = [
        "ProtectHome=tmpfs",
        f"BindReadOnlyPaths={' '.join(sorted(seen))}",
        f"StandardOutput=append:{said}",
        f"StandardError=append:{said}",
    ]
    if engine == "portable":
        lines.append("SystemCallFilter=~io_uring_setup")
    return "".join(f"{line}\n" for line in lines)


def ended(group: Path) -> bool:
    return "populated 0" in (group / "cgroup.events").read_text()


def wait_for(manager: Manager, name: str, holds: Callable[[str], bool]) -> str:
    eventually(f"{name} of the service", lambda: holds(manager.show(name)))
    return manager.show(name)


def test_it_serves_reloads_is_replaced_and_stops(root: Path, engine: str) -> None:
    (root / "page.txt").write_text("first\n")
    with managing(root, engine, {}) as manager:
        lives(manager, engine)


def lives(manager: Manager, engine: str) -> None:
    """All that a service goes through."""
    assert (manager.show("ActiveState"), manager.show("SubState")) == ("active", "running"), manager.says()
    assert ("io_uring" if engine == "uring" else "portable") in manager.says().splitlines()[0]
    first = manager.show("MainPID")
    assert manager.get("/page.txt") == "first\n"
    assert manager.counters()["zchttpd_workers_alive"] >= 1
    assert (manager.counters()["zchttpd_enters_total"] > 0) is (engine == "uring")
    # It is a user without any right.
    status = manager.run("cat", f"/proc/{first}/status")
    for field in ("CapEff", "CapPrm", "CapBnd"):
        assert re.search(rf"^{field}:\s+0+$", status, re.MULTILINE), status
    assert re.search(r"^NoNewPrivs:\s+1\n.*^Seccomp:\s+2$", status, re.MULTILINE | re.DOTALL), status
    assert not re.search(r"^Uid:\s+0\s", status, re.MULTILINE)

    manager.run("systemctl", "reload", "zchttpd.service")
    eventually("it has read its options", lambda: "reloaded: " in manager.says())
    assert manager.show("ActiveState") == "active"
    manager.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGUSR2", "zchttpd.service")
    second = wait_for(manager, "MainPID", lambda pid: pid not in ("0", first))
    assert f"process {second} serves from now on" in manager.says()
    assert manager.get("/page.txt") == "first\n"

    manager.run("systemctl", "stop", "zchttpd.socket", "zchttpd.service")
    found = [manager.show(name) for name in ("ActiveState", "Result", "NRestarts")]
    assert found == ["inactive", "success", "0"], manager.says()


def test_behind_haproxy(root: Path, engine: str) -> None:
    """With the drop-ins of docs/many-machines.md; curl sends a PROXY header, and another only a request."""
    page = (TOP / "docs" / "many-machines.md").read_text(encoding="utf-8")
    drop_ins = {}
    for unit, text in re.findall(
        r"```ini\n# /etc/systemd/system/(\S+)\.d/front\.conf\n(.*?)```", page, re.DOTALL
    ):
        drop_ins[unit] = text.replace("192.0.2.11", "127.0.0.1").replace("192.0.2.1", "127.0.0.1")
    assert {*drop_ins} == {"zchttpd.service", "zchttpd.socket"}
    (root / "page.txt").write_text("first\n")
    with managing(root, engine, drop_ins) as manager:
        url = "http://127.0.0.1:8080/page.txt"
        assert manager.run("curl", "-sS", "-f", "--haproxy-protocol", url, check=False) == "first\n", (
            manager.says()
        )
        assert manager.run("curl", "-s", url, check=False) == ""
        assert manager.counters()['zchttpd_refused_total{reason="proxy_header"}'] == 1

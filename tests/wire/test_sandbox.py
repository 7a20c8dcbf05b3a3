"""Workers are confined, whatever they are to do; the supervisor is not, as it starts others."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from zchttpd.config.names import SANDBOX
from zchttpd.process import landlock

from .client import eventually, request
from .servers import Server, serving

# CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_IPC_LOCK
OF_SERVING = 1 << 1 | 1 << 2 | 1 << 14


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def workers(server: Server) -> list[int]:
    return [pid for pid in server.pids() if pid != server.pid]


def threads(pid: int) -> list[dict[str, str]]:
    lines = [(each / "status").read_text("ascii") for each in Path(f"/proc/{pid}/task").iterdir()]
    return [dict(line.split(":", 1) for line in each.splitlines()) for each in lines]


def test_every_worker_is_confined(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    (tmp_path / "index.html").write_bytes(b"page")
    log = tmp_path / "log"
    log.mkdir()
    options = {"engine": engine, "send_mode": send_mode, "access_log": log / "access.log"}
    with serving(tmp_path, workers=2, complaint="was killed by SIGKILL", **options) as server:
        before = workers(server)
        os.kill(before[0], signal.SIGKILL)
        eventually("another worker", lambda: len(workers(server)) == 2 and before[0] not in workers(server))
        for pid in workers(server):
            eventually(
                "it serves", lambda pid=pid: all(each["Seccomp"].strip() == "2" for each in threads(pid))
            )
            facts = status(pid)
            assert facts["NoNewPrivs"] == "1"
            assert int(facts["CapPrm"], 16) & ~OF_SERVING == 0
            assert (os.geteuid() != 0) or int(facts["CapBnd"], 16) == 0
        assert status(server.pid)["Seccomp"] == status(os.getpid())["Seccomp"]
        for _ in range(4):
            assert server.ask(request("/")).body == b"page"


def test_what_is_switched_off_is_told(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    (tmp_path / "index.html").write_bytes(b"page")
    options = {"engine": engine, "send_mode": send_mode, "without": ",".join(SANDBOX)}
    with serving(tmp_path, **options) as server:
        [worker] = workers(server)
        for name in ("Seccomp", "CapPrm", "CapBnd"):
            assert status(worker)[name] == status(server.pid)[name]
        for name, feature in SANDBOX.items():
            told = f"without {name}, as asked: {feature.lost}"
            eventually(told, lambda told=told: told in server.stdout())
        assert server.ask(request("/")).body == b"page"


def test_a_worker_gets_nothing_that_whoever_started_it_left_open(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"page")
    private = tmp_path / "private"
    private.touch()
    fd = os.open(private, os.O_RDONLY)
    try:
        with serving(tmp_path, engine="portable", left_open=[fd]) as server:
            assert server.ask(request("/")).body == b"page"
            for pid in workers(server):
                links = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
                assert str(private) not in links
            assert str(private) in [os.readlink(each) for each in Path(f"/proc/{server.pid}/fd").iterdir()]
            server.upgrade()
            server.ask(request("/"))
            assert str(private) not in [
                os.readlink(each) for pid in server.pids() for each in Path(f"/proc/{pid}/fd").iterdir()
            ]
    finally:
        os.close(fd)


def has_landlock() -> bool:
    try:
        return landlock.version() > 0
    except OSError:
        return False


def test_a_root_that_is_replaced_by_another_directory(tmp_path: Path, kind: tuple[str, str]) -> None:
    """Which a confined worker cannot open: others serve it, and no request fails meanwhile."""
    engine, send_mode = kind
    root = tmp_path / "root"
    for place, content in ((root, b"one"), (tmp_path / "next", b"two")):
        place.mkdir()
        (place / "page").write_bytes(content)
    with serving(root, engine=engine, send_mode=send_mode, revalidate_ms=20) as server:
        assert server.ask(request("/page")).body == b"one"
        before = workers(server)
        root.rename(tmp_path / "old")
        (tmp_path / "next").rename(root)
        seen: list[bytes] = []

        def replaced() -> bool:
            reply = server.ask(request("/page"))
            assert reply.status == 200
            seen.append(reply.body)
            return reply.body == b"two"

        eventually("the other directory is served", replaced)
        assert set(seen) <= {b"one", b"two"}
        eventually(
            "the workers are others", lambda: has_landlock() != bool(set(before) & set(workers(server)))
        )

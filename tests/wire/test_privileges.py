"""Started as root, the server becomes another user: what its processes are, and what they may not read."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import zchttpd

from .client import eventually, request
from .servers import SENDS_ZEROCOPY, serving
from .streams import cache, pattern
from .test_life import assert_one_line, refuse
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A root that everybody may enter; pytest's own directories are for their owner."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        root.chmod(0o755)
        (root / "open").write_bytes(pattern(MIB))
        (root / "text.txt").write_bytes(b"text that repeats itself " * 1000)
        (root / "private").write_bytes(b"private")
        (root / "private").chmod(0o600)
        (root / "closed").mkdir(mode=0o700)
        (root / "closed" / "file").write_bytes(b"closed")
        yield root


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("user", ["nobody", "65534:1234567"])
def test_every_process_is_that_user(open_root: Path, kind: tuple[str, str], user: str) -> None:
    engine, send_mode = kind
    gid = 1234567 if ":" in user else NOBODY.pw_gid
    options = {"engine": engine, "send_mode": send_mode, "user": user, "workers": 2}
    with serving(open_root, complaint="was killed by SIGKILL", **options) as server:
        pids = server.pids()
        assert len(pids) == 3
        for pid in pids:
            facts = status(pid)
            assert facts["Uid"].split() == [str(NOBODY.pw_uid)] * 4
            assert facts["Gid"].split() == [str(gid)] * 4
            assert facts["Groups"].split() == [str(gid)]
            assert facts["NoNewPrivs"] == "1"
            for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert int(facts[capabilities], 16) == 0
        told = f"user {user}, uid {NOBODY.pw_uid}"
        eventually(told, lambda: told in server.stdout())
        # Who may not come back can still replace a worker.
        lost = next(pid for pid in pids if pid != server.pid)
        os.kill(lost, signal.SIGKILL)
        eventually("another worker", lambda: len(server.pids()) == 3 and lost not in server.pids())
        assert {status(pid)["Uid"] for pid in server.pids()} == {facts["Uid"]}
        for _ in range(8):
            assert server.ask(request("/open")).body == pattern(MIB)


def test_files_of_others_are_forbidden(open_root: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(open_root, engine=engine, send_mode=send_mode, user="nobody", listing=True) as server:
        assert server.ask(request("/private")).status == 403
        assert server.ask(request("/closed/file")).status == 403
        assert server.ask(request("/closed/")).status == 403
        assert server.ask(request("/open", method="HEAD")).status == 200


@pytest.mark.uring
def test_memory_is_registered_after_the_drop(open_root: Path) -> None:
    """The limit is raised while the server is root; where root may not do that, the server says so."""
    with serving(open_root, send_mode="zerocopy", user="nobody", memlock=MIB // 4) as server:
        cache(server, "/open")
        assert server.ask(request("/open")).body == pattern(MIB)
        copied = server.metric('zerocopy_fallbacks_total{reason="memlock"}')
        if may_raise_limits():
            assert "locked memory: 640 MiB" in server.stdout()
            assert server.metric(SENDS_ZEROCOPY) > 0
            assert (copied, server.metric("registered_bytes") >= MIB) == (0, True)
        else:
            assert "locked memory: 0.25 MiB" in server.stdout()
            assert server.metric(SENDS_ZEROCOPY) == 0
            assert copied > 0


def may_raise_limits() -> bool:
    """Whether root has CAP_SYS_RESOURCE here; many containers take it away (capabilities(7))."""
    return bool(int(status(os.getpid())["CapEff"], 16) >> 24 & 1)


def test_the_code_need_not_be_readable_by_the_user(
    open_root: Path, kind: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where it was installed in root's home: all of it is imported before."""
    engine, send_mode = kind
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(Path(zchttpd.__file__).parent, private / "zchttpd")
    starter = private / "start"
    starter.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(private)!r})\n"
        "from zchttpd.cli import main\nsys.exit(main())\n"
    )
    starter.chmod(0o700)
    monkeypatch.setenv("ZCHTTPD", str(starter))
    options = {"engine": engine, "send_mode": send_mode, "listing": True, "compress": "auto"}
    with serving(open_root, user="nobody", **options) as server:
        for coding in ("br", "zstd", "gzip"):
            asked = request("/text.txt", f"Accept-Encoding: {coding}")
            eventually(coding, lambda asked=asked: server.ask(asked).field(b"content-encoding"))
        assert server.name.startswith("portable") or "io_uring" in server.stdout()
        assert server.ask(request("/open")).body == pattern(MIB)
        assert server.ask(request("/")).status == 200


def test_a_root_that_the_user_may_not_enter(open_root: Path) -> None:
    (open_root / "closed" / "in").mkdir()
    inside = str(open_root / "closed" / "in")
    refused = refuse("--root", inside, "--port", "0", "--user", "nobody")
    assert_one_line(refused, inside, "may not be entered by this user. Type: chmod")


def test_root_for_everybody_is_warned_of(open_root: Path) -> None:
    with serving(open_root, engine="portable", host="0.0.0.0", complaint="--user nobody") as server:
        eventually("a warning", lambda: "Type --user NAME" in server.stderr())
        assert len(server.stderr().splitlines()) == 1
    with serving(open_root, engine="portable", host="0.0.0.0", user="nobody") as server:
        assert server.stderr() == ""

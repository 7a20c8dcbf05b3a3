"""zchttpd doctor --seccomp: under what it prints the server does all that it does without."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zchttpd import cli

from ..wire.client import eventually, request
from ..wire.servers import Server, serving
from ..wire.streams import Digest, digest_of, pattern
from ..wire.tree import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

OBEY = Path(__file__).with_name("obey_profile.py")
LARGE = pattern(3 * MIB)
HUGE = pattern(40 * MIB)
TEXT = b"compressible\n" * 1000


@pytest.fixture
def profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert cli.main(["doctor", "--seccomp"]) == 0
    path = tmp_path / "profile.json"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.fixture
def obey(behind: Callable[[str], str]) -> Callable[[Path], None]:
    """Every server of this test has to do with what a profile allows."""

    def arrange(profile: Path) -> None:
        behind(f"exec {shlex.quote(sys.executable)} {shlex.quote(str(OBEY))} {shlex.quote(str(profile))}")

    return arrange


def make_site(top: Path) -> Path:
    site = top / "site"
    (site / "folder").mkdir(parents=True)
    for name, content in {"large": LARGE, "huge": HUGE, "folder/page.txt": TEXT}.items():
        (site / name).write_bytes(content)
    return site


@pytest.mark.uring
@pytest.mark.locked
@pytest.mark.parametrize("engine", ["uring", "portable"])
def test_it_is_enough(tmp_path: Path, profile: Path, obey: Callable[[Path], None], engine: str) -> None:
    """What it lacks would kill: a call that the server makes, in whatever it does."""
    obey(profile)
    log = tmp_path / "access.log"
    with serving(
        make_site(tmp_path),
        engine=engine,
        workers=2,
        access_log=log,
        compress="auto",
        listing=True,
        memory=64 * MIB,
    ) as server:
        for name, content in {"large": LARGE, "huge": HUGE}.items():
            for _ in range(3):
                digest = Digest()
                with server.peer() as peer:
                    peer.ask(request(f"/{name}"), digest)
                assert digest.result == digest_of(content)
        squeezed: list[bytes] = []

        def encoded() -> bool:
            reply = server.ask(request("/folder/page.txt", "Accept-Encoding: gzip"))
            squeezed.append(reply.body)
            return reply.field(b"content-encoding") == b"gzip"

        eventually("it is compressed", encoded)
        assert gzip.decompress(squeezed[-1]) == TEXT
        assert server.ask(request("/large", "Range: bytes=0-9")).body == LARGE[:10]
        assert b"page.txt" in server.ask(request("/folder/")).body
        assert server.ask(request("/nothing")).status == 404
        os.kill(server.pid, signal.SIGUSR1)
        assert server.metric("connections_total") > 0
    assert log.read_text().count('"GET ') == 6 + len(squeezed) + 3


@pytest.mark.uring
def test_less_is_not_enough(tmp_path: Path, profile: Path, obey: Callable[[Path], None]) -> None:
    """The test above can fail."""
    less = json.loads(profile.read_text())
    for rule in less["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name != "io_uring_setup"]
    profile.write_text(json.dumps(less))
    obey(profile)
    with pytest.raises(AssertionError, match="the server did not start"):
        Server(make_site(tmp_path), engine="uring")


def test_no_namespace_can_be_made(profile: Path) -> None:
    allowed = {name: rule for rule in json.loads(profile.read_text())["syscalls"] for name in rule["names"]}
    assert not {"unshare", "setns", "mount", "ptrace", "bpf", "clone3", "execveat", "keyctl"} & set(allowed)
    assert allowed["clone"]["args"][0]["value"] == 0x7E020000

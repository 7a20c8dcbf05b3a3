"""Too few descriptors, and no io_uring at all."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ..wire.client import request
from ..wire.servers import Server, environment, serving

if TYPE_CHECKING:
    from pathlib import Path

SERVED = b"a file\n"
COMPLAINT = "open files|could not be read"


@pytest.mark.uring
def test_idle_connections_beyond_the_limit(tmp_path: Path, few_files: int) -> None:
    """Idle ones make room for newcomers, and descriptors are left to open what these ask for."""
    (tmp_path / "file").write_bytes(SERVED)
    with serving(tmp_path, complaint=COMPLAINT) as server:
        idle = [server.peer() for _ in range(2 * few_files)]
        reply = server.ask(request("/file"))
        assert (reply.status, reply.body) == (200, SERVED)
        for peer in idle:
            peer.abort()


@pytest.mark.uring
def test_streamed_files_beyond_the_limit(tmp_path: Path, few_files: int) -> None:
    """Every streamed file takes a descriptor; those of files that nobody reads are given back in time."""
    size = 64 * 1024
    for number in range(2 * few_files):
        (tmp_path / str(number)).write_bytes(b"%04d" % number * (size // 4))
    with serving(
        tmp_path, complaint=COMPLAINT, memory=64 * 1024, stream_memory=1024 * 1024, window_size=64 * 1024
    ) as server:
        for number in range(2 * few_files):
            reply = server.ask(request(f"/{number}"))
            assert (reply.status, reply.body) == (200, b"%04d" % number * (size // 4))
        assert server.fds() < few_files


def test_refused_and_demanded(tmp_path: Path, no_ring: str) -> None:
    """--engine uring: one line with cause and fix, and no start."""
    done = subprocess.run(
        [no_ring, "--root", str(tmp_path), "--port", "0", "--engine", "uring"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert done.returncode != 0
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    assert "--engine uring cannot run" in lines[0]
    assert "Type --engine portable" in lines[0]


@pytest.mark.usefixtures("no_ring")
def test_refused_and_not_demanded(tmp_path: Path) -> None:
    """--engine auto: the portable engine serves, and one line says so."""
    (tmp_path / "file").write_bytes(SERVED)
    server = Server(tmp_path, engine="auto")
    try:
        assert server.ask(request("/file")).body == SERVED
        server.terminate()
        assert server.wait() == 0
        # All that it says is there only now.
        said = [
            line for line in (server.stdout() + server.stderr()).splitlines() if "without io_uring" in line
        ]
        assert len(said) == 1, said
        assert "Fix: " in said[0]
    finally:
        server.kill()

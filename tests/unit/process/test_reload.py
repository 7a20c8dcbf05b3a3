"""What another reading of the options changes, and how those who wait for news hear of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.settings import Settings
from zchttpd.process.pid_file import remove_pid, write_pid
from zchttpd.process.reload import changes, fixed_of, keep
from zchttpd.process.starter import Terminal
from zchttpd.process.upgrade import Successor

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings(root=Path("/"), engine="uring")


def test_what_the_supervisor_has_for_life_stays() -> None:
    asked = replace(SETTINGS, port=9090, listen=("[::]:80", "unix:s"), admin="127.0.0.1:1", listing=True)
    kept, lines = keep(asked, fixed_of(SETTINGS))
    assert kept == replace(SETTINGS, listing=True)
    assert lines == [
        "--port stays 8080: it cannot change to 9090 while the server runs. Restart it for that",
        "--listen stays '': it cannot change to '[::]:80, unix:s' while the server runs. Restart it for that",
        "--admin stays '': it cannot change to '127.0.0.1:1' while the server runs. Restart it for that",
    ]


def test_an_engine_that_was_chosen_is_no_news_to_who_leaves_the_choice() -> None:
    assert keep(replace(SETTINGS, engine="auto"), fixed_of(SETTINGS)) == (SETTINGS, [])


def test_changes_are_called_what_was_typed() -> None:
    assert changes(SETTINGS, replace(SETTINGS)).startswith("no option has changed")
    assert changes(SETTINGS, replace(SETTINGS, cors=True, idle_ms_max=5)) == "--cors, --idle-ms-max"


@pytest.mark.slow
def test_a_fault_in_reading_the_options_again_ends_nobody(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from zchttpd.config.settings import Settings
from zchttpd.process.supervisor import run
settings = Settings(root=Path({str(tmp_path)!r}), port=0, engine="portable", workers=1)
raise SystemExit(run(settings, reread=lambda: 1 / 0))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        assert "serving" in server.stdout.readline()
        server.send_signal(signal.SIGHUP)
        told = [server.stderr.readline()]
        while "not reloaded" not in told[-1]:
            assert told[-1], told
            told.append(server.stderr.readline())
        assert "ZeroDivisionError: division by zero\n" in told
        server.terminate()
        assert server.wait() == 0


def test_a_new_version_that_cannot_serve_is_not_waited_for() -> None:
    """It is over when it has ended, and its side of the channel with it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        successor = Successor(
            os.posix_spawn(sys.executable, [sys.executable, "-c", "exit(1)"], os.environ), ours
        )
        theirs.send(b'{"error": "no memory"}\n')
        assert not successor.hear()
        theirs.close()
        assert successor.hear()
        assert successor.failure() == "no memory"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service manager that listens."""
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        yield listening


def test_a_service_manager_is_told(manager: socket.socket) -> None:
    terminal = Terminal()
    terminal.reloading()
    state, _, moment = manager.recv(200).decode().partition("\n")
    assert state == "RELOADING=1"
    assert moment.removeprefix("MONOTONIC_USEC=").isdecimal()
    terminal.renewed()
    assert manager.recv(200) == b"READY=1"
    terminal.replaced(1234)
    assert manager.recv(200) == b"MAINPID=1234"
    # From here on it is the other one that speaks for the service.
    terminal.stopping()
    Terminal().stopping()
    assert manager.recv(200) == b"STOPPING=1"
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(200)


def test_the_first_process_has_no_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Terminal().obstacle == ""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert "Replace the container" in Terminal().obstacle


def test_the_file_names_who_serves(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    write_pid(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    path.write_text("1\n")
    remove_pid(str(path))
    assert path.exists(), "it names another one by now"
    write_pid(str(path))
    remove_pid(str(path))
    assert list(tmp_path.iterdir()) == []
    remove_pid(str(path))


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("zchttpd.telemetry.log.LOGGER.warning", lambda text, *args: said.append(text % args))
    write_pid(str(tmp_path / "none" / "pid"))
    assert len(said) == 1
    assert "cannot be written (No such file or directory). Type --pid-file" in said[0]

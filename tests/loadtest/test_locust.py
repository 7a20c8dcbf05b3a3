"""`locust -f loadtest/` from end to end: servers, users, report, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from benchlib.scrape import read_counters, total
from benchlib.server import free_port
from loadtest._site import MANIFEST, Tree, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parents[2]
RUN_S_MAX = 280
REQUESTS = "zchttpd_requests_total"
LARGE = 2**20
SPAWNED = "All users spawned"
# The same from a master whose workers have had no CPU time to say so.
SPAWNED_LATE = "Spawning is complete"
SIZES = ("--large", "1M", "-u", "5", "-r", "5")
pytestmark = [pytest.mark.slow, pytest.mark.uring]


@dataclass
class Run:
    """A locust of its own, with a directory for temporary files that nobody else uses."""

    child: subprocess.Popen[str]
    folder: Path
    said: Path

    def end(self) -> int:
        return self.child.wait(RUN_S_MAX)

    def wait_for(self, *words: str) -> None:
        """Until it has said one of these."""
        until = time.monotonic() + RUN_S_MAX
        while not any(each in self.words() for each in words):
            assert self.child.poll() is None, self.words()
            assert time.monotonic() < until, self.words()
            time.sleep(0.05)

    def wait_until_it_listens(self, port: int) -> None:
        until = time.monotonic() + RUN_S_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                assert self.child.poll() is None, self.words()
                assert time.monotonic() < until, self.words()
                time.sleep(0.05)
            else:
                return

    def wait_until_asked(self, servers: int) -> None:
        """Until each of its servers has answered some requests of its users."""
        until = time.monotonic() + RUN_S_MAX
        while len(self.asked()) < servers:
            assert self.child.poll() is None, self.words()
            assert time.monotonic() < until, self.words()
            time.sleep(0.05)

    def asked(self) -> list[int]:
        """The admin ports of the servers that have answered more than what asks whether they run."""
        ports = map(int, re.findall(r"--admin 127\.0\.0\.1:(\d+)", self.words()))
        return [port for port in ports if total(read_counters("127.0.0.1", port), REQUESTS) > 10]

    def words(self) -> str:
        return self.said.read_text()

    def report(self) -> dict[str, Any]:
        """results.json of the one report."""
        (folder,) = (self.folder / "results").iterdir()
        found: dict[str, Any] = json.loads((folder / "results.json").read_text())
        return found

    def left(self) -> list[str]:
        """Processes and directories that are still there."""
        served = [line for line in _command_lines() if f"--root {self.folder}" in line]
        return served + [path.name for path in (self.folder / "tmp").glob("zchttpd-*")]


def _command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def start(folder: Path, *options: str, before: tuple[str, ...] = (), web_port: int = 0) -> Run:
    """Locust on loadtest/, headless unless there is a port for its web page, with a few users."""
    (folder / "tmp").mkdir(parents=True)
    beside = Path(sys.executable).parent
    assert shutil.which("zchttpd", path=str(beside)), (
        "zchttpd is not installed beside this Python: make setup"
    )
    # The installed server, not the sources that PYTHONPATH may name.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["TMPDIR"] = str(folder / "tmp")
    said = folder / "said"
    with said.open("w") as output:
        child = subprocess.Popen(
            [
                *before, sys.executable, "-m", "locust", "-f", str(PROJECT / "loadtest"),
                *(("--web-port", str(web_port)) if web_port else ("--headless", "--only-summary")),
                "--results", str(folder / "results"), *SIZES, *options,
            ],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
        )  # fmt: skip
    return Run(child, folder, said)


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """Runs to be ended, whatever a test found."""
    begun: list[Run] = []
    yield begun
    for run in begun:
        if run.child.poll() is None:
            run.child.kill()
            run.child.wait()


def test_a_short_headless_run_checks_every_byte_and_leaves_nothing(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(start(tmp_path / "one", "-t", "3s"))
    (run,) = runs
    assert run.end() == 0, run.words()
    found = run.report()
    assert [side["mode"] for side in found["sides"]] == ["zerocopy", "plain", "portable"]
    assert sum(scene["requests"] for scene in found["scenes"]) > 0
    assert sum(scene["failures"] for scene in found["scenes"]) == 0
    assert all(side["requests"] > 0 for side in found["sides"])
    (folder,) = (run.folder / "results").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "plots.png",
        "report.html",
        "requests.csv",
        "results.json",
        "series.csv",
    }
    assert "<svg" in (folder / "report.html").read_text()
    assert found["verdict"][0]["words"] in " ".join(run.words().split())
    assert not run.left()


def test_two_runs_at_once_with_workers_do_not_collide(tmp_path: Path, runs: list[Run]) -> None:
    modes = ("--modes", "zerocopy,plain", "--processes", "2")
    runs += [start(tmp_path / name, *modes) for name in ("one", "two")]
    for run in runs:
        run.wait_until_asked(2)
        run.child.send_signal(signal.SIGTERM)
    assert [run.end() for run in runs] == [0, 0], [run.words() for run in runs]
    for run in runs:
        found = run.report()
        assert "2 workers connected" in run.words()
        # Locust gives up the last report of a worker that has had no CPU time.
        assert found["client"]["processes"] in (1, 2)
        assert found["errors"] == []
        assert all(side["requests"] > 0 for side in found["sides"])
        assert not run.left()
    ports = [{target["port"] for target in run.report()["targets"]} for run in runs]
    assert len(ports[0] | ports[1]) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_test_with_a_report_and_no_server(
    tmp_path: Path, runs: list[Run], number: signal.Signals
) -> None:
    runs.append(start(tmp_path / "one", "--modes", "plain"))
    (run,) = runs
    run.wait_for(SPAWNED)
    run.child.send_signal(number)
    assert run.end() == 0, run.words()
    assert run.report()["errors"] == []
    assert not run.left()


def test_a_signal_while_servers_start_leaves_none(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(start(tmp_path / "one"))
    (run,) = runs
    run.wait_for("starting plain")
    run.child.send_signal(signal.SIGINT)
    assert run.end() == 128 + signal.SIGINT, run.words()
    assert not run.left()


def test_the_servers_end_too_when_a_worker_has_died(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(start(tmp_path / "one", "--modes", "plain", "--processes", "2", "-t", "3s"))
    (run,) = runs
    run.wait_for(SPAWNED, SPAWNED_LATE)
    os.kill(_worker_of(run), signal.SIGKILL)
    run.end()
    assert run.report()["errors"] == []
    assert not run.left()


def _worker_of(run: Run) -> int:
    pid = run.child.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(each) for each in children if b"locust" in Path(f"/proc/{each}/cmdline").read_bytes())


def test_without_io_uring_what_can_run_is_tested(tmp_path: Path, runs: list[Run]) -> None:
    refuse = PROJECT / "tests" / "ring" / "refuse_ring.py"
    before = (sys.executable, str(refuse), str(errno.EPERM))
    runs.append(start(tmp_path / "one", "-t", "1s", before=before))
    (run,) = runs
    assert run.end() == 0, run.words()
    found = run.report()
    assert set(found["missing"]) == {"zerocopy", "plain"}
    assert "refuses io_uring" in found["missing"]["zerocopy"]
    assert [side["mode"] for side in found["sides"]] == ["portable"]
    assert "cannot run here: zerocopy and plain" in found["verdict"][1]["words"]
    assert not run.left()


class Liar:
    """A server that has one byte wrong in one of its files, and answers GET of a whole file only."""

    def __init__(self, root: Path, tree: Tree, wrong: str) -> None:
        self.bodies = {
            f"/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()
        }
        body = bytearray(self.bodies[wrong])
        body[len(body) // 2] ^= 1
        self.bodies[wrong] = bytes(body)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while request := lines.readline():
                while lines.readline() not in (b"\r\n", b""):
                    pass
                body = self.bodies[request.split()[1].decode("ascii")]
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(10)


def test_a_wrong_byte_is_a_failure_in_the_table(tmp_path: Path, runs: list[Run]) -> None:
    root = tmp_path / "site"
    root.mkdir()
    tree = write_tree(root, print, large=LARGE)
    wrong = "/download/small.iso"
    assert f"/{MANIFEST}" != wrong
    liar = Liar(root, tree, wrong)
    try:
        # So many that one at least asks for that file at once.
        users = ("-u", "10", "-r", "10", "-t", "4s", "Downloader")
        runs.append(start(tmp_path / "one", "--host", f"http://127.0.0.1:{liar.port}", *users))
        (run,) = runs
        assert run.end() == 1, run.words()
    finally:
        liar.close()
    found = run.report()
    (error,) = found["errors"]
    assert error[0] == "host download 64 KiB"
    assert "wrong SHA-256" in error[1]
    scenes = {scene["name"]: scene for scene in found["scenes"]}
    assert scenes["download 64 KiB"]["failures"] == scenes["download 64 KiB"]["requests"] > 0
    assert sum(scene["failures"] for scene in found["scenes"]) == error[2]
    assert "host download 64 KiB: WrongAnswer" in run.words()
    assert found["verdict"][0]["tone"] == "bad"


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--host", "http://127.0.0.1:1"), 1, "is a server running there?"),
        (("--modes", "zerocpy"), 2, "choose from zerocopy, plain, portable"),
    ],
)
def test_what_cannot_be_tested_is_said_at_once(
    tmp_path: Path, runs: list[Run], options: tuple[str, ...], status: int, words: str
) -> None:
    runs.append(start(tmp_path / "one", *options))
    (run,) = runs
    assert run.end() == status
    assert words in run.words()
    assert "Traceback" not in run.words()
    assert not run.left()


class Page:
    """Locust's web page, asked as a browser would."""

    def __init__(self, run: Run, port: int) -> None:
        self.run = run
        self.port = port

    def get(self, path: str, form: dict[str, str] | None = None) -> str:
        body = urlencode(form).encode("ascii") if form is not None else None
        with urlopen(f"http://127.0.0.1:{self.port}{path}", body, timeout=30) as answer:
            said: str = answer.read().decode("utf-8")
        return said

    def swarm(self, host: str) -> dict[str, Any]:
        form = {"user_count": "3", "spawn_rate": "3", "host": host}
        found: dict[str, Any] = json.loads(self.get("/swarm", form))
        return found

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/zchttpd-state"))
        return found

    def wait_for(self, state: str) -> dict[str, Any]:
        until = time.monotonic() + RUN_S_MAX
        while (found := self.state())["state"] != state:
            assert time.monotonic() < until, self.run.words()
            time.sleep(0.05)
        return found


def test_the_web_page_asks_for_no_host_and_shows_the_verdict(tmp_path: Path, runs: list[Run]) -> None:
    port = free_port()
    runs.append(start(tmp_path / "one", "--modes", "plain", web_port=port))
    (run,) = runs
    page = Page(run, port)
    run.wait_for("plain on ")
    run.wait_until_it_listens(port)
    assert f"web interface at http://127.0.0.1:{port}" in run.words()
    first = page.get("/")
    assert '"missing_host_warning": false' in first
    assert "zchttpd.js" in first
    assert "zchttpd-report" in page.get("/zchttpd.js")
    dead = page.swarm("http://127.0.0.1:1")
    assert dead["success"] is False
    assert "is a server running there?" in dead["message"]
    assert page.state()["state"] == "idle"
    assert page.swarm("")["success"] is True
    run.wait_for(SPAWNED)
    assert page.state()["state"] == "running"
    page.get("/stop", {})
    found = page.wait_for("done")
    assert found["verdict"][0]["words"] in page.get("/zchttpd-report")
    assert Path(found["report"]).is_file()
    run.child.send_signal(signal.SIGTERM)
    run.end()
    assert not run.left()

"""loadtest/: servers that always end, load clients on real sockets, readings from the kernel."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jinja2 import UndefinedError

from bench import memory
from bench.clients import Connection as DiscardConnection
from bench.clients import Ended, Plan, drive, receive
from bench.idle import ask, await_answers, silent_table
from bench.load import REST_LOOK_S, wait_for_rest
from bench.peers import KINDS
from bench.workloads import WORKLOADS
from benchlib import CannotMeasure
from benchlib.fetch import fetch, request_bytes
from benchlib.payload import write_payload
from benchlib.proc import CoreTimes, core_times, cpu_ns, process_tree, read_memory
from benchlib.server import Kind, fill, find_tool, running, temporary_site, with_arguments

from .made_results import make_taken

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
FIRST_CORE = min(os.sched_getaffinity(0))
PYTHON_SERVER = Kind(
    "python",
    "python",
    "python3",
    ("--version",),
    ("-m", "http.server", "-b", "{host}", "-d", "{root}", "{port}"),
)


# The discarding client


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connected TCP pair, for MSG_TRUNC means something else on other sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        yield near, far


def take_all(connection: DiscardConnection, length: int) -> int:
    """Receive until the response of `length` bytes is complete; return its bytes."""
    total, complete = 0, False
    while not complete:
        got, complete = receive(connection, bytearray(2**20), length)
        total += got
    return total


def test_a_response_is_dropped_to_its_last_byte(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"a" * 5000
    second = b"HTTP/1.1 200 OK\r\ncontent-length:3\r\n\r\nxyz"
    connection = DiscardConnection(near)
    far.sendall(first[:10])
    assert receive(connection, bytearray(2**20), len(first)) == (10, False)
    far.sendall(first[10:])
    assert take_all(connection, len(first)) == len(first) - 10
    far.sendall(second)
    assert take_all(connection, len(second)) == len(second)


def test_a_server_that_closes_early_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"a" * 4999
    far.sendall(first)
    far.close()
    with pytest.raises(Ended, match="1 bytes missing"):
        take_all(DiscardConnection(near), len(first) + 1)


@pytest.mark.parametrize(
    ("answer", "length", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 48, "unexpected answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 38, "1 bytes more"),
    ],
)
def test_another_status_or_length_is_an_error(
    pair: tuple[socket.socket, socket.socket], answer: bytes, length: int, words: str
) -> None:
    near, far = pair
    far.sendall(answer)
    with pytest.raises(Ended, match=words):
        take_all(DiscardConnection(near), length)


def test_the_discarding_client_measures_a_real_server() -> None:
    with temporary_site() as site, running(PYTHON_SERVER, sys.executable, site, FIRST_CORE) as server:
        payload = write_payload(site.root, 3 * 2**20)
        answer = fetch("127.0.0.1", server.port, payload.target)
        assert (answer.status, answer.sha256) == (200, payload.sha256)
        request = request_bytes("127.0.0.1", server.port, payload.target).decode()
        count = drive(Plan(server.port, request, answer.wire_length, 1, 0.5))
    # http.server closes after each response: one response, then one connection that ended.
    assert count.requests == len(count.latencies_s) == 1
    assert count.bytes == answer.wire_length
    assert count.errors == 1


# Servers


def test_a_server_ends_with_its_block_and_shows_no_local_path() -> None:
    with temporary_site() as site:
        with running(PYTHON_SERVER, sys.executable, site, FIRST_CORE) as server:
            pid = server.pid
            assert os.sched_getaffinity(pid) == {FIRST_CORE}
            assert os.getpgid(pid) == pid != os.getpgid(0)
            assert server.tree() == (pid,)
            assert str(site.directory) not in server.command + server.config
            assert server.notifications() is None
        assert not Path(f"/proc/{pid}").exists()
        interrupted = running(PYTHON_SERVER, sys.executable, site, FIRST_CORE)
        pid = interrupted.__enter__().pid
        assert Path(f"/proc/{pid}").exists()
        assert not interrupted.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        assert not Path(f"/proc/{pid}").exists()
    assert not site.directory.exists()


def test_a_server_that_does_not_start_shows_its_last_words() -> None:
    broken = dataclasses.replace(PYTHON_SERVER, arguments=("-c", "raise SystemExit('no such option')"))
    with (
        temporary_site() as site,
        pytest.raises(CannotMeasure, match=r"python did not start(.|\n)*no such option"),
        running(broken, sys.executable, site, FIRST_CORE),
    ):
        pytest.fail("it cannot have started")


def test_a_missing_program_names_the_package() -> None:
    with pytest.raises(CannotMeasure, match="type: apt-get install no-such-package"):
        find_tool("no-such-program", "no-such-package")
    with pytest.raises(CannotMeasure, match="pip install"):
        find_tool("no-such-program", "")


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_configuration_can_be_filled_in(kind: Kind) -> None:
    names = dict.fromkeys(["root", "run", "config", "host", "port", "admin", "user", "group"], "1")
    config = fill(kind, names)
    assert "{{" not in config
    assert "{%" not in config
    values = (*kind.arguments, *(value for _, value in kind.environment))
    assert not any("{" in item.format(**names) for item in values)
    assert set(dict(kind.skips)) <= set(WORKLOADS)
    assert kind.ours == (kind.config is None)


def test_a_name_that_a_configuration_does_not_get_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="root"):
        fill(KINDS["lighttpd"], {})


def test_nginx_has_its_file_cache_but_for_the_one_without() -> None:
    names = dict.fromkeys(["root", "run", "host", "port", "user", "group"], "1")
    texts = {name: fill(KINDS[name], names) for name in ("nginx", "nginx-nocache")}
    assert "open_file_cache max=10000" in texts["nginx"]
    assert "open_file_cache off;" in texts["nginx-nocache"]


def test_a_kind_may_have_more_arguments() -> None:
    longer = with_arguments(KINDS["zerocopy"], "big", "--window-size", "1048576")
    assert (longer.name, longer.ours) == ("big", True)
    assert longer.arguments == (*KINDS["zerocopy"].arguments, "--window-size", "1048576")


# Accounting


def test_a_process_tree_has_the_grandchildren() -> None:
    script = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); "
        "sys.stdin.read(); child.kill(); child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert process_tree(child.pid) == tuple(sorted((child.pid, grandchild)))
        assert set(process_tree(os.getpid())) >= {os.getpid(), child.pid, grandchild}
        child.communicate()
    assert process_tree(child.pid) == (child.pid,)


def test_cpu_time_covers_threads_that_have_ended() -> None:
    used: list[int] = []

    def burn() -> None:
        while time.thread_time_ns() < 20_000_000:
            pass
        used.append(time.thread_time_ns())

    before = cpu_ns((os.getpid(),))
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    assert cpu_ns((os.getpid(),)) - before >= used[0]


def test_cpu_time_of_a_process_that_is_gone() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    with pytest.raises(ProcessLookupError, match=str(child.pid)):
        cpu_ns((child.pid,))


def test_core_times_add_the_chosen_cores_only() -> None:
    stat = (
        "cpu  9 9 9 9 9 9 9 9 0 0\n"
        f"cpu0 1 1 1 {10 * TICKS_PER_S} {2 * TICKS_PER_S} 1 1 {3 * TICKS_PER_S} 0 0\n"
        f"cpu1 1 1 1 {20 * TICKS_PER_S} 0 1 1 {1 * TICKS_PER_S} 0 0\n"
        f"cpu10 1 1 1 {40 * TICKS_PER_S} 0 1 1 0 0 0\nintr 5 5 5\n"
    )
    assert core_times((0,), stat) == CoreTimes(12.0, 3.0)
    assert core_times((0, 1), stat) == CoreTimes(32.0, 4.0)
    assert core_times((1,), stat) - CoreTimes(5.0, 1.0) == CoreTimes(15.0, 0.0)


def test_memory_is_read_in_bytes() -> None:
    read = read_memory("sockets: used 14\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 189\nUDP: inuse 0 mem 7\n")
    assert read.tcp == 189 * os.sysconf("SC_PAGE_SIZE")
    (line,) = (
        line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:")
    )
    assert 0 < read.slab < read.available < int(line.split()[1]) * 1024


# Memory of silent clients


@pytest.mark.parametrize(("zerocopy", "state"), [(100_000, "met"), (100_001, "missed")])
def test_the_memory_goal(zerocopy: int, state: str) -> None:
    words = memory.verdict(
        [make_taken("zerocopy", zerocopy), make_taken("plain", 1_000_000), make_taken("nginx", 5)]
    )
    assert f": {state} (" in words


def test_memory_without_a_comparison_is_not_judged() -> None:
    assert memory.verdict([make_taken("zerocopy", 1)]).startswith("no verdict")
    assert memory.verdict([make_taken("zerocopy", 1), make_taken("plain", -5)]).startswith("no verdict")
    disturbed = memory.verdict([make_taken("zerocopy", 1), make_taken("plain", 100, steady=False)])
    assert disturbed.startswith("no verdict: memory never kept still")


def test_the_memory_table_shows_median_and_rounds() -> None:
    takings = [make_taken("plain", 1024 * 10 * figure, number) for number, figure in enumerate((3, 9, 5))]
    text = silent_table(takings).plain()
    assert text.splitlines()[1].split() == ["plain", "5", "3", "to", "9", "2", "1", "0", "0"]
    assert "1 rounds disturbed" in silent_table([make_taken("plain", 1, steady=False)]).plain()


def test_silent_clients_get_an_answer_and_leave_it() -> None:
    with temporary_site() as site, running(PYTHON_SERVER, sys.executable, site, FIRST_CORE) as server:
        payload = write_payload(site.root, 4096)
        with closing(ask(server.port, payload.target, 8192)) as client:
            with pytest.raises(CannotMeasure, match=r"answered b'HTTP/1.0 200'"):
                await_answers([client], server)
            assert client.recv(8) == b"HTTP/1.0"


@pytest.mark.parametrize(("idle_s", "rests"), [([0.0, 0.1, 0.2, 0.6], True), ([0.0, 0.1, 0.2, 0.3], False)])
def test_a_measurement_waits_until_the_cores_rest(
    monkeypatch: pytest.MonkeyPatch, idle_s: list[float], rests: bool
) -> None:
    clock = [0.0]
    idle = iter(idle_s)
    monkeypatch.setattr("bench.load.core_times", lambda _: CoreTimes(next(idle), 0.0))
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    assert wait_for_rest((0, 1), 3 * REST_LOOK_S) is rests
    # Whoever does not rest is waited for until the end; the measurement then says so itself (others).
    assert clock[0] == pytest.approx(3 * REST_LOOK_S)

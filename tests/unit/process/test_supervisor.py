"""The supervisor and its workers as real processes, with stubs in place of the engines (stub_server.py)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h11
import pytest

import zchttpd
from zchttpd.process.generation import DRAIN_MARGIN_S

pytestmark = pytest.mark.slow

STUB = Path(__file__).parents[1] / "stub_server.py"
PACKAGE_ROOT = Path(zchttpd.__file__).parents[1]
BURN_S: float = runpy.run_path(str(STUB))["BURN_S"]
GIVE_UP_S = 120.0


class Server:
    """A running zchttpd; every wait ends after GIVE_UP_S at the latest, when the watchdog kills it."""

    def __init__(self, root: Path, arguments: list[str], stub: dict[str, Any], **more: Any) -> None:
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT), "STUB": json.dumps(stub)}
        self.popen = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", STUB, "--root", str(root), "--port", "0", *arguments],
            env=environment,
            start_new_session=True,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        )
        self.timed_out = False
        self.watchdog = threading.Timer(GIVE_UP_S, self.give_up)
        self.watchdog.start()

    def give_up(self) -> None:
        self.timed_out = True
        self.kill()

    def kill(self) -> None:
        """Kill what is left of the group, workers that outlived their supervisor among it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def line(self) -> str:
        """The next line on stdout, without its end."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, self.popen.communicate()
        return str(line.rstrip("\n"))

    def complaint(self) -> str:
        """The next line on stderr, without its end."""
        assert self.popen.stderr is not None
        return str(self.popen.stderr.readline().rstrip("\n"))

    def started(self) -> Server:
        self.start_line = self.line()
        self.address = address_in(self.start_line)
        return self

    def ask(self, target: str) -> bytes:
        """What a worker answers to one request on a connection of its own."""
        with socket.create_connection(self.address, GIVE_UP_S) as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def pids(self, count: int) -> set[int]:
        """The process ids of `count` workers, asked until all have answered."""
        found: set[int] = set()
        while len(found) < count:
            found.add(int(self.ask("/pid")))
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        self.popen.send_signal(number)
        return self.end()

    def end(self) -> tuple[int, str, str]:
        """(exit code, rest of stdout, rest of stderr) once all who hold the pipes open have gone."""
        out, err = self.popen.communicate(timeout=GIVE_UP_S)
        return self.popen.returncode, out or "", err or ""


def address_in(line: str) -> tuple[str, int]:
    found = re.search(r"http://([0-9.]+):([0-9]+)", line)
    assert found, line
    return found[1], int(found[2])


def get(address: tuple[str, int], target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """One request to the admin listener, read by h11 with nothing left over."""
    client = h11.Connection(h11.CLIENT)
    with socket.create_connection(address, GIVE_UP_S) as connection:
        connection.sendall(
            client.send(
                h11.Request(method=method, target=target, headers=[("Host", f"{address[0]}:{address[1]}")])
            )
            or b""
        )
        client.send(h11.EndOfMessage())
        body = b""
        response: h11.Response | None = None
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                client.receive_data(connection.recv(65536))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                break
        assert response is not None
        assert connection.recv(1) == b""
        assert client.trailing_data[0] == b""
    return response.status_code, {name.decode(): value.decode() for name, value in response.headers}, body


def numbers(address: tuple[str, int]) -> dict[str, float]:
    found: dict[str, float] = json.loads(get(address, "/metrics.json")[2])
    return found


def gone(pid: int, pidfd: int) -> None:
    assert select.select([pidfd], [], [], GIVE_UP_S)[0], f"{pid} is still there"
    os.close(pidfd)


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    servers: list[Server] = []

    def begin(*arguments: str, stub: dict[str, Any] | None = None, **more: Any) -> Server:
        (tmp_path / "index.html").touch()
        servers.append(Server(tmp_path, list(arguments), stub or {}, **more))
        return servers[-1]

    yield begin
    for server in servers:
        server.kill()
        server.watchdog.cancel()
        server.watchdog.join()
        server.popen.communicate()
        assert not server.timed_out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("workers", [1, 2])
def test_it_says_where_it_serves_and_leaves_in_silence(
    start: Start, tmp_path: Path, workers: int, number: signal.Signals
) -> None:
    server = start("--workers", str(workers), "--send-mode", "plain").started()
    plural = "s" if workers > 1 else ""
    host, port = server.address
    assert server.start_line == (
        f"zchttpd {zchttpd.__version__} serving {tmp_path}/ at http://{host}:{port}"
        f" (io_uring, send mode plain, {workers} worker{plural})"
    )
    assert len(server.pids(workers)) == workers
    assert server.stop(number) == (0, "", "")
    with pytest.raises(ConnectionRefusedError):
        server.ask("/")


def test_ctrl_c_reaches_the_whole_group_and_leaves_no_traceback(start: Start) -> None:
    server = start("--workers", "2").started()
    os.killpg(server.popen.pid, signal.SIGINT)
    assert server.end() == (0, "", "")


def test_missing_rungs_and_notes_follow_the_start_line_once_each(start: Start) -> None:
    stub = {"missing": ["send_zc", "buffer_ring"], "notes": ["something else"]}
    server = start("--workers", "2", "--send-mode", "plain", "--without", "buffer_ring", stub=stub).started()
    assert server.line().startswith("without send_zc: every body is copied when it is sent. Fix: Linux 6.0")
    assert server.line().startswith("without buffer_ring, as asked: ")
    assert server.line() == "something else"
    assert server.stop() == (0, "", "")


def test_where_io_uring_is_refused_auto_serves_with_the_portable_engine(start: Start) -> None:
    server = start("--workers", "2", stub={"error": "ENOSYS"}).started()
    assert "(portable, " in server.start_line
    note = server.line()
    assert note.startswith("without io_uring: this kernel or its sandbox has no io_uring (ENOSYS)")
    assert "Fix: " in note
    assert server.ask("/") == b"ok"
    assert server.stop() == (0, "", "")


def test_a_ring_that_is_refused_only_when_it_is_made_is_refused_too(start: Start) -> None:
    server = start(stub={"start": "oserror:EPERM"}).started()
    assert "(portable, " in server.start_line
    assert server.line().startswith("without io_uring: ")
    assert server.stop() == (0, "", "")


def test_the_portable_engine_when_asked_for_needs_no_excuse(start: Start) -> None:
    server = start("--engine", "portable", stub={"error": "EPERM"}).started()
    assert "(portable, " in server.start_line
    assert server.stop() == (0, "", "")


@pytest.mark.parametrize(
    ("stub", "cause", "fix"),
    [
        ({"error": "ENOSYS"}, "--engine uring cannot run: this kernel", "Type --engine portable"),
        ({"start": "oserror:ENOMEM"}, "the uring engine cannot start", "Type: zchttpd doctor"),
        ({"start": "oserror:EPERM"}, "the uring engine cannot start", "Type: zchttpd doctor"),
        ({"start": "killed"}, "was killed by SIGKILL while starting", "Type: zchttpd doctor"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(
    start: Start, stub: dict[str, Any], cause: str, fix: str
) -> None:
    code, out, err = start("--engine", "uring", "--workers", "4", stub=stub).end()
    assert (code, out) == (1, "")
    assert err.startswith("zchttpd: ")
    assert err.count("\n") == 1
    assert cause in err
    assert fix in err


def test_a_fault_of_the_engine_at_start_shows_its_traceback_and_ends_it_all(start: Start) -> None:
    code, out, err = start(stub={"start": "raise"}).end()
    assert (code, out) == (1, "")
    assert "RuntimeError: no such luck" in err
    assert err.rstrip().endswith(
        "zchttpd: worker 0 left with exit code 1 while starting. Type: zchttpd doctor"
    )


@pytest.mark.parametrize("flag", ["--port", "--admin"])
def test_a_port_in_use_is_one_line(start: Start, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        value = str(port) if flag == "--port" else f"127.0.0.1:{port}"
        code, out, err = start("--workers", "2", flag, value).end()
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert f"port {port} on 127.0.0.1 is already in use. Type {flag}" in err


def test_without_the_compiled_part_it_says_so(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['zchttpd._core.stats'] = None; import zchttpd.cli as c; sys.exit(c.main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "--root", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
        capture_output=True,
        text=True,
        timeout=GIVE_UP_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("zchttpd: the compiled part is missing")
    assert ended.stderr.count("\n") == 1


def test_a_build_without_engines_says_what_is_missing(start: Start) -> None:
    code, out, err = start(stub={"unbuilt": ["zchttpd._core.ring_setup", "zchttpd.engine.portable"]}).end()
    assert (code, out) == (1, "")
    assert err.startswith("zchttpd: this build has no io_uring engine (")
    assert "and the portable engine cannot be loaded (" in err
    assert err.count("\n") == 1


def test_open_responses_are_finished_and_no_new_connection_is_taken(start: Start) -> None:
    server = start().started()
    with socket.create_connection(server.address, GIVE_UP_S) as open_one, open_one.makefile("rb") as stream:
        open_one.sendall(b"GET /hold HTTP/1.1\r\n\r\n")
        assert stream.readline() == b"holding\n"
        server.popen.send_signal(signal.SIGTERM)
        assert stream.read() == b"done\n"
        # The worker has closed its copy of the listening socket; the supervisor must not keep another one.
        with pytest.raises(ConnectionRefusedError):
            server.ask("/")
    assert server.end() == (0, "", "")


def test_a_worker_that_does_not_drain_in_time_is_killed(start: Start) -> None:
    server = start("--drain-ms-max", "0", stub={"deaf": True}).started()
    code, out, err = server.stop()
    assert (code, out) == (0, "")
    assert err.rstrip().endswith("supervisor: 1 of 1 workers killed before they had drained")
    assert DRAIN_MARGIN_S > 0


def test_a_second_ctrl_c_stops_at_once(start: Start) -> None:
    server = start("--drain-ms-max", "3600000", "--admin", "127.0.0.1:0", stub={"deaf": True}).started()
    admin = address_in(server.line())
    server.popen.send_signal(signal.SIGINT)
    # Two signals of one kind merge while the first is pending, so wait until it has been acted upon.
    while get(admin, "/healthz")[0] != 503:
        pass
    code, out, err = server.stop(signal.SIGINT)
    assert (code, out) == (0, "")
    assert "1 of 1 workers killed" in err


def test_workers_do_not_outlive_a_killed_supervisor(start: Start) -> None:
    server = start("--workers", "2").started()
    watched = [(pid, os.pidfd_open(pid)) for pid in server.pids(2)]
    server.popen.kill()
    for pid, pidfd in watched:
        gone(pid, pidfd)
    with pytest.raises(ConnectionRefusedError):
        server.ask("/")


@pytest.mark.parametrize("death", ["SIGKILL", "SIGTERM", "fault"])
def test_a_dead_worker_is_replaced(start: Start, death: str) -> None:
    server = start("--admin", "127.0.0.1:0").started()
    admin = address_in(server.line())
    [before] = server.pids(1)
    assert numbers(admin)['zchttpd_requests_total{status="200"}'] == 1
    pidfd = os.pidfd_open(before)
    if death == "fault":
        assert server.ask("/fail") == b""
    else:
        os.kill(before, signal.Signals[death])
    gone(before, pidfd)
    # The supervisor keeps the listening socket, so this connection waits for the next worker.
    [after] = server.pids(1)
    assert after != before
    found = numbers(admin)
    assert found['zchttpd_worker_restarts_total{worker="0"}'] == 1
    assert found['zchttpd_requests_total{status="200"}'] == 2
    assert found["zchttpd_connections_open"] == 0
    assert found["zchttpd_workers_alive"] == 1
    assert get(admin, "/healthz")[::2] == (200, b"ok\n")
    code, out, err = server.stop()
    assert (code, out) == (0, "")
    how = {
        "SIGKILL": "was killed by SIGKILL",
        "SIGTERM": "left with exit code 0",
        "fault": "left with exit code 1",
    }
    [line] = [line for line in err.splitlines() if "supervisor" in line]
    assert line.endswith(f"ERROR supervisor: worker 0 {how[death]}; another one starts in 0.1 s")
    assert ("RuntimeError: a fault of the engine" in err) == (death == "fault")


def test_a_worker_inherits_only_what_is_its_own(start: Start) -> None:
    server = start("--workers", "2", "--admin", "127.0.0.1:0").started()
    admin = address_in(server.line())
    with socket.create_connection(admin, GIVE_UP_S) as client:
        # Once it has an answer the supervisor has a client's socket that a worker forked now must not keep.
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1)
        first = server.pids(2)
        os.kill(min(first), signal.SIGKILL)
        while server.pids(2) == first:
            pass
        for _ in range(20):
            kinds = json.loads(server.ask("/fds"))
            # Its listener and this connection; its own stop pipe (two ends) beside stdout and stderr; and
            # what it says with that the root has moved.
            assert kinds.count("socket") == 2, kinds
            assert kinds.count("pipe") == 4, kinds
            assert kinds.count("anon_inode") == 1, kinds
    assert server.stop()[0] == 0


def test_a_reader_who_leaves_does_not_disturb(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = free.getsockname()
    read_end, write_end = os.pipe()
    os.close(read_end)
    server = start("--admin", f"{admin[0]}:{admin[1]}", stdout=write_end)
    os.close(write_end)
    while server.popen.poll() is None:
        # It is ready once the start report has been written, or could not be.
        with contextlib.suppress(ConnectionRefusedError):
            if get(admin, "/readyz")[0] == 200:
                break
    assert server.stop() == (0, "", "")


def close_streams() -> None:
    """What `>&- 2>&- <&-` does."""
    for fd in (0, 1, 2):
        os.close(fd)


@pytest.mark.parametrize("how", ["closed", "full"])
def test_output_that_goes_nowhere_does_not_disturb(start: Start, how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
        admin, address = free.getsockname(), other.getsockname()
    places = ("--admin", f"{admin[0]}:{admin[1]}", "--port", str(address[1]))
    with open("/dev/full", "wb") as full:
        more = {"preexec_fn": close_streams} if how == "closed" else {"stdout": full, "stderr": full}
        server = start(*places, **more)
    server.address = address

    def pid() -> bytes:
        while server.popen.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                if get(admin, "/healthz")[0] == 200:
                    break
        return server.ask("/pid")

    before = pid()
    server.ask("/fail")
    assert pid() != before, "the worker was replaced, with something pending for stdout"
    code, _, stderr = server.stop()
    assert (code, stderr or "") == (0, "")


def test_a_worker_that_keeps_dying_is_replaced_more_and_more_slowly(start: Start) -> None:
    server = start().started()
    for pause in ("0.1", "0.2", "0.4"):
        server.ask("/fail")
        while "supervisor" not in (line := server.complaint()):
            assert line
        assert line.endswith(f"another one starts in {pause} s")
    server.pids(1)
    assert server.stop()[0] == 0


def test_cpu_time_of_a_dead_worker_is_not_forgotten(start: Start) -> None:
    server = start("--admin", "127.0.0.1:0").started()
    admin = address_in(server.line())
    server.ask("/burn")
    before = numbers(admin)['zchttpd_worker_cpu_seconds_total{worker="0"}']
    assert before >= BURN_S - 0.02
    server.ask("/fail")
    server.pids(1)
    assert numbers(admin)['zchttpd_worker_cpu_seconds_total{worker="0"}'] >= before
    assert server.stop()[0] == 0


def test_what_was_made_at_start_is_kept_from_the_collector(start: Start) -> None:
    server = start().started()
    assert int(server.ask("/frozen")) > 0
    assert server.stop() == (0, "", "")


def test_the_admin_listener_answers(start: Start) -> None:
    server = start("--workers", "2", "--admin", "127.0.0.1:0").started()
    metrics_line = server.line()
    admin = address_in(metrics_line)
    assert metrics_line == f"metrics at http://{admin[0]}:{admin[1]}/metrics"
    asked = 5
    for _ in range(asked):
        server.ask("/")
    status, headers, body = get(admin, "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert "access-control-allow-origin" not in headers
    assert f'zchttpd_requests_total{{status="200"}} {float(asked)}\n' in body.decode()
    status, headers, body = get(admin, "/metrics.json?now")
    assert (status, headers["content-type"]) == (200, "application/json")
    found = json.loads(body)
    assert found['zchttpd_requests_total{status="200"}'] == asked
    assert found["zchttpd_workers_alive"] == found["zchttpd_workers"] == 2
    assert found['zchttpd_worker_resident_bytes{worker="1"}'] > 0
    assert get(admin, "/healthz") == (200, get(admin, "/healthz")[1], b"ok\n")
    assert get(admin, "/nothing")[0] == 404
    status, headers, body = get(admin, "/metrics", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0
    status, headers, _ = get(admin, "/metrics", "POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert server.stop() == (0, "", "")


def test_bad_and_idle_visitors_do_not_keep_others_waiting(start: Start) -> None:
    server = start("--admin", "127.0.0.1:0").started()
    admin = address_in(server.line())
    with (
        socket.create_connection(admin, GIVE_UP_S) as idle,
        socket.create_connection(admin, GIVE_UP_S) as bad,
    ):
        idle.sendall(b"GET /metr")
        bad.sendall(b"\x00\x01\r\n\r\n")
        assert bad.recv(65536).startswith(b"HTTP/1.1 400 ")
        assert get(admin, "/healthz")[0] == 200
    assert server.stop() == (0, "", "")

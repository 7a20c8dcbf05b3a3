"""Starting, draining and refusing to start; fewer features and less memory than the server would like."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.names import FEATURES
from zchttpd.config.settings import OPTIONS, Settings

from . import play
from .client import ProtocolError, eventually, refused, request
from .servers import SENDS_ZEROCOPY, Server, command, environment, serving
from .streams import begin, digest_of, download, pattern
from .test_cases import TABLES
from .tree import FILES, MIB

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Fleet

LARGE = 24 * MIB
# One in so many of each table: a sample that touches every kind of answer.
CORE_EVERY = 12


def refuse(*arguments: str) -> tuple[int, list[str], str]:
    """Run a command line that must not start: (exit code, lines on stderr, stdout)."""
    done = subprocess.run(
        [command(), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    return done.returncode, done.stderr.splitlines(), done.stdout


def assert_one_line(result: tuple[int, list[str], str], *words: str) -> None:
    """A failure that a person can act upon: one line, a code that is not zero, and no traceback."""
    code, lines, stdout = result
    assert code != 0
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0], lines[0]
    assert " at http://" not in stdout


def test_port_in_use(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert_one_line(refuse("--root", str(root), "--port", port), port, "in use")


def test_port_of_another_server_in_use(root: Path, fleet: Fleet, kind: tuple[str, str]) -> None:
    """SO_REUSEPORT joins the workers of one server, never two servers."""
    port = str(fleet.server(*kind).address[1])
    assert_one_line(refuse("--root", str(root), "--port", port), port, "in use")


def test_admin_port_in_use(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_one_line(
            refuse("--root", str(root), "--port", "0", "--admin", f"127.0.0.1:{port}"), str(port), "in use"
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--root", "/nowhere/at/all"], ["/nowhere/at/all", "exist"]),
        (["--root", __file__], ["not a directory"]),
        ([], ["--root"]),
        (["--root", "/", "--port", "many"], ["--port"]),
        (["--root", "/", "--send-mode", "quick"], ["--send-mode"]),
        (["--root", "/", "--memory", "lots"], ["--memory"]),
        (["--root", "/", "--without", "gravity"], ["--without"]),
        (["--root", "/", "--no-such-option"], ["--no-such-option"]),
        (["--root", "/", "--host", "192.0.2.1", "--port", "0"], ["192.0.2.1"]),
        (["--root", "/", "--user", "no-such-user"], ["--user", "'no-such-user'"]),
        (["--root", "/", "--user", ":group"], ["--user", "NAME:GROUP"]),
    ],
)
def test_refuses_to_start(arguments: list[str], words: list[str]) -> None:
    assert_one_line(refuse(*arguments), *words)


def test_starts_with_every_option_at_its_upper_bound(root: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    # One worker on a free port; so many receive buffers of that size are 32 GiB, which not every machine has.
    defaults = Settings(root=root)
    left_out = ("port", "workers", "recv_buffer_size")
    highest = {
        name: option.high
        for name, option in OPTIONS.items()
        if type(getattr(defaults, name)) is int and name not in left_out
    }
    with serving(root, engine=engine, send_mode=send_mode, **highest) as server:
        assert server.ask(request("/hello.txt")).body == FILES[b"hello.txt"]


def test_start_line_and_health(server: Server) -> None:
    first = server.stdout().splitlines()[0]
    assert f"http://127.0.0.1:{server.address[1]}" in first
    assert f"send mode {server.send_mode}" in first
    with socket.create_connection(server.admin) as admin:
        admin.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert admin.recv(4096).startswith(b"HTTP/1.1 200 ")


def status_of(server: Server, path: str) -> int:
    """What the admin listener answers to a check of health."""
    with socket.create_connection(server.admin) as admin:
        admin.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return int(admin.makefile("rb").read().split(b" ")[1])


@pytest.mark.slow
def test_a_worker_that_hangs_makes_it_not_alive(root: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(root, engine=engine, send_mode=send_mode) as server:
        [worker] = [pid for pid in server.pids() if pid != server.pid]
        os.kill(worker, signal.SIGSTOP)
        try:
            eventually("it hangs", lambda: status_of(server, "/livez") == 503, 60)
        finally:
            os.kill(worker, signal.SIGCONT)
        eventually("it is back", lambda: status_of(server, "/livez") == 200)


def test_a_root_without_an_index_is_told_how_to_list_it(tmp_path: Path) -> None:
    hint = f"no index.html in {tmp_path}/, and --listing is off: / is 404. Type --listing to list directories"
    with serving(tmp_path) as server:
        assert server.stdout().splitlines().count(hint) == 1
        page = server.ask(request("/"))
        assert page.status == 404
        assert b"listing" not in page.body
    with serving(tmp_path, listing=True) as server:
        assert "--listing" not in server.stdout()
        assert server.ask(request("/")).status == 200
    (tmp_path / "index.html").touch()
    with serving(tmp_path, workers=2) as server:
        assert "--listing" not in server.stdout()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a file that takes a slow reader a while."""
    root = tmp_path_factory.mktemp("life")
    (root / "large").write_bytes(pattern(LARGE))
    (root / "small").write_bytes(b"small\n")
    return root


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_drain_completes_what_was_begun(large: Path, kind: tuple[str, str], number: signal.Signals) -> None:
    engine, send_mode = kind
    server = Server(large, engine=engine, send_mode=send_mode, memory=8 * MIB, stream_memory=4 * MIB)
    try:
        with begin(server, "/large") as peer, server.peer() as idle:
            assert idle.ask(request("/small")).status == 200
            # A terminal sends Ctrl-C to the workers as well.
            for pid in [server.pid] if number == signal.SIGTERM else server.pids():
                os.kill(pid, number)
            eventually("nobody listens", lambda: refused(server.address))
            assert idle.leftover() == b"", "an idle connection ends at once"
            assert peer.reply().body == pattern(LARGE)
            assert peer.leftover() == b""
        assert (server.wait(), server.stderr()) == (0, "")
    finally:
        server.kill()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_addresses_are_told_as_ones_that_open(large: Path, host: str) -> None:
    admin = "[::]:0" if host == "::" else f"{host}:0"
    complaint = "root serves other machines|--admin answers whoever reaches"
    with serving(large, host=host, admin=admin, complaint=complaint) as server:
        found = re.search(r" at http://127\.0\.0\.1:(\d+) \(", server.stdout())
        assert found, server.stdout()
        assert server.ask(request("/small")).body == b"small\n"
        assert server.metric("connections_total") == 1
        assert f"--admin answers whoever reaches {admin}" in server.stderr()
        told = re.search(r"^listening on all addresses; .*: http://(.*):(\d+)$", server.stdout(), re.M)
        assert told, server.stdout()
        assert told[2] == found[1]
        assert told[1] not in ("127.0.0.1", "[::1]", "0.0.0.0", "[::]")


def test_it_is_alive_and_not_ready_while_it_drains(large: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    server = Server(large, engine=engine, send_mode=send_mode)
    try:
        assert [status_of(server, path) for path in ("/livez", "/readyz")] == [200, 200]
        with begin(server, "/large") as peer:
            server.terminate()
            eventually("it drains", lambda: status_of(server, "/readyz") == 503)
            assert status_of(server, "/livez") == 200
            assert peer.reply().body == pattern(LARGE)
        assert server.wait() == 0
    finally:
        server.kill()


def test_drain_has_an_end(large: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    server = Server(large, engine=engine, send_mode=send_mode, drain_ms_max=500)
    try:
        with begin(server, "/large") as peer:
            server.terminate()
            assert server.wait() == 0, server.stderr()
            with pytest.raises(ProtocolError):
                peer.reply()
    finally:
        server.kill()


def test_drain_answers_a_pipeline_that_was_received(large: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    server = Server(large, engine=engine, send_mode=send_mode)
    try:
        with begin(server, "/large") as peer:
            server.terminate()
            eventually("nobody listens", lambda: refused(server.address))
            assert peer.reply().body == pattern(LARGE)
            assert peer.leftover() == b""
        assert server.wait() == 0
    finally:
        server.kill()


@pytest.mark.parametrize("workers", [2, 3])
def test_several_workers(root: Path, kind: tuple[str, str], workers: int) -> None:
    engine, send_mode = kind
    with serving(root, engine=engine, send_mode=send_mode, workers=workers) as server:
        assert len(server.pids()) == workers + 1
        before = server.metric("connections_total")
        for _ in range(40):
            assert server.ask(request("/64k.bin")).body == FILES[b"64k.bin"]
        assert server.metric("connections_total") == before + 40


@pytest.mark.uring
def test_low_memlock_copies_and_counts(large: Path) -> None:
    """Registered memory is bounded by RLIMIT_MEMLOCK for whoever lacks CAP_IPC_LOCK: less speed, never an
    error or a wrong byte.
    """
    with serving(large, send_mode="zerocopy", memlock=MIB) as server:
        for path, content in (("/large", pattern(LARGE)), ("/small", b"small\n"), ("/large", pattern(LARGE))):
            assert download(server, path)[1] == digest_of(content)
        now = server.metrics()
        # All processes of a user share the limit: where others have left nothing, no zero copy is tried.
        reasons = ("memlock", "unsupported") if not now[SENDS_ZEROCOPY] else ("memlock",)
        assert sum(now[f'zerocopy_fallbacks_total{{reason="{each}"}}'] for each in reasons) > 0
        assert now['send_bytes_total{mode="plain"}'] >= LARGE
        assert "ulimit -l" in server.stdout()


@pytest.mark.uring
@pytest.mark.parametrize("without", [*FEATURES, ",".join(FEATURES)], ids=[*FEATURES, "all"])
def test_without_a_rung_of_the_ladder(root: Path, fleet: Fleet, without: str) -> None:
    with serving(root, send_mode="zerocopy", without=without) as server:
        for table, cases in TABLES.items():
            for case in cases[::CORE_EVERY]:
                try:
                    play.whole(server, case, fleet.etags(server, case))
                except AssertionError as error:
                    raise AssertionError(f"{table}-{case.name}: {error}") from error
        assert server.ask(request("/3m17.bin")).body == FILES[b"3m17.bin"]
        for name in without.split(","):
            assert f"without {name}" in server.stdout()
        if "send_zc" in without:
            assert server.metric(SENDS_ZEROCOPY) == 0


def test_few_descriptors_are_kept_for_files(root: Path, kind: tuple[str, str]) -> None:
    """Idle connections make room before there is no descriptor left to open a file with."""
    engine, send_mode = kind
    with (
        serving(root, engine=engine, send_mode=send_mode, nofile=64) as server,
        contextlib.ExitStack() as idle,
    ):
        for _ in range(100):
            idle.enter_context(server.peer())
        for path in ("hello.txt", "probe.txt", "64k.bin"):
            reply = server.ask(request(f"/{path}", "Connection: close"))
            assert (reply.status, reply.body) == (200, FILES[path.encode()])

"""Other options and other versions while a server runs: nobody notices but by what is different."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from .client import Peer, eventually, request
from .servers import Server, command, environment, serving
from .streams import LARGE, begin, pattern
from .tree import MIB

SLOW = {"memory": 8 * MIB, "stream_memory": 4 * MIB}
REFUSED = "not reloaded, and the old settings stay: "


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("renewal")
    (root / "large").write_bytes(pattern(LARGE))
    (root / "page.html").write_bytes(b"page\n")
    return root


class Options:
    """A file for --config."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def write(self, *lines: str) -> None:
        self.path.write_text("\n".join(lines))


def tells(server: Server, value: bytes | None) -> None:
    """Wait until answers have this X-Test: for a moment the old workers go on to accept."""

    def told() -> bool:
        return all(server.ask(request("/page.html")).field(b"x-test") == value for _ in range(5))

    eventually(f"X-Test is {value!r}", told)


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(tmp_path / "site.toml")


def test_what_was_remembered_is_not_served_by_other_options(
    large: Path, tmp_path: Path, options: Options, kind: tuple[str, str]
) -> None:
    engine, send_mode = kind
    other = tmp_path / "other"
    other.mkdir()
    (other / "page.html").write_bytes(b"another root\n")
    log = tmp_path / "access.log"
    with serving(large, engine=engine, send_mode=send_mode, config=options.path) as server:
        for _ in range(3):
            assert server.ask(request("/page.html")).field(b"x-test") is None
        options.write('header = ["* X-Test: 1"]', 'type = ["*.html=text/plain"]', f"access-log = '{log}'")
        assert server.reload() == "reloaded: --header, --type, --access-log"
        tells(server, b"1")
        page = server.ask(request("/page.html"))
        assert (page.field(b"x-test"), page.field(b"content-type")) == (b"1", b"text/plain")
        eventually("it is logged", lambda: b"/page.html" in log.read_bytes())
        options.write("listing = true")
        assert server.reload() == "reloaded: --listing, --header, --type, --access-log"
        tells(server, None)
        assert server.ask(request("/")).status == 200


def test_the_root_can_change(tmp_path: Path, options: Options, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    roots = [tmp_path / name for name in ("one", "two")]
    for root in roots:
        root.mkdir()
        (root / "page").write_text(root.name)
    options.write(f'root = "{roots[0]}"')
    with serving(None, engine=engine, send_mode=send_mode, config=options.path) as server:
        assert server.ask(request("/page")).body == b"one"
        options.write(f'root = "{roots[1]}"')
        assert server.reload() == "reloaded: --root"
        eventually("it is that of the other", lambda: server.ask(request("/page")).body == b"two")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("listing = maybe", "is not TOML: Invalid value (at line 2, column 11)"),
        ("lsiting = true", "'lsiting' is not an option. Did you mean listing?"),
        ("workers = 0", "'0' is not a number of workers"),
        ('access-log = "/nowhere/at/all"', "--access-log: '/nowhere/at/all' cannot be written"),
        ("root = 5", "root: 5 is not a text"),
    ],
)
def test_wrong_options_change_nothing(large: Path, options: Options, line: str, told: str) -> None:
    options.write('header = ["* X-Test: 1"]')
    with serving(large, config=options.path, complaint="not reloaded") as server:
        before = server.pids()
        options.write('header = ["* X-Test: 2"]', line)
        said = server.reload()
        assert said.startswith(REFUSED)
        assert told in said
        assert server.ask(request("/page.html")).field(b"x-test") == b"1"
        assert server.pids() == before


@pytest.mark.uring
def test_workers_that_cannot_start_change_nothing(large: Path, options: Options) -> None:
    with serving(large, config=options.path, complaint="not reloaded") as server:
        before = server.pids()
        # More receive buffers than there can be memory for.
        options.write('recv-buffer-size = "1M"', "recv-buffers = 32768", "workers = 2")
        assert server.reload().startswith(f"{REFUSED}the uring engine cannot start")
        eventually("only the old ones are left", lambda: server.pids() == before)
        assert server.ask(request("/page.html")).body == b"page\n"


def test_what_cannot_change_is_told(large: Path, options: Options) -> None:
    with serving(large, config=options.path, complaint="stays") as server:
        options.write('host = "127.0.0.2"', "listing = true", 'pid-file = "/nowhere"')
        assert server.reload() == "reloaded: --listing"
        [host, file] = server.says(r"WARNING supervisor: (.*stays.*)")
        assert host.startswith(
            "--host stays '127.0.0.1': it cannot change to '127.0.0.2' while the server runs"
        )
        assert file.startswith("--pid-file stays ''")


def test_what_is_under_way_goes_on(large: Path, options: Options, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(large, engine=engine, send_mode=send_mode, config=options.path, **SLOW) as server:
        with begin(server, "/large") as peer, server.peer() as idle:
            assert not idle.ask(request("/page.html")).closes
            options.write("workers = 2")
            assert server.reload() == "reloaded: --workers"
            eventually("its next answer is its last", lambda: idle.ask(request("/page.html")).closes)
            assert idle.leftover() == b""
            assert peer.reply().body == pattern(LARGE)
        eventually("the old worker has gone", lambda: len(server.pids()) == 3)
        # That of the old worker, which has gone, is counted too.
        assert server.metric('requests_total{status="200"}') >= 3
        assert server.metric("workers") == 2


def test_fewer_workers(large: Path, options: Options, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    options.write("workers = 3")
    with (
        serving(large, engine=engine, send_mode=send_mode, config=options.path) as server,
        ExitStack() as open_ones,
    ):
        # One and the same moment for all: some wait in the queue of a worker that is to go.
        options.write("workers = 1")
        server.send(signal.SIGHUP)
        peers = [open_ones.enter_context(server.peer()) for _ in range(60)]
        for peer in peers:
            assert peer.ask(request("/page.html")).body == b"page\n"
        eventually("two have gone", lambda: len(server.pids()) == 2)
        for _ in range(20):
            assert server.ask(request("/page.html")).body == b"page\n"


def sockets(pid: int) -> int:
    """How many a process has open."""
    return sum(str(fd.readlink()).startswith("socket:") for fd in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.uring
def test_files_leave_a_ring_the_memory_that_it_locks(tmp_path: Path, options: Options) -> None:
    """The worker that follows needs some of what may be locked: 8 MiB for an ordinary user of Debian."""
    root = tmp_path / "root"
    root.mkdir()
    for number in range(600):
        (root / str(number)).write_bytes(bytes(17_000))
    chosen = {"send_mode": "zerocopy", "memlock": 8 * MIB, "config": options.path}
    with serving(root, **chosen) as server:
        with server.peer() as peer:
            for number in range(600):
                assert peer.ask(request(f"/{number}")).status == 200
        assert server.metric('zerocopy_fallbacks_total{reason="memlock"}') > 0
        options.write('header = ["* X-Test: 1"]')
        assert server.reload() == "reloaded: --header"


@pytest.mark.uring
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_workers_with_one_queue_share_what_is_in_it(
    large: Path, tmp_path: Path, options: Options, unix: bool
) -> None:
    options.write("workers = 1")
    where = {"unix": tmp_path / "socket"} if unix else {}
    with (
        serving(large, engine="uring", config=options.path, **where) as server,
        ExitStack() as open_ones,
    ):
        options.write("workers = 2")
        assert server.reload() == "reloaded: --workers"
        eventually("the old worker has gone", lambda: len(server.pids()) == 3)
        workers = [pid for pid in server.pids() if pid != server.pid]
        before = [sockets(pid) for pid in workers]
        for _ in range(32):
            assert open_ones.enter_context(server.peer()).ask(request("/page.html")).status == 200
        gained = [sockets(pid) - was for pid, was in zip(workers, before, strict=True)]
        assert sum(gained) == 32
        assert min(gained) > 0
        # What is left out for that is nothing that this kernel lacks.
        assert "multishot_accept" not in server.stdout()


def test_a_new_version_takes_over(
    large: Path, tmp_path: Path, options: Options, kind: tuple[str, str]
) -> None:
    engine, send_mode = kind
    pid_file = tmp_path / "pid"
    chosen = {"config": options.path, "pid_file": pid_file, "workers": 2, **SLOW}
    with serving(large, engine=engine, send_mode=send_mode, **chosen) as server:
        old = server.pid
        assert pid_file.read_text() == f"{old}\n"
        with begin(server, "/large") as peer, server.peer() as idle:
            assert not idle.ask(request("/page.html")).closes
            options.write('header = ["* X-Test: 1"]')
            server.upgrade()
            assert server.pid != old
            assert pid_file.read_text() == f"{server.pid}\n"
            tells(server, b"1")
            eventually("its next answer is its last", lambda: idle.ask(request("/page.html")).closes)
            assert idle.leftover() == b""
            assert peer.reply().body == pattern(LARGE)
        # What it serves now is all that is counted: the admin listener is the new one's too.
        assert server.metric("workers_alive") == 2
        options.write('header = ["* X-Test: 2"]')
        assert server.reload() == "reloaded: --header"
    assert not pid_file.exists()


def test_what_is_sent_while_a_new_version_starts_is_not_lost(
    large: Path, tmp_path: Path, options: Options
) -> None:
    """It has read its options, and waits for a file of theirs, when they change again."""
    pipe = tmp_path / "redirects"
    os.mkfifo(pipe)
    with serving(large, config=options.path, complaint="no new version") as server:
        options.write('header = ["* X-Test: 1"]', f'redirects = "{pipe}"')
        upgrade = threading.Thread(target=server.upgrade)
        upgrade.start()
        with pipe.open("w"):
            options.write('header = ["* X-Test: 2"]')
            server.send(signal.SIGHUP)
            server.send(signal.SIGUSR2)
            refused = r"no new version is started: process \d+ is just starting"
            eventually("the old one says so", lambda: server.says(refused))
        upgrade.join()
        tells(server, b"2")


def test_a_unix_socket_is_handed_over(large: Path, tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    path = tmp_path / "socket"
    with serving(large, engine=engine, send_mode=send_mode, unix=path, workers=2) as server:
        server.upgrade()
        eventually("the old one has gone", lambda: len(server.pids()) == 3)
        assert server.ask(request("/page.html")).body == b"page\n"
        assert path.is_socket()


def test_a_new_version_that_cannot_start_changes_nothing(large: Path, options: Options) -> None:
    failed = "the new version cannot serve, and this one goes on: (.*)"
    with serving(large, config=options.path, complaint="new version|zchttpd: ") as server:
        before = server.pids()
        options.write("listing = maybe")
        server.send(signal.SIGUSR2)
        eventually("it says so", lambda: server.says(failed))
        assert server.says(failed) == ["it left with exit code 2 while starting; what it said is on stderr"]
        assert server.says(r"zchttpd: (.*)")[-1].startswith(f"{options.path}: is not TOML")
        options.write('access-log = "/nowhere/at/all"')
        server.send(signal.SIGUSR2)
        eventually("it says so again", lambda: len(server.says(failed)) == 2)
        assert server.says(failed)[1].startswith("--access-log: '/nowhere/at/all' cannot be written")
        assert server.pids() == before
        assert server.ask(request("/page.html")).body == b"page\n"


def test_who_may_ask_for_metrics_can_change(large: Path, tmp_path: Path, options: Options) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")

    def status(*lines: str) -> int:
        with Peer(server.admin) as peer:
            return peer.ask(request("/metrics.json", "Connection: close", *lines, host="localhost")).status

    with serving(large, config=options.path, complaint="not reloaded") as server:
        assert status() == 200
        options.write("workers = many", f'admin-token-file = "{token}"')
        assert server.reload().startswith(REFUSED)
        assert status() == 200
        options.write(f'admin-token-file = "{tmp_path}/none"')
        assert "--admin-token-file" in server.reload()
        options.write(f'admin-token-file = "{token}"')
        assert server.reload() == "reloaded: --admin-token-file"
        assert status() == 401
        assert status("Authorization: Bearer 0123456789abcdef") == 200
        options.write()
        assert server.reload() == "reloaded: --admin-token-file"
        assert status() == 200


def test_check_prints_what_is_in_effect(large: Path, options: Options) -> None:
    options.write("listing = true", 'type = ["*.html=text/plain"]')

    def check(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command(), "--check", "--root", large, "--config", options.path, "--memory", "1G"],
            env={**environment(), **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = check(ZCHTTPD_PORT="8081")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"listing = true  # {options.path}: listing" in lines
    assert 'memory = "1G"  # --memory' in lines
    assert "port = 8081  # ZCHTTPD_PORT" in lines
    assert "# spa = false  # default" in lines
    wrong = check(ZCHTTPD_PORT="many")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("zchttpd: ZCHTTPD_PORT: 'many' is not a whole number")


@pytest.mark.parametrize("ignored", [False, True], ids=["", "nohup"])
def test_it_leaves_with_its_terminal(large: Path, options: Options, ignored: bool) -> None:
    master, terminal = pty.openpty()
    words = [command(), "--root", str(large), "--port", "0", "--config", str(options.path)]
    words = ["setsid", "--ctty", *(["nohup"] if ignored else []), *words]
    out = os.memfd_create("out")
    process = subprocess.Popen(words, stdin=terminal, stdout=out, stderr=out, env=environment())
    os.close(terminal)

    def said() -> bytes:
        return os.pread(out, 1 << 16, 0)

    try:
        eventually("it serves", lambda: b" at http://" in said())
        os.kill(process.pid, signal.SIGHUP)
        eventually("it reloads", lambda: b"reloaded: " in said())
        os.close(master)
        if ignored:
            port = int(said().partition(b"127.0.0.1:")[2].partition(b" ")[0])
            for _ in range(50):
                os.kill(process.pid, signal.SIGHUP)
                with Peer(("127.0.0.1", port)) as peer:
                    assert peer.ask(request("/page.html")).status == 200
            assert said().count(b"reloaded: ") == 1
            process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(out)


def test_a_new_version_that_is_asked_for_while_workers_are_replaced_comes_after_them(
    large: Path, options: Options, kind: tuple[str, str]
) -> None:
    engine, send_mode = kind
    with serving(large, engine=engine, send_mode=send_mode, config=options.path) as server:
        options.write('header = ["* X-Test: new"]')
        server.send(signal.SIGHUP)
        server.upgrade()
        tells(server, b"new")

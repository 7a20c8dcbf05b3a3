"""`zchttpd.serve`: servers of a Python program, in a process of their own and in its own loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop

import zchttpd

from .client import Peer, eventually, refused, request
from .streams import digest_of, pattern
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BODY = b"what is served"
LOOPS = [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")]
OK = 'zchttpd_requests_total{status="200"}'
# More than the sockets of both ends hold.
LARGE = 24 * MIB

# A program that has a server and dies without a word.
PROGRAM = """
import sys, time, zchttpd
with zchttpd.serve(sys.argv[1]) as server:
    print(server.url, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    root.mkdir()
    (root / "file").write_bytes(BODY)
    return root


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No descriptor, no process, no thread, no handler of a signal is other than before."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)

    def state() -> tuple[object, ...]:
        handlers = [signal.getsignal(number) for number in numbers]
        threads = {thread.name for thread in threading.enumerate() if "asyncio" not in thread.name}
        return descriptors(), children(), threads, handlers, sys.getswitchinterval()

    # What it makes once for a process stays.
    uvloop.new_event_loop().close()
    before = state()
    yield
    eventually("nothing is left", lambda: state() == before)


def descriptors() -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the directory, or one that was closed since
            found.append(str(fd.readlink()))
    return sorted(found)


def children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            found.update((task / "children").read_text().split())
    return found


def get(server: zchttpd.Server, path: str = "/file") -> bytes:
    with urllib.request.urlopen(server.url + path, timeout=60) as answer:
        body: bytes = answer.read()
    return body


def address_of(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rpartition(":")[2])


@pytest.mark.parametrize("in_process", [False, True], ids=["process", "thread"])
def test_it_serves_until_it_is_left(site: Path, in_process: bool) -> None:
    before = children()
    with zchttpd.serve(site, in_process=in_process) as server:
        assert get(server) == BODY
        assert server.metrics()[OK] == 1
        assert server.url in server.report[0]
        assert bool(children() - before) is not in_process
        url = server.url
    assert refused(address_of(url))


@pytest.mark.parametrize("in_process", [False, True], ids=["process", "loop"])
@pytest.mark.parametrize("run", LOOPS)
def test_it_serves_an_async_program(site: Path, run: Callable[..., object], in_process: bool) -> None:
    async def program() -> str:
        async with zchttpd.serve(site, in_process=in_process) as server:
            assert await asyncio.to_thread(get, server) == BODY
            assert server.metrics()[OK] == 1
            return server.url

    url = run(program())
    assert isinstance(url, str)
    assert refused(address_of(url))


def test_a_loop_may_run_in_any_thread(site: Path) -> None:
    """Where signals cannot be handled, and nothing may want to."""
    bodies: list[bytes] = []

    async def program() -> None:
        async with zchttpd.serve(site, in_process=True) as server:
            bodies.append(await asyncio.to_thread(get, server))

    thread = threading.Thread(target=asyncio.run, args=(program(),))
    thread.start()
    thread.join()
    assert bodies == [BODY]


@pytest.mark.parametrize("in_process", [False, True], ids=["process", "thread"])
def test_it_reloads_under_a_download(site: Path, tmp_path: Path, in_process: bool) -> None:
    """What is under way ends as it began, and what comes has the new options."""
    content = pattern(LARGE)
    (site / "large").write_bytes(content)
    config = tmp_path / "site.toml"
    config.write_text("cors = false")
    with zchttpd.serve(site, in_process=in_process, config=config) as server:
        with Peer(address_of(server.url), receive_buffer=4096) as peer:
            peer.send(request("/large"))
            peer.rest = peer.receive()
            reloading = threading.Thread(target=server.reload)
            config.write_text("cors = true")
            reloading.start()
            eventually("the new one answers", lambda: with_cors(server))
            body = peer.reply().body
        reloading.join()
        assert digest_of(body) == digest_of(content)
        assert with_cors(server)


def with_cors(server: zchttpd.Server) -> bool:
    with Peer(address_of(server.url)) as peer:
        return peer.ask(request("/file")).field(b"access-control-allow-origin") == b"*"


def test_a_reload_that_fails_changes_nothing(site: Path, tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text("listing = true")
    with zchttpd.serve(site, config=config) as server:
        config.write_text("lsting = true")
        with pytest.raises(zchttpd.SettingsError, match="Did you mean listing"):
            server.reload()
        assert get(server) == BODY


def test_it_reloads_in_a_loop(site: Path) -> None:
    async def program() -> None:
        async with zchttpd.serve(site, in_process=True) as server:
            assert await asyncio.to_thread(get, server) == BODY
            server.reload()
            assert server.metrics()[OK] == 0
            assert await asyncio.to_thread(get, server) == BODY

    asyncio.run(program())


@pytest.mark.parametrize("shell", ['exec "$@"', 'exec "$@" <&-'], ids=["usual", "without stdin"])
def test_it_dies_with_the_program(site: Path, shell: str) -> None:
    command = ["sh", "-c", shell, "sh", sys.executable, "-P", "-c", PROGRAM, site]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        address = address_of(program.stdout.readline().strip())
        assert not refused(address)
        program.kill()
        program.wait()
        eventually("the server has gone", lambda: refused(address))


def test_a_start_that_is_cancelled_leaves_nothing(site: Path) -> None:
    async def program() -> None:
        server = zchttpd.serve(site)
        task = asyncio.ensure_future(server.__aenter__())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(program())


def test_a_port_that_is_taken(site: Path) -> None:
    with (
        zchttpd.serve(site) as server,
        pytest.raises(zchttpd.StartError, match=r"already in use\. Type port with") as caught,
        zchttpd.serve(site, port=address_of(server.url)[1]),
    ):
        pass
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("in_process", [False, True], ids=["process", "thread"])
def test_what_fails_in_the_server_is_raised_in_the_program(site: Path, in_process: bool) -> None:
    with (
        pytest.raises(zchttpd.StartError, match=r"^access_log: .* cannot be written"),
        zchttpd.serve(site, in_process=in_process, access_log="/dev/null/log"),
    ):
        pass


@pytest.mark.parametrize(("option", "value"), [("workers", 2), ("engine", "uring"), ("user", "nobody")])
def test_what_needs_a_process(site: Path, option: str, value: object) -> None:
    with pytest.raises(zchttpd.SettingsError, match=f"^{option}: .*in_process"):
        zchttpd.serve(site, in_process=True, **{option: value})  # type: ignore[arg-type]


def test_a_unix_socket_is_removed(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with zchttpd.serve(site, unix=path) as server:
        assert server.url == f"unix:{path}"
        with Peer(str(path)) as peer:
            assert peer.ask(request("/file")).body == BODY
    assert not path.exists()


def test_the_log_of_a_server_in_process(site: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with zchttpd.serve(site, in_process=True, access_log=log, compress="gzip") as server:
        assert get(server) == BODY
    assert log.read_text().count('"GET /file HTTP/1.1" 200') == 1


def test_importing_it_imports_nothing_else() -> None:
    script = "import sys, zchttpd; print(*(name for name in sys.modules if name.startswith('zchttpd')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["zchttpd"]


def test_what_is_public_is_there() -> None:
    assert all(getattr(zchttpd, name) for name in zchttpd.__all__)
    with pytest.raises(AttributeError, match="no attribute 'server'"):
        zchttpd.server  # noqa: B018

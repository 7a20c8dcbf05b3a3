"""Several listeners, and those behind a proxy that says who its clients are."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from .client import Peer, eventually, request
from .servers import Server, serving
from .streams import pattern
from .test_life import assert_one_line, refuse
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOUR, SIX = "192.0.2.7", "2001:db8::7"
LINE = f"PROXY TCP4 {FOUR} 127.0.0.1 40000 80\r\n".encode()
BINARY = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21"
    + struct.pack("!H", 36 + 3 + 5)
    + socket.inet_pton(socket.AF_INET6, SIX)
    + bytes(16)
    + struct.pack("!HH", 40000, 80)
    + b"\x02\0\5host!"
)
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
NOBODY = 'refused_total{reason="proxy_peer"}'
WRONG = 'refused_total{reason="proxy_header"}'
BEHIND = r"PROXY headers name the clients at http://127\.0\.0\.1:(\d+)"


@pytest.fixture(scope="module")
def www(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("front")
    (root / "small").write_bytes(b"small\n")
    (root / "cached").write_bytes(pattern(MIB))
    return root


class Fronted:
    """A server with a listener for anybody, one for proxies, and a unix socket for proxies."""

    def __init__(self, server: Server, log: Path, path: Path) -> None:
        self.server = server
        self.log = log
        self.path = str(path)
        self.answered = 0

    def proxied(self, source: str = "127.0.0.1") -> Peer:
        """A connection to where proxies connect."""
        [port] = set(self.server.says(BEHIND))
        return Peer(("127.0.0.1", int(port)), source=source)

    def logged(self, count: int) -> list[str]:
        """The addresses in the access log, once there are so many."""

        def lines() -> list[str]:
            return self.log.read_text().splitlines()

        eventually(f"{count} lines", lambda: len(lines()) >= count)
        return [line.partition(" ")[0] for line in lines()]


@pytest.fixture
def fronted(www: Path, tmp_path: Path, kind: tuple[str, str]) -> Iterator[Fronted]:
    engine, send_mode = kind
    log, path = tmp_path / "log", tmp_path / "socket"
    options = {
        "engine": engine,
        "send_mode": send_mode,
        "port": None,
        "listen": ("127.0.0.1:0", "127.0.0.1:0,proxy", f"unix:{path},proxy"),
        "proxy_from": ("127.0.0.1", "10.0.0.0/8"),
        "access_log": log,
        "head_ms_max": 500,
    }
    with serving(www, workers=2, **options) as server:
        yield Fronted(server, log, path)


def test_each_listener_has_its_own_way(fronted: Fronted) -> None:
    assert fronted.server.ask(request("/small")).status == 200
    with fronted.proxied() as peer:
        # In one piece with its requests.
        peer.send(LINE + request("/small") + request("/cached"))
        assert peer.reply().body == b"small\n"
        assert peer.reply().body == pattern(MIB)
    with fronted.proxied() as peer:
        peer.send(BINARY)
        assert peer.ask(request("/cached")).body == pattern(MIB)
    with fronted.proxied() as peer:
        assert peer.ask(LOCAL + request("/small")).status == 200
    with Peer(fronted.path) as peer:
        assert peer.ask(LINE + request("/small")).status == 200
    assert sorted(fronted.logged(6)) == sorted(["127.0.0.1", FOUR, FOUR, SIX, "127.0.0.1", FOUR])
    with fronted.server.peer() as peer:
        assert peer.ask(LINE + request("/small")).status == 400, "here a header is none"


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["line", "binary"])
def test_cut_at_every_byte(fronted: Fronted, header: bytes) -> None:
    for cut in range(1, len(header)):
        with fronted.proxied() as peer:
            peer.send((header[:cut], header[cut:] + request("/small")))
            assert peer.reply().body == b"small\n"
    with fronted.proxied() as peer:
        peer.send(bytes((byte,)) for byte in header)
        assert peer.ask(request("/small")).status == 200
    assert set(fronted.logged(len(header))) == {FOUR if header is LINE else SIX}


def test_what_is_no_header_is_closed_without_a_word(fronted: Fronted) -> None:
    wrong = [
        request("/small"),
        LINE.replace(b"TCP4", b"TCP5"),
        b"PROXY ".ljust(108),
        BINARY[:14] + b"\xff\xff",
    ]
    for header in wrong:
        with fronted.proxied() as peer:
            peer.send(header)
            assert peer.leftover() == b""
    eventually("each is counted", lambda: fronted.server.metric(WRONG) == len(wrong))
    with fronted.proxied() as slow:
        slow.send(LINE[:20])
        assert slow.leftover() == b""
    assert fronted.server.metric('timeouts_total{kind="head"}') == 1


def test_nobody_else_may_connect(fronted: Fronted) -> None:
    for _ in range(3):
        with fronted.proxied("127.0.0.2") as peer:
            peer.send(LINE + request("/small"))
            assert peer.leftover() == b""
    eventually("each is counted", lambda: fronted.server.metric(NOBODY) == 3)


def test_all_listeners_are_handed_over(fronted: Fronted) -> None:
    def answer() -> None:
        assert fronted.server.ask(request("/small")).status == 200
        with fronted.proxied() as peer:
            assert peer.ask(LINE + request("/small")).status == 200
        with Peer(fronted.path) as peer:
            assert peer.ask(BINARY + request("/small")).status == 200

    answer()
    assert fronted.server.reload().startswith("reloaded: no option has changed")
    answer()
    fronted.server.upgrade()
    for _ in range(5):
        answer()
    assert fronted.server.reload().startswith("reloaded: no option has changed")
    answer()
    with fronted.proxied("127.0.0.2") as peer:
        assert peer.leftover() == b""


def test_the_client_counts_against_its_own_limit(www: Path, tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    options = {"engine": engine, "send_mode": send_mode, "connections_per_address": 2, "port": None}
    with (
        serving(
            www, listen=("127.0.0.1:0,proxy", f"unix:{tmp_path}/socket"), proxy_from="127.0.0.0/8", **options
        ) as server,
        ExitStack() as stack,
    ):
        for header, status in (
            (LINE, 200),
            (LINE, 200),
            (LINE, 503),
            (BINARY, 200),
            (LOCAL, 200),
            (LOCAL, 200),
        ):
            peer = stack.enter_context(server.peer())
            assert peer.ask(header + request("/small")).status == status
    assert not (tmp_path / "socket").exists()


@pytest.mark.parametrize("proxy", [True, False])
def test_a_socket_that_was_passed_by_name(www: Path, kind: tuple[str, str], proxy: bool) -> None:
    engine, send_mode = kind
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        options = {"engine": engine, "send_mode": send_mode, "proxy_from": "127.0.0.1"}
        server = Server(www, passed=listener, passed_name="proxy" if proxy else "web", **options)
        try:
            with server.peer() as peer:
                assert peer.ask(LINE + request("/small")).status == (200 if proxy else 400)
            server.terminate()
            assert (server.wait(), server.stderr()) == (0, "")
        finally:
            server.kill()


@pytest.mark.parametrize("field", ["x-forwarded-for", "forwarded"])
def test_the_log_names_whom_a_proxy_names(
    www: Path, tmp_path: Path, kind: tuple[str, str], field: str
) -> None:
    engine, send_mode = kind
    log, path = tmp_path / "log", tmp_path / "socket"
    options = {
        "engine": engine,
        "send_mode": send_mode,
        "port": None,
        "listen": ("127.0.0.1:0", f"unix:{path}"),
        "forwarded_from": ("127.0.0.1", "10.0.0.0/8", "unix"),
        "forwarded_field": field,
        "access_log": log,
    }
    named = {
        "x-forwarded-for": f"X-Forwarded-For: 6.6.6.6, {FOUR}, 10.1.1.1",
        "forwarded": f"Forwarded: for=6.6.6.6, for={FOUR};proto=https, for=10.1.1.1",
    }
    with serving(www, **options) as server:
        fronted = Fronted(server, log, path)
        with server.peer() as peer, Peer(str(path)) as local, server.peer(source="127.0.0.2") as other:
            for each in (peer, local, other):
                for _ in range(2):
                    # The other field is the client's own.
                    assert each.ask(request("/small", *named.values())).status == 200
                    fronted.answered += 1
                    fronted.logged(fronted.answered)
        assert fronted.logged(6) == [FOUR] * 4 + ["127.0.0.2"] * 2


def test_what_cannot_be(www: Path, tmp_path: Path) -> None:
    def start(*words: str) -> tuple[int, list[str], str]:
        return refuse("--root", str(www), *words)

    assert_one_line(start("--listen", "127.0.0.1:0,proxy"), "--proxy-from", "nobody may connect")
    assert_one_line(start("--listen", "127.0.0.1:0,proxies"), "'proxies' is not known", "127.0.0.1:0,proxy")
    assert_one_line(start("--listen", "127.0.0.1"), "not an address", "HOST:PORT")
    assert_one_line(start("--listen", "unix:"), "names no path")
    assert_one_line(start("--listen", "127.0.0.1:81", "--listen", "0.0.0.0:81"), "another one listens")
    assert_one_line(start("--listen", "127.0.0.1:81", "--admin", "127.0.0.1:81"), "is where files are served")
    assert_one_line(start("--proxy-from", "10.0.0.1/8"), "bits beyond its prefix", "10.0.0.0/8")
    assert_one_line(start("--proxy-from", "front.example"), "is not a network")
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        where = f"unix:{tmp_path}/socket"
        assert_one_line(start("--listen", where, "--listen", taken), "already in use", "--listen")
    assert not (tmp_path / "socket").exists(), "what was opened before is not left behind"

"""Several listeners that speak TLS, those among them where PROXY headers come first; and sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..client import Peer, eventually, request
from ..servers import serving
from ..streams import pattern
from ..test_life import assert_one_line, refuse
from ..test_proxy_protocol import BINARY, FOUR, LINE, LOCAL, NOBODY, SIX, WRONG
from ..tree import MIB
from .peers import COMPLETED, FAILED, TIMEOUT, TlsPeer, client_context, client_hello

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..client import Address
    from ..servers import Server
    from .peers import Pair

BEHIND = r"PROXY headers name the clients at https://127\.0\.0\.1:(\d+)"


class Fronted:
    """A server with listeners for anybody, and for proxies."""

    def __init__(self, server: Server, log: Path, path: Path, pair: Pair) -> None:
        self.server = server
        self.path = str(path)
        self._log = log
        self._pair = pair

    @property
    def proxied(self) -> Address:
        """Where proxies connect."""
        [port] = set(self.server.says(BEHIND))
        return ("127.0.0.1", int(port))

    def peer(self, address: Address, *first: bytes, source: str | None = None) -> TlsPeer:
        """A connection there, with these bytes, each sent by itself, in front of the handshake."""
        return TlsPeer(self.server, client_context(self._pair), address=address, first=first, source=source)

    def logged(self, count: int) -> list[str]:
        """The addresses in the access log, once there are so many."""
        eventually(f"{count} lines", lambda: self._log.read_text().count("\n") >= count)
        return sorted(line.partition(" ")[0] for line in self._log.read_text().splitlines())


@pytest.fixture(params=["auto", "plain"])
def fronted(www: Path, pair: Pair, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fronted]:
    log, path = tmp_path / "log", tmp_path / "socket"
    options = {
        "send_mode": request.param,
        "port": None,
        "listen": ("127.0.0.1:0", "127.0.0.1:0,proxy", "[::1]:0", f"unix:{path}", f"unix:{path}.proxy,proxy"),
        "proxy_from": "127.0.0.1",
        "access_log": log,
        "head_ms_max": 5000,
        **pair.options,
    }
    with serving(www, engine="portable", workers=2, **options) as server:
        yield Fronted(server, log, path, pair)


def test_all_speak_tls(fronted: Fronted) -> None:
    at = [fronted.server.address, fronted.path]
    assert fronted.server.says(r"also at https://\[::1\]:\d+")
    for address in at:
        with fronted.peer(address) as peer:
            assert peer.ask(request("/cached")).body == pattern(MIB)
        with Peer(address) as clear:
            assert clear.ask(request("/page")).status == 400
    for address in (fronted.proxied, fronted.path + ".proxy"):
        for header in (LINE, BINARY, LOCAL):
            with fronted.peer(address, header) as peer:
                assert peer.ask(request("/cached")).body == pattern(MIB)
    own = ["-"] * 2 + ["127.0.0.1"] * 2
    assert fronted.logged(8) == sorted([*own, FOUR, FOUR, SIX, SIX])


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["line", "binary"])
def test_a_header_cut_at_every_byte(fronted: Fronted, header: bytes) -> None:
    before = fronted.server.metric(COMPLETED)
    for cut in range(1, len(header)):
        with fronted.peer(fronted.proxied, header[:cut], header[cut:]) as peer:
            assert peer.ask(request("/page")).body == pattern(5)
    with fronted.peer(fronted.proxied, *(bytes([byte]) for byte in header)) as peer:
        assert peer.ask(request("/page")).body == pattern(5)
    assert set(fronted.logged(len(header))) == {FOUR if header is LINE else SIX}
    assert fronted.server.metric(COMPLETED) == before + len(header)


def test_a_header_in_one_piece_with_the_handshake(fronted: Fronted, pair: Pair) -> None:
    with Peer(fronted.proxied) as peer:
        peer.send(BINARY + client_hello(pair))
        assert peer.socket.recv(1) == b"\x16", "it is answered by a handshake"


def test_who_begins_without_a_header_is_closed(fronted: Fronted, pair: Pair) -> None:
    for wrong in (client_hello(pair), LINE.replace(b"TCP4", b"TCP5"), request("/page")):
        with Peer(fronted.proxied) as peer:
            peer.send(wrong)
            assert peer.leftover() == b""
    eventually("each is counted", lambda: fronted.server.metric(WRONG) == 3)
    eventually("so are their handshakes", lambda: fronted.server.metric(FAILED) == 3)
    with Peer(fronted.proxied, source="127.0.0.2") as peer:
        assert peer.leftover() == b""
    assert fronted.server.metric(NOBODY) == 1


def test_a_header_that_never_ends_has_its_time(www: Path, pair: Pair) -> None:
    options = {"port": None, "listen": "127.0.0.1:0,proxy", "proxy_from": "127.0.0.1", **pair.options}
    with serving(www, engine="portable", head_ms_max=300, **options) as server:
        for first in (LINE[:20], LINE, LINE + client_hello(pair)[:-1]):
            with Peer(server.address) as slow:
                slow.send(first)
                assert slow.leftover() == b""
        # Whichever clock is first.
        ended = server.metric(TIMEOUT) + server.metric(FAILED)
        assert ended == 3


def test_the_client_counts_against_its_own_limit(www: Path, pair: Pair) -> None:
    options = {"port": None, "listen": "127.0.0.1:0,proxy", "proxy_from": "127.0.0.1", **pair.options}
    context = client_context(pair)
    with (
        serving(www, engine="portable", connections_per_address=1, **options) as server,
        TlsPeer(server, context, first=LINE) as one,
        TlsPeer(server, context, first=LINE) as two,
        TlsPeer(server, context, first=BINARY) as other,
    ):
        assert [peer.ask(request("/page")).status for peer in (one, two, other)] == [200, 503, 200]


def test_listeners_and_certificate_are_handed_over(fronted: Fronted) -> None:
    def answer() -> None:
        for address, first in ((fronted.server.address, b""), (fronted.proxied, LINE), (fronted.path, b"")):
            with fronted.peer(address, first) as peer:
                assert peer.ask(request("/page")).body == pattern(5)

    answer()
    assert fronted.server.reload().startswith("reloaded: no option has changed")
    answer()
    fronted.server.upgrade()
    answer()


def test_sites_are_told_apart_by_their_names(www: Path, pair: Pair, tmp_path: Path) -> None:
    other, config = tmp_path / "other", tmp_path / "config"
    other.mkdir()
    (other / "page").write_bytes(b"another site\n")
    config.write_text(f'[[site]]\nnames = ["other.example"]\nroot = "{other}"\n')
    with (
        serving(www, engine="portable", config=config, **pair.options) as server,
        TlsPeer(server, client_context(pair)) as peer,
    ):
        for name, body in (("other.example", b"another site\n"), ("127.0.0.1", pattern(5))):
            peer.send(f"GET /page HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            assert peer.reply().body == body


def test_a_key_in_the_root_of_a_site_stops_the_start(www: Path, pair: Pair, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f'[[site]]\nnames = ["other.example"]\nroot = "{pair.key.parent}"\n')
    words = ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    assert_one_line(refuse("--root", str(www), "--config", str(config), *words), "is served to everybody")

"""Limits of one address, of clients whom a proxy names in the head of each request; by counts alone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from zchttpd.config.options import KIB, MIB

from . import rules
from .client import Peer, eventually, request
from .servers import serving
from .streams import SLOW_BUFFER, digest_of, pattern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .client import Reply
    from .servers import Server

BURST = 5
MOST = 2
PACED = 96 * KIB
HERE, THERE = "127.0.0.1", "127.0.0.2"
ONE, OTHER = "192.0.2.7", "2001:db8::7"
REFUSED = 'refused_total{reason="address"}'


def asking(client: str, path: str = "/small", *lines: str) -> bytes:
    """A request that names a client behind another proxy; what comes before that is invented."""
    return request(path, f"X-Forwarded-For: 6.6.6.6, {client}, 10.1.1.1" if client else "X-Other: 1", *lines)


@pytest.fixture
def www(tmp_path: Path) -> Path:
    root = tmp_path / "www"
    root.mkdir()
    (root / "small").write_bytes(b"small\n")
    (root / "page").write_bytes(pattern(PACED))
    (root / "large").write_bytes(pattern(24 * MIB))
    return root


@pytest.fixture
def options(tmp_path: Path, kind: tuple[str, str]) -> dict[str, Any]:
    engine, send_mode = kind
    return {
        "engine": engine,
        "send_mode": send_mode,
        "port": None,
        "listen": ("127.0.0.1:0", f"unix:{tmp_path}/socket"),
        "forwarded_from": (HERE, "10.0.0.0/8", "unix"),
    }


def replies(peer: Peer, *requests: bytes) -> list[Reply]:
    """To what is sent ahead."""
    peer.send(b"".join(requests))
    return [peer.reply() for _ in requests]


def test_each_client_has_its_own_rate(www: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    log = tmp_path / "log"
    rate = {"requests_per_second": 1, "requests_burst": BURST, "access_log": log}
    with serving(www, **rate, **options) as server:
        with server.peer() as peer:
            got = replies(peer, *[asking(client) for _ in range(4 * BURST) for client in (ONE, OTHER)])
            assert {reply.status for reply in got[: 2 * BURST]} == {200}
            for turn in (0, 1):
                refused = [reply for reply in got[turn::2] if reply.status == 429]
                assert refused
                assert {reply.field(b"retry-after") for reply in refused} == {b"1"}
            third = replies(peer, *[asking("198.51.100.9")] * BURST)
            assert {reply.status for reply in third} == {200}
            own = [reply.status for reply in replies(peer, *[asking("")] * 4 * BURST)]
            assert own[:BURST] == [200] * BURST
            assert 429 in own, "who names nobody is itself the client"
        with Peer(f"{tmp_path}/socket") as local:
            assert 429 in [reply.status for reply in replies(local, *[asking(ONE)] * 2 * BURST)]
        with server.peer(source=THERE) as stranger:
            got = replies(stranger, *[asking(f"203.0.113.{number}") for number in range(4 * BURST)])
            assert 429 in [reply.status for reply in got], "nobody else is believed"
        with server.peer() as peer:
            got = replies(peer, *[asking(f"203.0.113.{number}") for number in range(4 * BURST)])
            assert {reply.status for reply in got} == {200}
    refused_to = {line.partition(" ")[0] for line in log.read_text().splitlines() if " 429 " in line}
    assert refused_to == {ONE, OTHER, HERE, THERE}


def test_an_empty_list_trusts_nobody(www: Path, options: dict[str, Any]) -> None:
    options["forwarded_from"] = None
    with (
        serving(www, requests_per_second=1, requests_burst=BURST, **options) as server,
        server.peer() as peer,
    ):
        got = replies(peer, *[asking(f"203.0.113.{number}") for number in range(4 * BURST)])
        assert 429 in [reply.status for reply in got]


class Busy:
    """A server, and connections of a front that stay."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self.server = server
        self._stack = stack

    def front(self, source: str = HERE) -> Peer:
        return self._stack.enter_context(self.server.peer(receive_buffer=SLOW_BUFFER, source=source))

    def begin(self, client: str) -> Peer:
        """A response that nobody reads to its end."""
        peer = self.front()
        peer.send(asking(client, "/large"))
        assert peer.receive().startswith(b"HTTP/1.1 200 ")
        return peer


@pytest.fixture
def busy(www: Path, options: dict[str, Any]) -> Iterator[Busy]:
    with serving(www, connections_per_address=MOST, **options) as server, ExitStack() as stack:
        yield Busy(server, stack)


def test_a_front_has_many_connections_and_a_client_few_requests_at_a_time(busy: Busy) -> None:
    fronts = [busy.front() for _ in range(5 * MOST)]
    assert {peer.ask(asking(ONE)).status for peer in fronts} == {200}
    for _ in range(MOST):
        busy.begin(ONE)
    refusal = fronts[0].ask(asking(ONE))
    rules.check(refusal, b"GET")
    assert (refusal.status, refusal.field(b"retry-after"), refusal.closes) == (429, b"1", False)
    head = fronts[0].ask(asking(ONE).replace(b"GET", b"HEAD", 1))
    assert (head.status, head.body, head.closes) == (429, b"", False)
    assert fronts[0].ask(asking(OTHER)).body == b"small\n", "it goes on, and others are not concerned"
    last = fronts[1].ask(asking(ONE, "/small", "Content-Length: 5"))
    assert (last.status, last.closes) == (429, True), "what may have content behind it does not go on"
    assert busy.server.metric(REFUSED) == 3


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_place_comes_back(busy: Busy, way: str) -> None:
    held = [busy.begin(ONE) for _ in range(MOST)]
    other = busy.front()
    assert other.ask(asking(ONE)).status == 429
    if way == "reset":
        held[0].abort()
    else:
        held[0].socket.close()
    eventually("there is room again", lambda: other.ask(asking(ONE)).status == 200)


def test_it_is_one_limit_however_a_client_comes(busy: Busy) -> None:
    for _ in range(MOST):
        busy.begin(THERE)
    refusal = busy.front(THERE).ask(request("/small"))
    assert (refusal.status, refusal.closes) == (503, True)


def test_who_is_paced_behind_a_front_gets_all(www: Path, options: dict[str, Any]) -> None:
    """Each pause is longer than what a stall may last."""
    with serving(www, bytes_per_second=PACED // 2, stall_ms_max=60, **options) as server:
        with server.peer() as peer:
            peer.send(b"".join(asking(client, "/page") for client in (ONE, OTHER)))
            for _ in (ONE, OTHER):
                body = peer.reply().body
                assert digest_of(body) == digest_of(pattern(PACED))
        assert server.metric('timeouts_total{kind="stall"}') == 0

"""More clients than there is room for: those in use stay, the others are told so, and nothing spins."""

from __future__ import annotations

import resource
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from . import rules
from .client import ProtocolError, eventually, request
from .servers import serving
from .streams import begin, pattern
from .tree import MIB

if TYPE_CHECKING:
    from pathlib import Path

# How bytes are sent decides here.
EVERY_MODE = True

ROOM = 20
ACTIVE = 6
STORM = 150


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a small file, and one that takes a client that does not read for ever."""
    root = tmp_path_factory.mktemp("room")
    (root / "streamed").write_bytes(pattern(24 * MIB))
    (root / "small").write_bytes(b"small\n")
    return root


def test_a_storm_of_new_clients_does_not_cut_those_in_use(site: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with (
        serving(site, engine=engine, send_mode=send_mode, connections_max=ROOM) as server,
        ExitStack() as stack,
    ):
        active = [stack.enter_context(server.peer()) for _ in range(ACTIVE)]
        for peer in active * 2:
            assert peer.ask(request("/small")).status == 200
        statuses: set[int] = set()
        for number in range(STORM):
            stranger = stack.enter_context(server.peer())
            if number % 3:
                statuses.add(stranger.ask(request("/small")).status)
            for peer in active:
                assert peer.ask(request("/small")).body == b"small\n"
        # Whoever came and said nothing, or had its answer, made room for the next.
        assert statuses == {200}


def test_heads_that_are_never_finished_keep_nobody_out(site: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with (
        serving(site, engine=engine, send_mode=send_mode, connections_max=ROOM) as server,
        ExitStack() as stack,
    ):
        halves = [stack.enter_context(server.peer()) for _ in range(2 * ROOM)]
        for peer in halves:
            peer.send(b"GET /small HTTP/1.1\r\nHost: ")

        def served() -> bool:
            return server.ask(request("/small")).status == 200

        eventually("the first that is a second old makes room", served)
        assert all(served() for _ in range(ROOM))


def test_those_that_are_told_503_take_nobody_s_place(site: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with (
        serving(site, engine=engine, send_mode=send_mode, connections_max=4) as server,
        ExitStack() as stack,
    ):
        busy = [begin(server, "/streamed") for _ in range(4)]
        for _ in range(10):
            refused = stack.enter_context(server.peer())
            reply = refused.ask(request("/small"))
            rules.check(reply, b"GET")
            assert (reply.status, reply.closes) == (503, True)
        # The ten have not closed yet, and the server waits for them to.
        for peer in busy:
            peer.abort()
        eventually("the busy ones are gone", lambda: server.metric("connections_open") <= 10)
        for _ in range(3):
            served = stack.enter_context(server.peer())
            assert served.ask(request("/small")).status == 200


def test_without_descriptors_it_waits_and_then_goes_on(site: Path, kind: tuple[str, str]) -> None:
    """accept(2) fails with EMFILE: the clients wait, the server does not spin, and serves them later."""
    engine, send_mode = kind
    # A multishot accept keeps to the limit that was there when it was armed.
    options = {"without": "multishot_accept"} if engine == "uring" else {}
    with serving(site, engine=engine, send_mode=send_mode, **options) as server, ExitStack() as stack:
        with server.peer() as peer:
            assert peer.ask(request("/small")).status == 200
        server.wait_for_rest()
        [worker] = [pid for pid in server.pids() if pid != server.pid]
        before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        limit = server.fds() + 4
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, before[1]))
        peers = [stack.enter_context(server.peer()) for _ in range(12)]
        eventually("descriptors are out", lambda: server.metric("accept_errors_total") >= 2)
        failed = server.metric("accept_errors_total")
        # Three tenths of a second of peace: a server that spins fails thousands of times.
        assert not peers[-1].readable(0.3)
        assert server.metric("accept_errors_total") - failed < 50
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
        for peer in peers:
            peer.send(request("/small"))
        assert peers[-1].reply().body == b"small\n"


def test_a_low_limit_of_descriptors_bounds_connections(site: Path, kind: tuple[str, str]) -> None:
    """What the process may open is shared out beforehand, so that accept(2) does not fail."""
    engine, send_mode = kind
    with serving(site, engine=engine, send_mode=send_mode, nofile=90) as server, ExitStack() as stack:
        assert "ulimit -n" in server.stdout()
        answers: list[int] = []
        for _ in range(120):
            peer = stack.enter_context(server.peer())
            try:
                answers.append(peer.ask(request("/streamed", "Range: bytes=0-9")).status)
            except ProtocolError:
                answers.append(0)
            if answers[-1] == 206:
                # Begun and not read: it keeps its place.
                peer.send(request("/streamed"))
                assert peer.receive()
        assert 206 in answers
        assert 503 in answers
        assert set(answers) <= {206, 503, 0}
        assert server.metric("accept_errors_total") == 0

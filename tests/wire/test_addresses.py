"""How many connections one address may have, over real sockets."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from . import rules
from .client import eventually, request
from .servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .client import Peer, Reply
    from .servers import Server

MOST = 3
HERE, THERE = "127.0.0.1", "127.0.0.2"
REFUSED = 'refused_total{reason="address"}'


# Of a socket for IPv6 too, to which they come with addresses that are mapped.
@pytest.fixture(params=["127.0.0.1", "::"])
def server(
    tmp_path: Path, kind: tuple[str, str], request: pytest.FixtureRequest
) -> Iterator[tuple[Server, ExitStack]]:
    (tmp_path / "small").write_bytes(b"small\n")
    engine, send_mode = kind
    options = {"engine": engine, "send_mode": send_mode, "host": request.param}
    with (
        serving(
            tmp_path, connections_per_address=MOST, complaint="root serves other machines", **options
        ) as running,
        ExitStack() as stack,
    ):
        yield running, stack


def come(server: tuple[Server, ExitStack], source: str) -> tuple[Peer, Reply]:
    """A new connection, which stays, and its first answer."""
    running, stack = server
    peer = stack.enter_context(running.peer(source=source))
    return peer, peer.ask(request("/small"))


def test_one_address_is_full_and_another_is_served(server: tuple[Server, ExitStack]) -> None:
    here = [come(server, HERE) for _ in range(MOST)]
    assert [reply.status for _, reply in here] == [200] * MOST
    _, refusal = come(server, HERE)
    rules.check(refusal, b"GET")
    assert (refusal.status, refusal.closes) == (503, True)
    assert refusal.field(b"retry-after")
    assert come(server, THERE)[1].body == b"small\n"
    assert server[0].metric(REFUSED) == 1
    assert here[0][0].ask(request("/small")).status == 200, "who is there goes on"


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_place_comes_back(server: tuple[Server, ExitStack], way: str) -> None:
    here = [come(server, HERE)[0] for _ in range(MOST)]
    assert come(server, HERE)[1].status == 503
    for peer in here:
        if way == "reset":
            peer.abort()
        else:
            peer.socket.close()
        eventually("there is room again", lambda: come(server, HERE)[1].status == 200)


def test_half_heads_of_one_address_keep_nobody_else_out(server: tuple[Server, ExitStack]) -> None:
    running, stack = server
    halves = [stack.enter_context(running.peer(source=HERE)) for _ in range(10)]
    for peer in halves:
        peer.send(b"GET /small HTTP/1.1\r\nHost: ")
    eventually("all but its share are refused", lambda: running.metric(REFUSED) == len(halves) - MOST)
    assert come(server, THERE)[1].status == 200

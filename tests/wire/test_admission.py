"""Which files are read into memory, and what that pushes out: counted, not timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .client import eventually, request
from .servers import Server, serving
from .streams import cache, pattern
from .tree import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMORY = 16 * MIB
HOT, HOT_SIZE, HOT_ASKED = 140, 100 * KIB, 6
LARGE, LARGE_SIZE = 6, 4 * MIB


@pytest.fixture
def server(tmp_path: Path, kind: tuple[str, str]) -> Iterator[Server]:
    """Files that fill most of its memory if they are cached, and large ones, of which each is a quarter."""
    for number in range(HOT):
        (tmp_path / f"hot{number}").write_bytes(pattern(HOT_SIZE, seed=number))
    for number in range(LARGE):
        (tmp_path / f"large{number}").write_bytes(pattern(LARGE_SIZE, seed=number))
    engine, send_mode = kind
    with serving(
        tmp_path, engine=engine, send_mode=send_mode, memory=MEMORY, stream_memory=4 * MIB
    ) as running:
        yield running


def counted(server: Server) -> tuple[float, float]:
    """Fills, and evictions."""
    now = server.metrics()
    return now["fills_total"], now["evictions_total"]


def ask_hot(server: Server, times: int) -> None:
    with server.peer() as peer:
        for _ in range(times):
            for number in range(HOT):
                assert len(peer.ask(request(f"/hot{number}")).body) == HOT_SIZE


def heat(server: Server) -> tuple[float, float]:
    """Have the hot files in memory, in use; what has been counted then."""
    ask_hot(server, HOT_ASKED)
    assert counted(server) == (HOT, 0)
    return counted(server)


def test_a_large_file_is_read_when_it_is_asked_for_again(server: Server) -> None:
    content = pattern(LARGE_SIZE)
    assert server.ask(request("/large0")).body == content
    assert counted(server) == (0, 0)
    cache(server, "/large0")
    assert counted(server) == (1, 0)
    for _ in range(3):
        assert server.ask(request("/large0")).body == content
        assert server.ask(request("/large0", "Range: bytes=0-")).body == content
    assert counted(server) == (1, 0)
    assert server.metric("fill_bytes_total") == LARGE_SIZE


def test_who_comes_while_it_is_read_is_served(server: Server) -> None:
    content = pattern(LARGE_SIZE)
    peers = [server.peer() for _ in range(8)]
    for peer in peers:
        peer.send(request("/large0"))
    for peer in peers:
        with peer:
            assert peer.reply().body == content
    assert counted(server) == (1, 0)


def test_small_parts_cost_no_fill(server: Server) -> None:
    """Nor do they push anything out, as long as less was sent of a file than it has."""
    before = heat(server)
    with server.peer() as peer:
        for _ in range(4):
            for number in range(LARGE):
                for wanted in ("0-0", "-1", "5-300000", "0-0,70000-70009"):
                    reply = peer.ask(request(f"/large{number}", f"Range: bytes={wanted}"))
                    assert reply.status == 206
    ask_hot(server, 1)
    assert counted(server) == before


def test_parts_cost_a_fill_when_more_was_sent(server: Server) -> None:
    """Twice as many bytes as it has count as asking for the whole of it twice."""
    quarter = LARGE_SIZE // 4
    content = pattern(LARGE_SIZE)

    def ask(part: int) -> None:
        wanted = slice(part % 4 * quarter, (part % 4 + 1) * quarter)
        reply = server.ask(request("/large0", f"Range: bytes={wanted.start}-{wanted.stop - 1}"))
        assert (reply.status, reply.body) == (206, content[wanted])

    for part in range(7):
        ask(part)
    # What nobody knows yet comes to the loader, which looks at all that streams.
    assert server.ask(request("/none")).status == 404
    assert counted(server) == (0, 0)

    def is_read() -> bool:
        # Again and again: on a slow machine the file was closed meanwhile, and what was sent of it forgotten.
        ask(7)
        return counted(server) == (1, 0)

    eventually("it is read", is_read)
    for part in range(4):
        ask(part)
    assert counted(server) == (1, 0)


def test_what_is_asked_for_less_often_pushes_nothing_out(server: Server) -> None:
    before = heat(server)
    for _ in range(2):
        for number in range(LARGE):
            assert server.ask(request(f"/large{number}")).body == pattern(LARGE_SIZE, seed=number)
    ask_hot(server, 1)
    assert counted(server) == before


def test_what_is_asked_for_more_often_does(server: Server) -> None:
    """A quarter of the memory is 40 files that were asked for once."""
    ask_hot(server, 1)
    with server.peer() as peer:
        for _ in range(60):
            assert len(peer.ask(request("/large0")).body) == LARGE_SIZE
    fills, evictions = counted(server)
    assert fills == HOT + 1
    assert 0 < evictions < HOT


def test_large_files_that_are_asked_for_once_push_nothing_out(server: Server, tmp_path: Path) -> None:
    """More of them than may be open."""
    before = heat(server)
    for number in range(300):
        with open(tmp_path / f"sparse{number}", "wb") as file:
            file.truncate(300 * KIB)
    with server.peer() as peer:
        for number in range(300):
            assert peer.ask(request(f"/sparse{number}")).body == bytes(300 * KIB)
    ask_hot(server, 1)
    assert counted(server) == before


@pytest.mark.parametrize(("target", "length"), [("/hot0", 930), ("/large0", 300)])
def test_answers_with_many_parts_push_nothing_out(server: Server, target: str, length: int) -> None:
    """Each of them twice, so that it may be remembered; in all they are more than may be.

    Of the large file less is sent than would have it cached again.
    """
    if target == "/large0":
        cache(server, target)
    ask_hot(server, HOT_ASKED)

    def are_alone() -> bool:
        ask_hot(server, 1)
        return server.metric("mapped_bytes") == HOT * HOT_SIZE

    # Before Linux 6.4 registered memory that was let go comes back a second later, and has no room meanwhile.
    eventually("the hot files alone are in memory", are_alone)
    before = counted(server)
    with server.peer() as peer:
        for number in range(80):
            spans = ",".join(
                f"{at}-{at + length - 2}" for at in range(number, number + 100 * (length + 1), length + 1)
            )
            for _ in range(2):
                reply = peer.ask(request(target, f"Range: bytes={spans}"))
                assert (reply.status, len(reply.body) > 100 * (length - 1)) == (206, True)
    ask_hot(server, 1)
    assert counted(server) == before


def test_files_that_stream_are_closed_when_they_are_too_many(server: Server, tmp_path: Path) -> None:
    for number in range(250):
        with open(tmp_path / f"sparse{number}", "wb") as file:
            file.truncate(300 * KIB)
    with server.peer() as peer:
        for number in range(250):
            peer.ask(request(f"/sparse{number}"))
    eventually("not more of them are open than may be", lambda: server.fds() < 250)

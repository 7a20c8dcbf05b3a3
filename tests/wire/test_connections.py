"""Connections that stall, vanish, wait or pipeline: nothing may leak, block or fall out of step."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from . import rules
from .client import ProtocolError, eventually, request
from .servers import Server, serving
from .streams import LARGE, SLOW_BUFFER, begin, cache, cached_and_streamed, pattern
from .tree import FILES, MIB

if TYPE_CHECKING:
    from pathlib import Path

# How bytes are sent decides here.
EVERY_MODE = True

KILLED = 200
PIPES_FREE_MAX = 4  # that a worker keeps for the next splice


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one file that is cached and one that is streamed."""
    root = cached_and_streamed(tmp_path_factory.mktemp("connections"))
    (root / "small").write_bytes(b"small\n")
    return root


@pytest.mark.parametrize("name", ["cached", "streamed"])
def test_killed_clients_leave_nothing_behind(large: Path, kind: tuple[str, str], name: str) -> None:
    engine, send_mode = kind
    with serving(large, engine=engine, send_mode=send_mode, memory=8 * MIB, stream_memory=4 * MIB) as server:
        for path in ("/cached", "/streamed", "/small"):
            assert server.ask(request(path)).status == 200
        cache(server, "/cached")
        server.wait_for_rest()
        before, fds, with_pipes = server.metrics(), server.fds_but_pipes(), server.fds()
        peers = [server.peer(receive_buffer=SLOW_BUFFER) for _ in range(KILLED)]
        for peer in peers:
            peer.send(request(f"/{name}"))
        for peer in peers:
            assert peer.receive(), "no response began"
        assert server.metric("connections_open") == KILLED
        for number, peer in enumerate(peers):
            # Killed by a reset, or closed with bytes unread, which is a reset as well but later.
            (peer.abort if number % 2 else peer.socket.close)()
        server.wait_for_rest()
        eventually("the fds are back", lambda: server.fds_but_pipes() == fds)
        assert server.fds() <= with_pipes + 2 * PIPES_FREE_MAX
        gauges = ("mappings_open", "mapped_bytes", "zombie_mappings_open", "windows_open", "leases_open")
        was = {gauge: before[gauge] for gauge in gauges}
        eventually("memory is back", lambda: {gauge: server.metrics()[gauge] for gauge in gauges} == was)
        assert server.ask(request("/cached")).body == pattern(2 * MIB)


def test_a_client_that_never_reads_is_dropped(large: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(large, engine=engine, send_mode=send_mode, stall_ms_max=1000) as server:
        stalled = begin(server, "/streamed")
        with server.peer() as good:
            assert good.ask(request("/small")).body == b"small\n"
            eventually("the stalled one is dropped", lambda: server.metric("connections_open") == 1)
            assert good.ask(request("/small")).body == b"small\n"
        with pytest.raises(ProtocolError):
            stalled.reply()
        assert stalled.reset, "an orderly end would have kept the memory until the client reads"
        stalled.socket.close()
        server.wait_for_rest()
        assert server.metric('timeouts_total{kind="stall"}') == 1


def test_a_slow_reader_is_not_a_stalled_one(large: Path, kind: tuple[str, str]) -> None:
    """The stall clock starts again with each progress, however long the whole body takes."""
    engine, send_mode = kind
    with (
        serving(large, engine=engine, send_mode=send_mode, stall_ms_max=1000) as server,
        begin(server, "/streamed") as peer,
    ):
        body = bytearray()
        ticks = 0

        def sip(piece: bytes) -> None:
            nonlocal ticks
            body.extend(piece)
            if len(body) > ticks * (LARGE // 8):
                ticks += 1
                # Another client's socket that says nothing is a clock that needs no sleep.
                assert not idle.readable(0.3)

        with server.peer() as idle:
            assert peer.reply(sink=sip).status == 200
        assert bytes(body) == pattern(LARGE)


def test_a_steady_reader_with_a_window_below_a_segment_is_not_reset(
    large: Path, kind: tuple[str, str]
) -> None:
    """The kernel takes such a window for none, and so each of its probes for time without progress."""
    engine, send_mode = kind
    with (
        serving(large, engine=engine, send_mode=send_mode, stall_ms_max=1500) as server,
        server.peer() as idle,
        server.peer(receive_buffer=16_384) as peer,
    ):
        peer.send(request("/streamed"))
        for _ in range(80):
            assert peer.socket.recv(2048)
            # Four seconds in all, by a clock that needs no sleep.
            assert not idle.readable(0.05)


def test_a_slow_head_is_answered_408(large: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(large, engine=engine, send_mode=send_mode, head_ms_max=500) as server, server.peer() as peer:
        peer.send(b"GET /small HTTP/1.1\r\nHost: wire.test\r\n")
        reply = peer.reply()
        rules.check(reply, b"GET")
        assert (reply.status, reply.closes) == (408, True)
        assert peer.leftover() == b""


def test_what_cannot_become_a_request_line_is_answered_400_at_once(
    large: Path, kind: tuple[str, str]
) -> None:
    engine, send_mode = kind
    with serving(large, engine=engine, send_mode=send_mode, head_ms_max=600_000) as server:
        with server.peer() as peer:
            # Behind a good request, and in the same bytes.
            peer.send(request("/small") + b"GET /small\r\n")
            assert peer.reply().status == 200
            reply = peer.reply()
            rules.check(reply, b"GET")
            assert (reply.status, reply.closes) == (400, True)
            assert peer.leftover() == b""
        with server.peer() as peer:
            for byte in b"SSH-2.0-x\r":
                assert not peer.readable(0)
                peer.send(bytes([byte]))
            assert peer.reply().status == 400
        with server.peer() as peer:
            for byte in b"\r\n" + request("/small"):
                assert not peer.readable(0)
                peer.send(bytes([byte]))
            assert peer.reply().status == 200


def test_a_dripping_head_does_not_gain_time(large: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(large, engine=engine, send_mode=send_mode, head_ms_max=500) as server, server.peer() as peer:
        peer.send(b"GET /small HTTP/1.1\r\nHost: wire.test\r\nA: ")
        for _ in range(200):
            if peer.readable(0.1):
                break
            peer.send(b"b")
        assert peer.reply().status == 408


def test_the_head_clock_starts_with_each_request(large: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with (
        serving(large, engine=engine, send_mode=send_mode, head_ms_max=500, idle_ms_max=60_000) as server,
        server.peer() as peer,
    ):
        assert peer.ask(request("/small")).status == 200
        # Longer than a head may take: an idle connection is not a slow head.
        assert not peer.readable(1.0)
        assert peer.ask(request("/small")).status == 200
        peer.send(b"GET /sm")
        assert peer.reply().status == 408


@pytest.mark.parametrize("asked_before", [False, True], ids=["preconnect", "keep-alive"])
def test_an_idle_connection_ends(large: Path, kind: tuple[str, str], asked_before: bool) -> None:
    engine, send_mode = kind
    with (
        serving(large, engine=engine, send_mode=send_mode, idle_ms_max=400, head_ms_max=400) as server,
        server.peer() as peer,
    ):
        if asked_before:
            assert peer.ask(request("/small")).status == 200
        assert peer.leftover() == b"", "an idle connection ends without a word"
        server.wait_for_rest()


def test_half_close_still_gets_the_whole_response(server: Server) -> None:
    with server.peer(receive_buffer=SLOW_BUFFER) as peer:
        peer.send(request("/3m17.bin"))
        peer.half_close()
        assert peer.reply().body == FILES[b"3m17.bin"]
        assert peer.leftover() == b""


def test_half_close_after_a_pipeline_gets_all_responses(server: Server) -> None:
    paths = [b"hello.txt", b"1m.bin", b"empty.txt", b"64k.bin"]
    with server.peer() as peer:
        peer.send(b"".join(request(b"/" + path) for path in paths))
        peer.half_close()
        for path in paths:
            assert peer.reply().body == FILES[path]
        assert peer.leftover() == b""


def test_sixteen_pipelined_in_one_write(server: Server) -> None:
    paths = [
        b"hello.txt",
        b"16k.bin",
        b"empty.txt",
        b"64k.bin",
        b"one.bin",
        b"16k-1.bin",
        b"512k.bin",
        b"a/b.txt",
    ] * 2
    with server.peer() as peer:
        peer.send(b"".join(request(b"/" + path) for path in paths))
        for path in paths:
            assert peer.reply().body == FILES[path], path


def test_a_thousand_pipelined(server: Server) -> None:
    """More than any receive buffer holds: the server must stop reading, not stop answering."""
    with server.peer() as peer:
        peer.send([request("/1k.bin", f"A: {number}") for number in range(100)] * 10)
        for _ in range(1000):
            assert peer.reply().body == FILES[b"1k.bin"]


def test_head_then_get(server: Server) -> None:
    with server.peer() as peer:
        peer.send(
            request("/64k.bin", method="HEAD")
            + request("/64k.bin")
            + request("/nothing", method="HEAD")
            + request("/hello.txt")
        )
        head = peer.reply(b"HEAD")
        assert (head.status, head.body, head.field(b"content-length")) == (200, b"", b"65536")
        assert peer.reply().body == FILES[b"64k.bin"]
        assert peer.reply(b"HEAD").status == 404
        assert peer.reply().body == FILES[b"hello.txt"]


def test_good_then_garbage(server: Server) -> None:
    with server.peer() as peer:
        peer.send(request("/64k.bin") + b"garbage\r\n\r\n" + request("/hello.txt"))
        assert peer.reply().body == FILES[b"64k.bin"]
        bad = peer.reply()
        assert (bad.status, bad.closes) == (400, True)
        assert peer.leftover() == b""


def test_mixed_statuses_keep_in_step(server: Server) -> None:
    asked = [
        (request("/hello.txt"), 200),
        (request("/nothing"), 404),
        (request("/sub"), 301),
        (request("/64k.bin", "Range: bytes=1-2"), 206),
        (request("/hello.txt", "If-None-Match: *"), 304),
        (request("/64k.bin", "Range: bytes=70000-"), 416),
        (request("/hello.txt", 'If-Match: "x"'), 412),
        (request("/3m17.bin"), 200),
        (request("/.env"), 404),
        (request("/empty.txt"), 200),
    ]
    with server.peer() as peer:
        for _ in range(2):
            peer.send(b"".join(sent for sent, _ in asked))
            for _, status in asked:
                reply = peer.reply()
                rules.check(reply, b"GET")
                assert reply.status in ((301, 308) if status == 301 else (status,))


def test_a_repeated_request_is_answered_from_a_plan_and_alike(server: Server) -> None:
    """The second sight of a head takes another way through the server; what leaves must be the same."""
    for path in ("/hello.txt", "/64k.bin", "/3m17.bin", "/nothing", "/sub", "/empty.txt"):
        asked = request(path, "X-Plan: 1")
        with server.peer() as peer:
            first, *others = (peer.ask(asked) for _ in range(5))
        without_date = [[each for each in reply.headers if each[0] != b"date"] for reply in (first, *others)]
        assert all(headers == without_date[0] for headers in without_date)
        assert all((reply.status, reply.body) == (first.status, first.body) for reply in others)
    assert server.metric('plan_lookups_total{result="hit"}') > 0


def test_fields_that_nobody_reads_do_not_make_a_new_head(server: Server) -> None:
    """A cookie of its own with each request is parsed no more often than none; a range is its own."""
    path = "/hello.txt?cookies"
    server.ask(request(path))
    server.ask(request(path))
    before = server.metrics()
    with server.peer() as peer:
        for number in range(50):
            lines = (b"Cookie: session=%d" % number, b"X-Forwarded-For: 192.0.2.%d" % number)
            assert peer.ask(request(path, *lines)).body == FILES[b"hello.txt"]
        part = peer.ask(request(path, lines[0], b"Range: bytes=0-1", lines[1]))
        assert part.body == FILES[b"hello.txt"][:2]
        assert peer.ask(request(path, b"Cookie: \x01")).status == 400
    after = server.metrics()
    hits = 'plan_lookups_total{result="hit"}'
    assert after[hits] - before[hits] == 50


def test_heads_that_differ_in_one_byte_are_not_confused(server: Server) -> None:
    """The plan table compares whole cache_keys: same length, same hash bucket or not."""
    with server.peer() as peer:
        for _ in range(3):
            for number in range(50):
                want = number % 2
                path = "/ns-a.txt" if want else "/ns-b.txt"
                assert peer.ask(request(path, f"Accept: {number:03d}")).body == FILES[path[1:].encode()]


def test_many_connections_at_once(server: Server) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(server.peer()) for _ in range(300)]
        for peer in peers:
            peer.send(request("/16k.bin"))
        for peer in peers:
            assert peer.reply().body == FILES[b"16k.bin"]


def test_the_end_of_one_connection_is_not_the_end_of_another(server: Server) -> None:
    """A closed descriptor is soon the next connection's: nothing meant for the old one may reach that."""
    for number in range(60):
        with ExitStack() as stack:
            leaving = [stack.enter_context(server.peer()) for _ in range(8)]
            for peer in leaving:
                peer.send(request("/hello.txt", "Connection: close"))
            for peer in leaving:
                peer.half_close()
            coming = [stack.enter_context(server.peer()) for _ in range(8)]
            for peer in coming:
                peer.send(request("/hello.txt", f"A: {number % 7}"))
            for peer in coming:
                assert peer.reply().body == FILES[b"hello.txt"]
            for peer in leaving:
                assert peer.reply().body == FILES[b"hello.txt"]
                assert peer.leftover() == b""


def test_more_connections_than_allowed(large: Path, kind: tuple[str, str]) -> None:
    """An idle connection makes room for a new one; where none is idle, the new one is told 503."""
    engine, send_mode = kind
    with (
        serving(large, engine=engine, send_mode=send_mode, connections_max=4) as server,
        ExitStack() as stack,
    ):
        idle = stack.enter_context(server.peer())
        assert idle.ask(request("/small")).status == 200
        busy = [stack.enter_context(begin(server, "/streamed")) for _ in range(3)]
        newcomer = stack.enter_context(server.peer())
        assert newcomer.ask(request("/small")).status == 200
        assert idle.leftover() == b""
        busy.append(stack.enter_context(begin(server, "/streamed")))
        eventually("the newcomer made room", lambda: server.metric("connections_open") == 4)
        with server.peer() as refused:
            reply = refused.ask(request("/small"))
            rules.check(reply, b"GET")
            assert (reply.status, reply.closes) == (503, True)
        for peer in busy:
            assert peer.reply().status == 200

"""Encodings made on the fly, on every engine and send mode: identity until they are ready, then as if they
had been there as files.
"""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from . import play, rules
from .cases.compress import (
    CASES,
    HUGE,
    LARGE,
    LOST,
    NOISE,
    SMALL,
    VARY,
    WARMED,
    build_compressible,
    text,
)
from .client import Reply, eventually, request
from .conftest import Fleet
from .servers import ENGINES, serving
from .streams import publish
from .tree import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .case import Case
    from .servers import Server

# How the bytes of large files leave; what `auto` decides on loopback is not the matter here.
MODES = {
    "uring-zerocopy": ("zerocopy",),
    "uring-plain": ("plain",),
    "uring-auto": ("zerocopy", "splice"),
    "portable-zerocopy": ("zerocopy",),
    "portable-auto": ("zerocopy", "splice"),
}
REVALIDATE_MS = 50
# What the machine does beside may take most of it; no test asserts how long anything takes.
COMPRESSED_S = 60.0
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "gzip": lambda content: zlib.decompress(content, 31),
    "zstd": lambda content: zstandard.ZstdDecompressor().decompress(content),
}


def ask(server: Server, path: str, encoding: str, *lines: str, method: str = "GET") -> Reply:
    """One request that accepts one encoding, and an answer that any client may believe."""
    reply = server.ask(request(path, f"Accept-Encoding: {encoding}", *lines, method=method))
    rules_for(reply, method)
    return reply


def rules_for(reply: Reply, method: str = "GET") -> None:
    # The rule on small error bodies is about the server's own pages; here a site has its own.
    if reply.status < 400:
        rules.check(reply, method.encode())


def decoded(reply: Reply) -> bytes:
    """The body as the client gets to see it."""
    coding = (reply.field(b"content-encoding") or b"").decode()
    return DECODERS[coding](reply.body) if coding else reply.body


def until_encoded(server: Server, path: str, encoding: str, content: bytes) -> Reply:
    """Ask until the encoding comes; every answer on the way is right."""
    replies: list[Reply] = []

    def is_encoded() -> bool:
        reply = ask(server, path, encoding)
        assert decoded(reply) == content
        assert reply.field(b"vary") == VARY
        replies.append(reply)
        return reply.field(b"content-encoding") == encoding.encode()

    eventually(f"{path} in {encoding}", is_encoded, COMPRESSED_S)
    return replies[-1]


@pytest.fixture(scope="session")
def warm_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Servers that compress, over one tree."""
    fleet = Fleet(build_compressible(tmp_path_factory.mktemp("compress")), compress="auto", error_pages=True)
    yield fleet
    fleet.leave()


@pytest.fixture
def warm(warm_fleet: Fleet, kind: tuple[str, str]) -> Server:
    """One of them, when it has made what the cases ask for."""
    return warmed(warm_fleet, kind)


def warmed(fleet: Fleet, kind: tuple[str, str]) -> Server:
    server = fleet.server(*kind)
    if server.metric("compressed_bytes"):
        return server
    for path, content in WARMED.items():
        for encoding in DECODERS:
            until_encoded(server, path, encoding, content)
    return server


@pytest.fixture
def fresh(tmp_path: Path, kind: tuple[str, str]) -> Iterator[Server]:
    """A server that has made nothing yet."""
    engine, send_mode = kind
    with serving(
        build_compressible(tmp_path),
        engine=engine,
        send_mode=send_mode,
        compress="auto",
        revalidate_ms=REVALIDATE_MS,
    ) as server:
        yield server


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, warm: Server, warm_fleet: Fleet) -> None:
    etags = warm_fleet.etags(warm, case)
    # Three times: the second one is remembered, the third one replayed.
    answers = [play.summary(play.whole(warm, case, etags)) for _ in range(3)]
    assert answers[1:] == answers[:2]
    play.pipelined(warm, case, etags)


@pytest.mark.uring
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_engines_agree(case: Case, warm_fleet: Fleet) -> None:
    servers = [warmed(warm_fleet, kind) for kind in ENGINES]
    answers = [play.summary(play.whole(server, case, warm_fleet.etags(server, case))) for server in servers]
    for server, answer in zip(servers[1:], answers[1:], strict=True):
        assert answer == answers[0], f"{server.name} and {servers[0].name} differ"


def test_identity_comes_at_once_and_the_encoding_when_it_is_ready(fresh: Server) -> None:
    first = ask(fresh, "/large.html", "br")
    assert (first.field(b"content-encoding"), first.body, first.field(b"vary")) == (None, LARGE, VARY)
    encoded = until_encoded(fresh, "/large.html", "br", LARGE)
    assert len(encoded.body) < len(LARGE) // 2
    assert encoded.field(b"etag") != first.field(b"etag")
    assert encoded.field(b"last-modified") == first.field(b"last-modified")
    assert fresh.metric('compressions_total{encoding="br",result="made"}') == 1
    assert fresh.metric('compressions_total{encoding="gzip",result="made"}') == 0
    assert fresh.metric("compressed_bytes") == len(encoded.body)


def test_it_is_remembered_once_it_is_ready(fresh: Server) -> None:
    asked = request("/small.css", "Accept-Encoding: br")
    with fresh.peer() as peer:
        for _ in range(3):
            peer.ask(asked)
        encoded = until_encoded(fresh, "/small.css", "br", SMALL)
        for _ in range(2):
            peer.ask(asked)
        hits = fresh.metric('plan_lookups_total{result="hit"}')
        for _ in range(5):
            assert peer.ask(asked).body == encoded.body
        assert fresh.metric('plan_lookups_total{result="hit"}') == hits + 5


@pytest.mark.parametrize("encoding", DECODERS)
def test_ranges_with_its_tag_are_of_the_encoded_bytes(warm: Server, encoding: str) -> None:
    whole = ask(warm, "/large.html", encoding)
    tag = (whole.field(b"etag") or b"").decode()
    size = len(whole.body)
    spans = {"0-0": (0, 1), "5-19": (5, 20), "100000-299999": (100_000, 300_000), "-7": (size - 7, size)}
    for span, (start, end) in spans.items():
        for lines in ((f"If-Range: {tag}",), (f"If-Match: {tag}",)):
            part = ask(warm, "/large.html", encoding, f"Range: bytes={span}", *lines)
            assert (part.status, part.body) == (206, whole.body[start:end])
            assert part.field(b"content-range") == b"bytes %d-%d/%d" % (start, end - 1, size)
            assert part.field(b"content-encoding") == encoding.encode()
            assert (part.field(b"etag"), part.field(b"vary")) == (tag.encode(), VARY)
    beyond = ask(warm, "/large.html", encoding, f"Range: bytes={size}-", f"If-Range: {tag}")
    assert (beyond.status, beyond.field(b"content-range")) == (416, b"bytes */%d" % size)


def test_error_pages_are_compressed_too(warm: Server) -> None:
    def is_encoded() -> bool:
        reply = ask(warm, "/nothing", "gzip")
        assert (reply.status, decoded(reply), reply.field(b"vary")) == (404, LOST, VARY)
        return reply.field(b"content-encoding") == b"gzip"

    eventually("a page in gzip", is_encoded, COMPRESSED_S)


def test_what_does_not_shrink_is_tried_once(fresh: Server) -> None:
    def ended() -> float:
        return fresh.metric('compressions_total{encoding="br",result="unfit"}')

    assert ask(fresh, "/noise.txt", "br").body == NOISE
    eventually("it has been tried", ended, COMPRESSED_S)
    for _ in range(5):
        assert ask(fresh, "/noise.txt", "br").body == NOISE
    assert ended() == 1


def test_large_encodings_leave_as_large_files_do(warm: Server) -> None:
    def sent() -> float:
        warm.wait_for_rest()  # a send is counted when the worker hears of its end
        return sum(warm.metric(f'send_bytes_total{{mode="{mode}"}}') for mode in MODES[warm.name])

    before = sent()
    reply = ask(warm, "/large.html", "br")
    assert reply.field(b"content-encoding") == b"br"
    assert len(reply.body) > 16 * KIB
    assert sent() >= before + len(reply.body)


def test_what_is_too_large_is_never_read(warm: Server) -> None:
    end = ask(warm, "/huge.txt", "br", "Range: bytes=-3")
    assert (end.status, end.body, end.field(b"content-encoding")) == (206, bytes(3), None)
    whole = ask(warm, "/huge.txt", "br", method="HEAD")
    assert (whole.field(b"content-length"), whole.field(b"vary")) == (b"%d" % HUGE, None)
    assert warm.metric("compressions_pending") == 0


def test_many_at_once_are_one_compression(fresh: Server) -> None:
    replies: list[Reply] = []
    start = threading.Barrier(24)

    def download() -> None:
        with fresh.peer() as peer:
            start.wait()
            for _ in range(4):
                replies.append(peer.ask(request("/large.html", "Accept-Encoding: br")))

    clients = [threading.Thread(target=download) for _ in range(start.parties)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(replies) == 4 * start.parties
    assert all(decoded(reply) == LARGE and reply.field(b"vary") == VARY for reply in replies)
    until_encoded(fresh, "/large.html", "br", LARGE)
    assert fresh.metric('compressions_total{encoding="br",result="made"}') == 1


def test_everything_is_served_while_the_threads_are_busy(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    contents = {f"/{number}.txt": text(MIB, number) for number in range(6)}
    for path, content in contents.items():
        (tmp_path / path[1:]).write_bytes(content)
    with serving(tmp_path, engine=engine, send_mode=send_mode, compress="br", compress_threads=1) as server:
        with server.peer() as peer:
            for path, content in contents.items():
                # Nobody waits for a compression: what is asked for behind it is answered meanwhile.
                assert decoded(peer.ask(request(path, "Accept-Encoding: br"))) == content
        assert server.metric("compressions_pending") <= len(contents)
        for path, content in contents.items():
            until_encoded(server, path, "br", content)
        assert server.metric('compressions_total{encoding="br",result="made"}') == len(contents)
        assert server.metric("compressions_pending") == 0


def test_it_leaves_also_while_something_is_compressed(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    (tmp_path / "a.txt").write_bytes(LARGE * 4)
    with serving(tmp_path, engine=engine, send_mode=send_mode, compress="br") as server:
        assert ask(server, "/a.txt", "br").body == LARGE * 4
    # Leaving clean is what `serving` demands.


def test_a_changed_file_is_compressed_anew(fresh: Server, tmp_path: Path) -> None:
    old, new = LARGE, text(MIB, 7)
    before = until_encoded(fresh, "/large.html", "br", old)
    publish(tmp_path / "large.html", new)

    def is_new() -> bool:
        reply = ask(fresh, "/large.html", "br")
        assert decoded(reply) in (old, new), "neither the old version nor the new one"
        return decoded(reply) == new

    eventually("the new version is served", is_new)
    after = until_encoded(fresh, "/large.html", "br", new)
    assert after.field(b"etag") != before.field(b"etag")


def test_a_file_that_changes_all_the_time_is_never_mixed(fresh: Server, tmp_path: Path) -> None:
    versions = [text(256 * KIB, seed) for seed in range(4)]
    publish(tmp_path / "large.html", versions[0])
    for version in [*versions[1:], *versions]:
        for _ in range(3):
            assert decoded(ask(fresh, "/large.html", "br")) in (LARGE, *versions)
        publish(tmp_path / "large.html", version)

    def is_last() -> bool:
        return decoded(ask(fresh, "/large.html", "br")) == versions[-1]

    eventually("the last version is served", is_last)
    until_encoded(fresh, "/large.html", "br", versions[-1])


def test_encodings_that_do_not_fit_are_evicted_and_made_again(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    limit = 256 * KIB
    contents = {f"/{number}.txt": text(limit, number) for number in range(6)}
    for path, content in contents.items():
        (tmp_path / path[1:]).write_bytes(content)
    options = {"compress": "gzip", "compress_memory": limit, "compress_size_max": limit, "memory": 2 * MIB}
    with serving(tmp_path, engine=engine, send_mode=send_mode, **options) as server:
        for _ in range(2):
            for path, content in contents.items():
                until_encoded(server, path, "gzip", content)
                assert server.metric("compressed_bytes") <= limit
        assert server.metric('compressions_total{encoding="gzip",result="made"}') >= len(contents)


def test_listings_are_compressed_at_once(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    for number in range(1500):
        (tmp_path / f"a rather long name so that the listing is large {number:06}").touch()
    with serving(
        tmp_path, engine=engine, send_mode=send_mode, compress="auto", listing=True, error_pages=True
    ) as server:
        plain = server.ask(request("/")).body
        assert plain.endswith(b"</html>\n")
        for encoding in DECODERS:
            first, again = ask(server, "/", encoding), ask(server, "/", encoding)
            assert first.field(b"content-encoding") == encoding.encode()
            assert first.field(b"vary") == b"Accept-Encoding, Accept"
            assert decoded(first) == plain
            assert play.summary(first) == play.summary(again)
            assert len(first.body) < len(plain) / 5
            head = ask(server, "/", encoding, method="HEAD")
            assert head.field(b"content-length") == b"%d" % len(first.body)
            tag = (first.field(b"etag") or b"").decode()
            for fields, body in (((), plain), ((f"If-Range: {tag}",), first.body)):
                part = ask(server, "/", encoding, "Range: bytes=100-199", *fields)
                assert (part.status, part.body) == (206, body[100:200])
            assert ask(server, "/", encoding, f"If-None-Match: {tag}").status == 304
            assert server.metric(f'compressions_total{{encoding="{encoding}",result="made"}}') == 1

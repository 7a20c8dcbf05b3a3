"""TLS by the server itself: what is agreed on, and that what is sent arrives."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from zchttpd.engine import kernel_tls

from ..client import STUCK_S, eventually, request
from ..servers import serving
from ..streams import LARGE, SLOW_BUFFER, Digest, pattern
from ..tree import MIB
from .peers import BY_KERNEL, BY_LIBRARY, COMPLETED, FAILED, SIZES, SLOW, TlsPeer, client_context, s_client

if TYPE_CHECKING:
    from pathlib import Path

    from ..servers import Server
    from .peers import Pair


def test_what_is_agreed_on(server: Server, context: ssl.SSLContext) -> None:
    with TlsPeer(server, context) as peer:
        assert peer.protocol == "http/1.1"
        assert peer.tls.compression() is None
        cipher = peer.tls.cipher()
        assert cipher is not None
        assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]
        assert peer.ask(request("/page")).body == pattern(5)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_older_than_1_2_is_refused(server: Server, pair: Pair) -> None:
    old = client_context(pair, minimum_version=ssl.TLSVersion.TLSv1_1, maximum_version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    before = server.metric(FAILED)
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        TlsPeer(server, old)
    eventually("it is counted", lambda: server.metric(FAILED) == before + 1)


def test_who_encrypts_is_counted(server: Server, pair: Pair) -> None:
    # Kernels have it for TLS 1.3 or not at all.
    by = BY_LIBRARY if kernel_tls.available() else BY_KERNEL
    before = server.metrics()
    with TlsPeer(server, client_context(pair, minimum_version=ssl.TLSVersion.TLSv1_3)) as peer:
        peer.ask(request("/page"))
        after = server.metrics()
    assert (after[by] - before[by], after[COMPLETED] - before[COMPLETED]) == (1, 1)


def test_the_kernel_takes_files_by_reference_if_it_encrypts(www: Path, pair: Pair) -> None:
    way, by = ("plain", BY_LIBRARY) if kernel_tls.available() else ("splice", BY_KERNEL)
    with serving(www, engine="portable", **pair.options) as server:
        with TlsPeer(server, client_context(pair)) as peer:
            for _ in range(3):
                assert peer.ask(request("/cached")).body == pattern(MIB)
        assert server.metric(f'send_bytes_total{{mode="{way}"}}') >= MIB
        assert server.metric(by) == 1


@pytest.mark.parametrize("name", SIZES)
def test_files_arrive_whole(server: Server, context: ssl.SSLContext, name: str) -> None:
    with TlsPeer(server, context) as peer:
        for _ in range(2):
            digest = Digest()
            assert peer.ask(request(f"/{name}"), digest).status == 200
            assert digest.result == (SIZES[name], hashlib.sha256(pattern(SIZES[name])).hexdigest())


def test_ranges_and_pipelined_requests(server: Server, context: ssl.SSLContext) -> None:
    asked = [
        ("large", 5, 70_000),
        ("cached", 16_383, 16_384),
        ("more", 16_384, 16_384),
        ("large", 1, 9 * MIB),
    ]
    heads = [request(f"/{name}", f"Range: bytes={first}-{last}") for name, first, last in asked]
    with TlsPeer(server, context) as peer:
        # All in one record, then each byte of two in its own.
        for chunks in (b"".join(heads), [bytes([byte]) for byte in heads[1] + heads[2]]):
            peer.send(chunks)
            for name, first, last in asked if isinstance(chunks, bytes) else asked[1:3]:
                reply = peer.reply()
                assert (reply.status, reply.body) == (206, pattern(SIZES[name])[first : last + 1])


def test_many_requests_in_one_record(server: Server, context: ssl.SSLContext) -> None:
    # More than a receive buffer takes, and than the connection takes ahead.
    count = 600
    with TlsPeer(server, context) as peer:
        peer.send(request("/page") * count)
        assert [peer.reply().body for _ in range(count)] == [pattern(5)] * count


def test_a_slow_reader_gets_every_byte(server: Server, context: ssl.SSLContext) -> None:
    with TlsPeer(server, context, receive_buffer=SLOW_BUFFER) as peer:
        peer.send(request("/large") + request("/page"))
        held = server.metric("connections_open")
        assert held == 1
        digest = Digest()
        assert peer.reply(sink=digest).status == 200
        assert digest.result == (SIZES["large"], hashlib.sha256(pattern(SIZES["large"])).hexdigest())
        assert peer.reply().body == pattern(5)


def test_a_file_that_shrinks_on_its_way_ends_the_response_alone(
    tmp_path: Path, pair: Pair, context: ssl.SSLContext
) -> None:
    (tmp_path / "page").write_bytes(b"page\n")
    with serving(tmp_path, engine="portable", **SLOW, **pair.options) as server:
        # Not each time there would be room for close_notify, with which it would end as if it were whole.
        for number in range(6):
            path = tmp_path / f"shrinks.{number}"
            path.write_bytes(pattern(LARGE))
            with TlsPeer(server, context, receive_buffer=SLOW_BUFFER) as peer:
                peer.send(request(f"/{path.name}"))
                peer.rest = peer.receive()
                os.truncate(path, 4096)
                with pytest.raises(ssl.SSLError):
                    peer.reply()
        with TlsPeer(server, context) as peer:
            assert peer.ask(request("/page")).body == b"page\n"


def test_a_response_to_one_who_has_said_goodbye(server: Server, context: ssl.SSLContext) -> None:
    with TlsPeer(server, context) as peer:
        peer.send(request("/cached"))
        peer.half_close()
        assert peer.reply().body == pattern(MIB)
        assert peer.leftover() == b""


def test_a_response_to_one_whose_direction_ends_without_a_word(server: Server, pair: Pair) -> None:
    with TlsPeer(server, client_context(pair)) as peer:
        peer.send(request("/cached"))
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.reply().body == pattern(MIB)
        assert peer.leftover() == b""


def test_the_end_is_said(server: Server, context: ssl.SSLContext) -> None:
    with TlsPeer(server, context) as peer:
        assert peer.ask(request("/page", "Connection: close")).closes
        # SSLEOFError otherwise.
        assert peer.leftover() == b""


def test_what_follows_the_last_request_resets_nothing(server: Server, context: ssl.SSLContext) -> None:
    with TlsPeer(server, context) as peer:
        peer.send(request("/cached", "Connection: close") + b"x" * 100_000)
        assert peer.reply().body == pattern(MIB)
        assert (peer.leftover(), peer.reset) == (b"", False)


@pytest.mark.parametrize(
    "suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
)
def test_each_cipher_suite(server: Server, pair: Pair, suite: str) -> None:
    with s_client(server, pair, "-tls1_3", "-ciphersuites", suite, "-ign_eof") as client:
        said, _ = client.communicate(request("/cached", "Connection: close"), timeout=STUCK_S)
    head, _, rest = said.partition(b"\r\n\r\n")
    assert b" 200 OK" in head
    assert rest.startswith(pattern(MIB))


def test_a_client_with_new_keys(server: Server, pair: Pair) -> None:
    with s_client(server, pair, "-tls1_3") as client:
        assert client.stdin
        assert client.stdout

        def type_in(text: bytes) -> None:
            assert client.stdin
            client.stdin.write(text)
            client.stdin.flush()

        # It has others, and wants none.
        type_in(b"k\n")
        while b"KEYUPDATE" not in client.stdout.readline():
            pass
        type_in(request("/page"))
        while client.stdout.readline() != b"\r\n":
            pass
        assert client.stdout.read(5) == pattern(5)
        # It wants others too: the library gives them.
        type_in(b"K\n")
        while b"KEYUPDATE" not in client.stdout.readline():
            pass
        if kernel_tls.available():
            type_in(request("/page"))
            while client.stdout.readline() != b"\r\n":
                pass
            assert client.stdout.read(5) == pattern(5)
        else:
            assert pattern(5) not in client.stdout.read(), "it was not hung up on"

"""How often one address may ask, and how much it is sent, over real sockets; by counts, and not by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zchttpd.config.options import KIB

from . import rules
from .client import eventually, request
from .servers import serving
from .streams import Digest, digest_of, pattern

if TYPE_CHECKING:
    from pathlib import Path

EVERY_MODE = True
HERE, THERE = "127.0.0.1", "127.0.0.2"
BURST = 5
SIZE = 96 * KIB


def test_who_asks_too_often_is_told_so_and_goes_on(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    (tmp_path / "small").write_bytes(b"small\n")
    log = tmp_path / "log"
    options = {"engine": engine, "send_mode": send_mode, "host": "0.0.0.0", "access_log": log}
    with serving(
        tmp_path,
        requests_per_second=1,
        requests_burst=BURST,
        complaint="root serves other machines",
        **options,
    ) as server:
        with server.peer(source=HERE) as peer:
            peer.send(request("/small") * 4 * BURST)
            replies = [peer.reply() for _ in range(4 * BURST)]
            assert {reply.status for reply in replies[:BURST]} == {200}
            refused = [reply for reply in replies if reply.status == 429]
            assert refused
            for reply in refused:
                rules.check(reply, b"GET")
                assert (reply.field(b"retry-after"), reply.closes) == (b"1", False)
            head = peer.ask(request("/small", method="HEAD"))
            assert (head.status, head.body) == (429, b"")
            refusals = len(refused) + 1
            assert server.metric('refused_total{reason="rate"}') == refusals
            with server.peer(source=THERE) as other:
                assert other.ask(request("/small")).status == 200
            # Time alone brings it back, on the same connection.
            eventually("it is answered again", lambda: peer.ask(request("/small")).body == b"small\n")
        with server.peer(source=HERE) as peer:
            peer.send(request("/small", "Content-Length: 5") * 4 * BURST)
            first = peer.reply()
            assert first.closes, "what may have content behind it does not go on"
    assert log.read_text().count(" 429 ") >= refusals


def test_who_is_paced_gets_all_and_is_no_stall(tmp_path: Path, kind: tuple[str, str]) -> None:
    """Each pause is longer than what a stall may last."""
    engine, send_mode = kind
    content = pattern(SIZE)
    (tmp_path / "page").write_bytes(content)
    options = {"engine": engine, "send_mode": send_mode, "host": "0.0.0.0"}
    with serving(
        tmp_path,
        bytes_per_second=SIZE // 2,
        stall_ms_max=60,
        complaint="root serves other machines",
        **options,
    ) as server:
        with server.peer(source=HERE) as peer:
            digest = Digest()
            peer.ask(request("/page"), digest)
            assert digest.result == digest_of(content)
        with server.peer(source=THERE) as peer:
            assert peer.ask(request("/page", "Range: bytes=0-99")).body == content[:100]
        assert server.metric('timeouts_total{kind="stall"}') == 0

"""--redirects where the server speaks TLS itself: what came by it is https, unless a proxy knows better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..client import request
from ..servers import serving
from ..streams import pattern
from .peers import SIZES, TlsPeer, client_context

if TYPE_CHECKING:
    from pathlib import Path

    from .peers import Pair


def test_a_connection_with_tls_is_https(www: Path, tmp_path: Path, pair: Pair) -> None:
    lines = tmp_path / "_redirects"
    lines.write_text(
        "http://*/* https://:host/:splat 301!\nhttps://old.example/* https://www.example.org/:splat 308!\n"
    )
    options = {"redirects": lines, "forwarded_from": "127.0.0.1", **pair.options}
    with serving(www, engine="portable", **options) as server:
        context = client_context(pair)
        with TlsPeer(server, context) as proxy, TlsPeer(server, context, source="127.0.0.2") as other:
            for _ in range(3):
                for peer, scheme, host, status, location in (
                    (proxy, "http", "a.example", 301, b"https://a.example/page"),
                    (proxy, "https", "a.example", 200, None),
                    (other, "http", "a.example", 200, None),
                    (other, "https", "old.example", 308, b"https://www.example.org/page"),
                    (proxy, "http", "old.example", 301, b"https://old.example/page"),
                    (proxy, "ftp", "old.example", 308, b"https://www.example.org/page"),
                ):
                    reply = peer.ask(request("/page", f"X-Forwarded-Proto: {scheme}", host=host))
                    assert (reply.status, reply.field(b"location")) == (status, location)
                    if status == 200:
                        assert reply.body == pattern(SIZES["page"])

"""--redirects on each engine: where paths lead, what is sent instead, and a file that is read again."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from .client import Peer, eventually, request
from .servers import serving
from .test_life import assert_one_line, refuse

if TYPE_CHECKING:
    from pathlib import Path

    from .servers import Server


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "www"
    (root / "docs").mkdir(parents=True)
    (root / "index.html").write_bytes(b"home\n")
    (root / "docs" / "page").write_bytes(b"page\n" * 100_000)
    return root


def location(server: Server, path: str) -> tuple[int, bytes | None]:
    reply = server.ask(request(path))
    return reply.status, reply.field(b"location")


def test_paths_lead_where_the_file_says_also_when_it_has_changed(
    site: Path, tmp_path: Path, kind: tuple[str, str]
) -> None:
    engine, send_mode = kind
    lines = tmp_path / "_redirects"
    lines.write_text("/old/* /docs/:splat 301\n/app/* /docs/page 200\n/docs/page /new 302\n")
    complaint = "not reloaded"
    with serving(site, engine=engine, send_mode=send_mode, redirects=lines, complaint=complaint) as server:
        for _ in range(4):
            # Known by now, or not.
            assert location(server, "/old/a?b") == (301, b"/docs/a?b")
            assert server.ask(request("/app/x/y")).body == b"page\n" * 100_000
            assert server.ask(request("/app/x", "Range: bytes=5-8")).body == b"page"
            assert server.ask(request("/docs/page")).status == 200
        lines.write_text("/old/* /elsewhere\n/docs/page /new 302!\n")
        assert server.reload().startswith("reloaded: --redirects")
        # The worker of before may accept until it has heard that it is to leave.
        eventually(
            "the new lines count",
            lambda: all(location(server, "/old/a") == (302, b"/elsewhere") for _ in range(4)),
        )
        for _ in range(4):
            assert location(server, "/docs/page") == (302, b"/new")
            assert server.ask(request("/app/x")).status == 404
            assert server.ask(request("/index.html")).body == b"home\n"
        lines.write_text("/old/*\n")
        assert "_redirects:1: has 1 words" in server.reload()
        assert location(server, "/old/a") == (302, b"/elsewhere")


def test_a_wrong_line_is_told_at_the_start(site: Path, tmp_path: Path) -> None:
    lines = tmp_path / "_redirects"
    lines.write_text("/a /b\n/* //evil.example/:splat 302\n")
    told = refuse("--root", str(site), "--port", "0", "--redirects", str(lines))
    assert_one_line(told, "--redirects: ", "_redirects:2: ", "would lead to another site")


CLIENT, PROXY, STRANGER = "192.0.2.7", "127.0.0.1", "127.0.0.2"
OF_HOSTS = """
http://plain.example/* /:splat 200!
http://*/* https://:host/:splat 301!
https://old.example/* https://www.example.org/:splat 308!
"""
NAMED = {"one.example": "one.example", "TWO.example.:8080": "two.example", "[::1]:80": "[::1]"}
PATHS = ("/index.html", "/docs/page", "/none?a=b")


def lines_of(scheme: str, field: str) -> tuple[str, ...]:
    """What a proxy says that was asked in this way; empty: nothing."""
    if field == "forwarded":
        # That of the other field is the client's own.
        return (f"Forwarded: for={CLIENT};proto={scheme}",) * bool(scheme) + (
            "X-Forwarded-Proto: ftp, https",
        )
    return (f"X-Forwarded-Proto: {scheme}",) * bool(scheme) + ("Forwarded: proto=https",)


def expected(host: str, path: str, *, secure: bool) -> tuple[int, str]:
    """Status and Location, by hand."""
    status = 404 if path.startswith("/none") else 200
    if host == "plain.example" and not secure:
        return status, ""
    if not secure:
        return 301, f"https://{NAMED.get(host, host)}{path}"
    return (308, f"https://www.example.org{path}") if host == "old.example" else (status, "")


@pytest.mark.parametrize("field", ["x-forwarded-proto", "forwarded"])
@pytest.mark.parametrize("trusted", [(), (PROXY, "unix")], ids=["nobody", "proxies"])
def test_https_is_what_a_proxy_says_that_is_believed(
    site: Path, tmp_path: Path, kind: tuple[str, str], field: str, trusted: tuple[str, ...]
) -> None:
    """Whatever is remembered of other schemes, other hosts, and who was not believed."""
    rng = random.Random(f"{field} {trusted}")
    lines, path = tmp_path / "_redirects", tmp_path / "socket"
    lines.write_text(OF_HOSTS)
    options = {
        **dict(zip(("engine", "send_mode"), kind, strict=True)),
        "redirects": lines,
        "port": None,
        "listen": ("127.0.0.1:0", f"unix:{path}"),
        "forwarded_field": "forwarded" if field == "forwarded" else "x-forwarded-for",
        "forwarded_from": trusted or None,
        "complaint": "" if trusted else "without effect: --forwarded-field",
    }
    with serving(site, **options) as server, ExitStack() as opened:
        peers = [(name, opened.enter_context(server.peer(source=name))) for name in (PROXY, PROXY, STRANGER)]
        peers.append(("unix", opened.enter_context(Peer(str(path)))))
        for _ in range(400):
            name, peer = rng.choice(peers)
            host = rng.choice((*NAMED, "old.example", "plain.example"))
            scheme, target = rng.choice(("https", "HTTPS", "http", "ftp", "")), rng.choice(PATHS)
            reply = peer.ask(request(target, *lines_of(scheme, field), host=host))
            secure = name in trusted and scheme.lower() == "https"
            told = (reply.status, (reply.field(b"location") or b"").decode())
            assert told == expected(host, target, secure=secure), (name, host, scheme, target)
        assert server.metric('plan_lookups_total{result="hit"}') > 0


@pytest.mark.parametrize(
    "host",
    [
        *("", "a.example, evil.example", "u@evil.example", "a.example/x", "a.example\\x", "a b.example"),
        *(
            "a.example\r\nHost: evil.example",
            "a.example:8a",
            "[::1",
            "a.example#",
            "a.example?b",
            "a.ex\x80ample",
        ),
    ],
)
def test_what_is_no_host_is_told_nobody(site: Path, tmp_path: Path, kind: tuple[str, str], host: str) -> None:
    engine, send_mode = kind
    lines = tmp_path / "_redirects"
    lines.write_text("http://*/* https://:host/:splat 301!\n")
    with serving(site, engine=engine, send_mode=send_mode, redirects=lines) as server:
        head = f"GET /index.html HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
        reply = server.ask(head)
        assert (reply.status, reply.field(b"location")) == (400, None)
        # What a host may be and no name is leads nowhere.
        reply = server.ask(request("/index.html", host="a!b;c=%41.example"))
        assert (reply.status, reply.field(b"location")) == (200, None)
        evil = ("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example;proto=http")
        reply = server.ask(request("/x%0d%0ay", *evil, host="a.example"))
        assert (reply.status, reply.field(b"location")) == (301, b"https://a.example/x%0D%0Ay")


def test_paths_that_the_machine_knows_are_the_same_for_all_schemes(
    site: Path, tmp_path: Path, kind: tuple[str, str]
) -> None:
    """Lines without `!` leave files alone, whoever has answered, and lead away where there is none."""
    engine, send_mode = kind
    lines = tmp_path / "_redirects"
    lines.write_text("https://*/* /index.html 200\nhttp://*/* https://:host/:splat\n")
    names = [f"small-{number}.txt" for number in range(8)]
    for name in names:
        (site / name).write_text(f"{name}\n")
    options = {"engine": engine, "send_mode": send_mode, "redirects": lines, "forwarded_from": PROXY}
    with serving(site, **options) as server, server.peer() as peer:
        for _ in range(3):
            for name in names:
                for scheme in ("https", "http", ""):
                    fields = lines_of(scheme, "x-forwarded-proto")
                    assert peer.ask(request(f"/{name}", *fields)).body == f"{name}\n".encode()
                    reply = peer.ask(request(f"/no-{name}", *fields))
                    if scheme == "https":
                        assert (reply.status, reply.body) == (200, b"home\n")
                    else:
                        assert reply.field(b"location") == f"https://wire.test/no-{name}".encode()

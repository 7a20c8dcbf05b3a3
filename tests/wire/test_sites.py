"""Several sites behind one address: whatever is remembered, none is told what is another's."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import bcrypt
import pytest

from .client import Peer, eventually, request
from .servers import Server, serving
from .tree import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SITES = ("root", "one", "two", "all")
HOSTS = {
    "nobody.example": "root",
    "one.example": "one",
    "ONE.example": "one",
    "one.example:8080": "one",
    "one.example.": "one",
    "two.example": "two",
    "www.all.example": "all",
    "a.b.all.example": "all",
    "all.example": "root",
}
SMALL = [f"small-{number}.txt" for number in range(12)]
NAMES = (*SMALL, "dir/page.html", "dir/", "large.bin", "none.txt", "only-one.txt")
LARGE = 3 * MIB
AGED_S = 1_600_000_000


def write(root: Path, name: str) -> None:
    """The files of a site: the same names everywhere, with their sizes and times, and nothing else alike."""
    (root / "dir").mkdir(parents=True)
    for path in (*SMALL, "dir/page.html", "dir/index.html"):
        (root / path).write_text(f"{name:4} {path}\n")
    (root / "large.bin").write_bytes(f"{name:4}".encode() * (LARGE // 4))
    if name == "one":
        (root / "only-one.txt").write_text("one\n")
    for path in root.rglob("*"):
        # So that the machine answers new paths by itself, under equal tags.
        os.utime(path, ns=(AGED_S * 10**9 + 5, AGED_S * 10**9 + 5))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for name in SITES:
        write(tmp_path / name, name)
    path = tmp_path / "site.toml"
    path.write_text(tables(tmp_path))
    return path


def tables(tmp_path: Path, *, swapped: bool = False) -> str:
    one, two = ("two", "one") if swapped else ("one", "two")
    return f"""
        root = "{tmp_path}/root"
        header = ["* X-Site: root"]
        [[site]]
        names = ["one.example"]
        root = "{tmp_path}/{one}"
        header = ["* X-Site: {one}"]
        cache-control = ["*.txt=max-age=1"]
        [[site]]
        names = ["two.example"]
        root = "{tmp_path}/{two}"
        header = ["* X-Site: {two}"]
        spa = true
        [[site]]
        names = ["*.all.example"]
        root = "{tmp_path}/all"
        header = ["* X-Site: all"]
        type = ["*.txt=text/x-all"]
    """


@pytest.fixture
def server(config: Path, kind: tuple[str, str]) -> Iterator[Server]:
    engine, send_mode = kind
    options = {"engine": engine, "send_mode": send_mode, "revalidate_ms": 20}
    with serving(None, config=config, complaint="not reloaded", **options) as running:
        yield running


def expected(site: str, path: str) -> tuple[int, bytes]:
    if path == "none.txt" or (path == "only-one.txt" and site != "one"):
        return 404, b""
    if path == "large.bin":
        return 200, f"{site:4}".encode() * (LARGE // 4)
    if path == "only-one.txt":
        return 200, b"one\n"
    return 200, f"{site:4} {path + 'index.html' if path.endswith('/') else path}\n".encode()


def check(
    peer: Peer, host: str, path: str, site: str, *, absolute: bool, etag: bytes | None = None
) -> bytes | None:
    target = f"http://{host}/{path}" if absolute else f"/{path}"
    more = [b"If-None-Match: " + etag] if etag else []
    reply = peer.ask(request(target, *more, host="one.example" if absolute else host))
    assert reply.field(b"x-site") == site.encode(), (host, path)
    status, body = expected(site, path)
    if etag and status == 200 and reply.status == 304:
        return etag
    assert (reply.status, reply.body if status == 200 else b"") == (status, body), (host, path)
    if site == "all" and path in SMALL:
        assert reply.field(b"content-type") == b"text/x-all; charset=utf-8" or (
            reply.field(b"content-type") == b"text/x-all"
        )
    assert (reply.field(b"cache-control") == b"max-age=1") is (
        site == "one" and path.endswith(".txt") and status == 200
    )
    return reply.field(b"etag")


@pytest.mark.parametrize("seed", range(3))
def test_no_answer_is_ever_that_of_another_site(server: Server, seed: int) -> None:
    """Any requests in any order, on connections that change hosts, of which most are remembered."""
    rng = random.Random(seed)
    peers = [server.peer() for _ in range(3)]
    tags: dict[tuple[str, str], bytes | None] = {}
    for _ in range(400):
        host, path = rng.choice(list(HOSTS)), rng.choice(NAMES)
        etag = tags.get((host, path)) if rng.random() < 0.2 else None
        peer = rng.choice(peers)
        tags[host, path] = check(peer, host, path, HOSTS[host], absolute=rng.random() < 0.1, etag=etag)
    for peer in peers:
        peer.socket.close()
    assert server.metric('plan_lookups_total{result="hit"}') > 100


def test_a_file_of_a_site_is_looked_at_in_its_root(server: Server, config: Path) -> None:
    """Beneath the root of the server the same path may lead to what the file of the site was."""
    name = "dir/page.html"
    folder, elsewhere = config.parent / "one" / "dir", config.parent / "root" / name
    elsewhere.unlink()
    os.link(config.parent / "one" / name, elsewhere)
    for _ in range(3):
        assert server.ask(request(f"/{name}", host="one.example")).body == expected("one", name)[1]
    # Which leaves the file as it was.
    folder.rename(config.parent / "before")
    folder.mkdir()
    (config.parent / "one" / name).write_bytes(b"it is another one\n")
    eventually(
        "what is there now is served",
        lambda: server.ask(request(f"/{name}", host="one.example")).body == b"it is another one\n",
        10,
    )


def test_one_stream_of_many_hosts(server: Server) -> None:
    """Pipelined: heads of all hosts in one piece, twice over."""
    asks = [(host, path) for _ in range(2) for path in SMALL[:4] for host in HOSTS]
    with server.peer() as peer:
        peer.send(b"".join(request(f"/{path}", host=host) for host, path in asks))
        for host, path in asks:
            assert peer.reply().body == expected(HOSTS[host], path)[1]


def test_a_reload_moves_sites(server: Server, config: Path) -> None:
    with server.peer() as peer:
        for _ in range(3):
            assert peer.ask(request(f"/{SMALL[0]}", host="one.example")).field(b"x-site") == b"one"
    config.write_text(tables(config.parent, swapped=True))
    assert server.reload() == "reloaded: [[site]]"

    def moved() -> bool:
        answers = [server.ask(request(f"/{SMALL[0]}", host="one.example")) for _ in range(4)]
        return all(answer.body == expected("two", SMALL[0])[1] for answer in answers)

    eventually("the other files are served", moved)
    with config.open("a") as file:
        file.write('[[site]]\nnames = ["three.example"]\nroot = "/nowhere"')
    assert "[[site]] three.example: '/nowhere' does not exist" in server.reload()
    assert moved()


@pytest.mark.parametrize("unknown", ["404", "421"])
def test_hosts_that_nobody_has(config: Path, kind: tuple[str, str], unknown: str) -> None:
    engine, send_mode = kind
    with (
        serving(None, config=config, engine=engine, send_mode=send_mode, unknown_host=unknown) as server,
        server.peer() as peer,
    ):
        for _ in range(3):
            for host, site in HOSTS.items():
                reply = peer.ask(request(f"/{SMALL[0]}", host=host))
                assert reply.status == (int(unknown) if site == "root" else 200)
        # A host that is known goes on to be, on the same connection.
        assert peer.ask(request("/large.bin", host="two.example")).body == expected("two", "large.bin")[1]


def test_the_password_of_a_site_is_for_that_alone(config: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    users = config.parent / "users"
    users.write_bytes(b"ann:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
    text = config.read_text()
    site = 'header = ["* X-Site: two"]'
    config.write_text(text.replace(site, f'{site}\nauth = ["*={users}"]'))
    secret = "Authorization: Basic YW5uOnNlY3JldA=="
    with serving(None, config=config, engine=engine, send_mode=send_mode) as server, server.peer() as peer:
        for _ in range(4):
            for path in (SMALL[0], "large.bin"):
                assert peer.ask(request(f"/{path}", host="two.example")).status == 401
                reply = peer.ask(request(f"/{path}", secret, host="two.example"))
                assert reply.body == expected("two", path)[1]
                for host in ("one.example", "nobody.example"):
                    assert peer.ask(request(f"/{path}", host=host)).body == expected(HOSTS[host], path)[1]

"""The options of a site, on every engine and send mode; and what a site changes while it is served."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from contextlib import ExitStack
from hashlib import sha256
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import pytest

from . import play, runs
from .cases.site import BROWSER, JSON, SITES
from .client import eventually, request
from .conftest import Fleet
from .servers import ENGINES, SENDS_ZEROCOPY, Server, serving
from .tree import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .case import Case
    from .in_process import Handlers

REVALIDATE_MS = 50
MANY = 8000
TABLES = {site: cases for site, (_, cases) in SITES.items()}


def parameters(test: str, *, matrix: bool) -> list[object] | None:
    """What a test of this file is run with; None for one that takes no cases."""
    if test == "test_case":
        return runs.on_servers(TABLES, matrix=matrix)
    return runs.on_all_at_once(TABLES, matrix=matrix) if test == "test_engines_agree" else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its cases: all of them with `--matrix`, else those of runs.py."""
    found = parameters(metafunc.function.__name__, matrix=metafunc.config.getoption("matrix"))
    if found is not None:
        metafunc.parametrize(
            [name for name in ("table", "case", "kind") if name in metafunc.fixturenames], found
        )


@pytest.fixture(scope="session")
def site_fleets(site_root: Path) -> Iterator[dict[str, Fleet]]:
    """Servers for each set of options, over one tree."""
    fleets = {site: Fleet(site_root, **options) for site, (options, _) in SITES.items()}
    yield fleets
    for fleet in fleets.values():
        fleet.leave()


def test_case_names_are_unique() -> None:
    for site, (_, cases) in SITES.items():
        assert len({case.name for case in cases}) == len(cases), site


def test_case(
    table: str, case: Case, kind: tuple[str, str], site_fleets: dict[str, Fleet], handlers: Handlers
) -> None:
    fleet = site_fleets[table]
    server = fleet.server(*kind)
    etags = fleet.etags(server, case)
    # Three times: the second one is remembered, the third one replayed.
    answers = [play.summary(play.whole(server, case, etags)) for _ in range(3)]
    assert answers[1:] == answers[:2]
    assert answers[0] == handlers.play(table, case), f"{server.name} says something else than the handler"
    play.pipelined(server, case, etags)


@pytest.mark.uring
def test_engines_agree(table: str, case: Case, site_fleets: dict[str, Fleet]) -> None:
    fleet = site_fleets[table]
    servers = [fleet.server(*kind) for kind in ENGINES]
    answers = [play.summary(play.whole(server, case, fleet.etags(server, case))) for server in servers]
    for server, answer in zip(servers[1:], answers[1:], strict=True):
        assert answer == answers[0], f"{server.name} and {servers[0].name} differ"


def test_what_appears_and_changes_is_seen(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    (tmp_path / "index.html").write_bytes(b"one")
    options = {"spa": True, "clean_urls": True, "error_pages": True, "revalidate_ms": REVALIDATE_MS}
    with serving(tmp_path, engine=engine, send_mode=send_mode, **options) as server:
        route, asset = request("/route", BROWSER), request("/route.js", BROWSER)

        def sends(asked: bytes, status: int, body: bytes) -> None:
            def holds() -> bool:
                reply = server.ask(asked)
                return (reply.status, reply.body) == (status, body)

            eventually(f"{status} with {body!r}", holds)

        sends(route, 200, b"one")
        (tmp_path / "new").write_bytes(b"another")
        os.replace(tmp_path / "new", tmp_path / "index.html")
        sends(route, 200, b"another")
        assert server.ask(asset).status == 404
        (tmp_path / "404.html").write_bytes(b"lost")
        sends(asset, 404, b"lost")
        (tmp_path / "404.html").write_bytes(b"really lost")
        sends(asset, 404, b"really lost")
        sends(request("/.env"), 404, b"really lost")
        (tmp_path / "route.html").write_bytes(b"a page")
        sends(route, 200, b"a page")
        (tmp_path / "route").write_bytes(b"a file")
        sends(route, 200, b"a file")
        (tmp_path / "route").unlink()
        (tmp_path / "route.html").unlink()
        sends(route, 200, b"another")


def test_a_listing_follows_its_directory(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(
        tmp_path, engine=engine, send_mode=send_mode, listing=True, revalidate_ms=REVALIDATE_MS
    ) as server:

        def listed() -> dict[str, int]:
            return {row["name"]: row["size"] for row in json.loads(server.ask(request("/", JSON)).body)}

        assert listed() == {}
        (tmp_path / "file").write_bytes(b"four")
        eventually("a new name", lambda: listed() == {"file": 4})
        with open(tmp_path / "file", "ab") as file:
            file.write(b"more")
        eventually("a new size", lambda: listed() == {"file": 8})
        (tmp_path / "file").unlink()
        eventually("an empty directory", lambda: listed() == {})


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a directory whose listing is large enough to be made in a thread and sent like a file."""
    root = tmp_path_factory.mktemp("many")
    (root / "small").write_bytes(b"small")
    (root / "names").mkdir()
    for number in range(MANY):
        (root / "names" / f"a rather long name so that the listing is large {number:06}").touch()
    return root


def test_a_listing_keeps_nobody_waiting(many: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    with serving(many, engine=engine, send_mode=send_mode, listing=True) as server:
        with ExitStack() as stack:
            peers = [stack.enter_context(server.peer()) for _ in range(8)]
            for number, peer in enumerate(peers):
                peer.send(request(f"/names/?sort={'size' if number % 2 else 'name'}"))
            assert server.ask(request("/small")).body == b"small"
            pages = [peer.reply().body for peer in peers]
        assert len(set(pages)) == 2
        for page in pages:
            assert page.endswith(b"</html>\n")
            assert page.count(b"<tr>") == MANY + 2
        part = server.ask(request("/names/", "Range: bytes=1048570-1048585"))
        assert (part.status, part.body) == (206, pages[0][1048570:1048586])
        again = server.ask(request("/names/", f"If-None-Match: {part.field(b'etag').decode()}"))
        assert (again.status, again.body) == (304, b"")
        head = server.ask(request("/names/", method="HEAD"))
        assert head.field(b"content-length") == b"%d" % len(pages[0])
        assert (server.metric(SENDS_ZEROCOPY) > 0) is (send_mode != "plain")


def test_a_drain_waits_for_a_listing(many: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    server = Server(many, engine=engine, send_mode=send_mode, listing=True)
    try:
        with server.peer() as peer:
            peer.send(request("/names/"))
            eventually("the request is there", lambda: server.metric('plan_lookups_total{result="miss"}'))
            server.terminate()
            assert peer.reply().body.count(b"<tr>") == MANY + 2
            assert peer.leftover() == b""
        assert (server.wait(), server.stderr()) == (0, "")
    finally:
        server.kill()


def test_a_large_listing_arrives_whole(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    names = {f"a rather long name so that the listing is large {number:06}" for number in range(3000)}
    for name in names:
        (tmp_path / name).touch()
    with serving(tmp_path, engine=engine, send_mode=send_mode, listing=True) as server:
        reply = server.ask(request("/", JSON))
        assert {row["name"] for row in json.loads(reply.body)} == names
        page = server.ask(request("/?sort=time")).body
        assert page.endswith(b"</html>\n")
        assert page.count(b"<tr>") == len(names) + 1
        with server.peer() as peer:
            for _ in range(5):
                assert peer.ask(request("/?sort=time")).body == page


def test_links_into_a_directory_that_was_named(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    root, shared = tmp_path / "www", tmp_path / "shared"
    for path, content in {
        shared / "up" / "large": b"x" * 300_000,
        root / ".pnpm" / "left" / "index.js": b"left",
        tmp_path / "secret": SECRET,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, target in {"up": "../shared/up", "out": "../secret", "left": ".pnpm/left"}.items():
        (root / name).symlink_to(target)
    with serving(
        root,
        engine=engine,
        send_mode=send_mode,
        links_into=(shared, root / ".pnpm"),
        revalidate_ms=REVALIDATE_MS,
    ) as server:
        assert server.ask(request("/up/large")).body == b"x" * 300_000
        assert server.ask(request("/left/index.js")).body == b"left"
        for path in ("/out", "/.pnpm/left/index.js", "/up/../../secret", "/up/nothing"):
            assert server.ask(request(path)).status in (400, 404), path
        (root / "up").unlink()
        (root / "up").symlink_to("..")
        eventually("the link is seen to lead out", lambda: server.ask(request("/up/large")).status == 404)
        assert server.ask(request("/up/secret")).status == 404


HOSTILE = (
    b"<script>alert(1)<",
    b'"onerror="alert(1)',
    b"'single'",
    b"a&b&amp;c",
    b"javascript:alert(1)",
    b"%2e%2e",
    b"up..%2f..",
    b":first",
    b"new\nline",
    b"cr\rlf\n",
    b"\x1b[31m",
    b"invalid\xff\xfe",
    b"back\\slash",
    b"q?uery#fragment",
    b" space ",
    "\u202egnp.exe".encode(),
)


class Links(HTMLParser):
    """Where a page leads, and what in it could run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and data.strip():
            self.scripts.append(data)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("img", "iframe", "base"), tag
        # A form without an action leads to the page itself.
        assert tag != "form" or "action" not in dict(attributes)
        for name, value in attributes:
            assert name != "src"
            assert not name.startswith("on"), (tag, name)
            if name == "href":
                assert value is not None
                self.hrefs.append(value)


def test_hostile_names_are_listed_and_lead_to_their_files(tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    for name in HOSTILE:
        (tmp_path / os.fsdecode(name)).write_bytes(b"content of " + name)
    with (
        serving(tmp_path, engine=engine, send_mode=send_mode, listing=True) as server,
        server.peer() as peer,
    ):
        page = peer.ask(request("/", BROWSER))
        rows = json.loads(peer.ask(request("/", JSON)).body)
        assert len(rows) == len(HOSTILE)
        links = Links(page.body.decode())
        # One script, which the policy lets in by its digest.
        [script] = links.scripts
        digest = b64encode(sha256(script.encode()).digest())
        assert b"; script-src 'sha256-%s';" % digest in page.field(b"content-security-policy")
        found = set()
        for href in (*(row["href"] for row in rows), *links.hrefs):
            url = urlsplit(urljoin("http://wire.test/", href))
            assert (url.scheme, url.netloc) == ("http", "wire.test"), href
            if url.path != "/":
                found.add(peer.ask(request(url.path)).body)
        assert found == {b"content of " + name for name in HOSTILE}


@pytest.mark.parametrize("page", ["404.html", "index.html", "about.html"])
def test_no_page_leads_out(tmp_path: Path, kind: tuple[str, str], page: str) -> None:
    """A page that the server chooses by itself is opened under the same policy as one that is asked for."""
    engine, send_mode = kind
    (tmp_path / "secret").write_bytes(SECRET)
    root = tmp_path / "www"
    root.mkdir()
    (root / page).symlink_to("../secret")
    options = {"error_pages": True, "spa": True, "clean_urls": True}
    with serving(root, engine=engine, send_mode=send_mode, **options) as server:
        for path in ("/nothing", "/", "/about", f"/{page}", "/.env", "/a%2fb"):
            reply = server.ask(request(path, BROWSER))
            assert reply.status in (403, 404), path
            assert SECRET not in reply.body

"""--redirects on each engine: where paths lead, what is sent instead, and a file that is read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .client import request
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
        for _ in range(4):
            assert location(server, "/old/a") == (302, b"/elsewhere")
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

"""What README.md and docs/use.md say to type, typed: servers start, and curl gets what stands beside it."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from ..wire.servers import serving
from .played import DOCS, URL, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Run, Serve

TOP = DOCS.parent
PAGES = ("README.md", "docs/use.md")
ADMIN = "http://127.0.0.1:9090"


def lines(program: str) -> list[str]:
    """The lines of both pages that begin with a program, each once, with its comment."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = (TOP / page).read_text(encoding="utf-8")
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            found |= dict.fromkeys(line for line in block.splitlines() if line.startswith(f"{program} "))
    return list(found)


@pytest.fixture
def www(tmp_path: Path, noise: Callable[[int], bytes]) -> Path:
    """The demo site, beside which the lines are typed."""
    site = shutil.copytree(TOP / "www", tmp_path / "www", ignore=shutil.ignore_patterns("*.bin"))
    (site / "assets" / "10MiB.bin").write_bytes(noise(10 << 20))
    return site


def test_there_are_lines() -> None:
    assert len(lines("zchttpd")) > 5
    assert len(lines("curl")) > 5


@pytest.mark.parametrize("line", [each for each in lines("zchttpd") if " doctor" not in each])
def test_servers_start_as_they_are_typed(line: str, serve: Serve, run: Run, www: Path) -> None:
    """On a free port of loopback in place of the one that is named."""
    root, options = read(line)
    assert root == "www/"
    options |= {"host": None, "port": 0, "admin": "127.0.0.1:0"}
    with serve(www, **options) as url:
        assert run("curl", "-sSf", f"{url}/index.html") == (www / "index.html").read_text(encoding="utf-8")


def test_curl_gets_what_is_said(engine: str, run: Run, www: Path) -> None:
    with serving(www, engine=engine) as server:
        here = (f"http://127.0.0.1:{port}" for _, port in (server.address, server.admin))
        places = dict(zip((URL, ADMIN), here, strict=True))
        for line in lines("curl"):
            for there, port in places.items():
                line = line.replace(there, port)
            typed, _, said = line.partition("  #")
            printed = run("bash", "-c", f"{typed} -w '\n%{{http_code}} %{{size_download}}'")
            expected = re.match(r" (\d{3})\b", said) or re.match(r"(206)", "206" if " -r " in typed else "")
            status, size = printed.split("\n")[-1].split()
            assert status == (expected[1] if expected else "200"), line
            if number := re.search(r"the (?:first|last) (\d+)", said):
                assert size == number[1], line
            if "index.html.br" in said:
                assert "\ncontent-encoding: br" in printed.lower()

"""What the pages of docs/recipes say to type, typed, and what comes of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .played import DOCS, Played, shell
from .test_packages import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Run, Serve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
QUIET_PIP = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def test_every_page_is_played() -> None:
    pages = {page.stem for page in (DOCS / "recipes").glob("*.md")}
    assert {f"test_{page}" for page in pages} <= globals().keys()


def test_pip(serve: Serve, run: Run, tmp_path: Path) -> None:
    place = tmp_path / "packages" / "simple"
    for name, needs in (("left", ["right"]), ("right", [])):
        (place / name).mkdir(parents=True)
        make_wheel(place / name, name, "1.0", needs)
        make_wheel(place / name, name, "1.10", needs)
    log = tmp_path / "access"
    recipe = Played("recipes/pip.md")
    recipe.options |= {"access_log": log, "revalidate_ms": 10}
    recipe.play(serve, run, tmp_path, **QUIET_PIP)
    for target in ("found", "installed"):
        assert "1.10" in (tmp_path / target / "left.py").read_text()
    assert "1.10" in (tmp_path / "installed" / "right.py").read_text()
    name = "left-1.10-py3-none-any.whl"
    assert (tmp_path / "downloaded" / name).read_bytes() == (place / "left" / name).read_bytes()
    asked = log.read_text()
    assert f'"GET /simple/left/{name}.metadata HTTP/1.1" 200 ' in asked
    # What is not the one of its link is refused.
    (place / "left" / name).write_bytes((place / "right" / name.replace("left", "right")).read_bytes())
    with recipe.playing(serve, run, tmp_path) as url:
        words = f"! pip install --no-deps --index-url {url}/simple/ --target refused left"
        assert "THESE PACKAGES DO NOT MATCH THE HASHES" in shell(run, words, **QUIET_PIP)


def test_models(serve: Serve, run: Run, tmp_path: Path, noise: Callable[[int], bytes]) -> None:
    files = tmp_path / "hub/acme/tiny/resolve" / COMMIT
    for name, content in {"config.json": b"{}", "weights.bin": noise(30 << 20), "sub/a b.txt": b"a"}.items():
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_bytes(content)
    Played("recipes/models.md").play(serve, run, tmp_path, HF_HOME=str(tmp_path / "cache"))
    for name in ("config.json", "weights.bin", "sub/a b.txt"):
        assert (tmp_path / "whole" / name).read_bytes() == (files / name).read_bytes()
    assert (tmp_path / "one" / "weights.bin").read_bytes() == (files / "weights.bin").read_bytes()
    assert not (tmp_path / "one" / "config.json").exists()

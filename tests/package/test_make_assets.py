"""tools/make_assets.py: what is kept beside the sources matches them; what it notes for the pages."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import brotli
import pytest
import zstandard

from .loading import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

PROJECT = Path(__file__).resolve().parents[2]
WWW = PROJECT / "www"
MAKER = PROJECT / "tools" / "make_assets.py"
SOURCES = sorted(path for path in WWW.rglob("*") if path.suffix in {".css", ".html", ".js", ".svg"})
KIB = 1024
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".br": brotli.decompress,
    ".gz": gzip.decompress,
    ".zst": zstandard.ZstdDecompressor().decompress,
}


def name_of(path: Path) -> str:
    return str(path.relative_to(WWW))


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    return load(MAKER)


@pytest.mark.parametrize("suffix", DECOMPRESS)
@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_sibling_decompresses_to_its_source(source: Path, suffix: str) -> None:
    sibling = source.with_name(source.name + suffix)
    assert sibling.is_file(), f"{name_of(sibling)} is missing. Type: python3 tools/make_assets.py"
    assert DECOMPRESS[suffix](sibling.read_bytes()) == source.read_bytes(), (
        f"{name_of(sibling)} is out of date. Type: python3 tools/make_assets.py"
    )


def test_no_sibling_without_a_source() -> None:
    siblings = {path for path in WWW.rglob("*") if path.suffix in DECOMPRESS}
    assert siblings == {source.with_name(source.name + suffix) for source in SOURCES for suffix in DECOMPRESS}


def test_what_is_kept_is_small() -> None:
    paths = [path for path in WWW.rglob("*") if path.is_file() and path.suffix not in {".bin", ".pyc"}]
    kept = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(WWW).parts)]
    assert len(kept) > len(SOURCES)
    assert sum(path.stat().st_size for path in kept) < 300 * KIB


def test_assets_are_the_same_everywhere(maker: ModuleType, tmp_path: Path) -> None:
    written = maker.make_assets(tmp_path)
    assert sorted(written) == sorted([*maker.ASSETS, "manifest.json"])
    manifest = (tmp_path / "manifest.json").read_bytes()
    assert manifest == (WWW / "assets" / "manifest.json").read_bytes(), "Type: python3 tools/make_assets.py"
    for each in json.loads(manifest)["files"]:
        content = (tmp_path / each["name"]).read_bytes()
        assert len(content) == each["size"]
        assert hashlib.sha256(content).hexdigest() == each["sha256"]


def test_making_assets_again_writes_only_what_is_wrong(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maker, "ASSETS", {"one.bin": maker.MIB, "two.bin": 2 * maker.MIB})
    maker.make_assets(tmp_path)
    right = (tmp_path / "two.bin").read_bytes()
    assert maker.make_assets(tmp_path) == []
    (tmp_path / "two.bin").write_bytes(b"\0" * len(right))
    assert maker.make_assets(tmp_path) == ["two.bin"]
    assert (tmp_path / "two.bin").read_bytes() == right
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "one.bin", "two.bin"]


def test_siblings_follow_their_source(maker: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "page.html"
    source.write_text("first " * 100, encoding="ascii")
    names = sorted(f"page.html{suffix}" for suffix in DECOMPRESS)
    assert maker.make_siblings(tmp_path) == (names, [])
    assert maker.make_siblings(tmp_path) == ([], [])
    source.write_text("second " * 100, encoding="ascii")
    (tmp_path / "page.html.br").write_bytes(b"not brotli")
    assert maker.make_siblings(tmp_path) == (names, [])
    for suffix, decompress in DECOMPRESS.items():
        assert decompress((tmp_path / f"page.html{suffix}").read_bytes()) == source.read_bytes()
    source.unlink()
    assert maker.make_siblings(tmp_path) == ([], names)


def test_siblings_that_cannot_be_made_are_removed_only_when_stale(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "page.html"
    source.write_text("first " * 100, encoding="ascii")
    maker.make_siblings(tmp_path)
    only_gzip = {".gz": maker.codecs()[".gz"]}
    monkeypatch.setattr(maker, "codecs", lambda: only_gzip)
    assert maker.make_siblings(tmp_path) == ([], [])
    source.write_text("second " * 100, encoding="ascii")
    assert maker.make_siblings(tmp_path) == (["page.html.gz"], ["page.html.br", "page.html.zst"])


def test_without_room_it_says_what_is_wrong(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "assets").write_text("a file where the folder belongs", encoding="ascii")
    monkeypatch.setattr(maker, "SITE", tmp_path)
    assert maker.main([]) == 1
    complaint = capsys.readouterr().err
    assert str(tmp_path / "assets") in complaint
    assert complaint.count("\n") == 1


def test_nothing_is_served_that_only_makes_the_site() -> None:
    served = {path.suffix for path in WWW.rglob("*") if path.is_file()}
    assert served <= {".bin", ".br", ".css", ".gz", ".html", ".js", ".json", ".svg", ".txt", ".zst"}


def test_each_server_of_the_site_has_its_counters_noted(maker: ModuleType, tmp_path: Path) -> None:
    maker.note_admin(tmp_path, 8081, "127.0.0.1:9091")
    maker.note_admin(tmp_path, 8082, "127.0.0.1:9092")
    maker.note_admin(tmp_path, 8081, "127.0.0.1:9191")
    noted = json.loads((tmp_path / maker.ADMIN).read_bytes())
    assert noted == {"8081": "127.0.0.1:9191", "8082": "127.0.0.1:9092"}
    (tmp_path / maker.ADMIN).write_text("[1]", encoding="ascii")
    maker.note_admin(tmp_path, 8083, "127.0.0.1:9093")
    assert json.loads((tmp_path / maker.ADMIN).read_bytes()) == {"8083": "127.0.0.1:9093"}


def test_make_serve_notes_the_ports_it_serves_on() -> None:
    ports = ["PORT=8181", "ADMIN=127.0.0.1:9191"]
    said = subprocess.run(
        ["make", "-n", "serve", *ports], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    noting, serving = (line for line in said.splitlines() if "make_assets.py" in line or "--root www" in line)
    for line in (noting, serving):
        assert "--port 8181 --admin 127.0.0.1:9191" in line

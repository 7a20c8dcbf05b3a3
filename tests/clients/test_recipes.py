"""What the pages of docs/recipes say to type, typed, and what comes of it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy
import pmtiles.tile
import pmtiles.writer
import rasterio
import zarr
from selenium.webdriver.support.ui import WebDriverWait

from . import test_site_recipes
from .played import DOCS, URL, Played, shell
from .test_browser import browsing
from .test_packages import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from selenium.webdriver.remote.webdriver import WebDriver

    from .conftest import Run, Serve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
QUIET_PIP = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def test_every_page_is_played() -> None:
    pages = {page.stem for page in (DOCS / "recipes").glob("*.md")}
    assert {f"test_{page}" for page in pages} <= {*globals(), *vars(test_site_recipes)}


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


def write_data(place: Path) -> None:
    """A file, an array, a picture and a map, each large enough to be read in parts."""
    (place / "tables").mkdir(parents=True)
    (place / "tables" / "a.bin").write_bytes(bytes(20 << 20) + b"the tail")
    (place / "tables" / "b.bin").touch()
    field = zarr.create_array(place / "field.zarr", shape=(200, 100), chunks=(50, 50), dtype="i4")
    numbers = numpy.arange(20_000).reshape(200, 100)
    # A chunk of zeros has no file.
    numbers[150:, 50:] = 0
    field[:] = numbers
    shards = {"shape": (200, 100), "chunks": (10, 10), "shards": (100, 100), "dtype": "i4"}
    zarr.create_array(place / "shards.zarr", **shards)[:] = numbers
    pixels = numpy.arange(2048 * 2048, dtype="uint32").reshape(1, 2048, 2048)
    shape = {"width": 2048, "height": 2048, "count": 1, "dtype": "uint32"}
    on_earth = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_300_000)}
    with rasterio.open(place / "scene.tif", "w", driver="COG", **shape, **on_earth) as scene:
        scene.write(pixels)
    with pmtiles.writer.write(place / "map.pmtiles") as tiles:
        for number in range(64):
            name = f"tile 3 {number % 8} {number // 8}"
            tiles.write_tile(pmtiles.tile.zxy_to_tileid(3, number % 8, number // 8), name.encode())
        tiles.write_tile(pmtiles.tile.zxy_to_tileid(4, 0, 0), bytes(1 << 20))
        bounds = dict.fromkeys(("min_lon_e7", "min_lat_e7", "max_lon_e7", "max_lat_e7"), 0)
        compression = pmtiles.tile.Compression.NONE
        kind = {"tile_type": pmtiles.tile.TileType.UNKNOWN, "tile_compression": compression}
        tiles.finalize({**kind, **bounds}, {})


def test_data(serve: Serve, run: Run, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    log = tmp_path / "access"
    recipe = Played("recipes/data.md")
    recipe.options |= {"access_log": log}
    with recipe.playing(serve, run, tmp_path) as url:
        printed = shell(run, recipe.after.replace(URL, url)).splitlines()
    assert [line for line in printed if "Warning" not in line and not line.startswith(" ")] == [
        f"{url}/tables/a.bin {url}/tables/b.bin",
        "b'the tail'",
        f"(200, 100) {123 * 100 + 45}",
        f"(2048, 2048) [[{900 * 2048 + 1000}, {900 * 2048 + 1001}]]",
        "b'tile 3 4 2'",
    ]
    asked = log.read_text()
    for name in ("tables/a.bin", "scene.tif", "map.pmtiles"):
        assert f'"GET /{name} HTTP/1.1" 206 ' in asked
    # No one had to have all of it.
    assert max(map(int, re.findall(r'" 206 ([0-9]+)', asked))) < 6 << 20


# What goes wrong in a page is in the page, so that no one waits for what never comes.
REPORTING = """<!DOCTYPE html><body><script>
    onerror = message => document.body.append(message);
    onunhandledrejection = event => document.body.append(event.reason);
</script>"""


def describe_page(browser: WebDriver) -> str:
    """What it shows by now."""
    return str(browser.execute_script("return document.body.innerText"))


def test_browser(serve: Serve, run: Run, tmp_path: Path) -> None:
    """The pages are of another origin than the data."""
    write_data(tmp_path / "data")
    recipe = Played("recipes/browser.md")
    tiles, picture, array = recipe.blocks("html")
    pages = [
        (tiles, "tile 3 4 2"),
        (picture, f"{900 * 2048 + 1000} {900 * 2048 + 1001}"),
        (array, str(123 * 100 + 45)),
        (array.replace("123, 45", "199, 99"), "0"),
        (array.replace("field.zarr", "shards.zarr"), str(123 * 100 + 45)),
    ]
    log = tmp_path / "access"
    recipe.options |= {"access_log": log}
    with (
        recipe.playing(serve, run, tmp_path) as url,
        serve(tmp_path / "site") as other,
        browsing(tmp_path) as browser,
    ):
        for number, (page, expected) in enumerate(pages):
            (tmp_path / "site" / f"{number}.html").write_text(REPORTING + page.replace(URL, url))
            browser.get(f"{other}/{number}.html")
            assert WebDriverWait(browser, 60).until(describe_page) == expected
    answers = re.findall(r'"(\w+) /(\S+) HTTP/1.1" (\d+) (\d+) ', log.read_text())
    shard = "shards.zarr/c/1/0"
    for name in ("map.pmtiles", "scene.tif", shard):
        parts = [
            (status, int(size)) for method, each, status, size in answers if (method, each) == ("GET", name)
        ]
        # What the browser already has it asks for again, and is told that it still holds.
        assert {status for status, _ in parts} - {"304"} == {"206"}
        assert sum(size for _, size in parts) < (tmp_path / "data" / name).stat().st_size / 2
    # The index of a shard is at its end: this range is one for which a page must ask leave.
    assert ("OPTIONS", shard, "204", "0") in answers
    chunks = {(name, status) for _, name, status, _ in answers if name.startswith("field.zarr/c/")}
    assert chunks == {("field.zarr/c/2/0", "200"), ("field.zarr/c/3/1", "404")}

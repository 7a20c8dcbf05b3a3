"""Folders as zips, for who resumes them and for those that read them."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Run, Serve

MIB = 1 << 20
TIME_S = 1_700_000_001


@pytest.fixture
def folder(root: Path, noise: Callable[[int], bytes]) -> Path:
    """With what is hard to read where a size or a checksum stands behind: a zip in the zip, and nothing."""
    place = root / "folder"
    (place / "ünder" / "empty").mkdir(parents=True)
    (place / "large").write_bytes(noise(3 * MIB))
    (place / "nothing").write_bytes(b"")
    with zipfile.ZipFile(place / "inner.zip", "w") as inner:
        inner.writestr("a", noise(1000))
    (place / "ünder" / "small").write_bytes(b"small")
    for path in place.rglob("*"):
        os.utime(path, (TIME_S, TIME_S))
    return place


def files(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9999])
def test_curl_resumes_a_zip(serve: Serve, run: Run, folder: Path, tmp_path: Path, part: float) -> None:
    with serve(folder.parent, zip=True) as url:
        run("curl", "-sSf", "-o", "whole.zip", f"{url}/folder/?zip")
        whole = (tmp_path / "whole.zip").read_bytes()
        (tmp_path / "got").write_bytes(whole[: int(part * len(whole)) + 1])
        run("curl", "-sSf", "-C", "-", "-o", "got", f"{url}/folder/?zip")
    assert (tmp_path / "got").read_bytes() == whole
    run("unzip", "-tq", "got")


@pytest.mark.parametrize(
    "command",
    [
        ("unzip", "-q", "../got.zip"),
        ("bsdtar", "-xf", "../got.zip"),
        ("sh", "-c", "bsdtar -xf - <../got.zip"),
        ("busybox", "unzip", "-q", "../got.zip"),
    ],
    ids=["unzip", "bsdtar", "bsdtar from a pipe", "busybox"],
)
def test_readers_have_what_was_there(
    serve: Serve, run: Run, folder: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    with serve(folder.parent, zip=True) as url:
        run("curl", "-sSf", "-o", "got.zip", f"{url}/folder/?zip")
    (tmp_path / "out").mkdir()
    run("env", "-C", "out", "LC_ALL=C.UTF-8", *command)
    assert files(tmp_path / "out") == files(folder)
    assert (tmp_path / "out" / "ünder" / "empty").is_dir()
    if command[0] != "busybox":
        # Which restores no times.
        assert (tmp_path / "out" / "large").stat().st_mtime == TIME_S

"""Clients that install from a directory of packages: pip, npm, apt, git."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .conftest import Run, Serve


def make_wheel(path: Path, name: str, version: str, needs: Sequence[str] = ()) -> None:
    """A wheel of one module, with the metadata that pip asks for."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {each}\n" for each in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for each, text in files.items():
            wheel.writestr(each, text)


def pip(run: Run, *words: object) -> str:
    """pip of this interpreter's own ensurepip, without settings of the machine and without a cache."""
    return run(sys.executable, "-m", "pip", "--isolated", "--no-cache-dir", *words)


def test_pip_installs_from_listings(serve: Serve, run: Run, root: Path, tmp_path: Path) -> None:
    for name in ("left", "right"):
        place = root / "simple" / name
        place.mkdir(parents=True)
        make_wheel(place, name, "1.0")
        make_wheel(place, name, "1.10")
    with serve(root, listing=True) as url:
        options = ("--no-deps", "--target", tmp_path / "index")
        pip(run, "install", *options, "--index-url", f"{url}/simple/", "left")
        options = ("--no-deps", "--no-index", "--target", tmp_path / "links")
        pip(run, "install", *options, "--find-links", f"{url}/simple/right/", "right")
    assert "1.10" in (tmp_path / "index" / "left.py").read_text()
    assert "1.10" in (tmp_path / "links" / "right.py").read_text()


def test_npm_installs_a_scoped_package(serve: Serve, run: Run, root: Path, tmp_path: Path) -> None:
    tarball = io.BytesIO()
    with tarfile.open(fileobj=tarball, mode="w:gz") as archive:
        for name, text in {
            "package.json": json.dumps({"name": "@acme/left", "version": "1.0.0"}),
            "index.js": "module.exports = 42\n",
        }.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            # npm itself packs with this time.
            member.mtime = 499_162_500
            archive.addfile(member, io.BytesIO(text.encode()))
    (root / "tarballs").mkdir()
    (root / "tarballs" / "left-1.0.0.tgz").write_bytes(tarball.getvalue())
    (root / "@acme").mkdir()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball.getvalue()).digest()).decode()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "package.json").write_text("{}")
    with serve(root, encoded_slash=True, type="/@*=application/json") as url:
        release = {
            "name": "@acme/left",
            "version": "1.0.0",
            "dist": {"tarball": f"{url}/tarballs/left-1.0.0.tgz", "integrity": integrity},
        }
        packument = {"name": "@acme/left", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": release}}
        (root / "@acme" / "left").write_text(json.dumps(packument))
        options = ("--no-audit", "--no-fund", "--cache", tmp_path / "cache", "--prefix", tmp_path / "project")
        run("npm", "install", *options, "--registry", f"{url}/", "@acme/left")
    installed = tmp_path / "project" / "node_modules" / "@acme" / "left" / "index.js"
    assert installed.read_text() == "module.exports = 42\n"


def make_deb(run: Run, place: Path, deb: Path) -> None:
    """Make a package for apt, by way of a directory in `place`."""
    made = place / "left"
    (made / "DEBIAN").mkdir(parents=True)
    (made / "DEBIAN" / "control").write_text(
        "Package: left\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
        "Description: a package of a test\n"
    )
    run("dpkg-deb", "--build", "--root-owner-group", made, deb)


def apt_settings(place: Path, etc: Path) -> dict[str, Path | str]:
    """What makes apt keep to `place`, where what it wants is made. `etc`: where its sources are."""
    for each in (etc, place / "state/lists/partial", place / "cache/archives/partial"):
        each.mkdir(parents=True, exist_ok=True)
    (place / "state" / "status").touch()
    return {
        "Dir::Etc": etc,
        "Dir::State": place / "state",
        "Dir::State::status": place / "state/status",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::http::Proxy": "DIRECT",
    }


def test_apt_updates_and_downloads(serve: Serve, run: Run, root: Path, tmp_path: Path) -> None:
    make_deb(run, tmp_path, root / "left_1.0_all.deb")
    run(
        "sh", "-c", f"cd '{root}' && apt-ftparchive packages . >Packages && apt-ftparchive release . >Release"
    )
    settings = apt_settings(tmp_path, tmp_path / "etc/apt")
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    with serve(root) as url:
        (tmp_path / "etc/apt/sources.list").write_text(f"deb [trusted=yes] {url}/ ./\n")
        assert "Get:" in run("apt-get", *options, "update")
        again = run("apt-get", *options, "update")
        run("apt-get", *options, "download", "left")
    assert "Hit:" in again
    assert "Get:" not in again
    assert (tmp_path / "left_1.0_all.deb").read_bytes() == (root / "left_1.0_all.deb").read_bytes()


def test_git_clones_over_dumb_http(serve: Serve, run: Run, root: Path, tmp_path: Path) -> None:
    who = {
        f"GIT_{role}_{what}": "test@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    source = tmp_path / "source"
    run("git", "init", "-q", source)
    for number in range(3):
        (source / "file").write_text(f"{number}\n" * 1000)
        run("git", "-C", source, "add", "file")
        run("git", "-C", source, "commit", "-q", "-m", f"change {number}", **who)
    run("git", "clone", "-q", "--bare", source, root / "left.git")
    run("git", "-C", root / "left.git", "gc", "-q")
    run("git", "-C", root / "left.git", "update-server-info")
    with serve(root) as url:
        run("git", "clone", "-q", f"{url}/left.git", tmp_path / "clone", GIT_CONFIG_GLOBAL=os.devnull)
    assert (tmp_path / "clone" / "file").read_text() == "2\n" * 1000
    assert len(run("git", "-C", tmp_path / "clone", "log", "--oneline").splitlines()) == 3

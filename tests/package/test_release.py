"""What a release is made of: the wheels, the sdist, and what they bring along."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
TABLE = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = TABLE["project"]
WHEELS = TABLE["tool"]["cibuildwheel"]
RELEASE = (TOP / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


def test_there_is_a_wheel_for_each_python_that_is_supported() -> None:
    classified = {
        f"3.{minor}" for minor in re.findall(r"Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))
    }
    built = {f"3.{minor}" for minor in re.findall(r"cp3(\d+)-", " ".join(WHEELS["build"]))}
    [matrix] = re.findall(r"python: \[(.*)\]", RELEASE)
    assert classified == built == set(re.findall(r"[\d.]+", matrix))


def test_a_wheel_made_by_hand_is_built_as_those_of_a_release() -> None:
    make = ["make", "--dry-run", "--always-make", "VENV=build/none", "wheel"]
    commands = subprocess.run(make, cwd=TOP, capture_output=True, text=True, check=True).stdout
    [build] = [line for line in commands.replace("\\\n", " ").splitlines() if "-m build" in line]
    assert re.findall(r"-Csetup-args=(\S+)", build) == WHEELS["config-settings"]["setup-args"]
    assert WHEELS["repair-wheel-command"].split(" --wheel-dir")[0] in commands


def test_who_installs_it_gets_what_serving_needs() -> None:
    needed = {re.split(r"[^\w-]", line)[0] for line in PROJECT["dependencies"]}
    assert needed == {"h11", "http-sf", "prometheus_client", "uvloop"}
    page = (TOP / "docs" / "install.md").read_text(encoding="utf-8")
    told = re.search(r"With it come (.*), and no more", page)
    assert told is not None
    assert set(re.split(r", | and ", told[1])) == needed
    assert set(PROJECT["optional-dependencies"]) == {"auth", "compress", "loadtest", "top"}


def test_only_the_job_that_publishes_may() -> None:
    before, publishing = RELEASE.split("\n  publish:\n")
    assert ": write" not in before
    assert "id-token: write" in publishing
    assert not re.search(r"secrets\.|password:", RELEASE)


def test_an_archive_that_is_not_the_known_liburing_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "liburing.tar.gz"
    archive.write_bytes(b"something else")
    prefix = tmp_path / "prefix"
    done = subprocess.run(
        [TOP / "tools" / "liburing", prefix],
        env={**os.environ, "LIBURING_ARCHIVE": str(archive)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"{archive} is not the liburing" in done.stderr
    assert not list(prefix.rglob("*.a")) + list(prefix.rglob("*.h"))


@pytest.mark.slow
@pytest.mark.skipif(not (TOP / ".git").exists(), reason="an sdist is made of what git has, and this is one")
def test_the_sdist_has_what_is_committed_and_nothing_else(tmp_path: Path) -> None:
    build = f"import mesonpy; mesonpy.build_sdist({str(tmp_path)!r})"
    # It looks for meson on PATH, and the environment of these tests need not be active.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", build],
        cwd=TOP,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [sdist] = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        inside = {member.name.partition("/")[2] for member in tar if not member.isdir()}
    listed = ["git", "ls-tree", "-r", "-z", "--name-only", "HEAD"]
    committed = subprocess.run(listed, cwd=TOP, capture_output=True, text=True, check=True).stdout
    assert inside == {*committed.strip("\0").split("\0"), "PKG-INFO"}

"""The Makefile: what it installs for whom, and that a machine on which nothing is cached can build it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
TEST_TOOLS = {"pytest", "hypothesis", "locust", "matplotlib", "httplint", "lupa", "import-linter"}


def commands(target: str) -> str:
    """What `make` would do for a target where nothing is built, with lines that go on joined."""
    make = ["make", "--dry-run", "--always-make", "VENV=build/none", target]
    done = subprocess.run(make, cwd=TOP, capture_output=True, text=True, check=True)
    return done.stdout.replace("\\\n", " ")


def required(*extras: str) -> set[str]:
    """Names of the packages that tools/requires.py prints for these extras and groups."""
    printed = subprocess.run(
        [sys.executable, TOP / "tools" / "requires.py", *extras], capture_output=True, text=True, check=True
    ).stdout
    return {re.split(r"[^\w-]", line, maxsplit=1)[0] for line in printed.splitlines()}


def installed_for(target: str) -> set[str]:
    calls = re.findall(r"tools/requires\.py ([\w ]*)\|", commands(target))
    assert calls, f"make {target} installs nothing"
    return set().union(*(required(*call.split()) for call in calls))


def test_serving_installs_no_test_tools() -> None:
    assert {"h11", "prometheus_client", "uvloop"} <= installed_for("serve")
    assert not installed_for("serve") & TEST_TOOLS


def test_tests_install_theirs() -> None:
    assert installed_for("setup") >= TEST_TOOLS


@pytest.mark.parametrize("target", ["serve", "setup", "asan", "debug"])
def test_only_zchttpd_is_built_without_isolation(target: str) -> None:
    """A package without a wheel is built with setuptools, which no fresh environment has."""
    unisolated = [line for line in commands(target).splitlines() if "--no-build-isolation" in line]
    assert unisolated
    for line in unisolated:
        assert "--no-deps" in line
        assert line.split()[-1] == "."


def test_serving_and_testing_compile_once() -> None:
    assert commands("setup").count("--no-build-isolation") == 1


def test_compiling_is_announced() -> None:
    said, _, _ = commands("serve").partition("--no-build-isolation")
    assert 'echo "Compiling' in said


@pytest.mark.slow
def test_a_build_without_io_uring_is_set_up(tmp_path: Path) -> None:
    """By the setting that docs/install.md and the complaint about a missing liburing say to type."""
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    meson = shutil.which("meson", path=tools)
    assert meson, "meson is missing. Type: make setup"
    page = (TOP / "docs" / "install.md").read_text(encoding="utf-8")
    [setting] = set(re.findall(r"setup-args=(\S+)", page))
    subprocess.run(
        [meson, "setup", tmp_path / "build", setting], cwd=TOP, env={**os.environ, "PATH": tools}, check=True
    )
    targets = subprocess.run(
        [meson, "introspect", "--targets", tmp_path / "build"], capture_output=True, text=True, check=True
    ).stdout
    names = {target["name"].partition(".")[0] for target in json.loads(targets)}
    assert "poll_driver" in names
    assert "uring_driver" not in names


def test_an_unknown_extra_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, TOP / "tools" / "requires.py", "nothing"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pyproject.toml has no extra or group nothing\n"


def test_ci_starts_from_nothing(tmp_path: Path) -> None:
    """A copy of .ci/run, with a make that tells what it was given, beside an environment left there."""
    script = tmp_path / ".ci" / "run"
    left = tmp_path / ".venv-ci" / "test"
    for path in (script, left):
        path.parent.mkdir()
    left.touch()
    shutil.copy(TOP / ".ci" / "run", script)
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text('#!/bin/sh\necho "make $*"\nenv\n')
    make.chmod(0o755)
    stray = {"ZCHTTPD_PORT": "1", "PYTHONPATH": "/stray", "PIP_FIND_LINKS": "/wheels", "MAKEFLAGS": "n"}
    env = {
        **os.environ,
        **stray,
        "PATH": f"{make.parent}:{os.environ['PATH']}",
        "PIP_INDEX_URL": "https://index.test",
    }
    done = subprocess.run(["bash", script], env=env, capture_output=True, text=True, check=True)
    told, *given = done.stdout.splitlines()
    assert told == "make test VENV=.venv-ci"
    assert {"PIP_NO_CACHE_DIR=1", "PIP_INDEX_URL=https://index.test"} <= set(given)
    assert not [line for line in given if line.partition("=")[0] in stray]
    assert not left.exists()

"""Real clients against a server of the test. `make clients` installs them; a missing one is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from ..wire.servers import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

# A client that takes longer waits for something that never comes.
CLIENT_S = 90


class Serve(Protocol):
    """Serves a directory with options; gives the URL of its root, without a slash at the end."""

    def __call__(self, root: Path, **options: Any) -> AbstractContextManager[str]: ...


class Run(Protocol):
    """Runs a client in the test's directory and gives what it printed, stdout and stderr together."""

    def __call__(self, *words: object, status: int = 0, **environment: str) -> str: ...


@pytest.fixture(params=[pytest.param("uring", marks=pytest.mark.uring), "portable"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn: a client may not notice which."""
    return str(request.param)


@pytest.fixture
def serve(engine: str) -> Serve:
    """Start a server of this test; it must leave clean."""

    @contextmanager
    def start(root: Path, **options: Any) -> Iterator[str]:
        with serving(root, engine=engine, **options) as server:
            yield f"http://127.0.0.1:{server.address[1]}"

    return start


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a client to its end; an exit status other than `status` fails with what it printed."""
    home = tmp_path / "home"
    home.mkdir()
    # Nothing of this user's settings, and no proxy: the server is on this machine.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("PIP_", "npm_", "GIT_", "RCLONE_"))
    }

    def call(*words: object, status: int = 0, **environment: str) -> str:
        client = str(words[0])
        assert shutil.which(client), f"{client} is missing. Type: make clients"
        done = subprocess.run(
            [str(word) for word in words],
            cwd=tmp_path,
            env={**inherited, "HOME": str(home), "LC_ALL": "C.UTF-8", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CLIENT_S,
            check=False,
        )
        printed = done.stdout.decode(errors="replace")
        assert done.returncode == status, f"{client} ended with {done.returncode}:\n{printed[-4000:]}"
        return printed

    return call


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory that is served, empty."""
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def noise() -> Callable[[int], bytes]:
    """Bytes in which every position can be told from every other."""

    def make(size: int) -> bytes:
        return b"".join(b"%015x\n" % number for number in range(size // 16 + 1))[:size]

    return make

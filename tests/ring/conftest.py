"""Servers with less than they would like: the installed command behind a script that takes something away."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..wire.servers import command

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSE_RING = Path(__file__).with_name("refuse_ring.py")


@pytest.fixture
def behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Makes every server of this test start behind a line of shell that ends with `exec` or a launcher."""

    def arrange(line: str) -> str:
        script = tmp_path / "confined"
        script.write_text(f'#!/bin/sh\n{line} {shlex.quote(command())} "$@"\n')
        script.chmod(0o755)
        monkeypatch.setenv("ZCHTTPD", str(script))
        return str(script)

    return arrange


@pytest.fixture
def few_files(behind: Callable[[str], str]) -> int:
    """At most so many descriptors for each process of the server."""
    behind("ulimit -n 64\nexec")
    return 64


@pytest.fixture(params=[1, 38], ids=["EPERM", "ENOSYS"])
def no_ring(behind: Callable[[str], str], request: pytest.FixtureRequest) -> str:
    """io_uring_setup fails; the command to run."""
    return behind(f"exec {shlex.quote(sys.executable)} {shlex.quote(str(REFUSE_RING))} {request.param}")

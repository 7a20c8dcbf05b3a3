"""`zchttpd --check`: what it finds, and that it changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .test_cli import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--access-log", "{0}/gone/log"], "cannot be written (No such file or directory)"),
        (["--access-log", "{0}"], "cannot be written (Is a directory)"),
        (["--admin", "127.0.0.1:0", "--admin-token-file", "/nowhere/token"], "cannot be read"),
    ],
)
def test_check_finds_what_would_stop_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    code, out, err = run(capsys, "--check", str(tmp_path), *(word.format(tmp_path) for word in options))
    assert (code, out) == (2, "")
    assert told in err


def test_check_makes_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log" / "access"
    log.parent.mkdir()
    code, out, err = run(capsys, "--check", str(tmp_path), "--access-log", str(log))
    assert (code, err) == (0, "")
    assert f'access-log = "{log}"' in out
    assert not log.exists()


def test_check_tells_of_a_log_of_somebody_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write them all.
    monkeypatch.setattr(os, "access", lambda path, how: how != os.W_OK)
    code, out, err = run(capsys, "--check", str(tmp_path), "--access-log", str(tmp_path / "log"))
    assert (code, out) == (2, "")
    assert "cannot be written (Permission denied)" in err


@pytest.mark.parametrize("words", [["--check", "."], ["doctor"]])
def test_a_reader_who_has_seen_enough_is_no_fault(tmp_path: Path, words: list[str]) -> None:
    unread, written = os.pipe()
    os.close(unread)
    done = subprocess.run(
        [sys.executable, "-m", "zchttpd", *words],
        stdout=written,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        check=False,
    )
    os.close(written)
    assert (done.returncode, done.stderr) == (141, b"")

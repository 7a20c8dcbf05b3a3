"""The manual page and the completions: they know every option, and what may be typed for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zchttpd.cli import DOCTOR_OPTIONS
from zchttpd.config.names import SEND_MODES
from zchttpd.config.options import flag_of
from zchttpd.config.settings import OPTIONS

TOP = Path(__file__).resolve().parents[2]
FLAGS = [*map(flag_of, OPTIONS), *DOCTOR_OPTIONS, "--version"]


def page(name: str) -> str:
    command = [sys.executable, TOP / "tools" / "shell_pages.py", name]
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["man", "bash", "zsh", "fish"])
def test_every_option_is_named(name: str) -> None:
    text = page(name).replace("\\-", "-")
    # fish names them without their dashes, as `-l send-mode`.
    assert not [
        flag for flag in FLAGS if (f"-l {flag[2:]}" if name == "fish" else flag) not in text.replace("'", "")
    ]


def test_the_manual_page_keeps_the_lines_of_its_examples() -> None:
    examples = page("man").partition(".nf\n")[2].partition(".fi\n")[0]
    assert len(examples.splitlines()) > 3
    assert all(line.startswith("  zchttpd ") for line in examples.splitlines())


def completed(place: Path, *words: str) -> list[str]:
    """What bash offers for the last word, with `place` as its directory."""
    (place / ".completion").write_text(page("bash"))
    typed = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))'
    ask = f'source .completion; {typed}; _shtab_zchttpd; echo "${{COMPREPLY[@]}}"'
    command = ["bash", "-c", ask, "bash", "zchttpd", *words]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_options_values_and_directories(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "site.toml").touch()
    assert completed(tmp_path, "--send") == ["--send-mode"]
    assert completed(tmp_path, "--send-mode", "") == list(SEND_MODES)
    assert completed(tmp_path, "w") == ["www"]
    assert completed(tmp_path, "--root", "") == ["www"]
    assert completed(tmp_path, "--config", "si") == ["site.toml"]

"""What the pages for Python programs show is run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def examples_of(page: str) -> list[str]:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found
    return found


@pytest.mark.parametrize("page", ["python", "zerocopy-send"])
def test_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as somebody types them who reads it, beside a directory www."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("<p>hello</p>")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in examples_of(page):
        exec(compile(example, f"docs/{page}.md", "exec"), names)


@pytest.mark.uring
def test_loopback_copies_and_auto_stops_asking(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = examples_of("loopback")
    exec(compile(example, "docs/loopback.md", "exec"), {})
    printed = capsys.readouterr().out
    told = re.findall(r"^(\w+): (\d+) copied, (\d+) not, (\d+) MiB by reference$", printed, re.MULTILINE)
    (first, copied, not_copied, nothing), (second, trials, none, by_reference) = told
    assert (first, second) == ("zerocopy", "auto")
    assert int(copied) > int(trials) > 0
    assert (int(not_copied), int(none), int(nothing)) == (0, 0, 0)
    assert int(by_reference) > 0


def test_tests_of_downloads_find_the_bug(tmp_path: Path) -> None:
    """As a user's file of tests, with the plugin that installing brings."""
    (tmp_path / "test_page.py").write_text("\n".join(examples_of("testing-downloads")))
    words = ("-q", "-p", "zchttpd.testing.plugin", "-p", "no:cacheprovider", "test_page.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE) == ["test_it_resumes"], done.stdout
    assert "1 failed, 6 passed" in done.stdout

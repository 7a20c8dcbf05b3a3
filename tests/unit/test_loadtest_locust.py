"""`locust -f loadtest/` from end to end: servers, users, report, and nothing left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RUN_S_MAX = 110


@pytest.mark.slow
@pytest.mark.uring
@pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="locust is not installed: pip install locust"
)
def test_a_short_headless_run_checks_every_byte_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    beside = Path(sys.executable).parent
    assert shutil.which("zchttpd", path=str(beside)), (
        "zchttpd is not installed beside this Python: make setup"
    )
    # The installed server, not the sources that PYTHONPATH may name.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["TMPDIR"] = str(temporary)
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "locust",
                "-f",
                str(PROJECT / "loadtest"),
                "--headless",
                "--only-summary",
            ),
            *("-u", "5", "-r", "5", "-t", "5s", "--large", "16M", "--results", str(tmp_path / "results")),
        ],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (folder,) = (tmp_path / "results").iterdir()
    found = json.loads((folder / "results.json").read_text())
    assert [side["mode"] for side in found["sides"]] == ["zerocopy", "plain", "portable"]
    assert sum(scene["requests"] for scene in found["scenes"]) > 0
    assert sum(scene["failures"] for scene in found["scenes"]) == 0
    assert all(side["requests"] > 0 for side in found["sides"])
    assert "<svg" in (folder / "report.html").read_text()
    assert found["verdict"][0]["words"] in " ".join(done.stdout.split())
    # The servers' own directory and all their processes are gone.
    assert not list(temporary.glob("zchttpd-bench-*"))
    assert not [line for line in _command_lines() if str(temporary) in line]


def _command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found

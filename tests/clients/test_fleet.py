"""`make fleet`: servers behind Debian's HAProxy, in network namespaces, with the configuration of deploy/."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Run

TOP = Path(__file__).resolve().parents[2]
CONFIG = TOP / "deploy" / "haproxy" / "haproxy.cfg"
LOCUST = Path(sys.executable).with_name("locust")
# Three policies, each with servers of its own, on a machine that others use too.
FLEET_S = 280


def fleet(place: Path, *options: object, status: int = 0) -> dict[str, Any]:
    """What it has found; {} of a command that was run beside it."""
    found = place / "fleet.json"
    words = [sys.executable, "-m", "bench", "fleet", *map(str, options), "--json", str(found)]
    done = subprocess.run(words, cwd=TOP, capture_output=True, text=True, timeout=FLEET_S, check=False)
    if "apparmor_restrict_unprivileged_userns" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == status, done.stdout + done.stderr
    text = found.read_text()
    results: dict[str, Any] = json.loads(text) if text else {}
    return results


def test_haproxy_understands_the_configuration(run: Run) -> None:
    assert "Configuration file is valid" in run("haproxy", "-c", "-f", CONFIG)


def test_no_request_is_lost(tmp_path: Path) -> None:
    """Killed, drained, added, unplugged: what HAProxy can ask again of another server, it does."""
    found = fleet(tmp_path, "--steps", "kill,drain,add,unplug")
    assert found["failures"] == []
    assert found["changes"] == [
        "one killed",
        "two drained",
        "five added",
        "three unplugged",
        "one started again",
    ]
    # So there was something to lose.
    assert found["retries"] + found["redispatches"] > 0


def test_nobody_notices_a_worker_that_is_killed(tmp_path: Path) -> None:
    """What it was sending is asked again, where a client of its own would see a reset."""
    found = fleet(tmp_path, "--steps", "worker")
    assert found["failures"] == []
    assert found["changes"] == ["a worker of four killed"]


def test_without_another_try_requests_are_lost(tmp_path: Path) -> None:
    """The test above can fail."""
    text = CONFIG.read_text(encoding="utf-8")
    without = re.sub(r"(?m)^ +(?:retry-on|option redispatch) .*\n", "", text).replace(
        "retries 3", "retries 0"
    )
    config = tmp_path / "haproxy.cfg"
    config.write_text(without)
    found = fleet(tmp_path, "--steps", "kill", "--config", config, status=1)
    assert found["failures"]
    assert found["changes"] == ["one killed", "one started again"]


def test_the_path_chooses_the_server(tmp_path: Path) -> None:
    """Together four servers have memory for all files, and each for a part."""
    sizes = ("--files", 600, "--size", "32K", "--memory", "12M", "--requests", 6000)
    found = fleet(tmp_path, "--steps", "policies", *sizes)
    # How much the first passes on depends on how fast servers answer.
    _, unlimited, turns = found["policies"]
    assert [each["failures"] for each in found["policies"]] == [0, 0, 0]
    assert unlimited["fill_bytes"] < turns["fill_bytes"]
    assert unlimited["requests"] == turns["requests"]


def test_locust_drives_it_from_several_processes(run: Run, tmp_path: Path) -> None:
    """A master and two workers, which check every byte."""
    tree, results = tmp_path / "tree", tmp_path / "results"
    load = f"{LOCUST} -f {TOP}/loadtest/"
    run(LOCUST, "-f", f"{TOP}/loadtest/", "--write-tree", tree, "--large", "1M")
    script = tmp_path / "drive.sh"
    script.write_text(
        f"{load} --worker & {load} --worker &\n"
        f"{load} --master --expect-workers 2 --headless --only-summary -u 10 -r 10 -t 8s"
        f" --targets fleet=192.0.2.1:80 --results {results}\n"
        "status=$?; wait; exit $status\n"
    )
    fleet(tmp_path, "--root", tree, "--run", f"sh {script}")
    [folder] = results.iterdir()
    report = json.loads((folder / "results.json").read_text())
    assert report["errors"] == []
    assert sum(scene["requests"] for scene in report["scenes"]) > 50
    assert report["client"]["processes"] == 2

"""tools/need on machines that lack something, with an apt-get that does as the test says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NEED = Path(__file__).resolve().parents[2] / "tools" / "need"
LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 77 (apt-get)"
HELD = (
    "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?"
)
BROKEN = "E: Unable to locate package liburing-dev"

# Fails as often as fail-VERB has lines, each time with the next; `asked` has what it was asked.
APT_GET = """#!/bin/sh
for each; do case $each in update | install) verb=$each ;; esac; done
echo "$*" >>asked
if [ -s "fail-$verb" ]; then
    head -n 1 "fail-$verb" >&2
    sed -i 1d "fail-$verb"
    exit 100
fi
[ "$verb" = update ] || touch installed
"""


class Machine:
    """A machine without liburing, whose apt-get brings it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.fakes = place / "bin"
        self.fakes.mkdir()
        self.fake("apt-get", APT_GET)
        self.fake("pkg-config", f"#!/bin/sh\n[ -e '{place}/installed' ]\n")
        self.fake("id", "#!/bin/sh\necho 0\n")
        self.fake("sudo", '#!/bin/sh\necho sudo >>asked\nexec "$@"\n')

    def fake(self, name: str, text: str) -> None:
        path = self.fakes / name
        path.write_text(text)
        path.chmod(0o755)

    def fail(self, verb: str, *errors: str) -> None:
        (self.place / f"fail-{verb}").write_text("".join(f"{error}\n" for error in errors))

    def need(self, wait_s: int = 60, **env: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.fakes}:{os.environ['PATH']}"
        return subprocess.run(
            [NEED, "build"],
            cwd=self.place,
            env={**os.environ, "PATH": path, "PYTHON": sys.executable, "NEED_WAIT_S": str(wait_s), **env},
            capture_output=True,
            text=True,
        )

    def asked(self) -> list[str]:
        path = self.place / "asked"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_asked_where_nothing_is_missing(machine: Machine) -> None:
    (machine.place / "installed").touch()
    done = machine.need()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.asked() == []


def test_it_says_what_it_does(machine: Machine) -> None:
    done = machine.need()
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "apt-get update",
        "apt-get install -y --no-install-recommends liburing-dev",
    ]
    update, install = machine.asked()
    assert "DPkg::Lock::Timeout" in update
    assert "DPkg::Lock::Timeout" in install


def test_an_ordinary_user_gets_there_by_sudo(machine: Machine) -> None:
    machine.fake("id", "#!/bin/sh\necho 1000\n")
    done = machine.need()
    assert done.returncode == 0
    assert done.stdout.startswith("sudo apt-get update\n")
    assert machine.asked()[0::2] == ["sudo", "sudo"]


@pytest.mark.parametrize("verb", ["update", "install"])
def test_it_waits_for_another_apt(machine: Machine, verb: str) -> None:
    machine.fail(verb, LOCKED, HELD)
    done = machine.need()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("another apt is running; waiting") == 1
    assert len([line for line in machine.asked() if verb in line]) == 3


def test_it_does_not_wait_for_ever(machine: Machine) -> None:
    machine.fail("install", LOCKED)
    done = machine.need(wait_s=0)
    assert done.returncode == 1
    assert LOCKED in done.stderr


def test_an_old_list_is_tried_where_there_is_no_newer(machine: Machine) -> None:
    machine.fail("update", "E: The repository has no Release file.")
    done = machine.need()
    assert done.returncode == 0
    assert "has no Release file" in done.stderr
    assert "trying with the package lists that are here" in done.stderr


def test_a_failure_says_why_and_what_to_type(machine: Machine) -> None:
    machine.fail("install", BROKEN)
    done = machine.need()
    assert done.returncode == 1
    assert BROKEN in done.stderr
    assert "still missing: liburing-dev. Type: apt-get update; apt-get install liburing-dev\n" in done.stderr


def test_an_old_python_is_named(machine: Machine) -> None:
    (machine.place / "installed").touch()
    machine.fake("python3.9", "#!/bin/sh\ncase $2 in *version_info*) exit 1 ;; esac\n")
    done = machine.need(PYTHON="python3.9")
    assert done.returncode == 1
    assert "Python 3.11 or later" in done.stderr
    assert "python3.9 is older" in done.stderr

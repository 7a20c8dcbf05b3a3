"""Plant each fault in a copy of the tree, build it, run the test that must find it, and print the table.

`make faults`; `PLANTS=window` plants only those with that word in their name. Exit status 1 when one is
not found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from plants import PLANTS, Plant
from plants_in_new_paths import PLANTS_IN_NEW_PATHS
from plants_in_turns import PLANTS_IN_TURNS
from plants_of_access import PLANTS_OF_ACCESS
from plants_of_archives import PLANTS_OF_ARCHIVES
from plants_of_clients import PLANTS_OF_CLIENTS
from plants_of_digests import PLANTS_OF_DIGESTS
from plants_of_proxies import PLANTS_OF_PROXIES
from plants_of_rates import PLANTS_OF_RATES
from plants_of_redirects import PLANTS_OF_REDIRECTS
from plants_of_tls import PLANTS_OF_TLS
from plants_of_zerocopy import PLANTS_OF_ZEROCOPY
from tabulate import tabulate

TOP = Path(__file__).resolve().parents[2]
ALL = (*PLANTS, *PLANTS_IN_TURNS, *PLANTS_IN_NEW_PATHS, *PLANTS_OF_ZEROCOPY, *PLANTS_OF_DIGESTS)
ALL += (*PLANTS_OF_ACCESS, *PLANTS_OF_ARCHIVES, *PLANTS_OF_PROXIES, *PLANTS_OF_RATES, *PLANTS_OF_TLS)
ALL += (*PLANTS_OF_REDIRECTS, *PLANTS_OF_CLIENTS)
COPIED = ("ext", "tests", "zchttpd", "meson.build", "meson.options", "pyproject.toml")
# What makes the manual page is not in the copy.
BUILD = ("-Dtest_hooks=true", "-Dpages=disabled", "-Dbuildtype=debugoptimized")
TEST_S_MAX = 300
# What the tests start as `zchttpd`: the installed one has no fault.
SERVER = """#!/bin/sh
PYTHONPATH='{}' exec '{}' -m zchttpd "$@"
"""
FOUND, MISSED, HUNG, STALE = "found", "NOT FOUND", "found, it hangs", "CANNOT BE PLANTED"


class CannotPlant(Exception):
    """The fault has no place in the code of today, or does not compile, or its test cannot be run."""


class Tree:
    """A copy of the source tree with a build of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in COPIED:
            source, target = TOP / name, place / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(source, target)
        self.server = place / "serve"
        self.server.write_text(SERVER.format(place, sys.executable), encoding="utf-8")
        self.server.chmod(0o755)
        self._call(
            "meson", "setup", "build", "-Dtest_hooks=true", "-Dpages=disabled", "-Dbuildtype=debugoptimized"
        )
        self.build()

    def build(self) -> None:
        """Compile what has changed. Raises CannotPlant."""
        self._call("ninja", "-C", "build")
        for module in (self.place / "build" / "ext").glob("*.so"):
            shutil.copy(module, self.place / "zchttpd" / "_core")

    def run(self, test: str) -> str:
        """What becomes of a test: FOUND when it fails. Raises CannotPlant."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *test.split()]
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.place),
            "MESONPY_EDITABLE_SKIP": str(TOP),
            "ZCHTTPD": str(self.server),
        }
        try:
            done = subprocess.run(
                command,
                cwd=self.place,
                env=environment,
                timeout=TEST_S_MAX,
                capture_output=True,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return HUNG
        if done.returncode in (2, 3, 4, 5):
            raise CannotPlant(f"{test} cannot be run:\n{done.stdout}{done.stderr}")
        return MISSED if done.returncode == 0 else FOUND

    def _call(self, *command: str) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.place,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotPlant(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def plant(tree: Tree, each: Plant) -> str:
    """What becomes of its test with this fault planted; it is mended afterwards. Raises CannotPlant."""
    place = "zchttpd" if each.file.endswith(".py") else "ext/zchttpd/_core"
    path = tree.place / place / each.file
    sound = path.read_text(encoding="utf-8")
    if sound.count(each.old) != 1:
        raise CannotPlant(f"its place in {each.file} is not there once")
    path.write_text(sound.replace(each.old, each.new), encoding="utf-8")
    try:
        tree.build()
        return tree.run(each.test)
    finally:
        path.write_text(sound, encoding="utf-8")


def main() -> None:
    wanted = os.environ.get("PLANTS", "")
    rows = []
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        tree = Tree(Path(place))
        for each in ALL:
            if wanted in each.name:
                try:
                    found = plant(tree, each)
                except CannotPlant as error:
                    print(error, file=sys.stderr)
                    found = STALE
                rows.append((each.name, each.file, each.test.removeprefix("tests/"), found))
                print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    print(tabulate(rows, headers=("fault", "in", "test", "")))
    missed = sum(row[3] in (MISSED, STALE) for row in rows)
    print(f"{len(rows)} planted, {missed} not found")
    raise SystemExit(missed > 0)


if __name__ == "__main__":
    main()

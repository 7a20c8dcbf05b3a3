"""Wheels as they meet machines that have nothing: `try_wheel.py [SUITE | SUITE=WHEEL]...`, as root.

For each Debian suite (bookworm, trixie and sid where none is named: Python 3.11, 3.13 and what is newest)
`make wheel` runs in a minimal root file system with python3, make and git, unless a wheel is named. Then the
wheel alone is put into another one, of python3, venv and certificates: no compiler, no headers, no liburing.
There, as a user without rights, pip installs it and both engines serve a file of several segments. The
seconds that this takes are printed; more than 20 are a failure.

debian_root.py says what such a machine has. The logs and the root file systems stay in build/wheels/, the
wheels go to dist/. Exit status: 0 all went well, 1 not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from debian_root import TOP, Failed, alone, bundle_into, copied, line_in, make_base

PLACE = TOP / "build" / "wheels"
SUITES = ("bookworm", "trixie", "sid")
BUILDER = "python3,make,git,ca-certificates"
BARE = "python3,python3-venv,ca-certificates"
SERVED_S = 20.0

USER = "nobody"
HOME = "/tmp/home"
BUILD = "git clone --quiet /tmp/zchttpd.bundle zchttpd && make -C zchttpd wheel"
TRY = (
    "! command -v cc gcc make pkg-config && ! ls /usr/include/python3* /usr/lib/*/liburing*"
    " && python3 -m venv venv && venv/bin/pip install --quiet --only-binary :all: ./*.whl"
    " && venv/bin/pip list --format freeze && venv/bin/python first_byte.py uring portable"
)


def run(line: list[str], script: str, log: Path) -> None:
    """A shell script to its end, its output in `log`. Raises Failed."""
    with log.open("wb") as file:
        status = subprocess.run(
            [*line, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=file, stderr=file
        ).returncode
    if status:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise Failed(f"exit status {status}; see {log}\n{last}")


def build(suite: str) -> Path:
    """The wheel of the Python of a suite, built there. Raises Failed."""
    base = make_base(PLACE / f"{suite}-builder", suite, BUILDER)
    with copied(base, "root") as root:
        bundle_into(root)
        env = {}
        archive = Path(os.environ.get("LIBURING_ARCHIVE", TOP / "build" / "liburing" / "archive.tar.gz"))
        if archive.exists():
            shutil.copy(archive, root / "tmp" / "liburing.tar.gz")
            env["LIBURING_ARCHIVE"] = "/tmp/liburing.tar.gz"
        run(line_in(root, "root", "/root", **env), f"cd && {BUILD}", PLACE / f"{suite}-build.log")
        [wheel] = (root / "root" / "zchttpd" / "dist").glob("*.whl")
        (TOP / "dist").mkdir(exist_ok=True)
        return Path(shutil.copy(wheel, TOP / "dist"))


def serve(suite: str, wheel: Path) -> float:
    """Install a wheel where nothing else is and serve from it; the seconds. Raises Failed."""
    base = make_base(PLACE / f"{suite}-bare", suite, BARE)
    with copied(base, "root") as root:
        home = root / HOME[1:]
        home.mkdir()
        shutil.copy(wheel, home)
        shutil.copy(TOP / "tools" / "first_byte.py", home)
        subprocess.run(["chroot", root, "chown", "-R", USER, HOME], check=True)
        log = PLACE / f"{suite}-serve.log"
        started = time.monotonic()
        run(line_in(root, USER, HOME), f"cd && {TRY}", log)
        took = time.monotonic() - started
        print(log.read_text(), end="", flush=True)
        return took


def main() -> int:
    """Prove it for each suite."""
    if (status := alone("wheels")) is not None:
        return status
    PLACE.mkdir(parents=True, exist_ok=True)
    failed = False
    for argument in sys.argv[1:] or SUITES:
        suite, _, given = argument.partition("=")
        try:
            wheel = Path(given) if given else build(suite)
            took = serve(suite, wheel)
            print(
                f"{suite}: {wheel.name}: installed and served from by both engines in {took:.1f} s",
                flush=True,
            )
            failed |= took > SERVED_S
        except Failed as err:
            failed = True
            print(f"{suite}: {err}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

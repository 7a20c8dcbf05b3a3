"""A file system that hangs when it is told to: `hanging.py DIRECTORY MOUNTPOINT` shows DIRECTORY by FUSE.

It reads orders from standard input, a line each, and repeats each once it has been obeyed: `hang` (from then
on nobody is answered), `go` (all are). It says `ready` first, and ends with its input.
"""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FUSE = Path("/dev/fuse")
START_S = 30


class Hanging:
    """The file system of a test, from outside."""

    def __init__(self, directory: Path, place: Path) -> None:
        self.place = place
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(directory), str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._heard("ready")

    def hang(self) -> None:
        """From now on nobody is answered."""
        self._order("hang")

    def go_on(self) -> None:
        """And from now on all are."""
        self._order("go")

    def die(self) -> None:
        """Without a last word: the mount stays, and answers ENOTCONN."""
        self._process.kill()
        self._process.wait(START_S)

    def _order(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        self._heard(word)

    def _heard(self, word: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        assert said == word, f"the file system says {said!r}, not {word!r}"

    def end(self) -> None:
        """Unmount it, whatever it is at."""
        subprocess.run(["umount", "--lazy", self.place], check=False, capture_output=True)
        self._process.kill()
        self._process.communicate(timeout=START_S)


@contextmanager
def hanging(directory: Path, place: Path) -> Iterator[Hanging]:
    """`directory` at `place`, by a file system that can hang."""
    if os.geteuid() != 0 or not os.access(FUSE, os.R_OK | os.W_OK):
        pytest.skip("only root may mount here, and only where there is /dev/fuse")
    if ctypes.util.find_library("fuse3") is None:
        pytest.skip("there is no libfuse3. Type: apt-get install fuse3")
    file_system = Hanging(directory, place)
    try:
        yield file_system
    finally:
        file_system.end()


def main() -> None:
    """Mount, and obey."""
    import mfusepy

    goes_on = threading.Event()
    goes_on.set()

    class FileSystem(mfusepy.Operations):  # type: ignore[misc]
        """Another directory, read-only, when it does not hang."""

        use_ns = True

        def __init__(self, directory: str) -> None:
            self._directory = directory

        def _real(self, path: str) -> str:
            goes_on.wait()
            return self._directory + path

        def init(self, path: str) -> None:
            # The mount is there.
            threading.Thread(target=obey, daemon=True).start()

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            facts = os.lstat(self._real(path))
            names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
            times = {f"st_{time}": getattr(facts, f"st_{time}_ns") for time in ("atime", "mtime", "ctime")}
            return {name: getattr(facts, name) for name in names} | times

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *os.listdir(self._real(path))]

        def open(self, path: str, flags: int) -> int:
            return os.open(self._real(path), flags)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            goes_on.wait()
            return os.pread(fh, size, offset)

        def release(self, path: str, fh: int) -> int:
            os.close(fh)
            return 0

        def statfs(self, path: str) -> dict[str, int]:
            facts = os.statvfs(self._real(path))
            return {name: getattr(facts, name) for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree")}

    def obey() -> None:
        print("ready", flush=True)
        for line in sys.stdin:
            if line.strip() == "hang":
                goes_on.clear()
            else:
                goes_on.set()
            print(line.strip(), flush=True)
        os._exit(0)

    # Nothing is believed for longer than it takes to say it.
    options = {"attr_timeout": 0, "entry_timeout": 0}
    mfusepy.FUSE(FileSystem(sys.argv[1]), sys.argv[2], foreground=True, nothreads=False, ro=True, **options)


if __name__ == "__main__":
    main()

"""A tree that changes all the time, of files whose every 16 bytes tell what they are a version of."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..wire.tree import KIB, MIB

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

WORD = 16
_WORD = re.compile(rb"([0-9a-f]{2})v([0-9a-f]{6})([0-9a-f]{6})\n")
_RUN = 256  # equal words

# Some are joined to their heads, some are cached, some are streamed: beside 8 MiB of --memory.
SIZES = (0, 1, 900, 5 * KIB, 20 * KIB, 64 * KIB + 1, 300 * KIB, MIB, 3 * MIB + 17)
STEADY = tuple(f"/steady/{number}.txt" for number in range(len(SIZES)))
# Replaced by rename, and now and then absent.
REPLACED = tuple(f"/replaced/{number}.txt" for number in range(10))
# Written to in place, cut, and emptied and written anew.
WRITTEN = tuple(f"/written/{number}.txt" for number in range(4))
CHANGING = REPLACED + WRITTEN
FILES = STEADY + CHANGING
# More than are remembered. Those that are there have one version.
PASSING = 400


def passing(number: int) -> str:
    """The path of one of those that come and go."""
    return f"/passing/{number}.js"


def content(key: int, version: int, size: int) -> bytes:
    """The first `size` bytes of a version."""
    count = -(-size // (WORD * _RUN))
    return b"".join(b"%02xv%06x%06x\n" % (key, version, run) * _RUN for run in range(count))[:size]


@dataclass(frozen=True)
class Version:
    """What a file is, or was: `size` bytes."""

    number: int
    size: int


class Site:
    """The files beneath `root`, and what each has been."""

    def __init__(self, root: Path, rng: Random) -> None:
        self.root = root
        self.changes = 0
        self._rng = rng
        self._number = 0
        self._keys = {path: key for key, path in enumerate(FILES)}
        self._keys |= {passing(number): len(FILES) + number % 64 for number in range(PASSING)}
        self._sizes: dict[str, dict[int, int]] = defaultdict(dict)
        self._last: dict[str, Version] = {}
        self.build()

    def build(self) -> None:
        """All files, anew where they were; the steady ones in the version that they have for good."""
        for path, size in zip(STEADY, SIZES, strict=True):
            self._publish(path, Version(0, size))
        for path in CHANGING:
            self._publish(path, self._next())
        for number in range(0, PASSING, 2):
            self._publish(passing(number), Version(0, 2 * KIB))
        (self.root / "bare").mkdir(exist_ok=True)

    def clear(self) -> None:
        """No file at all."""
        for each in self.root.iterdir():
            shutil.rmtree(each)

    def change(self) -> None:
        """Something, somewhere."""
        self.changes += 1
        what = self._rng.random()
        if what < 0.25:
            self._pass()
        elif what < 0.6:
            self._replace(self._rng.choice(REPLACED))
        else:
            self._write(self._rng.choice(WRITTEN))

    def fault_of(self, path: str, body: bytes, first: int = 0, total: int | None = None) -> str:
        """What is wrong with bytes of a file from `first` on, of `total`; empty if that is nothing."""
        total = first + len(body) if total is None else total
        at = -first % WORD
        word = _WORD.fullmatch(body[at : at + WORD])
        if path in STEADY:
            version = 0
        elif word is not None and int(word[1], 16) == self._keys[path]:
            version = int(word[2], 16)
        elif path in WRITTEN and len(body) < 2 * WORD:
            # It was cut, and what is left does not tell.
            return ""
        else:
            return f"not the bytes of any version at {first + at}: {body[at : at + WORD]!r}"
        if version not in self._sizes[path]:
            return f"version {version} has never been"
        size = self._sizes[path][version]
        # What is written in place is, for a moment, as long as what has been written.
        if total != size and not (path in WRITTEN and total < size):
            return f"{total} bytes of version {version}, which has {size}"
        if body != content(self._keys[path], version, first + len(body))[first:]:
            return f"{len(body)} bytes from {first} on are not all of version {version}"
        return ""

    def _next(self) -> Version:
        self._number += 1
        return Version(self._number, max(2 * WORD, self._rng.choice(SIZES) + self._rng.randrange(100)))

    def _bytes(self, path: str, version: Version) -> bytes:
        self._sizes[path][version.number] = version.size
        self._last[path] = version
        return content(self._keys[path], version.number, version.size)

    def _publish(self, path: str, version: Version) -> None:
        at = self.root / path[1:]
        at.parent.mkdir(exist_ok=True)
        fresh = at.with_name("." + at.name)
        fresh.write_bytes(self._bytes(path, version))
        os.replace(fresh, at)

    def _replace(self, path: str) -> None:
        at = self.root / path[1:]
        sidecar = at.with_name(at.name + ".gz")
        what = self._rng.random()
        sidecar.unlink(missing_ok=True)
        if what < 0.15:
            at.unlink(missing_ok=True)
            return
        self._publish(path, self._next())
        if what < 0.3:
            fresh = at.with_name("." + sidecar.name)
            fresh.write_bytes(gzip.compress(at.read_bytes(), 1))
            os.replace(fresh, sidecar)

    def _write(self, path: str) -> None:
        at, what = self.root / path[1:], self._rng.random()
        last = self._last[path]
        if what < 0.2:
            os.truncate(at, min(at.stat().st_size, self._rng.randrange(max(1, last.size))))
        elif what < 0.4:
            # As many editors do.
            at.write_bytes(self._bytes(path, self._next()))
        elif what < 0.5:
            self._publish(path, self._next())
        else:
            version = Version(self._next().number, at.stat().st_size)
            with open(at, "r+b", buffering=0) as file:
                os.pwrite(file.fileno(), self._bytes(path, version), 0)

    def _pass(self) -> None:
        path = passing(self._rng.randrange(PASSING))
        at = self.root / path[1:]
        if at.exists():
            at.unlink()
        else:
            self._publish(path, Version(0, 2 * KIB))

"""SHA256SUMS of all that is served from a directory, in the format of sha256sum(1), written and checked.

What a server would not give has no line: names that begin with a dot (but the first `.well-known`), what is
no regular file, and symlinks that leave the directory. Symlinks to files are followed; those to directories
are not, as what lies there has its own name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Self

from zchttpd.config.names import IDENTITY
from zchttpd.config.options import usable_cpus
from zchttpd.files.digests import hash_through
from zchttpd.files.root import Root
from zchttpd.files.settling import settle
from zchttpd.files.version import Representation, Version
from zchttpd.http.target import hidden
from zchttpd.telemetry.log import complain, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Segments = tuple[bytes, ...]

NAME = "SHA256SUMS"
# More than this read no disk any faster.
THREADS_MAX = 8
# A file that changes each time while it is read is told as an error.
ATTEMPTS_MAX = 3
_AT_A_TIME = 1024

_LINE = re.compile(rb"(\\?)([0-9A-Fa-f]{64}) [ *]([^\n]+)")
_ESCAPES = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r"}
_ESCAPED = {byte: escape for escape, byte in _ESCAPES.items()}
_MODE = 0o644


@dataclass
class Findings:
    """What comparing a directory with its manifest told. Paths lead from it; in the order of the lines."""

    matching: int = 0
    differing: list[bytes] = field(default_factory=list)
    unreadable: list[tuple[bytes, OSError]] = field(default_factory=list)
    unlisted: list[bytes] = field(default_factory=list)
    improper: int = 0

    @property
    def holds(self) -> bool:
        """Whether every file that is listed has the bytes that it had, as sha256sum(1) --check has it."""
        return bool(self.matching) and not self.differing and not self.unreadable


class Hashing:
    """Hashes files beneath `directory`, in so many threads. A context; what is under way ends with it.

    Raises OSError as `Root` does.
    """

    def __init__(self, directory: Path, threads: int) -> None:
        self.root = Root(directory)
        self._closed = Event()
        self._executor = ThreadPoolExecutor(min(threads, THREADS_MAX), thread_name_prefix="hash")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._executor.shutdown(cancel_futures=True)
        self.root.close()

    def digests(self, paths: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | OSError]]:
        """(path, SHA-256 or why there is none), in the order of the paths."""
        for at in range(0, len(paths), _AT_A_TIME):
            some = paths[at : at + _AT_A_TIME]
            yield from zip(some, self._executor.map(self._try, some), strict=True)

    def _try(self, path: bytes) -> bytes | OSError:
        try:
            return self._digest(path)
        except OSError as error:
            return error

    def _digest(self, path: bytes) -> bytes:
        if path.startswith(b"/"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        segments = tuple(name for name in path.split(b"/") if name not in (b"", b"."))
        attempt = 1
        while True:
            fd = self.root.open(segments, os.O_RDONLY)
            try:
                return self._digest_open(fd, segments)
            except OSError as error:
                if error.errno != errno.ESTALE or attempt == ATTEMPTS_MAX:
                    raise
            finally:
                os.close(fd)
            attempt += 1

    def _digest_open(self, fd: int, segments: Segments) -> bytes:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        settle(fd, facts.st_mtime_ns)
        version = Version.of(facts)
        found = Representation(version, IDENTITY, None, None, segments, self.root)
        return hash_through(fd, found, 0, version.size, self._closed)


def run(directory: Path, *, checking: bool) -> int:
    """Write the manifest of a directory or compare it with that, say what came of it, and give the exit
    status: 0, or 1 as sha256sum(1) has it. Raises OSError for a directory or a manifest that cannot be read.
    """
    return _check(directory) if checking else _write(directory)


def _write(directory: Path) -> int:
    count, unreadable = write(directory, usable_cpus())
    for path, error in unreadable:
        complain(f"{_shown(path)}: {error.strerror}")
    if unreadable:
        complain(f"{NAME} is not written, as it would not be whole. Let these files be read, or move them")
        return 1
    print(f"{directory / NAME}: {count} files")
    return 0


def _check(directory: Path) -> int:
    findings = check(directory, usable_cpus())
    for path in findings.differing:
        print(f"{_shown(path)}: FAILED")
    for path, error in findings.unreadable:
        print(f"{_shown(path)}: FAILED open or read: {error.strerror}")
    for path in findings.unlisted:
        print(f"{_shown(path)}: not in {NAME}")
    if findings.improper:
        complain(f"lines of {NAME} that are not properly formatted: {findings.improper}")
    print(f"{directory / NAME}: {findings.matching} files have the bytes that it says")
    return 0 if findings.holds else 1


def _shown(path: bytes) -> str:
    return printable(os.fsdecode(path))


def served(root: Root) -> list[bytes]:
    """The paths of all files that are served from a root, but the manifest itself, sorted by their bytes.

    Raises OSError for a directory that cannot be read.
    """
    paths: list[bytes] = []
    places: list[Segments] = [()]
    while places:
        place = places.pop()
        fd = root.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as found:
                for each in found:
                    segments = (*place, os.fsencode(each.name))
                    if hidden(segments):
                        continue
                    if each.is_dir(follow_symlinks=False):
                        places.append(segments)
                    elif each.is_file(follow_symlinks=False) or _leads_to_file(root, segments, each):
                        paths.append(b"/".join(segments))
        finally:
            os.close(fd)
    return sorted(path for path in paths if path != os.fsencode(NAME))


def write(directory: Path, threads: int) -> tuple[int, list[tuple[bytes, OSError]]]:
    """Write the manifest of a directory; (lines, files that could not be read). Where there are any of those
    nothing is written: what is not whole would pass for it.

    It takes the place of the one before in one step, which stays until then. Raises OSError.
    """
    lines: list[bytes] = []
    unreadable: list[tuple[bytes, OSError]] = []
    with Hashing(directory, threads) as hashing:
        for path, digest in hashing.digests(served(hashing.root)):
            if isinstance(digest, OSError):
                unreadable.append((path, digest))
            else:
                lines.append(line_of(path, digest))
    if not unreadable:
        _replace(directory / NAME, lines)
    return len(lines), unreadable


def check(directory: Path, threads: int) -> Findings:
    """Compare a directory with its manifest. Raises OSError where there is none."""
    findings = Findings()
    with Hashing(directory, threads) as hashing:
        with open(hashing.root.open((os.fsencode(NAME),), os.O_RDONLY), "rb") as file:
            parsed = [parse_line(line) for line in file.read().split(b"\n") if line]
        listed = [each for each in parsed if each is not None]
        findings.improper = len(parsed) - len(listed)
        paths = [path for path, _ in listed]
        for (path, digest), (_, expected) in zip(hashing.digests(paths), listed, strict=True):
            if isinstance(digest, OSError):
                findings.unreadable.append((path, digest))
            elif digest != expected:
                findings.differing.append(path)
            else:
                findings.matching += 1
        known = {path.removeprefix(b"./") for path in paths}
        findings.unlisted = [path for path in served(hashing.root) if path not in known]
    return findings


def line_of(path: bytes, digest: bytes) -> bytes:
    """A line without its end, as sha256sum(1) writes it: a name with a backslash, LF or CR is escaped."""
    escaped = re.sub(rb"[\\\n\r]", lambda byte: _ESCAPED[byte[0]], path)
    return b"%b%b  %b" % (b"\\" if escaped != path else b"", digest.hex().encode("ascii"), escaped)


def parse_line(line: bytes) -> tuple[bytes, bytes] | None:
    """(path, digest) of a line without its end; None for one that is not properly formatted."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    path = match[3]
    if match[1]:
        pieces = re.split(rb"(\\.?)", path)
        if any(escape not in _ESCAPES for escape in pieces[1::2]):
            return None
        path = b"".join(_ESCAPES.get(piece, piece) for piece in pieces)
    return path, bytes.fromhex(match[2].decode("ascii"))


def _leads_to_file(root: Root, segments: Segments, each: os.DirEntry[str]) -> bool:
    """Whether it is a symlink to a file that is served."""
    if not each.is_symlink():
        return False
    try:
        fd = root.open(segments, os.O_PATH)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _replace(path: Path, lines: Sequence[bytes]) -> None:
    # A name that is served to nobody.
    fd, fresh = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(fd, "wb") as file:
            file.writelines(line + b"\n" for line in lines)
            file.flush()
            os.fchmod(fd, _MODE)
            os.fsync(fd)
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise

"""A look at a plain path of a real directory: what is there, or why the handler is to look."""

from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING

import pytest

from zchttpd._core import testing_site
from zchttpd.files.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = 100


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_bytes(b"content")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)
    assert opened(tmp_path) == [], "a look keeps a descriptor"


def opened(place: Path) -> list[str]:
    """What is open beneath it."""
    paths = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return [path for path in paths if path.startswith(str(place))]


def look(
    root: int, path: bytes, *, siblings: bool = True, room: int | None = ROOM
) -> str | tuple[Version, bytes]:
    error, version, content = testing_site.look(root, path, siblings, room)
    return errno.errorcode[error] if error else (Version(*version), content)


def test_a_file_is_found_with_its_bytes(root: int, tmp_path: Path) -> None:
    there = Version.of((tmp_path / "d" / "a.txt").stat())
    assert look(root, b"d/a.txt") == (there, b"content")
    assert look(root, b"d/a.txt", room=7) == (there, b"content")
    assert look(root, b"d/a.txt", room=None) == (there, b"")


@pytest.mark.parametrize("suffix", [".br", ".zst", ".gz"])
def test_what_lies_beside_it_is_seen(root: int, tmp_path: Path, suffix: str) -> None:
    beside = tmp_path / "d" / f"a.txt{suffix}"
    for make in (beside.touch, beside.mkdir, lambda: beside.symlink_to("nowhere")):
        make()
        assert look(root, b"d/a.txt") == look(root, b"d/a.txt", room=None) == "EEXIST"
        assert look(root, b"d/a.txt", siblings=False) != "EEXIST"
        beside.rmdir() if beside.is_dir() else beside.unlink()
    assert look(root, b"d/a.txt") != "EEXIST"


def test_too_much_and_nothing_are_not_read(root: int, tmp_path: Path) -> None:
    assert look(root, b"d/a.txt", room=6) == "EFBIG"
    (tmp_path / "d" / "a.txt").write_bytes(b"")
    assert look(root, b"d/a.txt") == "EFBIG"
    assert look(root, b"d/a.txt", room=None) != "EFBIG"


def test_no_symlink_is_followed(root: int, tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to("d/a.txt")
    (tmp_path / "linked").symlink_to("d")
    (tmp_path / "out").symlink_to("/")
    for path in (b"link.txt", b"linked/a.txt", b"out/etc"):
        assert look(root, path, room=None) in ("ELOOP", "EINVAL", "EXDEV")
        assert look(root, path) in ("ELOOP", "EINVAL", "EXDEV")


def test_what_is_no_file_is_not_opened(root: int, tmp_path: Path) -> None:
    """Whoever writes into a FIFO would be woken up."""
    os.mkfifo(tmp_path / "fifo.txt")
    assert look(root, b"fifo.txt") == look(root, b"d") == "EINVAL"
    with pytest.raises(OSError, match="No such device"):
        os.open(tmp_path / "fifo.txt", os.O_WRONLY | os.O_NONBLOCK)


def test_what_is_not_there(root: int) -> None:
    assert look(root, b"none.txt") in ("ENOENT", "EAGAIN")
    assert look(root, b"d/a.txt/b") in ("ENOTDIR", "EAGAIN")
    assert look(root, b"x" * 250) in ("ENOENT", "EAGAIN")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_what_may_not_be_read(root: int, tmp_path: Path) -> None:
    (tmp_path / "d" / "a.txt").chmod(0)
    assert look(root, b"d/a.txt") == "EACCES"


def test_without_descriptors(root: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The lowest that is free is one too many.
    fd = os.dup(root)
    os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (fd, limits[1]))
    try:
        assert look(root, b"d/a.txt") == "EMFILE"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_root_is_where_it_was(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    link = tmp_path / "current"
    link.symlink_to(one)
    path, there = os.fsencode(link), one.stat()
    assert testing_site.look_at_path(path, there.st_dev, there.st_ino) == 0
    link.unlink()
    assert testing_site.look_at_path(path, there.st_dev, there.st_ino) == 0
    link.symlink_to(other)
    assert testing_site.look_at_path(path, there.st_dev, there.st_ino) == errno.ESTALE

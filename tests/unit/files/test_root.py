"""Containment and the dotfile policy, by openat2 and by walking."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zchttpd.files import root as root_module
from zchttpd.files.root import Root, concealed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Unprivileged = Callable[[], AbstractContextManager[None]]


def read(root: Root, *segments: bytes) -> bytes:
    fd = root.open(segments, os.O_RDONLY)
    with open(fd, "rb") as opened:
        return opened.read()


def refused(root: Root, *segments: bytes, flags: int = os.O_RDONLY) -> int:
    """The errno with which opening fails."""
    with pytest.raises(OSError, match=r"^.Errno ") as caught:
        os.close(root.open(segments, flags))
    assert caught.value.errno
    return caught.value.errno


def test_opens_files_and_directories(root: Root, site: Path) -> None:
    (site / "a" / "b").mkdir(parents=True)
    (site / "a" / "b" / "c.txt").write_bytes(b"deep")
    assert read(root, b"a", b"b", b"c.txt") == b"deep"
    for segments in ((), (b"a",), (b"a", b"b")):
        fd = root.open(segments, os.O_PATH)
        assert os.path.samestat(os.fstat(fd), os.stat(site.joinpath(*map(os.fsdecode, segments))))
        os.close(fd)


def test_names_are_bytes(root: Root, site: Path) -> None:
    for name in (b"\xff\xfe", b"a b", b"new\nline", b"%2e%2e", b"back\\slash", b"...", b"c0\xc0\xae"):
        with open(os.fsencode(site) + b"/" + name, "wb") as file:
            file.write(name)
        if not name.startswith(b"."):
            assert read(root, name) == name


def test_descriptors_neither_block_nor_are_inherited(root: Root, site: Path) -> None:
    (site / "x").write_bytes(b"x")
    for flags in (os.O_RDONLY, os.O_PATH):
        fd = root.open((b"x",), flags)
        assert not os.get_inheritable(fd)
        assert bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK) == (flags == os.O_RDONLY)
        os.close(fd)


@pytest.mark.parametrize(
    ("segments", "number"),
    [
        ((b"..", b"secret"), errno.EXDEV),
        ((b"a", b"..", b"..", b"secret"), errno.EXDEV),
        ((b"..", b"www-private", b"x"), errno.EXDEV),
        ((b"..",), errno.EXDEV),
        ((b"etc", b"passwd"), errno.ENOENT),
        ((b"a/../../secret",), errno.ENOENT),
        ((b"a/f",), errno.ENOENT),
        ((b"a", b"f\0.txt"), errno.ENOENT),
        ((b"missing",), errno.ENOENT),
        ((b"missing", b"f"), errno.ENOENT),
        ((b"a", b"f", b"extra"), errno.ENOTDIR),
        ((b"n" * 300,), errno.ENAMETOOLONG),
    ],
)
def test_what_cannot_be_opened(root: Root, site: Path, segments: tuple[bytes, ...], number: int) -> None:
    (site / "a").mkdir()
    (site / "a" / "f").write_bytes(b"f")
    assert refused(root, *segments) == number


def test_a_path_longer_than_the_kernel_takes(root: Root) -> None:
    assert refused(root, *[b"d" * 200] * 30) in (errno.ENAMETOOLONG, errno.ENOENT)


@pytest.mark.parametrize(
    "target",
    [
        "../secret",
        "/etc/passwd",
        "../www-private/x",
        "a/../../secret",
        "/proc/self/environ",
        "../www/../secret",
    ],
)
def test_no_symlink_leaves(root: Root, site: Path, target: str) -> None:
    (site / "a").mkdir()
    (site / "out").symlink_to(target)
    (site / "a" / "chain").symlink_to("../out")
    assert refused(root, b"out") == errno.EXDEV
    assert refused(root, b"out", flags=os.O_PATH) == errno.EXDEV
    assert refused(root, b"a", b"chain") == errno.EXDEV


def test_no_symlinked_directory_leaves(root: Root, site: Path) -> None:
    (site / "up").symlink_to("..")
    (site / "absolute").symlink_to(site.parent / "www-private")
    (site / "climbs").symlink_to(f"{site}/../www-private/x")
    assert refused(root, b"up", b"secret") == errno.EXDEV
    assert refused(root, b"absolute", b"x") == refused(root, b"climbs") == errno.EXDEV


def test_an_absolute_symlink_that_leads_inside_is_followed(root: Root, site: Path) -> None:
    (site / "a" / "b").mkdir(parents=True)
    (site / "x").write_bytes(b"x")
    (site / "a" / "link").symlink_to(site / "x")
    (site / "a" / "b" / "whole").symlink_to(site)
    (site / "through").symlink_to(site / "a" / "b" / "whole" / "a" / "link")
    assert read(root, b"a", b"link") == b"x"
    assert read(root, b"a", b"b", b"whole", b"x") == b"x"
    assert read(root, b"through") == b"x"
    (site / ".env").write_bytes(b"key")
    (site / "key").symlink_to(site / ".env")
    assert refused(root, b"key") == errno.ENOENT


def test_an_absolute_symlink_by_another_name_of_the_root(site: Path) -> None:
    (site / "x").write_bytes(b"x")
    name = site.parent / "current"
    name.symlink_to(site)
    (site / "link").symlink_to(name / "x")
    for walk in (None, True):
        root = Root(name, walk=walk)
        assert read(root, b"link") == b"x"
        root.close()


def test_symlinks_inside_are_followed(root: Root, site: Path) -> None:
    (site / "a" / "b").mkdir(parents=True)
    (site / "a" / "real").write_bytes(b"real")
    (site / "link").symlink_to("a/real")
    (site / "a" / "b" / "up").symlink_to("../../link")
    (site / "dir").symlink_to("./a//b/")
    assert read(root, b"link") == b"real"
    assert read(root, b"a", b"b", b"up") == b"real"
    assert read(root, b"dir", b"up") == b"real"
    fd = root.open((b"dir",), os.O_PATH)
    assert os.path.samestat(os.fstat(fd), os.stat(site / "a" / "b"))
    os.close(fd)


def test_a_symlink_to_the_root_itself(root: Root, site: Path) -> None:
    (site / "x").write_bytes(b"x")
    (site / "here").symlink_to(".")
    assert read(root, b"here", b"x") == b"x"
    fd = root.open((b"here",), os.O_PATH)
    assert os.path.samestat(os.fstat(fd), os.stat(site))
    os.close(fd)


def test_a_symlink_through_a_file(root: Root, site: Path) -> None:
    (site / "file").write_bytes(b"")
    (site / "slash").symlink_to("file/")
    (site / "through").symlink_to("file/more")
    assert refused(root, b"slash") == errno.ENOTDIR
    assert refused(root, b"through") == errno.ENOTDIR
    (site / "dangling").symlink_to("nowhere")
    assert refused(root, b"dangling") == errno.ENOENT


@pytest.mark.parametrize("inside", ["x", "d/x"])
def test_a_component_swapped_while_it_is_opened(root: Root, site: Path, inside: str) -> None:
    """Whoever can write beneath the root must not be able to race a path out of it."""
    (site / "d").mkdir()
    (site / "d" / "x").write_bytes(b"mine")
    (site / "x").write_bytes(b"mine")
    (site.parent / "x").write_bytes(b"secret")
    what = inside.split("/")[0]
    (site / "evil").symlink_to("../x" if inside == "x" else "..")
    swapping = threading.Event()

    def swap() -> None:
        while not swapping.is_set():
            (site / what).rename(site / "aside")
            (site / "evil").rename(site / what)
            (site / what).rename(site / "evil")
            (site / "aside").rename(site / what)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes | int] = set()
    try:
        for _ in range(2000):
            try:
                seen.add(read(root, *map(os.fsencode, inside.split("/"))))
            except OSError as error:
                seen.add(error.errno or 0)
    finally:
        swapping.set()
        swapper.join()
    assert seen <= {b"mine", errno.ENOENT, errno.EXDEV, errno.ELOOP, errno.ENOTDIR}
    assert read(root, *map(os.fsencode, inside.split("/"))) == b"mine"


def test_loops_end(root: Root, site: Path) -> None:
    (site / "a").symlink_to("b")
    (site / "b").symlink_to("a")
    assert refused(root, b"a") == errno.ELOOP
    (site / "self").symlink_to("self")
    assert refused(root, b"self", b"x") == errno.ELOOP


def test_a_symlink_to_a_dotfile_is_as_good_as_the_dotfile(root: Root, site: Path) -> None:
    (site / ".env").write_bytes(b"key")
    (site / ".git").mkdir()
    (site / ".git" / "config").write_bytes(b"config")
    (site / "a").mkdir()
    (site / "x").symlink_to(".env")
    (site / "git").symlink_to(".git")
    (site / "a" / "chain").symlink_to("../x")
    for segments in ((b"x",), (b"git",), (b"git", b"config"), (b"a", b"chain")):
        for flags in (os.O_RDONLY, os.O_PATH):
            assert refused(root, *segments, flags=flags) == errno.ENOENT


def test_a_symlink_past_a_dotfile_is_fine(root: Root, site: Path) -> None:
    (site / ".hidden").mkdir()
    (site / "x").write_bytes(b"x")
    (site / "link").symlink_to(".hidden/../x")
    assert read(root, b"link") == b"x"


def test_a_config_map_works_and_swaps(root: Root, site: Path) -> None:
    for stamp, text in (("..2024_01_01_00_00_00.1", b"old"), ("..2024_01_02_00_00_00.2", b"new")):
        (site / stamp).mkdir()
        (site / stamp / "index.html").write_bytes(text)
    (site / "..data").symlink_to("..2024_01_01_00_00_00.1")
    (site / "index.html").symlink_to("..data/index.html")
    assert read(root, b"index.html") == b"old"
    (site / "..data_tmp").symlink_to("..2024_01_02_00_00_00.2")
    (site / "..data_tmp").rename(site / "..data")
    assert read(root, b"index.html") == b"new"


def test_a_symlink_into_well_known(root: Root, site: Path) -> None:
    (site / ".well-known").mkdir()
    (site / ".well-known" / "security.txt").write_bytes(b"mail")
    (site / ".well-known" / ".env").write_bytes(b"key")
    (site / "security").symlink_to(".well-known/security.txt")
    (site / "env").symlink_to(".well-known/.env")
    assert read(root, b".well-known", b"security.txt") == b"mail"
    assert read(root, b"security") == b"mail"
    assert refused(root, b"env") == errno.ENOENT


@pytest.mark.parametrize(
    ("path", "kept_back"),
    [
        ("a/b", False), (".env", True), ("a/.env", True), (".git/config", True), ("a/.git/config", True),
        ("..data/x", False), ("..", True), (".", True), ("...", False), ("a/..data", False),
        (".well-known/x", False), (".well-known", False), (".well-known-x/y", True),
        ("a/.well-known/y", True), (".well-known/.env", True),
    ],
)  # fmt: skip
def test_concealed(path: str, kept_back: bool) -> None:
    assert concealed(os.fsencode(path).split(b"/")) is kept_back


def test_a_fifo_does_not_block(root: Root, site: Path) -> None:
    os.mkfifo(site / "fifo")
    for flags in (os.O_PATH, os.O_RDONLY):
        fd = root.open((b"fifo",), flags)
        assert stat.S_ISFIFO(os.fstat(fd).st_mode)
        os.close(fd)


def test_a_socket_can_be_looked_at(root: Root, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        fd = root.open((b"socket",), os.O_PATH)
        assert stat.S_ISSOCK(os.fstat(fd).st_mode)
        os.close(fd)


def test_permissions(root: Root, site: Path, unprivileged: Unprivileged) -> None:
    (site / "f").write_bytes(b"f")
    (site / "f").chmod(0)
    (site / "d").mkdir()
    (site / "d" / "x").write_bytes(b"x")
    (site / "d").chmod(0)
    with unprivileged():
        assert refused(root, b"f") == errno.EACCES
        assert refused(root, b"d", b"x") == errno.EACCES
        assert refused(root, b"d", b"x", flags=os.O_PATH) == errno.EACCES
        # One refusal turns nothing off: see bun#36156.
        assert refused(root, b"..", b"secret") == errno.EXDEV
    (site / "d").chmod(0o755)


def test_a_swapped_root_is_seen_at_refresh(site: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(name.encode())
    (tmp_path / "current").symlink_to("one")
    root = Root(tmp_path / "current")
    assert read(root, b"x") == b"one"
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "current")
    assert read(root, b"x") == b"one"
    root.refresh()
    assert read(root, b"x") == b"two"
    (tmp_path / "current").unlink()
    root.refresh()
    assert read(root, b"x") == b"two"
    root.close()


def test_a_renamed_root_keeps_its_policy(root: Root, site: Path, tmp_path: Path) -> None:
    (site / "x").write_bytes(b"x")
    (site / ".env").write_bytes(b"key")
    (site / "link").symlink_to("x")
    (site / "env").symlink_to(".env")
    site.rename(tmp_path / ".www-old")
    assert read(root, b"link") == b"x"
    assert refused(root, b"env") == errno.ENOENT


def test_a_relative_root_survives_a_change_of_directory(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "x").write_bytes(b"x")
    monkeypatch.chdir(site.parent)
    root = Root(Path(site.name))
    monkeypatch.chdir("/")
    root.refresh()
    assert read(root, b"x") == b"x"
    root.close()


def test_a_root_that_is_no_directory(site: Path) -> None:
    (site / "f").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        Root(site / "f")
    with pytest.raises(FileNotFoundError):
        Root(site / "none")


def test_the_whole_file_system_can_be_the_root(site: Path) -> None:
    (site / "x").write_bytes(b"x")
    (site / "link").symlink_to("x")
    root = Root(Path("/"))
    segments = tuple(os.fsencode(part) for part in (site / "link").parts[1:])
    assert read(root, *segments) == b"x"
    root.close()


@pytest.mark.parametrize(
    ("number", "walks"),
    [(errno.ENOSYS, True), (errno.EPERM, True), (0, False)],
    ids=["ENOSYS", "EPERM", "works"],
)
def test_walks_where_the_kernel_refuses_openat2(
    site: Path, monkeypatch: pytest.MonkeyPatch, number: int, walks: bool
) -> None:
    real = root_module._openat2

    def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
        if number:
            raise OSError(number, os.strerror(number))
        return real(directory, path, flags, resolve)

    monkeypatch.setattr(root_module, "_openat2", openat2)
    (site / "x").write_bytes(b"x")
    root = Root(site)
    assert root.walks is walks
    assert read(root, b"x") == b"x"
    assert refused(root, b"..", b"secret") == errno.EXDEV
    root.close()


def test_walks_without_proc(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_module, "_PROC_FDS", b"/nowhere/fd")
    root = Root(site)
    assert root.walks
    root.close()


def test_an_empty_segment_is_not_the_root_of_the_file_system(root: Root) -> None:
    assert os.path.exists("/etc/passwd")
    assert refused(root, b"", b"etc", b"passwd") in (errno.EXDEV, errno.ENOENT)

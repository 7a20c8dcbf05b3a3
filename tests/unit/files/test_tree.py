"""What is beneath a folder, where it is deep, huge, or changes while it is looked at."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from zchttpd.files.root import Root
from zchttpd.files.tree import LINKS_MAX, PATH_SIZE_MAX, SIZE_MAX, Refusal, Tree
from zchttpd.files.zip_format import Member

from .zipped import archive_of, everything, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def names(root: Root, *segments: bytes) -> list[bytes]:
    tree = tree_of(root, *segments)
    assert isinstance(tree, Tree)
    return [member.name for member in tree.members]


def refusal(root: Root, **bounds: int) -> str:
    told = tree_of(root, **bounds)
    assert isinstance(told, Refusal)
    assert told.status == 403
    return told.reason


NAME = "n" * 250


def dig(site: Path, depth: int, *innermost: str) -> None:
    """Folders in each other, a file in each, and others in the last: beyond what one path can name."""
    place = os.open(site, os.O_RDONLY)
    for _ in range(depth):
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=place))
        os.mkdir(NAME, dir_fd=place)
        place, above = os.open(NAME, os.O_RDONLY, dir_fd=place), place
        os.close(above)
    for name in innermost:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=place))
    os.close(place)


def test_what_no_path_can_name_is_left_out_and_counted(site: Path, root: Root) -> None:
    """Or each who asks is told 503, or has it broken off where that lies."""
    dig(site, 20)
    tree = tree_of(root)
    assert isinstance(tree, Tree)
    found = {member.name for member in tree.members}
    longest = max(found, key=len)
    assert PATH_SIZE_MAX - 251 < len(longest) <= PATH_SIZE_MAX
    assert tree.left_out == 1
    archive = archive_of(root)
    for number, member in enumerate(archive.members):
        if not member.is_folder:
            os.close(archive.representation(number).open())


def test_a_file_whose_path_is_one_byte_too_long_is_left_out(site: Path, root: Root) -> None:
    room = PATH_SIZE_MAX - 16 * (len(NAME) + 1)
    dig(site, 16, "f" * room, "f" * (room + 1))
    tree = tree_of(root)
    assert isinstance(tree, Tree)
    assert max(len(member.name) for member in tree.members) == PATH_SIZE_MAX
    assert tree.left_out == 1


SWAPS: dict[str, Callable[[Path], None]] = {
    "a symlink that leads out": lambda place: place.symlink_to("../../.."),
    "a symlink to itself": lambda place: place.symlink_to(place.name),
    "a symlink to a dotfile": lambda place: place.symlink_to(".git"),
    "a file": lambda place: place.write_bytes(b""),
    "nothing": lambda place: None,
}


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS)
def test_a_folder_that_is_swapped_under_way_is_not_in_it(
    site: Path, root: Root, swap: Callable[[Path], None]
) -> None:
    """All else is: one name that changes is no reason to give nothing."""
    for name in ("a/b", ".git/secret", "swapped/x", "z/y"):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_bytes(b"x")

    def gives(segments: tuple[bytes, ...], folder: bool) -> bool:
        place = site / "swapped"
        if segments == (b"swapped",) and place.is_dir() and not place.is_symlink():
            (place / "x").unlink()
            place.rmdir()
            swap(place)
        return True

    tree = Tree(root, gives)
    assert tree.walk(()) is None
    assert [member.name for member in tree.members] == [b"a/", b"a/b", b"z/", b"z/y"]


def test_an_error_of_a_disk_is_not_an_empty_folder(
    site: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "bad").mkdir()
    real = Root.open

    def fail(self: Root, segments: tuple[bytes, ...], flags: int) -> int:
        if segments == (b"bad",):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, segments, flags)

    monkeypatch.setattr(Root, "open", fail)
    with pytest.raises(OSError, match="Input/output"):
        Tree(root, everything).walk(())


def test_more_bytes_than_lengths_can_tell_are_refused(
    site: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sparse files of a size that tmpfs and XFS have; two of them are more than 64 bits can tell."""
    (site / "a").write_bytes(b"a")
    (site / "b").write_bytes(b"b")
    monkeypatch.setattr(Member, "size", (1 << 63) - 1)
    assert str(SIZE_MAX) in refusal(root)


@pytest.mark.parametrize(("size_max", "refused"), [(2 * 3 + 6, False), (2 * 3 + 5, True)])
def test_long_names_are_bounded(site: Path, root: Root, size_max: int, refused: bool) -> None:
    (site / "d").mkdir()
    for name in ("d/abcd", "abc", "e"):
        (site / name).write_bytes(b"")
    told = tree_of(root, names_size_max=size_max)
    assert isinstance(told, Refusal) == refused


def test_it_says_what_there_is_too_much_of(site: Path, root: Root) -> None:
    (site / "d" / "e").mkdir(parents=True)
    assert "1 levels" in refusal(root, depth_max=1)
    for number in range(LINKS_MAX + 1):
        (site / f"{number}").symlink_to("nothing")
    assert f"{LINKS_MAX} symlinks" in refusal(root)
    assert "4 names" in refusal(root, members_max=1)

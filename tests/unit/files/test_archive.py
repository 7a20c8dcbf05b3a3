"""A folder as a zip: what Python's zipfile reads of it is what lies there, whatever that is."""

from __future__ import annotations

import os
import struct
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zchttpd.files.archive import Archive
from zchttpd.files.checksums import Checksums
from zchttpd.files.root import Root
from zchttpd.files.tree import Refusal
from zchttpd.files.version import Version
from zchttpd.files.zip_format import Member

from .zipped import ArchiveFile, archive_of, cut, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

GIB = 1 << 30
NAME = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1, max_size=12
).filter(lambda name: not name.startswith(".") and len(name.encode()) < 100)
# A folder is a dict.
TREE = st.recursive(
    st.one_of(st.binary(max_size=300), st.just({})), lambda inner: st.dictionaries(NAME, inner, max_size=4)
).filter(lambda tree: isinstance(tree, dict))
# FAT's times are of 1980 to 2107.
TIMES = st.integers(-(2**31), 2**33)


def build(place: Path, tree: dict[str, object], mtime_s: int) -> dict[str, bytes]:
    """Put it there; what is to be in the archive."""
    found: dict[str, bytes] = {}
    for name, what in tree.items():
        path = place / name
        if isinstance(what, bytes):
            path.write_bytes(what)
            found[name] = what
        else:
            assert isinstance(what, dict)
            path.mkdir()
            found[f"{name}/"] = b""
            found |= {f"{name}/{each}": content for each, content in build(path, what, mtime_s).items()}
        os.utime(path, (mtime_s, mtime_s))
    return found


@settings(deadline=None, max_examples=60)
@given(TREE, TIMES)
def test_what_is_read_of_it_is_what_lies_there(tree: dict[str, object], mtime_s: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        content = build(Path(place), tree, mtime_s)
        root = Root(Path(place))
        archive = archive_of(root)
        with zipfile.ZipFile(ArchiveFile(archive)) as read:
            assert read.testzip() is None
            assert sorted(read.namelist()) == sorted(content)
            assert {name: read.read(name) for name in content} == content
            for info in read.infolist():
                assert info.compress_type == zipfile.ZIP_STORED
                assert info.is_dir() == info.filename.endswith("/")
                when = time.gmtime(mtime_s)[:6]
                if (1980,) <= when < (2108,):
                    assert info.date_time == (*when[:5], when[5] // 2 * 2)
                else:
                    assert info.date_time == (1980, 1, 1, 0, 0, 0)
        root.close()


def test_checksums_lie_behind_the_bytes(tmp_path: Path) -> None:
    """zipfile does without them; who reads while it comes, as bsdtar does, cannot."""
    content = build(tmp_path, {"a": b"some", "d": {"b": b"more of it", "none": b""}}, 1_700_000_000)
    root = Root(tmp_path)
    archive = archive_of(root)
    whole = cut(archive, 0, archive.size)
    with zipfile.ZipFile(ArchiveFile(archive)) as read:
        for info in read.infolist():
            name_size, extra_size = struct.unpack_from("<HH", whole, info.header_offset + 26)
            end = info.header_offset + 30 + name_size + extra_size + info.file_size
            behind = struct.pack("<IIII", 0x08074B50, info.CRC, info.file_size, info.file_size)
            assert (whole[end : end + len(behind)] == behind) is (content[info.filename] != b"")
    root.close()


@settings(deadline=None, max_examples=20)
@given(TREE, st.data())
def test_any_cut_is_a_part_of_the_whole(tree: dict[str, object], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        build(Path(place), tree, 1_700_000_000)
        root = Root(Path(place))
        archive = archive_of(root)
        whole = cut(archive, 0, archive.size)
        assert len(whole) == archive.size
        ends = st.integers(0, archive.size)
        for _ in range(20):
            begin, end = sorted((data.draw(ends), data.draw(ends)))
            assert cut(archive, begin, end) == whole[begin:end]
        root.close()


def test_beyond_four_gibibytes_by_offsets_only(tmp_path: Path) -> None:
    for name, size in (("a", 5 * GIB), ("b", 0xFFFFFFFF), ("c", 0xFFFFFFFE)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    (tmp_path / "z").write_bytes(b"behind them")
    root = Root(tmp_path)
    archive = archive_of(root)
    # Nobody reads them: their checksums are those of others.
    for number in range(3):
        archive.checksums.check(archive.representation(number), b"")
    with zipfile.ZipFile(ArchiveFile(archive)) as read:
        infos = {info.filename: info for info in read.infolist()}
        assert [infos[name].file_size for name in "abc"] == [5 * GIB, 0xFFFFFFFF, 0xFFFFFFFE]
        assert infos["z"].header_offset > 13 * GIB
        assert read.read("z") == b"behind them"
        for name in "abc":
            with read.open(name) as member:
                assert member.read(10) == bytes(10)
    root.close()


def test_more_members_than_sixteen_bits_count(tmp_path: Path) -> None:
    root = Root(tmp_path)
    members = [Member(b"%d" % number, Version(1, number, 0, 0, 0)) for number in range(70_000)]
    archive = Archive(root, Checksums(None), (), members)
    with zipfile.ZipFile(ArchiveFile(archive)) as read:
        assert len(read.infolist()) == 70_000
    root.close()


def test_names_are_utf_8_where_they_are(tmp_path: Path) -> None:
    for name in ("ü".encode(), b"\xff\xfe"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    root = Root(tmp_path)
    archive = archive_of(root)
    assert [member.name for member in archive.members] == ["ü".encode(), b"\xff\xfe"]
    with zipfile.ZipFile(ArchiveFile(archive)) as read:
        utf_8, other = read.infolist()
        assert (utf_8.filename, utf_8.flag_bits & 1 << 11) == ("ü", 1 << 11)
        assert not other.flag_bits & 1 << 11
        assert read.read(other) == b"\xff\xfe"
    root.close()


def change_back(path: Path) -> None:
    """Other bytes of equal length, and the old time."""
    facts = path.stat()
    path.write_bytes(bytes(facts.st_size))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda www: (www / "d" / "a").write_bytes(b"longer than it was"),
        lambda www: change_back(www / "d" / "a"),
        lambda www: (www / "d" / "a").rename(www / "d" / "b"),
        lambda www: (www / "d" / "new").write_bytes(b""),
        lambda www: (www / "d" / "empty").mkdir(),
        lambda www: (www / "d" / "a").unlink(),
    ],
)
def test_every_change_makes_another_tag(tmp_path: Path, change: Callable[[Path], object]) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"some bytes")
    root = Root(tmp_path)
    before = archive_of(root).etag
    assert archive_of(root).etag == before
    change(tmp_path)
    assert archive_of(root).etag != before
    root.close()


def names(root: Root, *segments: bytes) -> list[bytes]:
    return [member.name for member in archive_of(root, *segments).members]


def test_what_cannot_be_asked_for_is_not_in_it(site: Path, root: Root) -> None:
    for name in ("d/a", "d/.hidden", "d/.git/config", "d/sub/b", ".well-known/x"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(b"x")
    os.mkfifo(site / "d" / "fifo")
    for name, to in (
        ("in", "a"),
        ("folder", "sub"),
        ("broken", "nowhere"),
        ("out", "../../secret"),
        ("absolute", str(site.parent / "secret")),
        ("hidden", ".hidden"),
        ("up", ".."),
        ("self", "."),
    ):
        (site / "d" / name).symlink_to(to)
    assert names(root, b"d") == [b"a", b"folder/", b"folder/b", b"in", b"sub/", b"sub/b", b"up/"]
    assert names(root, b".well-known") == [b"x"]


def test_links_lead_where_they_may(site: Path) -> None:
    shared = site.parent / "shared"
    shared.mkdir()
    (shared / "s").write_bytes(b"s")
    (site / "shared").symlink_to(shared)
    (site / "s").symlink_to(shared / "s")
    for allowed, expected in (((), []), ((shared,), [b"s", b"shared/", b"shared/s"])):
        root = Root(site, links_into=allowed)
        assert names(root) == expected
        root.close()


def test_what_may_not_be_read_is_left_out_and_counted(
    site: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    for name in ("a", "secret", "closed/b"):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_bytes(b"x")
    (site / "secret").chmod(0)
    (site / "closed").chmod(0)
    root = Root(site)
    try:
        with unprivileged():
            archive = archive_of(root)
            assert [member.name for member in archive.members] == [b"a"]
            with zipfile.ZipFile(ArchiveFile(archive)) as read:
                assert read.comment == b"2 that may not be read are left out"
            refusal = tree_of(root, b"closed")
            assert isinstance(refusal, Refusal)
            assert refusal.status == 403
    finally:
        (site / "closed").chmod(0o755)
        root.close()


@pytest.mark.parametrize(
    ("bounds", "refused"),
    [
        ({"members_max": 4}, False),
        ({"members_max": 3}, True),
        ({"depth_max": 2}, False),
        ({"depth_max": 1}, True),
    ],
)
def test_it_is_bounded(site: Path, root: Root, bounds: dict[str, int], refused: bool) -> None:
    (site / "a" / "b").mkdir(parents=True)
    for name in ("a/b/x", "y"):
        (site / name).write_bytes(b"")
    told = tree_of(root, **bounds)
    assert isinstance(told, Refusal) == refused
    if isinstance(told, Refusal):
        assert told.status == 403
        assert str(next(iter(bounds.values()))) in told.reason


def test_names_that_are_not_given_are_bounded_too(site: Path, root: Root) -> None:
    for number in range(41):
        (site / f".{number}").write_bytes(b"")
    assert isinstance(tree_of(root, members_max=10), Refusal)


def test_what_is_no_folder_is_none(site: Path, root: Root) -> None:
    (site / "file").write_bytes(b"")
    for name in (b"file", b"nothing"):
        told = tree_of(root, name)
        assert isinstance(told, Refusal)
        assert told.status == 404

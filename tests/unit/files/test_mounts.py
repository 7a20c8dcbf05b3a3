"""Which paths lead to mounts that may hang, and who is kept from them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from zchttpd.files.mounts import Away, Mounts
from zchttpd.files.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /srv/www rw - nfs4 elsewhere:/www rw
31 30 0:41 / /srv/www/shared rw,relatime shared:5 - fuse.sshfs somebody@elsewhere: rw
32 30 0:42 / /srv/www/tmp rw - tmpfs tmpfs rw
33 31 254:1 / /srv/www/shared/disk rw - ext4 /dev/vdb rw
34 30 0:43 / /srv/www/with\\040space rw - 9p share rw
35 30 0:44 / /srv/www/covered rw - cifs //elsewhere/share rw
36 30 254:2 / /srv/www/covered rw - xfs /dev/vdc rw
37 22 0:45 / /mnt rw - nfs4 elsewhere:/mnt rw
"""
ROOT = b"/srv/www"


def names(path: str) -> tuple[bytes, ...]:
    return tuple(os.fsencode(name) for name in path.split("/") if name)


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    (tmp_path / "mountinfo").write_text(TABLE)
    found = Mounts(str(tmp_path / "mountinfo"))
    found.guard(ROOT)
    yield found
    found.close()


def mount_of(mounts: Mounts, path: str) -> tuple[bytes, ...] | None:
    try:
        mounts.check(names(path))
    except Away as away:
        return away.mount
    return None


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/srv/www/a", None),
        ("/srv/www", None),
        ("/srv/www/shared", "/srv/www/shared"),
        ("/srv/www/shared/a/b", "/srv/www/shared"),
        ("/srv/www/sharedlike/a", None),
        # Nobody gets there but through the mount around it.
        ("/srv/www/shared/disk/a", "/srv/www/shared"),
        ("/srv/www/tmp/a", None),
        ("/srv/www/with space/a", "/srv/www/with space"),
        ("/srv/www/covered/a", None),
        # By a symlink that may leave the root.
        ("/mnt/a", "/mnt"),
    ],
)
def test_a_path_leads_to_a_mount_or_not(mounts: Mounts, path: str, mount: str | None) -> None:
    assert mount_of(mounts, path) == (None if mount is None else names(mount))


def test_all_of_a_long_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the kernel gives a page at a time."""
    page, whole = 40, os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: whole(fd, min(size, page), at))
    (tmp_path / "mountinfo").write_text(TABLE)
    mounts = Mounts(str(tmp_path / "mountinfo"))
    mounts.guard(ROOT)
    assert mount_of(mounts, "/srv/www/with space/a") is not None
    assert mount_of(mounts, "/mnt/a") is not None
    mounts.close()


def test_other_threads_may_wait(mounts: Mounts) -> None:
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(mount_of, mounts, "/srv/www/shared/a").result() is None
    assert mount_of(mounts, "/srv/www/shared/a") is not None


def test_who_has_no_loop_may_wait(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(TABLE)
    assert mount_of(Mounts(str(tmp_path / "mountinfo")), "/srv/www/shared/a") is None


def test_without_a_table_nothing_is_known(tmp_path: Path) -> None:
    mounts = Mounts(str(tmp_path / "absent"))
    mounts.guard(ROOT)
    mounts.refresh()
    assert mount_of(mounts, "/srv/www/shared/a") is None
    mounts.close()


def test_another_root_has_other_mounts(mounts: Mounts) -> None:
    mounts.turn_to(b"/srv/www/shared")
    assert mount_of(mounts, "/srv/www/shared/a") is None


def test_a_mount_point_is_told_in_a_listing(mounts: Mounts) -> None:
    assert mounts.hangs((b"shared",))
    assert not mounts.hangs((b"shared", b"a"))
    assert not mounts.hangs((b"tmp",))


def test_the_mount_of_a_device_is_known_once_it_was_found(mounts: Mounts) -> None:
    assert mounts.of(7) is None
    mounts.found(7, names("/srv/www/shared"))
    assert mounts.of(7) == names("/srv/www/shared")


# ---- through the root ----


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    tree = tmp_path / "tree"
    (tree / "shared" / "deeper").mkdir(parents=True)
    (tree / "shared" / "a").write_bytes(b"a")
    (tree / "b").write_bytes(b"b")
    (tree / "relative").symlink_to("shared/deeper")
    (tree / "absolute").symlink_to(tree / "shared" / "a")
    (tree / "twice").symlink_to("relative")
    (tree / "elsewhere").symlink_to("b")
    (tmp_path / "mountinfo").write_text(f"31 30 0:41 / {tree}/shared rw - nfs4 elsewhere: rw\n")
    found = Root(tree)
    found.mounts = Mounts(str(tmp_path / "mountinfo"))
    found.mounts.guard(os.fsencode(tree))
    yield found
    found.mounts.close()
    found.close()


@pytest.mark.parametrize("walk", [False, True], ids=["openat2", "walk"])
@pytest.mark.parametrize(
    "path", ["shared", "shared/a", "shared/absent", "relative", "absolute", "twice", "twice/a"]
)
def test_nothing_is_opened_there(root: Root, path: str, walk: bool) -> None:
    root.walks = root.walks or walk
    with pytest.raises(Away):
        root.check(names(path))
    with pytest.raises(Away):
        root.open(names(path), os.O_RDONLY)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(root.check, names(path)).result()


@pytest.mark.parametrize("walk", [False, True], ids=["openat2", "walk"])
@pytest.mark.parametrize("path", ["b", "elsewhere"])
def test_the_rest_is(root: Root, path: str, walk: bool) -> None:
    root.walks = root.walks or walk
    root.check(names(path))
    fd = root.open(names(path), os.O_RDONLY)
    assert os.read(fd, 2) == b"b"
    os.close(fd)


def test_a_path_that_leads_nowhere_is_no_secret(root: Root) -> None:
    root.check(names("absent/a"))

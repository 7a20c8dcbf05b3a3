"""Which files nobody writes to."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest

from zchttpd.config.names import IDENTITY
from zchttpd.config.settings import Settings
from zchttpd.files import frozen
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.frozen import Frozen
from zchttpd.files.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def holds(tmp_path: Path) -> Iterator[Callable[..., bool]]:
    """Whether /assets/file is one, with these options."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "file").write_bytes(b"content")
    root = Root(tmp_path)

    def ask(**options: Any) -> bool:
        settings = Settings(root=tmp_path, **options)
        entry = EntryCache(root, settings).lookup((b"assets", b"file"), False, 0)
        found = entry.representations[IDENTITY]
        fd = found.open()
        try:
            return Frozen(settings).holds(fd, found)
        finally:
            os.close(fd)

    yield ask
    root.close()


def test_the_operator_says_so(holds: Callable[..., bool]) -> None:
    assert not holds()
    assert holds(frozen=True)
    assert holds(immutable=("/assets/*",))
    assert not holds(immutable=("/fonts/*",))


@pytest.mark.parametrize(
    ("flags", "frozen_then"), [(0x10, True), (0x100000, True), (0x10 | 0x80000, True), (0x80000, False)]
)
def test_its_attributes_say_so(
    holds: Callable[..., bool], monkeypatch: pytest.MonkeyPatch, flags: int, frozen_then: bool
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", lambda _fd, _request, words: struct.pack("=i", flags) + words[4:])
    assert holds() is frozen_then


def test_a_file_system_without_attributes_says_nothing(
    holds: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert not holds()


@pytest.mark.parametrize(
    ("here", "kind", "everywhere", "frozen_then"),
    [
        (os.ST_RDONLY, "ext4", "ro,relatime", True),
        (os.ST_RDONLY, "squashfs", "ro", True),
        (os.ST_RDONLY, "ext4", "rw,relatime", False),  # of a bind mount, and others write to it
        (os.ST_RDONLY, "nfs4", "ro,vers=4.2", False),
        (0, "ext4", "ro", False),
    ],
)
def test_its_file_system_is_read_only(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: int,
    kind: str,
    everywhere: str,
    frozen_then: bool,
) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        f"27 1 {os.major(device)}:{os.minor(device)} / /srv ro shared:1 - {kind} /dev/vda {everywhere}\n"
    )

    class Facts:
        f_flag = here

    monkeypatch.setattr(os, "fstatvfs", lambda _fd: Facts)
    fd = os.open(mounts, os.O_RDONLY)
    try:
        assert frozen._is_read_only(fd, str(mounts)) is frozen_then
    finally:
        os.close(fd)

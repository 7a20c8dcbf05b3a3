"""Files that are appended to while they are looked at, opened and read."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.names import IDENTITY
from zchttpd.config.settings import Settings
from zchttpd.files.announced import Announced
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.memfd import read_through
from zchttpd.files.root import Root

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 3 << 20


def test_a_file_that_grows_at_each_look_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"f")
    real = Root.open

    def open_and_append(root: Root, segments: tuple[bytes, ...], flags: int) -> int:
        fd = real(root, segments, flags)
        if segments == (b"f",):
            with open(tmp_path / "f", "ab") as file:
                file.write(b"more")
        return fd

    monkeypatch.setattr(Root, "open", open_and_append)
    root = Root(tmp_path)
    try:
        entry = EntryCache(root, Settings(root=tmp_path)).lookup((b"f",), False, 0)
        found = entry.representations[IDENTITY]
        with pytest.raises(OSError, match="replaced"):
            found.open()
        fd = found.open(grown=True)
        assert os.pread(fd, found.size, 0) == (b"f" + b"more" * found.size)[: found.size]
        os.close(fd)
    finally:
        root.close()


def test_what_is_read_while_it_grows_is_what_was_announced(tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    (tmp_path / "f").write_bytes(content)
    over = threading.Event()

    def append() -> None:
        with open(tmp_path / "f", "ab", buffering=0) as file:
            while not over.wait(0.0005):
                file.write(b"more")

    writer = threading.Thread(target=append)
    writer.start()
    try:
        for _ in range(10):
            fd = os.open(tmp_path / "f", os.O_RDONLY)
            facts = os.fstat(fd)
            got = read_through(Announced(fd, facts.st_size, facts.st_mtime_ns, grown=True))
            assert got[:SIZE] == content
            assert len(got) == facts.st_size
            os.close(fd)
    finally:
        over.set()
        writer.join()


@pytest.mark.parametrize("longer", [0, 100], ids=["same size", "longer"])
def test_what_is_written_to_while_it_is_read_is_not_taken(
    tmp_path: Path, longer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"a" * SIZE)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    facts = os.fstat(fd)
    file = Announced(fd, facts.st_size, facts.st_mtime_ns)
    real_pread = os.pread

    def overwrite() -> None:
        with open(tmp_path / "f", "r+b", buffering=0) as writing:
            writing.write(b"b" * (SIZE + longer))
        os.utime(tmp_path / "f", ns=(0, 10**18))

    def pread(at: int, length: int, offset: int) -> bytes:
        # Half of it, then the other half of what is there by now.
        if at == fd and length > SIZE // 2:
            got = real_pread(at, SIZE // 2, offset)
            overwrite()
            return got
        return real_pread(at, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(OSError, match="changed"):
        read_through(file)
    os.close(fd)

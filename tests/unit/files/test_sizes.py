"""Files that are not as long as their file system tells."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from zchttpd.files.sizes import tells_its_size


def describe_error(path: Path, size: int | None = None) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return tells_its_size(fd, os.fstat(fd).st_size if size is None else size)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["/proc/version", "/proc/sys/kernel/ostype", "/sys/kernel/uevent_seqnum"])
def test_what_the_kernel_makes_up_when_it_is_read_has_no_size(name: str) -> None:
    path = Path(name)
    if not path.exists():
        pytest.skip(f"there is no {name} here")
    assert path.stat().st_size != len(path.read_bytes())
    assert not describe_error(path)


@pytest.mark.parametrize("content", [b"", b"a", b"ab" * 4096])
@pytest.mark.parametrize("blocks", [0, 1])
def test_files_have_the_size_that_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, blocks: int
) -> None:
    """Also where the file system counts no blocks, as a tmpfs without a limit."""
    monkeypatch.setattr(os, "fstatvfs", lambda fd: SimpleNamespace(f_blocks=blocks))
    path = tmp_path / "file"
    path.write_bytes(content)
    assert describe_error(path)
    # One that has grown, or has been cut, since it was looked at is no fault of its file system.
    assert describe_error(path, len(content) + 1)
    assert describe_error(path, max(0, len(content) - 1))

"""Archives as tests read them: put together from their pieces, and as a file that is never written."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from zchttpd.files.archive import Archive, Part
from zchttpd.files.checksums import Checksums
from zchttpd.files.tree import Refusal, Tree

if TYPE_CHECKING:
    from zchttpd.files.root import Root


def everything(segments: tuple[bytes, ...], folder: bool) -> bool:
    return True


def tree_of(root: Root, *segments: bytes, **bounds: int) -> Tree | Refusal:
    tree = Tree(root, everything, **bounds)
    return tree.walk(segments) or tree


def archive_of(root: Root, *segments: bytes) -> Archive:
    tree = tree_of(root, *segments)
    assert isinstance(tree, Tree)
    return Archive(root, Checksums(None), segments, tree.members, tree.left_out)


class ArchiveFile(io.RawIOBase):
    """The bytes of an archive, each made when it is read."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._archive.size}[whence]
        if at < 0:
            raise OSError("before the first byte")
        self._at = at
        return at

    def read(self, size: int = -1) -> bytes:
        end = self._archive.size if size < 0 else min(self._archive.size, self._at + size)
        found = cut(self._archive, self._at, end)
        self._at = max(end, self._at)
        return found


def cut(archive: Archive, begin: int, end: int) -> bytes:
    """Bytes `begin` to `end` of an archive."""
    found = bytearray()
    at = begin
    while at < end:
        piece = archive.piece(at)
        assert piece.begin <= at < piece.end, piece
        stop = min(end, piece.end)
        if piece.part is Part.DATA:
            fd = archive.representation(piece.number).open()
            try:
                found += os.pread(fd, stop - at, at - piece.begin)
            finally:
                os.close(fd)
        else:
            crc = 0
            if archive.wants_crc(piece):
                crc = archive.checksums.of(archive.representation(piece.number), archive)
            record = archive.record(piece, crc)
            assert len(record) == piece.end - piece.begin, piece
            found += record[at - piece.begin : stop - piece.begin]
        at = stop
    return bytes(found)

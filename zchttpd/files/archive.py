"""A folder as a zip file that nobody has written: where each of its bytes comes from, told by sizes alone."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from zchttpd.config.names import IDENTITY
from zchttpd.files import zip_format
from zchttpd.files.version import Representation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.files.checksums import Checksums
    from zchttpd.files.root import Root
    from zchttpd.files.zip_format import Member

# What a member takes in memory beside its name.
MEMBER_SIZE = 400
# A change of what is written for the same files.
_EDITION = b"1"


class Part(Enum):
    """What a piece of an archive is."""

    HEADER = "header"
    DATA = "data"
    DESCRIPTOR = "descriptor"
    CENTRAL = "central"
    END = "end"


class Piece(NamedTuple):
    """Bytes `begin` to `end` of an archive, which belong to the member of this `number`."""

    part: Part
    begin: int
    end: int
    number: int


class Archive:
    """Files and folders beneath `segments`, in the order of the archive. `left_out`: how many are not in it.

    `etag` has its quotes, and is of the names and the versions of all members. `outdated`: one of them is
    known to have changed. `weight`: bytes of memory that it takes.
    """

    def __init__(
        self,
        root: Root,
        checksums: Checksums,
        segments: tuple[bytes, ...],
        members: Sequence[Member],
        left_out: int = 0,
    ) -> None:
        self._root = root
        self.checksums = checksums
        self.outdated = False
        self.segments = segments
        self.members = tuple(members)
        self.weight = sum(len(member.name) + MEMBER_SIZE for member in self.members)
        self._comment = b"" if not left_out else b"%d that may not be read are left out" % left_out
        # Of members, and of their headers in the central directory; the last is where all of these end.
        self._starts = array("Q")
        self._headers = array("Q")
        at = 0
        for member in self.members:
            self._starts.append(at)
            at += zip_format.local_size(member) + member.size + zip_format.descriptor_size(member)
        self._starts.append(at)
        for member, start in zip(self.members, self._starts, strict=False):
            self._headers.append(at)
            at += zip_format.central_size(member, start)
        self._headers.append(at)
        self.size = at + len(self._end())
        self.etag = f'"z{_fingerprint(self.members, self._comment)}-{self.size:x}"'

    def piece(self, at: int) -> Piece:
        """The piece that has the byte at this offset."""
        if at >= self._headers[-1]:
            return Piece(Part.END, self._headers[-1], self.size, len(self.members))
        if at >= self._starts[-1]:
            index = bisect_right(self._headers, at) - 1
            return Piece(Part.CENTRAL, self._headers[index], self._headers[index + 1], index)
        index = bisect_right(self._starts, at) - 1
        begin = self._starts[index]
        data = begin + zip_format.local_size(self.members[index])
        behind = data + self.members[index].size
        if at < data:
            return Piece(Part.HEADER, begin, data, index)
        if at < behind:
            return Piece(Part.DATA, data, behind, index)
        return Piece(Part.DESCRIPTOR, behind, self._starts[index + 1], index)

    def wants_crc(self, piece: Piece) -> bool:
        """Whether the CRC-32 of a member is written there."""
        return piece.part in (Part.DESCRIPTOR, Part.CENTRAL) and self.members[piece.number].size > 0

    def record(self, piece: Piece, crc: int = 0) -> bytes:
        """The bytes of a piece that is no data; `crc`: of its member, where it wants that."""
        if piece.part is Part.END:
            return self._end()
        member = self.members[piece.number]
        if piece.part is Part.HEADER:
            return zip_format.local(member)
        if piece.part is Part.DESCRIPTOR:
            return zip_format.descriptor(member, crc)
        return zip_format.central(member, self._starts[piece.number], crc)

    def representation(self, index: int) -> Representation:
        """The file of a member."""
        member = self.members[index]
        segments = (*self.segments, *member.name.split(b"/"))
        return Representation(member.version, IDENTITY, None, None, segments, self._root)

    def _end(self) -> bytes:
        start, end = self._starts[-1], self._headers[-1]
        return zip_format.end(len(self.members), start, end - start, self._comment)


def _fingerprint(members: Sequence[Member], comment: bytes) -> str:
    """By ctime too, which nobody can set: other bytes of equal length and time must not be joined."""
    digest = hashlib.blake2b(_EDITION + comment, digest_size=16)
    for member in members:
        version = member.version
        state = (member.mtime_s,) if member.is_folder else (version.size, version.mtime_ns, version.ctime_ns)
        # A name has no NUL in it.
        digest.update(b"%b\0%b\0" % (member.name, ",".join(map(str, state)).encode("ascii")))
    return digest.hexdigest()

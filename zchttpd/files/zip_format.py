"""The records of a zip file of stored members (PKWARE APPNOTE.TXT 6.3.10; 4.3.7 and on name its sections).

The CRC-32 of a member stands behind its bytes, in a data descriptor (4.3.9), so that nothing need be read
before the first byte leaves. Its size stands before them too, for those that read a zip as it comes.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zchttpd.files.version import Version

# 4.4.4: a data descriptor follows; the name is UTF-8.
_DESCRIBED, _UTF8 = 1 << 3, 1 << 11
# 4.4.3: a folder; zip64.
_NEEDS, _NEEDS_64 = 20, 45
# 4.4.2: attributes as Unix has them, and names in its bytes.
_MADE_BY = 3 << 8 | _NEEDS_64
_FILE_MODE, _FOLDER_MODE = 0o100644 << 16, 0o040755 << 16 | 0x10
# 4.4.8, 4.4.22: what says that the number is in the zip64 field.
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_ID, _TIME_ID = 0x0001, 0x5455
_TIME_MAX_S = 0x7FFFFFFF
_FIRST_YEAR, _LAST_YEAR = 1980, 2107

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_DESCRIPTOR = struct.Struct("<IIII")
_DESCRIPTOR_64 = struct.Struct("<IIQQ")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END_64 = struct.Struct("<IQHHIIQQQQ")
_LOCATOR_64 = struct.Struct("<IIQI")
_END = struct.Struct("<IHHHHIIH")


class Member(NamedTuple):
    """A file of the archive, or a folder, whose `name` ends with a slash."""

    name: bytes
    version: Version

    @property
    def is_folder(self) -> bool:
        """Whether it has no bytes, and may have names in it."""
        return self.name.endswith(b"/")

    @property
    def size(self) -> int:
        """Of its bytes."""
        return 0 if self.is_folder else self.version.size

    @property
    def mtime_s(self) -> int:
        """When it was last modified (Unix seconds)."""
        return self.version.mtime_ns // 1_000_000_000


def local_size(member: Member) -> int:
    """Bytes of `local`."""
    return _LOCAL.size + len(member.name) + len(_local_extra(member))


def descriptor_size(member: Member) -> int:
    """Bytes of `descriptor`, which what is empty has not."""
    if not member.size:
        return 0
    return (_DESCRIPTOR_64 if _is_large(member) else _DESCRIPTOR).size


def central_size(member: Member, start: int) -> int:
    """Bytes of `central`."""
    return _CENTRAL.size + len(member.name) + len(_central_extra(member, start))


def local(member: Member) -> bytes:
    """The local file header (4.3.7)."""
    extra = _local_extra(member)
    size = _FULL_32 if _is_large(member) else member.size
    return (
        _LOCAL.pack(0x04034B50, *_common(member), 0, size, size, len(member.name), len(extra))
        + member.name
        + extra
    )


def descriptor(member: Member, crc: int) -> bytes:
    """The data descriptor (4.3.9)."""
    shape = _DESCRIPTOR_64 if _is_large(member) else _DESCRIPTOR
    return shape.pack(0x08074B50, crc, member.size, member.size)


def central(member: Member, start: int, crc: int) -> bytes:
    """The header in the central directory (4.3.12) of a member whose local header is at `start`."""
    extra = _central_extra(member, start)
    size = _FULL_32 if _is_large(member) else member.size
    mode = _FOLDER_MODE if member.is_folder else _FILE_MODE
    sizes = (size, size, len(member.name), len(extra))
    return (
        _CENTRAL.pack(
            0x02014B50,
            *(_MADE_BY, *_common(member, start), crc, *sizes),
            *(0, 0, 0, mode, min(start, _FULL_32)),
        )
        + member.name
        + extra
    )


def end(count: int, start: int, size: int, comment: bytes) -> bytes:
    """What ends the archive (4.3.14 to 4.3.16): `count` headers in `size` bytes of central directory, which
    begins at `start`.
    """
    records = b""
    if count >= _FULL_16 or start >= _FULL_32 or size >= _FULL_32:
        numbers = (0, 0, count, count, size, start)
        records += _END_64.pack(0x06064B50, _END_64.size - 12, _MADE_BY, _NEEDS_64, *numbers)
        records += _LOCATOR_64.pack(0x07064B50, 0, start + size, 1)
    counted, place = min(count, _FULL_16), (min(size, _FULL_32), min(start, _FULL_32))
    return records + _END.pack(0x06054B50, 0, 0, counted, counted, *place, len(comment)) + comment


def _is_large(member: Member) -> bool:
    return member.size >= _FULL_32


def _common(member: Member, start: int = 0) -> tuple[int, ...]:
    """Version needed, flags, method 0 (stored), time and date."""
    needs = _NEEDS_64 if _is_large(member) or start >= _FULL_32 else _NEEDS
    try:
        member.name.decode()
        flags = _UTF8
    except UnicodeDecodeError:
        # As the bytes that they are: who unpacks on Unix has them so.
        flags = 0
    flags |= _DESCRIBED if member.size else 0
    return needs, flags, 0, *_time_and_date(member.mtime_s)


def _time_and_date(mtime_s: int) -> tuple[int, int]:
    """4.4.6, in UTC: two seconds are one, and years are those that it can tell."""
    try:
        when = time.gmtime(mtime_s)
    except (OverflowError, OSError, ValueError):
        when = time.gmtime(0)
    if not _FIRST_YEAR <= when.tm_year <= _LAST_YEAR:
        return 0, 1 << 5 | 1
    date = (when.tm_year - _FIRST_YEAR) << 9 | when.tm_mon << 5 | when.tm_mday
    return when.tm_hour << 11 | when.tm_min << 5 | min(when.tm_sec, 59) // 2, date


def _zip64(*numbers: int) -> bytes:
    """4.5.3: the numbers that have no room elsewhere."""
    return struct.pack(f"<HH{len(numbers)}Q", _ZIP64_ID, 8 * len(numbers), *numbers) if numbers else b""


def _time(member: Member) -> bytes:
    """The extended timestamp of Info-ZIP (extrafld.txt): Unix time, where 32 bits can tell it."""
    if not 0 <= member.mtime_s <= _TIME_MAX_S:
        return b""
    return struct.pack("<HHBI", _TIME_ID, 5, 1, member.mtime_s)


def _local_extra(member: Member) -> bytes:
    sizes = (member.size, member.size) if _is_large(member) else ()
    return _zip64(*sizes) + _time(member)


def _central_extra(member: Member, start: int) -> bytes:
    sizes = (member.size, member.size) if _is_large(member) else ()
    place = (start,) if start >= _FULL_32 else ()
    return _zip64(*sizes, *place) + _time(member)

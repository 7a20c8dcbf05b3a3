"""The access records of a worker, unpacked."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from zchttpd.telemetry.access_log import AccessRecord, address_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# The fixed part of an access record (access_record.pxd).
_RECORD = struct.Struct("=IIIIqQQHHBB16sBx")
_address = lru_cache(maxsize=4096)(address_of)


def unpack_records(records: bytes) -> Iterator[AccessRecord]:
    """The records in what `Worker.take_records` returns."""
    at = 0
    while at < len(records):
        (
            size,
            line,
            referer,
            agent,
            ended_at,
            duration_us,
            body_bytes,
            status,
            _,
            family,
            zerocopy,
            packed,
            request_id,
        ) = _RECORD.unpack_from(records, at)
        text = at + _RECORD.size
        ends = (text + line, text + line + referer, text + line + referer + agent)
        yield AccessRecord(
            _address(family, packed),
            ended_at,
            records[text : ends[0]],
            status,
            body_bytes,
            records[ends[0] : ends[1]],
            records[ends[1] : ends[2]],
            duration_us,
            bool(zerocopy),
            records[ends[2] : ends[2] + request_id],
        )
        at += size

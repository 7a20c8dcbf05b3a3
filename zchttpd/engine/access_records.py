"""The access records of a worker, unpacked."""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from zchttpd.telemetry.access_log import AccessRecord, address_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# The fixed part of an access record (access_record.pxd).
_RECORD = struct.Struct("=IIIIqQQHHBB16sBB")
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
            user,
        ) = _RECORD.unpack_from(records, at)
        text = at + _RECORD.size
        ends = [*accumulate((line, referer, agent, request_id, user), initial=text)]
        yield AccessRecord(
            _address(family, packed),
            ended_at,
            records[text : ends[1]],
            status,
            body_bytes,
            records[ends[1] : ends[2]],
            records[ends[2] : ends[3]],
            duration_us,
            bool(zerocopy),
            records[ends[3] : ends[4]],
            records[ends[4] : ends[5]],
        )
        at += size

"""The cache key of a request head: what its response can depend on (RFC 9111 section 2).

Most of what clients send changes nothing for a file: a cookie, a referrer, what a proxy adds. `parse_request`
keeps only the fields in READ_FIELDS, so that nothing behind it can read the others, and the cache key leaves
the same ones out. A line is left out only if it is a valid field line; what is not valid stays, and is
refused with the head. So `parse_request(head) == parse_request(cache_key(head))`, always, and one response
serves all heads of one cache key.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zchttpd.http.request import FIELDS_MAX, READ_FIELDS, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

CACHE_KEY_SIZE_MAX = 2048


def lines_but(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """Finds whole, valid field lines (RFC 9110 section 5) of other names, each behind a line end."""
    # A token, then visible bytes, blanks and obs-text (sections 5.6.2 and 5.5); never a control character.
    return re.compile(
        rb"(?<=\n)(?!(?:%b):)%b:[\t\x20-\x7e\x80-\xff]*\r\n" % (b"|".join(sorted(names)), TOKEN),
        re.IGNORECASE,
    )


_UNREAD_LINE = lines_but(READ_FIELDS)


def cache_key(head: bytes) -> bytes | None:
    """The request line and the fields that somebody reads, byte for byte. None for a head that is not to be
    remembered: more than FIELDS_MAX fields, or a cache key of more than CACHE_KEY_SIZE_MAX bytes.

    `head` is a request head: the bytes up to and including its empty line.
    """
    if head.count(b"\n") > FIELDS_MAX + 2:
        return None
    found = _UNREAD_LINE.sub(b"", head)
    return found if len(found) <= CACHE_KEY_SIZE_MAX else None

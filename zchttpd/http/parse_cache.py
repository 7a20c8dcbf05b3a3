"""Parsed heads by their framing fields, so that a new path or range costs no run of h11.

What h11 and the stricter checks say of a head depends on its method and version, on FRAMING_FIELDS, and on
every other line being valid; not on which path is asked for, nor on what the other fields say. So a head that
differs from one parsed before in those alone is parsed like that one, with its own target and fields.
"""

from __future__ import annotations

import re

from zchttpd.http.cache_key import lines_but
from zchttpd.http.request import (
    ANSWER_FIELDS,
    FIELDS_MAX,
    FRAMING_FIELDS,
    TARGET_SIZE_MAX,
    TOKEN,
    HttpError,
    Request,
    parse_request,
)

PARSED_MAX = 1024
FRAME_SIZE_MAX = 512

# Origin-form alone, without a fragment; the rest is for `parse_request`.
_REQUEST_LINE = re.compile(rb"(%b) (/[\x21\x22\x24-\x7e]*) (HTTP/1\.[0-9])\r\n" % TOKEN)
_UNFRAMING_LINE = lines_but(FRAMING_FIELDS)
_ANSWER_LINE = re.compile(
    rb"(?<=\n)(%b):[\t ]*((?:[\x21-\x7e\x80-\xff]+(?:[\t ]+[\x21-\x7e\x80-\xff]+)*)?)[\t ]*\r\n"
    % b"|".join(sorted(ANSWER_FIELDS)),
    re.IGNORECASE,
)


class ParseCache:
    """`parse_request`, with a memory of at most PARSED_MAX frames. `target_size_max` in bytes."""

    def __init__(self, target_size_max: int = TARGET_SIZE_MAX) -> None:
        self._target_size_max = target_size_max
        self._requests: dict[bytes, Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def parse(self, head: bytes) -> Request | HttpError:
        """As `parse_request`, but that `connection` is None where a head like this one has been parsed."""
        line = _REQUEST_LINE.match(head)
        framed = head.find(b"\r\n\r\n") == len(head) - 4 and head.count(b"\n") <= FIELDS_MAX + 2
        if line is None or not framed or len(line[2]) > self._target_size_max:
            return parse_request(head, target_size_max=self._target_size_max)
        # From the end of the request line on, so that each line begins behind a line end.
        fields = head[line.end() - 1 :]
        frame = line[1] + line[3] + _UNFRAMING_LINE.sub(b"", fields)
        known = self._requests.get(frame)
        if known is None:
            return self._set(frame, parse_request(head, target_size_max=self._target_size_max))
        return Request(
            method=known.method,
            target=line[2],
            headers=tuple((name.lower(), value) for name, value in _ANSWER_LINE.findall(fields)),
            version=known.version,
            keep_alive=known.keep_alive,
            has_body=False,
            expect=False,
            cacheable=True,
            connection=None,
        )

    def _set(self, frame: bytes, request: Request | HttpError) -> Request | HttpError:
        if isinstance(request, Request) and request.cacheable and len(frame) <= FRAME_SIZE_MAX:
            if len(self._requests) >= PARSED_MAX:
                del self._requests[next(iter(self._requests))]
            self._requests[frame] = request
        return request

"""Verdicts that were given once and hold for every head of the same frame.

What h11 and the house rules say of a head depends on its method and version, on FRAMING_FIELDS, and on
every other line being valid; not on which path is asked for, nor on what the other fields say. So a head that
differs from one judged before in those alone gets the verdict of that one, with its own target and fields: a
new path or a new range costs no judgement by h11.
"""

from __future__ import annotations

import re

from zchttpd.http.gist import lines_but
from zchttpd.http.judge import (
    ANSWER_FIELDS,
    FIELDS_MAX,
    FRAMING_FIELDS,
    TARGET_SIZE_MAX,
    Refusal,
    Verdict,
    judge,
)

PRECEDENTS_MAX = 1024
FRAME_SIZE_MAX = 512

# Origin-form alone, without a fragment; the rest is for `judge`.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (/[\x21\x22\x24-\x7e]*) (HTTP/1\.[0-9])\r\n")
_UNFRAMING_LINE = lines_but(FRAMING_FIELDS)
_ANSWER_LINE = re.compile(
    rb"(?<=\n)(%b):[\t ]*((?:[\x21-\x7e\x80-\xff]+(?:[\t ]+[\x21-\x7e\x80-\xff]+)*)?)[\t ]*\r\n"
    % b"|".join(sorted(ANSWER_FIELDS)),
    re.IGNORECASE,
)


class Precedents:
    """`judge`, with a memory of at most PRECEDENTS_MAX frames. `target_size_max` in bytes."""

    def __init__(self, target_size_max: int = TARGET_SIZE_MAX) -> None:
        self._target_size_max = target_size_max
        self._verdicts: dict[bytes, Verdict] = {}

    def __len__(self) -> int:
        return len(self._verdicts)

    def judge(self, head: bytes) -> Verdict | Refusal:
        """What `judge` says of these bytes, but for `connection`, which is None where a precedent answers."""
        line = _REQUEST_LINE.match(head)
        framed = head.find(b"\r\n\r\n") == len(head) - 4 and head.count(b"\n") <= FIELDS_MAX + 2
        if line is None or not framed or len(line[2]) > self._target_size_max:
            return judge(head, target_size_max=self._target_size_max)
        # From the end of the request line on, so that each line begins behind a line end.
        fields = head[line.end() - 1 :]
        frame = line[1] + line[3] + _UNFRAMING_LINE.sub(b"", fields)
        precedent = self._verdicts.get(frame)
        if precedent is None:
            return self._set(frame, judge(head, target_size_max=self._target_size_max))
        return Verdict(
            method=precedent.method,
            target=line[2],
            headers=tuple((name.lower(), value) for name, value in _ANSWER_LINE.findall(fields)),
            version=precedent.version,
            keep_alive=precedent.keep_alive,
            has_body=False,
            expect=False,
            memo=True,
            connection=None,
        )

    def _set(self, frame: bytes, verdict: Verdict | Refusal) -> Verdict | Refusal:
        if isinstance(verdict, Verdict) and verdict.memo and len(frame) <= FRAME_SIZE_MAX:
            if len(self._verdicts) >= PRECEDENTS_MAX:
                del self._verdicts[next(iter(self._verdicts))]
            self._verdicts[frame] = verdict
        return verdict

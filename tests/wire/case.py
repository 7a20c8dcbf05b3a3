"""One wire case: what is sent, and what must come back. The tables in cases/ are made of these."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from .client import method_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .client import Reply

# In a request: the entity tag that the server gives this path (with this Accept-Encoding), fetched before
# the case is sent.
ETAG = re.compile(rb"@etag\((?P<path>[^),]+)(?:,(?P<encoding>[a-z]+))?\)")

# Values of Case.headers.
PRESENT = object()
ABSENT = object()

ANY = None
KEPT = True
CLOSED = False
# Case.status of a connection that may end without an answer.
SILENT = 0


@dataclass(frozen=True, slots=True)
class Case:
    """What to send and what to expect.

    `status`: the status, or a tuple of those allowed. `body`: exact bytes, None for any.
    `headers`: name -> exact value, PRESENT, ABSENT or a compiled pattern.
    `kept`: KEPT, CLOSED, or ANY, which still holds the server to what its response says.
    `spans`: the (first, last) ranges that a 206 must give of the file `of`, exactly; `covers` allows them to
    be joined, or the whole file instead. `never`: bytes that may not come back.
    `leads`: the path and query to which Location leads a client that asked for the target.
    `half_close`: the client ends its side after sending. `interim`: 1xx responses are allowed.
    `reset`: unread bytes of the request may turn the close into a reset. `transport`: the engine has a part
    in the answer, which the shape of the case does not tell (runs.py).
    """

    name: str
    send: bytes
    status: int | tuple[int, ...]
    body: bytes | None = None
    headers: Mapping[str, object] = field(default_factory=dict)
    kept: bool | None = ANY
    of: bytes | None = None
    spans: tuple[tuple[int, int], ...] = ()
    covers: bool = False
    never: tuple[bytes, ...] = ()
    leads: bytes | None = None
    half_close: bool = False
    interim: bool = False
    reset: bool = False
    transport: bool = False

    @property
    def statuses(self) -> tuple[int, ...]:
        """The allowed statuses."""
        return (self.status,) if isinstance(self.status, int) else self.status

    @property
    def method(self) -> bytes:
        """HEAD, CONNECT or anything else, as GET."""
        return method_of(self.send)

    @property
    def needs_etags(self) -> list[tuple[bytes, bytes]]:
        """(path, Accept-Encoding) of the entity tags that `send` mentions."""
        return [(match["path"], match["encoding"] or b"") for match in ETAG.finditer(self.send)]

    def request(self, etags: Mapping[tuple[bytes, bytes], bytes]) -> bytes:
        """`send` with the entity tags filled in."""
        return ETAG.sub(lambda match: etags[match["path"], match["encoding"] or b""], self.send)


def check(case: Case, reply: Reply) -> None:
    """What this case demands of its response, beyond what rules.py demands of every response."""
    assert reply.status in case.statuses, (
        f"status {reply.status}, expected {case.status}; body {reply.body[:200]!r}"
    )
    assert case.interim or not reply.interim, f"unasked interim responses {reply.interim}"
    for name, expected in case.headers.items():
        _check_header(name, reply.fields(name.lower().encode()), expected)
    if case.leads is not None:
        _check_location(case, reply.field(b"location"))
    if case.body is not None:
        assert len(reply.body) == len(case.body), (
            f"body of {len(reply.body)} bytes, expected {len(case.body)}"
        )
        assert reply.body == case.body, (
            f"the body differs first at {_first_difference(reply.body, case.body)}"
        )
    for forbidden in case.never:
        seen = [reply.body, *(value for _, value in reply.headers)]
        assert not any(forbidden in each for each in seen), f"{forbidden!r} comes back"
    if reply.status == 200 and case.of is not None and case.covers:
        assert reply.body == case.of, "200 instead of 206, and the body is not the file"
    if reply.status == 206:
        assert case.of is not None or case.body is not None, "a 206 that nobody asked for"
        if case.of is not None:
            _check_spans(case, reply)


def _check_header(name: str, values: list[bytes], expected: object) -> None:
    if expected is ABSENT:
        assert not values, f"{name} is there: {values}"
        return
    assert len(values) == 1, f"{name} occurs {len(values)} times: {values}"
    if isinstance(expected, re.Pattern):
        assert expected.fullmatch(values[0]), f"{name} is {values[0]!r}, expected {expected.pattern!r}"
    elif expected is not PRESENT:
        assert values[0] == expected, f"{name} is {values[0]!r}, expected {expected!r}"


def _check_location(case: Case, location: bytes | None) -> None:
    """A client resolves it (RFC 9110 section 10.2.2): here, and behind a proxy that takes a prefix away."""
    assert case.leads is not None
    assert location is not None, "no Location"
    target = case.send.split(b" ", 2)[1]
    bases = (b"http://wire.test", b"http://wire.test/up") if target.startswith(b"/") else (b"",)
    for base in bases:
        found = urljoin(base + target, location)
        expected = urljoin(base + target, b"/") + (base.rpartition(b"test")[2] + case.leads).lstrip(b"/")
        assert found == expected, f"{base + target!r} leads to {found!r}, expected {expected!r}"


def _first_difference(left: bytes, right: bytes) -> int:
    return next(at for at, (one, other) in enumerate(zip(left, right, strict=True)) if one != other)


def _check_spans(case: Case, reply: Reply) -> None:
    assert case.of is not None
    size = len(case.of)
    got = parts(reply)
    for first, last, total, body in got:
        assert total == size, f"Content-Range says {total} bytes in all, the file has {size}"
        assert body == case.of[first : last + 1], f"the bytes of {first}-{last} are wrong"
    spans = tuple((first, last) for first, last, _, _ in got)
    if not case.covers:
        assert spans == case.spans, f"spans {spans}, expected {case.spans}"
        return
    for first, last in case.spans:
        assert any(low <= first and last <= high for low, high in spans), (
            f"{first}-{last} is not within {spans}"
        )
    assert sum(last - first + 1 for first, last in spans) <= size, "more bytes than the file has"


def parts(reply: Reply) -> list[tuple[int, int, int, bytes]]:
    """(first, last, size, bytes) of each part of a 206: one, or those of multipart/byteranges, RFC 9110
    section 14.6, parsed to the last byte.
    """
    media = reply.field(b"content-type") or b""
    multipart = re.fullmatch(rb'multipart/byteranges; ?boundary="?([0-9A-Za-z\'()+_,./:=?-]{1,70})"?', media)
    if multipart is None:
        assert not media.startswith(b"multipart/"), f"Content-Type {media!r}"
        return [(*_content_range(reply.field(b"content-range")), reply.body)]
    assert reply.field(b"content-range") is None, (
        "Content-Range beside multipart/byteranges (RFC 9110 section 15.3.7.2)"
    )
    found: list[tuple[int, int, int, bytes]] = []
    delimiter = b"--" + multipart[1]
    # zsync and zckdl never find the first part without it.
    assert reply.body.startswith(b"\r\n"), f"no empty line before the first boundary: {reply.body[:80]!r}"
    rest = reply.body[2:]
    while True:
        assert rest.startswith(delimiter), f"no delimiter at {rest[:80]!r}"
        rest = rest[len(delimiter) :]
        if rest.startswith(b"--"):
            assert rest in (b"--", b"--\r\n"), f"bytes after the last delimiter: {rest[:80]!r}"
            return found
        head, _, rest = rest.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        assert b"content-type" in fields, f"a part without Content-Type: {fields}"
        first, last, size = _content_range(fields.get(b"content-range"))
        found.append((first, last, size, rest[: last - first + 1]))
        assert b"\r\n" + delimiter not in found[-1][3], "the boundary occurs in a part"
        rest = rest[last - first + 1 :]
        assert rest.startswith(b"\r\n"), (
            f"the part {first}-{last} does not end where it should: {rest[:80]!r}"
        )
        rest = rest[2:]


def _content_range(value: bytes | None) -> tuple[int, int, int]:
    match = re.fullmatch(rb"bytes ([0-9]+)-([0-9]+)/([0-9]+)", value or b"")
    assert match, f"Content-Range {value!r}"
    first, last, size = (int(number) for number in match.groups())
    assert first <= last < size, f"Content-Range {value!r}"
    return first, last, size

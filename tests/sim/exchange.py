"""What clients ask in the simulation, and the bytes that are the right answer.

A response names the file's version in its head, so that whoever reads it knows which bytes must follow: all
of them of that version.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass, field
from email.utils import formatdate

DATE_LENGTH = 29
SECOND_NS = 1_000_000_000
# When the first version of each file was written, and each other one two seconds after the one before it.
WRITTEN_S = 1_600_000_000
STREAMED = ("streamed", "stream_parts")
REFUSALS = {"bare_lf": 400, "long_line": 414, "long_head": 431}


@functools.lru_cache(maxsize=256)
def content(name: str, version: int, size: int) -> bytes:
    """The bytes of a version of a file."""
    return random.Random(f"{name} {version}").randbytes(size)


def date_of(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def mtime_ns(version: int) -> int:
    """When a version was written."""
    return (WRITTEN_S + 2 * version) * SECOND_NS + SECOND_NS // 2


def version_of(fields: dict[bytes, bytes]) -> int:
    """The version that a response head names, or has the tag of."""
    if b"ETag" in fields:
        return (int(fields[b"ETag"][1:].partition(b"-")[0], 16) // SECOND_NS - WRITTEN_S) // 2
    return int(fields[b"Version"])


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of the body: a window of the file, or literal bytes."""

    offset: int
    length: int
    literal: bytes = b""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `shape` says how the desk compiles the answer; `size` is that of the file."""

    name: str
    shape: str
    size: int
    spans: tuple[Span, ...]
    keep_alive: bool = True
    memo: bool = True
    cookie: str = ""
    fault: str = ""  # a key of REFUSALS
    client: str = field(default="", compare=False)  # whom a proxy names, which changes no answer

    @property
    def head(self) -> bytes:
        spans = ",".join(f"{span.offset}+{span.length}" for span in self.spans)
        query = "" if self.shape == "plain" else f"?{self.shape}={spans}"
        lines = [
            f"GET /{self.name}{query} HTTP/1.1",
            "Host: sim",
            f"Connection: {'keep-alive' if self.keep_alive else 'close'}",
        ]
        if not self.memo:
            lines.append("Memo: no")
        if self.cookie:
            lines.append(f"Cookie: {self.cookie}")
        if self.client:
            lines.append(f"X-Forwarded-For: {self.client}")
        text = "\r\n".join(lines).encode()
        if self.fault == "bare_lf":
            return text.replace(b"\r\nHost", b"\nHost") + b"\r\n\r\n"
        if self.fault == "long_line":
            return b"GET /" + b"x" * 600 + b"\r\n\r\n"
        if self.fault == "long_head":
            return text + b"\r\nFill: " + b"x" * 400 + b"\r\nFill: " + b"y" * 800 + b"\r\n\r\n"
        return text + b"\r\n\r\n"

    @property
    def status(self) -> int:
        return {"missing": 404, "nothing": 304}.get(self.shape, 206 if len(self.spans) > 1 else 200)

    def body(self, version: int) -> bytes:
        whole = content(self.name, version, self.size)
        return b"".join(span.literal or whole[span.offset : span.offset + span.length] for span in self.spans)


def response_head(ask: Ask, version: int, date: bytes = b"?" * DATE_LENGTH) -> tuple[bytes, int]:
    """(head, offset of the Date value)."""
    if ask.shape == "plain":
        before, behind = plain_parts(ask, date)
        written = mtime_ns(version)
        holes = f'Content-Length: {ask.size}\r\nETag: "{written:x}-{ask.size:x}"\r\nLast-Modified: '
        modified = date_of(written // SECOND_NS)
        return before + holes.encode() + modified + b"\r\n" + behind, before.index(b"Date: ") + 6
    named = f"HTTP/1.1 {ask.status} Sim\r\nName: {ask.name}\r\nVersion: {version}\r\nDate: ".encode()
    length = sum(len(span.literal) or span.length for span in ask.spans)
    connection = "keep-alive" if ask.keep_alive else "close"
    after = f"\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n".encode()
    return named + date + after, len(named)


def plain_parts(ask: Ask, date: bytes = b"?" * DATE_LENGTH) -> tuple[bytes, bytes]:
    """What lies before and behind the fields that differ from file to file."""
    connection = b"keep-alive" if ask.keep_alive else b"close"
    return b"HTTP/1.1 200 Sim\r\nDate: " + date + b"\r\n", b"Connection: " + connection + b"\r\n\r\n"


def refusal(status: int, date: bytes = b"?" * DATE_LENGTH, *, keeps: bool = False) -> tuple[bytes, int]:
    """(whole response, offset of the Date value). `keeps`: the connection goes on."""
    before = f"HTTP/1.1 {status} Refused\r\nVersion: 0\r\nDate: ".encode()
    connection = b"keep-alive" if keeps else b"close"
    after = b"\r\nContent-Length: 7\r\nConnection: " + connection + b"\r\n\r\nrefused"
    return before + date + after, len(before)


THEMES = (
    ("small", "small", "nothing", "missing", "mapped", "mapped", "parts", "streamed", "stream_parts"),
    ("small", "mapped", "parts", "plain"),
    ("plain", "plain", "mapped"),
    ("streamed", "stream_parts", "nothing"),
)


def random_ask(rng: random.Random, theme: tuple[str, ...], window: int) -> Ask:
    """A request for one of a few files; heads repeat, so that the table of plans has work."""
    shape = rng.choice(theme)
    number = rng.randrange(3)
    stable = random.Random(f"{shape} {number} {window}")
    name = f"{shape}{number}.bin" if shape == "plain" else f"{shape}{number}"
    keep_alive = rng.random() < 0.9
    memo = rng.random() < 0.8 and shape != "missing"
    cookie = f"c{rng.randrange(1000)}" if rng.random() < 0.1 else ""
    fault = rng.choice(tuple(REFUSALS)) if rng.random() < 0.05 else ""
    if shape in ("small", "missing", "plain"):
        size = stable.randrange(1, 400)
        spans = (Span(0, size),)
    elif shape == "nothing":
        size, spans = 1, ()
    else:
        longest = 3 * window if shape in ("mapped", "parts") else 7 * window
        size = stable.randrange(window // 4, longest)
        spans = (Span(0, size),) if shape in ("mapped", "streamed") else _spans(rng, size)
    return Ask(name, shape, size, spans, keep_alive, memo, cookie, fault)


def _spans(rng: random.Random, size: int) -> tuple[Span, ...]:
    """Like multipart/byteranges: literal bytes before each window and behind the last."""
    pick = random.Random(rng.randrange(4))
    spans: list[Span] = []
    for number in range(pick.randrange(2, 4)):
        offset = pick.randrange(size)
        spans.append(Span(0, 0, b"--part %d--" % number))
        spans.append(Span(offset, pick.randrange(1, size - offset + 1)))
    if pick.random() < 0.7:
        spans.append(Span(0, 0, b"--end--"))
    return tuple(spans)

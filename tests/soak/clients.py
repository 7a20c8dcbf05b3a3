"""Clients that mean well, and look at every byte: one answer is one version of what was asked for."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import brotli  # type: ignore[import-untyped]
import zstandard

from ..wire.client import Peer, ProtocolError, request
from ..wire.streams import SLOW_BUFFER
from .site import CHANGING, PASSING, STEADY, WORD, WRITTEN, passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from ..wire.client import Address, Reply
    from .site import Site

RANGE = re.compile(rb"bytes (\d+)-(\d+)/(\d+)")
SHA_256 = re.compile(rb"sha-256=:([A-Za-z0-9+/=]+):")
# Ranges of fewer bytes need not tell of which version they are.
RANGE_MIN = 64
PIECE = 64 * 1024
DRAIN_MS_MAX = 8000
# An idle connection has two seconds of a worker that leaves, and an answer at least half of its time; not
# all of that need have passed here.
FAREWELL_S = 1.9
LAST_ANSWER_S = 0.45 * DRAIN_MS_MAX / 1000


class Timed(Peer):
    """Knows how long it had not asked when it asked last, what it waited for longest since then, and how
    long the last answer took, in seconds.

    When the server has had nothing more to say is not known here: whoever has no time reads it much later.
    """

    def __init__(self, address: Address, *, receive_buffer: int | None = None) -> None:
        super().__init__(address, receive_buffer=receive_buffer)
        self._asked = self._received = self._began = time.monotonic()
        self.silent_s = self.waited_s = self.away_s = 0.0

    def receive(self) -> bytes:
        """As `Peer`."""
        began = time.monotonic()
        self.away_s = max(self.away_s, began - self._received)
        found = super().receive()
        self._received = time.monotonic()
        self.waited_s = max(self.waited_s, self._received - began)
        return found

    def send(self, chunks: bytes | Iterable[bytes]) -> None:
        """As `Peer`."""
        super().send(chunks)
        self._received = time.monotonic()
        self.silent_s, self._asked = self._received - self._asked, self._received
        self.waited_s = self.away_s = 0.0

    def reply(self, method: bytes = b"GET", sink: Callable[[bytes], object] | None = None) -> Reply:
        """As `Peer`."""
        self._began = time.monotonic()
        return super().reply(method, sink)

    @property
    def answered_s(self) -> float:
        """How long the answer has taken that came last, or has not come whole."""
        return time.monotonic() - self._began


class Slow(Timed):
    """Takes its time over what it reads."""

    def __init__(self, address: Address, pause: Callable[[], object]) -> None:
        super().__init__(address, receive_buffer=SLOW_BUFFER)
        self._pause = pause
        self._later = b""

    def receive(self) -> bytes:
        """As `Peer`; a piece, after a pause."""
        self._pause()
        if self.rest:
            return super().receive()
        piece = self._later or super().receive()
        self._later = piece[PIECE:]
        return piece[:PIECE]


class Books:
    """What all clients have seen, and what may go wrong just now. Of several threads."""

    def __init__(self, site: Site, address: Address) -> None:
        self.site = site
        self.address = address
        self.seen: Counter[str] = Counter()
        self.failures: list[str] = []
        self.over = threading.Event()
        # Odd while a worker is being killed and replaced.
        self.kills = 0
        self.renewals = 0
        self._lock = threading.Lock()
        self._tagged: dict[tuple[str, bytes, bytes], bytes] = {}

    def count(self, what: str) -> None:
        """One more of these."""
        with self._lock:
            self.seen[what] += 1

    def fail(self, what: str) -> None:
        """What is told in the end; more than a few say no more."""
        with self._lock:
            self.failures.append(what)
        if len(self.failures) > 10:
            self.over.set()

    def is_of_tag(self, path: str, tag: bytes, coding: bytes, body: bytes) -> bool:
        """Whether what had this tag before, if anything had, had these bytes."""
        digest = hashlib.sha256(body).digest()
        with self._lock:
            return self._tagged.setdefault((path, tag, coding), digest) == digest


class Client:
    """One that asks for this and that, session after session."""

    def __init__(self, books: Books, rng: Random) -> None:
        self._books = books
        self._rng = rng
        self._tags: dict[str, bytes] = {}
        self._ask = (
            (30, self._get),
            (5, self._head),
            (10, self._conditional),
            (15, self._range),
            (5, self._ranges),
            (15, self._encoded),
            (10, self._digest),
            (10, self._pipeline),
            (4, self._listing),
            (4, self._odd),
        )

    def run(self) -> None:
        """Until it is over."""
        while not self._books.over.is_set():
            self._session()

    def _session(self) -> None:
        kills, renewals = self._books.kills, self._books.renewals
        slow = self._rng.random() < 0.1
        self._path = ""
        try:
            with self._connect(slow) as peer:
                for _ in range(2 if slow else self._rng.choice((1, 5, 50))):
                    [ask] = self._rng.choices(
                        [ask for _, ask in self._ask], [share for share, _ in self._ask]
                    )
                    self._what = ask.__name__
                    self._path = self._any_path()
                    last = ask(peer)
                    self._books.count(f"answers {last.status}")
                    if last.closes or self._books.over.wait(self._rng.uniform(0, 0.03)):
                        break
        except (OSError, ProtocolError) as error:
            if kills % 2 or kills != self._books.kills:
                self._books.count("lost with a worker that was killed")
            elif self._path and peer.answered_s > LAST_ANSWER_S and self._renewed(renewals):
                self._books.count("broken off as a worker had to leave")
            elif self._path and peer.silent_s > FAREWELL_S and self._renewed(renewals):
                self._books.count("closed as nothing had been asked")
            elif self._path in WRITTEN and peer.ended:
                self._books.count("broken off as the file changed")
            else:
                times = f"{peer.answered_s:.1f} s, {peer.waited_s:.1f} s in one receive"
                times = f"{times}, {peer.away_s:.1f} s between two, silent for {peer.silent_s:.1f} s before"
                self._fail(f"{error!r} ({times})" if self._path else f"{error!r}")
        except Exception as error:  # what a thread does not tell is lost
            self._fail(f"{error!r}")

    def _renewed(self, renewals: int) -> bool:
        return renewals % 2 == 1 or renewals != self._books.renewals

    def _connect(self, slow: bool) -> Timed:
        if slow:
            return Slow(self._books.address, lambda: self._books.over.wait(self._rng.uniform(0, 0.05)))
        return Timed(self._books.address)

    def _any_path(self) -> str:
        [paths] = self._rng.choices((STEADY, CHANGING, ()), (4, 4, 1))
        return self._rng.choice(paths) if paths else passing(self._rng.randrange(PASSING))

    def _fail(self, what: str) -> None:
        self._books.fail(f"{self._what} of {self._path}: {what}")

    # What is asked for

    def _get(self, peer: Peer) -> Reply:
        return self._whole(peer.ask(request(self._path)))

    def _head(self, peer: Peer) -> Reply:
        reply = peer.ask(request(self._path, method="HEAD"))
        self._check(reply, 200)
        return reply

    def _conditional(self, peer: Peer) -> Reply:
        tag = self._tags.get(self._path, b'"none"')
        reply = peer.ask(request(self._path, b"If-None-Match: " + tag))
        if reply.status == 304:
            if reply.field(b"etag") != tag:
                self._fail(f"304 of {reply.field(b'etag')!r} for who has {tag!r}")
            return reply
        if reply.status == 200 and reply.field(b"etag") == tag:
            self._fail(f"200 for who has {tag!r}")
        return self._whole(reply)

    def _range(self, peer: Peer) -> Reply:
        first = self._rng.choice((0, 0, 1000, 100_000, 2_000_000))
        length = max(RANGE_MIN, self._rng.choice((100, 20_000, 500_000)))
        wanted = f"-{length}" if self._rng.random() < 0.2 else f"{first}-{first + length - 1}"
        lines = [f"Range: bytes={wanted}"]
        if self._path in self._tags and self._rng.random() < 0.5:
            lines.append(f"If-Range: {self._tags[self._path].decode()}")
        return self._part(peer.ask(request(self._path, *lines)))

    def _ranges(self, peer: Peer) -> Reply:
        reply = peer.ask(request(self._path, "Range: bytes=0-99, 200-20000, 100000-150000"))
        boundary = re.search(
            rb"multipart/byteranges; ?boundary=\"?([^\"]+)", reply.field(b"content-type") or b""
        )
        if reply.status != 206 or boundary is None:
            return self._part(reply)
        parts = reply.body.split(b"\r\n--" + boundary[1])[1:-1]
        versions = set()
        for part in parts:
            head, _, body = part.partition(b"\r\n\r\n")
            found = RANGE.search(head)
            if found is None:
                self._fail(f"a part without a range: {head!r}")
                continue
            self._check_bytes(body, int(found[1]), int(found[3]))
            word = body[-int(found[1]) % WORD :][:WORD]
            if len(word) == WORD:
                versions.add(word[:9])
        if len(versions) > 1:
            self._fail(f"parts of versions {versions}")
        return reply

    def _encoded(self, peer: Peer) -> Reply:
        accepted = self._rng.choice(("gzip", "br", "zstd", "gzip, br, zstd", "identity"))
        return self._whole(peer.ask(request(self._path, f"Accept-Encoding: {accepted}")))

    def _digest(self, peer: Peer) -> Reply:
        wanted = ("Want-Repr-Digest: sha-256=9", "Want-Content-Digest: sha-256=9")
        if self._rng.random() < 0.5:
            return self._whole(peer.ask(request(self._path, *wanted)))
        return self._part(peer.ask(request(self._path, "Range: bytes=0-4999", *wanted)))

    def _pipeline(self, peer: Peer) -> Reply:
        paths = [self._any_path() for _ in range(self._rng.randrange(2, 8))]
        peer.send(b"".join(request(path) for path in paths))
        for path in paths:
            self._path = path
            reply = self._whole(peer.reply())
            if reply.closes:
                break
        return reply

    def _listing(self, peer: Peer) -> Reply:
        self._path = self._rng.choice(("/", "/steady/", "/passing/", "/replaced/", "/bare/"))
        wants_json = self._rng.random() < 0.5
        lines = ("Accept: application/json",) if wants_json else ()
        reply = peer.ask(request(self._path, *lines))
        # Whether there are listings is one of the options that change.
        if reply.status == 200:
            if wants_json:
                json.loads(reply.body)
            if self._path == "/steady/" and any(
                f"{n}.txt".encode() not in reply.body for n in range(len(STEADY))
            ):
                self._fail("names are missing")
        elif reply.status not in (403, 404):
            self._fail(f"status {reply.status}")
        return reply

    def _odd(self, peer: Peer) -> Reply:
        path, method, status = self._rng.choice(
            (
                (f"/none/{self._rng.random()}", "GET", 404),
                ("/steady/3.txt", "DELETE", 405),
                ("/steady", "GET", 308),
            )
        )
        self._path = path
        reply = peer.ask(request(path, method=method))
        if reply.status not in (status, 501, 301):
            self._fail(f"status {reply.status} to {method}")
        return reply

    # What came

    def _whole(self, reply: Reply) -> Reply:
        if self._check(reply, 200):
            coding = reply.field(b"content-encoding") or b""
            body = decoded(reply.body, coding)
            self._check_bytes(body, 0, len(body))
            tag = reply.field(b"etag")
            if tag is None:
                self._fail("no entity tag")
            else:
                if not self._books.is_of_tag(self._path, tag, coding, body):
                    self._fail(f"other bytes under the tag {tag!r}")
                if not coding:
                    self._tags[self._path] = tag
            self._check_digest(reply, reply.body)
        return reply

    def _part(self, reply: Reply) -> Reply:
        if reply.status in (200, 416):
            return self._whole(reply) if reply.status == 200 else reply
        if self._check(reply, 206):
            found = RANGE.fullmatch(reply.field(b"content-range") or b"")
            if found is None or len(reply.body) != int(found[2]) - int(found[1]) + 1:
                self._fail(f"{len(reply.body)} bytes of {reply.field(b'content-range')!r}")
            else:
                self._check_bytes(reply.body, int(found[1]), int(found[3]))
            self._check_digest(reply, None)
        return reply

    def _check(self, reply: Reply, status: int) -> bool:
        allowed = {status}
        if self._path not in STEADY + WRITTEN:
            allowed.add(404)
        if self._path in WRITTEN:
            allowed.add(503)
        if reply.status not in allowed:
            self._fail(f"status {reply.status}")
        return reply.status == status

    def _check_bytes(self, body: bytes, first: int, total: int) -> None:
        fault = self._books.site.fault_of(self._path, body, first, total)
        if fault:
            self._fail(fault)

    def _check_digest(self, reply: Reply, representation: bytes | None) -> None:
        for name, of in ((b"repr-digest", representation), (b"content-digest", reply.body)):
            found = SHA_256.search(reply.field(name) or b"")
            if found and of is not None:
                self._books.count("digests")
                if base64.b64decode(found[1]) != hashlib.sha256(of).digest():
                    self._fail(f"{name!r} is of other bytes")


def decoded(body: bytes, coding: bytes) -> bytes:
    """The bytes of the file."""
    if not coding or not body:
        return body
    decoders: dict[bytes, Callable[[bytes], Any]] = {
        b"gzip": gzip.decompress,
        b"br": brotli.decompress,
        b"zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    }
    return bytes(decoders[coding](body))

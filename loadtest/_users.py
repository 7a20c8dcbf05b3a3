"""The users: each does the same to every server in turn, request by request, and checks every byte."""

from __future__ import annotations

import random
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING

import gevent
from gevent.pool import Group
from locust import User, between, task
from locust.exception import StopUser

from benchlib.payload import KIB
from loadtest import _multipart as multipart
from loadtest import _run as session
from loadtest._client import PIECE_BYTES, Connection, Expected, Reply, WrongAnswer, field, request_head
from loadtest._site import PREFIX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from locust.env import Environment

    from loadtest._samples import Target
    from loadtest._site import File
    from loadtest._targets import Stage

AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
)
LANGUAGES = ("en-GB,en;q=0.9", "de,en-US;q=0.7,en;q=0.3", "fr-FR,fr;q=0.9,en;q=0.8", "ja", "pt-BR,pt;q=0.9")
ACCEPTS = {
    "page": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "image": "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
}
NEW_VISITOR_SHARE = 0.2
COUNTED_SHARE = 0.5
REVALIDATE_SHARE = 0.6
SEEKS = 5
MULTI_RANGE_SHARE = 0.3
RANGES = 4
SLOW_RECEIVE_BUFFER = 64 * KIB
SLOW_PIECE_BYTES = 32 * KIB
SLOW_BYTES_PER_S = 2 * 1024 * KIB


class Visitor(User):
    """A connection to each server, and one place where answers are judged and reported to locust."""

    abstract = True
    receive_buffer = 0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.links: dict[str, Connection] = {}
        self._turn = random.randrange(6)

    def on_start(self) -> None:
        stage = session.of(self.environment).stage_for_user()
        if stage is None:
            raise StopUser
        self.meet(stage)

    def meet(self, stage: Stage) -> None:
        """Learn where to ask and what must come."""
        self.targets = stage.targets
        self.tree = stage.tree
        room = self.receive_buffer
        self.links = {each.mode: Connection(each.host, each.port, room) for each in stage.targets}

    def on_stop(self) -> None:
        for link in self.links.values():
            link.close()

    def in_turn(self) -> Iterator[Target]:
        """Every server once; who comes first alternates."""
        self._turn += 1
        first = self._turn % len(self.targets)
        yield from self.targets[first:] + self.targets[:first]

    def ask(
        self,
        target: Target,
        scene: str,
        path: str,
        expected: Expected,
        fields: bytes = b"",
        pace: Callable[[], None] | None = None,
    ) -> Reply | None:
        """One request, checked and reported as `MODE scene`. None when it failed: locust's table says why."""
        reply, error = None, None
        started = time.perf_counter()
        try:
            head = request_head(path, target.authority, fields)
            piece = SLOW_PIECE_BYTES if pace else PIECE_BYTES
            reply = self.links[target.mode].ask(head, expected, pace, piece)
        except (WrongAnswer, OSError) as caught:
            error = caught
        self.environment.events.request.fire(
            request_type="GET",
            name=f"{target.mode} {scene}",
            response_time=(time.perf_counter() - started) * 1000,
            response_length=reply.body_bytes if reply else 0,
            exception=error,
            context={},
        )
        return reply

    def whole(self, file: File) -> Expected:
        return Expected(200, file.size, file.sha256)


class Browser(Visitor):
    """Opens pages with all they need, with cookies of its own, and asks again by ETag for what it has
    seen."""

    weight = 10
    wait_time = between(0.3, 1.2)

    def on_start(self) -> None:
        super().on_start()
        self.become_somebody()

    def become_somebody(self) -> None:
        """A new visitor: other browser, other cookies, nothing seen yet."""
        self.agent, self.language = random.choice(AGENTS), random.choice(LANGUAGES)
        self.cookie = f"sid={uuid.uuid4().hex}; theme={random.choice(('dark', 'light'))}"
        # Some sites count views in a cookie, so that no two requests are alike; others leave it alone.
        self.counted = random.random() < COUNTED_SHARE
        self.views = 0
        self.etags: dict[tuple[str, str], bytes] = {}
        for link in self.links.values():
            link.close()

    def fields(self, role: str, referer: str) -> bytes:
        lines = [
            f"User-Agent: {self.agent}",
            f"Accept: {ACCEPTS.get(role, '*/*')}",
            f"Accept-Language: {self.language}",
            "Accept-Encoding: identity",
            f"Cookie: {self.cookie}" + (f"; views={self.views}" if self.counted else ""),
        ]
        if referer:
            lines.append(f"Referer: {referer}")
        return ("\r\n".join(lines) + "\r\n").encode("ascii")

    @task
    def visit(self) -> None:
        pages = self.tree.of("page") or self.tree.of("asset", "image") or self.tree.files[:1]
        page = random.choice(pages)
        self.views += 1
        self.see(page, "")
        for need in page.needs:
            file = self.tree.find(need)
            if file.role in ("asset", "image"):
                self.see(file, page.target)
        for target in self.in_turn() if self.tree.missing else ():
            fields = self.fields("image", page.target)
            self.ask(target, "missing file (404)", self.tree.missing, Expected(404, None, None), fields)
        if random.random() < NEW_VISITOR_SHARE:
            self.become_somebody()

    def see(self, file: File, referer: str) -> None:
        """The same to each server: revalidate what was seen before, or fetch it."""
        again = random.random() < REVALIDATE_SHARE
        again = again and all((each.mode, file.target) in self.etags for each in self.targets)
        for target in self.in_turn():
            referer_url = f"http://{target.authority}{referer}" if referer else ""
            fields = self.fields(file.role, referer_url)
            if again:
                etag = self.etags[target.mode, file.target]
                fields += b"If-None-Match: %b\r\n" % etag
                expected = Expected(304, 0, None, ((b"etag", etag),))
                self.ask(target, "revalidation (304)", file.target, expected, fields)
                continue
            reply = self.ask(target, file.role, file.target, self.whole(file), fields)
            etag_now = field(reply.head, b"etag") if reply else None
            if etag_now is not None:
                self.etags[target.mode, file.target] = etag_now


class Downloader(Visitor):
    """Fetches large files whole; small ones more often than large ones."""

    weight = 3
    wait_time = between(1.0, 3.0)

    @task
    def download(self) -> None:
        files = self.tree.of("download") or self.tree.seekable()
        if not files:
            raise StopUser
        file = random.choices(files, [1 / file.size for file in files])[0]
        for target in self.in_turn():
            self.ask(target, f"download {size_text(file.size)}", file.target, self.whole(file))


class Seeker(Visitor):
    """Jumps about in a video: range requests, each answered by exactly those bytes; at times several at
    once."""

    weight = 4
    wait_time = between(0.3, 1.0)

    @task
    def watch(self) -> None:
        files = self.tree.seekable()
        if not files:
            raise StopUser
        file = random.choice(files)
        for span in random.choices(file.spans, k=SEEKS):
            last = span.first + span.length - 1
            content_range = b"bytes %d-%d/%d" % (span.first, last, file.size)
            expected = Expected(206, span.length, span.sha256, ((b"content-range", content_range),))
            self.seek("seek (206)", file, span.spec, expected)
        spans = multipart.choose(file, RANGES)
        if len(spans) > 1 and random.random() < MULTI_RANGE_SHARE:
            judge = partial(multipart.check, spans=spans, size=file.size)
            expected = Expected(206, None, None, judge=judge)
            self.seek("several ranges (206)", file, multipart.range_value(spans), expected)

    def seek(self, scene: str, file: File, spec: str, expected: Expected) -> None:
        for target in self.in_turn():
            self.ask(target, scene, file.target, expected, b"Range: %b\r\n" % spec.encode("ascii"))


class SlowReader(Visitor):
    """Reads a file at 2 MiB/s through a modest receive buffer, from all servers at the same time."""

    weight = 2
    wait_time = between(0.2, 1.0)
    receive_buffer = SLOW_RECEIVE_BUFFER

    @task
    def read(self) -> None:
        files = self.tree.of("download") or self.tree.seekable()
        if not files:
            raise StopUser
        file = min(files, key=lambda each: each.size)
        readers = Group()
        try:
            for target in self.in_turn():
                expected = self.whole(file)
                readers.spawn(self.ask, target, "slow reader", file.target, expected, b"", _wait_a_piece)
            readers.join()
        finally:
            readers.kill()


def _wait_a_piece() -> None:
    gevent.sleep(SLOW_PIECE_BYTES / SLOW_BYTES_PER_S)


class Aborter(Visitor):
    """Begins a download, checks its first 64 KiB and leaves: in order or by RST, in turns."""

    weight = 1
    wait_time = between(0.5, 2.0)

    @task
    def leave(self) -> None:
        files = [file for file in self.tree.files if file.spans and file.size > PREFIX_BYTES]
        if not files:
            raise StopUser
        file = random.choice(files)
        expected = Expected(200, file.size, file.spans[0].sha256, prefix=PREFIX_BYTES)
        reset = random.random() < 0.5
        for target in self.in_turn():
            self.ask(target, "aborted download", file.target, expected)
            self.links[target.mode].close(reset=reset)


def size_text(size: int) -> str:
    """Bytes for a name in a table: 4 MiB, 300 KiB."""
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{max(1, size // KIB)} KiB"

"""A server without sockets: heads are cut as the engines cut them, and answered by the handler.

It has what `play` needs of a server and of a connection, so that the same rules check the same bytes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from zchttpd._core.testing import Heads

from zchttpd.config.load import load
from zchttpd.config.settings import OPTIONS, Settings
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.files.singleflight import Job
from zchttpd.handler.handler import Handler
from zchttpd.http.dates import DATE_SIZE, format_date

from . import play
from .cases.site import SITES
from .client import STUCK_S, Peer, Reply, request
from .confined import without_override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zchttpd.handler.answer import Answer

    from .case import Case

LINE_SIZE_MAX = 8192
HEAD_SIZE_MAX = Settings(root=Path("/")).head_size_max


def next_head(received: bytes, head_size_max: int = HEAD_SIZE_MAX) -> tuple[str, bytes]:
    """("head", its bytes), or why there is none: "more" bytes are needed, or it is "broken", "line_long" or
    "head_long".

    One empty line before it is a part of it (RFC 9112 section 2.2).
    """
    heads = Heads(min(LINE_SIZE_MAX, head_size_max), head_size_max)
    heads.append(received)
    found, length = heads.look()
    before = b"\r\n" if length == 2 else b""
    if before and len(received) > 2:
        heads.consume(2)
        found, length = heads.look()
    whole = found == "head" and length is not None and length > 2
    return (found, received[: len(before) + length]) if whole else ("more" if before else found, b"")


def text_of(name: str, value: object) -> str:
    """An option as one text: True as a switch, a tuple as many times, a tuple in it as several words."""
    if value is True:
        return "yes"
    texts = value if isinstance(value, tuple) else (value,)
    return OPTIONS[name].separator.join(
        " ".join(text) if isinstance(text, tuple) else str(text) for text in texts
    )


class DeskServer:
    """A handler over `root`. Options are as those of a `Server`."""

    name = "handler"

    def __init__(self, root: Path, **options: Any) -> None:
        settings = load({"root": str(root), **{name: text_of(name, options[name]) for name in options}}, {})
        self._root = Root(root)
        self._mailbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._handler = Handler(settings, EntryCache(self._root, settings, post=self._mailbox.put))

    def close(self) -> None:
        """Give the descriptors back."""
        self._root.close()

    def peer(self) -> DeskPeer:
        """A new connection to it."""
        return DeskPeer(self)

    def ask(self, request: bytes) -> Reply:
        """One request on a connection of its own."""
        with self.peer() as peer:
            return peer.ask(request)

    def answer(self, head: bytes) -> Answer:
        """What the handler says, once it has what it has to make first."""
        while isinstance(said := self._handler.answer(head, int(time.monotonic() * 1000)), Job):
            told: list[OSError | None] = []
            said.waiting.append(told.append)
            while not told:
                self._mailbox.get(timeout=STUCK_S)()
            assert told == [None]
        return said

    def etag(self, path: bytes, encoding: bytes) -> bytes:
        """The entity tag of a path, with this Accept-Encoding."""
        lines = [b"Accept-Encoding: " + encoding] if encoding else []
        tag = self.ask(request(path, *lines, method="HEAD")).field(b"etag")
        assert tag, f"{path!r} has no ETag"
        return tag

    def play(self, case: Case) -> object:
        """Play a case whole and in a pipeline; what must be the same on every engine (`play.summary`)."""
        with without_override():
            etags = {each: self.etag(*each) for each in case.needs_etags}
            first, second = (play.summary(play.whole(self, case, etags)) for _ in range(2))
            assert first == second, "what was remembered of the first answer changes the second one"
            if not case.half_close:
                play.pipelined(self, case, etags)
        return first


class Handlers:
    """A handler for each set of options that the tables are for. What it says of a case is kept."""

    def __init__(self, root: Path, site: Path) -> None:
        self._plain = DeskServer(root)
        self._sites = {name: DeskServer(site, **options) for name, (options, _) in SITES.items()}
        self._said: dict[tuple[str, str], object] = {}

    def play(self, table: str, case: Case) -> object:
        """`DeskServer.play` of a case of that table."""
        key = (table, case.name)
        if key not in self._said:
            self._said[key] = self._sites.get(table, self._plain).play(case)
        return self._said[key]

    def close(self) -> None:
        """Give the descriptors back."""
        for server in (self._plain, *self._sites.values()):
            server.close()


class DeskPeer(Peer):
    """One connection that is none: what is sent is answered at once."""

    def __init__(self, server: DeskServer) -> None:
        self._server = server
        self._asked = b""
        self._shut = False
        self.rest = b""
        self.reset = False
        self.ended = False

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, chunks: bytes | Iterable[bytes]) -> None:
        """Keep it until an answer is wanted."""
        self._asked += chunks if isinstance(chunks, bytes) else b"".join(chunks)

    def half_close(self) -> None:
        """No more requests follow."""
        self._shut = True

    def receive(self) -> bytes:
        """The whole next response, b"" at the end."""
        if self.rest:
            said, self.rest = self.rest, b""
            return said
        found, head = next_head(self._asked)
        if found == "head":
            self._asked = self._asked[len(head) :]
            answer = self._server.answer(head.removeprefix(b"\r\n"))
            if not answer.keep_alive:
                self._asked, self._shut = b"", True
            return _bytes_of(answer)
        assert found == "more", f"this is never a head, but {found}: {self._asked[:80]!r}"
        assert self._shut, f"the handler would wait for more than {self._asked[:80]!r}"
        self.ended = True
        return b""


def _bytes_of(answer: Answer) -> bytes:
    """What an engine sends."""
    date = format_date(int(time.time()))
    assert len(date) == DATE_SIZE
    said = [answer.head[: answer.date_at], date, answer.head[answer.date_at + DATE_SIZE :]]
    if answer.representation is None:
        return b"".join([*said, *(part for part in answer.parts if isinstance(part, bytes))])
    file = answer.representation.open()
    try:
        for part in answer.parts:
            said.append(part if isinstance(part, bytes) else os.pread(file, part.length, part.offset))
    finally:
        os.close(file)
    return b"".join(said)

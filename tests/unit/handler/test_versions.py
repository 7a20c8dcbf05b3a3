"""Validators of files that change: a conditional request never says of other bytes that they are the same."""

from __future__ import annotations

import itertools
import os
import queue
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zchttpd.config.settings import Settings
from zchttpd.files import digests
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.files.singleflight import Job
from zchttpd.handler.handler import Handler

from .test_handler import ask, head_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zchttpd.handler.answer import Answer

LARGE = digests.WAITED_SIZE_MAX + 1


@contextmanager
def handler_of(place: Path, post: Callable[[Callable[[], None]], None] | None = None) -> Iterator[Handler]:
    root = Root(place)
    options = Settings(root=place, revalidate_ms=0)
    yield Handler(options, EntryCache(root, options, post=post))
    root.close()


# Whatever happens to the files

S = 1_000_000_000
SET_NS = 1_700_000_000 * S
# With a fraction a time counts as lived, until other bytes come under it.
LIVED_NS = SET_NS + 7
# None: as it was written.
TIMES = st.sampled_from(
    [
        *(None, None, 0, 315_532_801 * S, 499_162_500 * S, SET_NS, LIVED_NS),
        *(1_700_000_001 * S, 1_600_000_000 * S + 7, 4_000_000_000 * S),
    ]
)
NAMES = ["f", "g.js", "g.js.br", "d/index.html"]
ASKED = [("/f", "identity"), ("/g.js", "identity"), ("/g.js", "br"), ("/d/", "identity")]
TEXTS = [b"1234", b"abcd", b"+-*/"]
WAYS = ["rename", "in place", "other time", "chmod", "remove", "swap"]
STEPS = st.lists(
    st.tuples(st.sampled_from(WAYS), st.sampled_from(NAMES), st.sampled_from(TEXTS), TIMES),
    min_size=2,
    max_size=8,
)


class Tree:
    """Two releases and a link to one, as deployments have them. Each change has a ctime of its own."""

    def __init__(self, base: Path) -> None:
        self.releases = itertools.cycle([base / "one", base / "two"])
        self.here = next(self.releases)
        for release in ("one", "two"):
            (base / release / "d").mkdir(parents=True)
        self.link = base / "www"
        self.link.symlink_to("one")

    def change(self, way: str, name: str, text: bytes, mtime_ns: int | None) -> None:
        path = self.here / name
        if way == "swap":
            self.here = next(self.releases)
            (self.link.parent / "next").symlink_to(self.here.name)
            os.replace(self.link.parent / "next", self.link)
            return
        if way == "remove":
            path.unlink(missing_ok=True)
            return
        before_ns = path.stat().st_ctime_ns if path.exists() else 0
        if way == "rename" or not path.exists():
            (self.here / "new").write_bytes(text)
            os.replace(self.here / "new", path)
        elif way == "in place":
            path.write_bytes(text)
        elif way == "chmod":
            path.chmod(0o600)
        if mtime_ns is not None and way != "chmod":
            os.utime(path, ns=(mtime_ns, mtime_ns))
        while path.stat().st_ctime_ns <= before_ns:
            # Within one tick of the kernel's clock nobody could tell the one from the other.
            path.chmod(0o600)


@dataclass(frozen=True)
class Seen:
    """What a client has had."""

    body: bytes
    coding: str | None
    tag: str | None
    date: str | None


def look(handler: Handler, target: str, coding: str) -> Seen | None:
    _, received = ask(handler, target, f"Accept-Encoding: {coding}")
    if received.status != 200:
        return None
    fields = (received["content-encoding"], received["etag"], received["last-modified"])
    return Seen(received.body, *fields)


def hold(handler: Handler, target: str, had: set[Seen], now: Seen, coding: str) -> None:
    assert ask(handler, target, f"Accept-Encoding: {coding}", f"If-None-Match: {now.tag}")[0].status == 304
    for old in had:
        for field, value in (("If-None-Match", old.tag), ("If-Modified-Since", old.date)):
            if value is None:
                continue
            status = ask(handler, target, f"Accept-Encoding: {coding}", f"{field}: {value}")[0].status
            assert status in (200, 304)
            same = (old.body, old.coding) == (now.body, now.coding)
            assert status == 200 or same, f"{field} of {old} brings 304, and now there is {now}"
        for value in (old.tag, old.date):
            if value is None:
                continue
            asked = (f"Accept-Encoding: {coding}", f"If-Range: {value}", "Range: bytes=1-")
            _, part = ask(handler, target, *asked)
            assert part.status in (200, 206)
            assert part.status == 200 or old.body[:1] + part.body == now.body
        if old.tag is not None:
            status = ask(handler, target, f"Accept-Encoding: {coding}", f"If-Match: {old.tag}")[0].status
            assert status == 412 or old.body == now.body


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(STEPS)
@example([("rename", "f", b"1234", LIVED_NS), ("rename", "f", b"abcd", LIVED_NS)])
@example([("rename", "f", b"1234", LIVED_NS), ("in place", "f", b"abcd", LIVED_NS)])
@example([("rename", "f", text, LIVED_NS + by) for text, by in ((b"1234", 0), (b"+-*/", 9), (b"abcd", 0))])
@example([("rename", "f", text, None) for text in TEXTS])
@example([("rename", "g.js", b"1234", SET_NS), ("rename", "g.js.br", b"abcd", SET_NS)])
@example([("rename", "f", b"1234", SET_NS), ("swap", "", b"", None), ("rename", "f", b"abcd", SET_NS)])
def test_no_earlier_tag_or_date_brings_304_or_a_part_of_other_bytes(
    steps: list[tuple[str, str, bytes, int | None]],
) -> None:
    base = Path(tempfile.mkdtemp())
    try:
        tree = Tree(base)
        had: dict[tuple[str, str], set[Seen]] = {asked: set() for asked in ASKED}
        with handler_of(tree.link) as handler:
            for step in steps:
                tree.change(*step)
                for target, coding in ASKED:
                    now = look(handler, target, coding)
                    if now is not None:
                        had[target, coding].add(now)
                        hold(handler, target, had[target, coding], now, coding)
    finally:
        shutil.rmtree(base)


@pytest.mark.parametrize("mtime_s", [0, 315_532_801, 499_162_500, 1_700_000_000, 4_000_000_000])
def test_other_bytes_of_equal_length_and_time(tmp_path: Path, mtime_s: int) -> None:
    with handler_of(tmp_path) as handler:
        tags = []
        for text in (b"1234", b"abcd", b"1234"):
            (tmp_path / "new").write_bytes(text)
            os.utime(tmp_path / "new", (mtime_s, mtime_s))
            os.replace(tmp_path / "new", tmp_path / "f")
            tags.append(ask(handler, "/f")[1]["etag"])
            for old in tags[:-1]:
                same = old == tags[-1]
                assert ask(handler, "/f", f"If-None-Match: {old}")[0].status == (304 if same else 200)
        assert tags[0] == tags[2] != tags[1]


def test_a_set_time_that_stays_is_a_date(tmp_path: Path) -> None:
    date = "Tue, 14 Nov 2023 22:13:20 GMT"
    (tmp_path / "f").write_bytes(b"1234")
    os.utime(tmp_path / "f", (1_700_000_000, 1_700_000_000))
    with handler_of(tmp_path) as handler:
        assert ask(handler, "/f")[1]["last-modified"] == date
        assert ask(handler, "/f", f"If-Modified-Since: {date}")[0].status == 304
        assert ask(handler, "/f", f"If-Range: {date}", "Range: bytes=0-0")[0].status == 206


# While a digest is made


class Slow:
    """A handler whose digests in threads wait for `go`, and files whose times were set."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mailbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.go = Event()
        self.place = place
        real = digests.hash_through

        def hash_through(*arguments: Any) -> bytes:
            assert self.go.wait(20)
            return real(*arguments)

        monkeypatch.setattr(digests, "hash_through", hash_through)
        monkeypatch.setattr(digests, "AT_ONCE_SIZE_MAX", -1)

    def put(self, name: str, text: bytes, size: int, mtime_s: int = 0) -> None:
        with open(self.place / "new", "wb") as file:
            file.write(text)
            file.truncate(size)
        os.utime(self.place / "new", (mtime_s, mtime_s))
        os.replace(self.place / "new", self.place / name)

    def end(self, job: object) -> OSError | None:
        """Let hashing go on until this ends."""
        assert isinstance(job, Job)
        told: list[OSError | None] = []
        job.waiting.append(told.append)
        self.go.set()
        while not told:
            self.mailbox.get(timeout=20)()
        return told[0]


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow(tmp_path, monkeypatch)
    yield made
    made.go.set()


def answered(answer: Answer | Job) -> Answer:
    assert not isinstance(answer, Job)
    return answer


def test_others_are_answered_while_a_small_file_is_hashed(slow: Slow) -> None:
    slow.put("set", b"set", 100)
    (slow.place / "lived").write_bytes(b"lived")
    with handler_of(slow.place, slow.mailbox.put) as handler:
        job = handler.answer(head_of("/set"), 0)
        assert isinstance(job, Job)
        assert ask(handler, "/lived")[0].status == 200
        assert handler.answer(head_of("/set", method="HEAD"), 0) is job
        assert slow.end(job) is None
        answer, received = ask(handler, "/set")
        assert answer.cacheable
        assert ask(handler, "/set", f"If-None-Match: {received['etag']}")[0].status == 304


def test_a_large_file_is_sent_without_a_tag_while_it_is_hashed(slow: Slow) -> None:
    slow.put("set", b"set", LARGE, 1_700_000_000)
    with handler_of(slow.place, slow.mailbox.put) as handler:
        for fields in ((), ('If-None-Match: "h1-2"',), ('If-Range: "h1-2"', "Range: bytes=0-0")):
            answer = answered(handler.answer(head_of("/set", *fields), 0))
            assert (answer.status, answer.cacheable) == (200, False)
            assert b"\r\nETag:" not in answer.head
            assert b"\r\nLast-Modified:" in answer.head
        assert answered(handler.answer(head_of("/set", "Range: bytes=0-0"), 0)).status == 206
        assert answered(handler.answer(head_of("/set", "If-Match: *"), 0)).status == 200
        # Neither yes nor no can be said.
        job = handler.answer(head_of("/set", 'If-Match: "h1-2"'), 0)
        assert slow.end(job) is None
        assert answered(handler.answer(head_of("/set", 'If-Match: "h1-2"'), 0)).status == 412
        answer = answered(handler.answer(head_of("/set"), 0))
        tag = answer.head.split(b"\r\nETag: ")[1].split(b"\r\n")[0].decode()
        assert answer.cacheable
        assert answered(handler.answer(head_of("/set", f"If-Match: {tag}"), 0)).status == 200
        assert answered(handler.answer(head_of("/set", f"If-None-Match: {tag}"), 0)).status == 304


def test_a_file_that_is_replaced_while_it_is_hashed_is_looked_up_anew(slow: Slow) -> None:
    slow.put("set", b"1234", 100)
    with handler_of(slow.place, slow.mailbox.put) as handler:
        job = handler.answer(head_of("/set"), 0)
        slow.put("set", b"abcd", 100)
        error = slow.end(job)
        assert error is not None
        assert slow.end(handler.answer(head_of("/set"), 0)) is None
        assert ask(handler, "/set")[1].body.startswith(b"abcd")


def test_the_page_of_an_error_waits_for_no_digest(slow: Slow) -> None:
    slow.put("404.html", b"nothing", 100)
    root = Root(slow.place)
    options = Settings(root=slow.place, error_pages=True)
    handler = Handler(options, EntryCache(root, options, post=slow.mailbox.put))
    assert ask(handler, "/no-such")[0].status == 404
    root.close()

"""What the machine answers by itself is what the handler says, byte for byte, whatever happens to the tree.

Two workers over one real tree, whose peer is the test: one knows the site, and one leaves all to its handler.
"""

from __future__ import annotations

import errno
import os
import select
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zchttpd._core import testing, testing_site
from zchttpd._core.stats import STATS_BYTES
from zchttpd.config.load import load
from zchttpd.engine.loader import Loader
from zchttpd.engine.new_paths import NewPaths
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.files.singleflight import LoopMailbox
from zchttpd.handler.handler import Handler
from zchttpd.telemetry.shared_stats import cells_of

from .test_handler import head_of
from .test_templates import FIELDS, NAMES, SIZES, STUCK_S, TARGETS, WAYS, Tree, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REVALIDATE_MS = 1000
# Mostly such as a write gives, but of long ago.
LIVED_NS = 1_700_000_000_000_000_007
TIMES = st.sampled_from([*(LIVED_NS + step * 400_000_000 for step in range(6)), None, 0, LIVED_NS - 7])
CHANGE = st.tuples(st.sampled_from([*WAYS, "rename back"]), st.sampled_from(NAMES), SIZES, TIMES)
HEADS = st.builds(
    lambda target, fields, method, version: head_of(target, *fields, method=method, version=version),
    TARGETS,
    st.one_of(st.just([]), st.just([]), FIELDS),
    st.sampled_from(["GET", "GET", "GET", "GET", "HEAD"]),
    st.sampled_from(["1.1", "1.1", "1.1", "1.0"]),
)
STEP = st.tuples(
    st.lists(CHANGE, max_size=2), st.lists(HEADS, max_size=4), st.sampled_from([0, 1, 1001, 1001])
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "cors": st.just("yes"),
        "clean_urls": st.just("yes"),
        "error_pages": st.just("yes"),
        "spa": st.just("yes"),
        "no_precompressed": st.just("yes"),
        "zc_size_min": st.sampled_from(["1", "8"]),
        "plans_max": st.just("16"),
        "header": st.sampled_from(["dir/* X-A: b\n*.txt Vary: Origin", "[ab].txt X-A: b", "?.txt X-A: b"]),
        "cache_control": st.sampled_from(["/a.txt=max-age=5", "d*=no-cache"]),
        "immutable": st.just("e.*"),
        "type": st.sampled_from(["b.txt=text/x-b", "*.svg=text/x-s"]),
        "coding": st.just("c=gzip"),
        "digest": st.just("yes"),
    },
)
LIMITS = {
    "head_size_max": 1 << 15,
    "line_size_max": 8192,
    "head_ms_max": 10**9,
    "idle_ms_max": 10**9,
    "stall_ms_max": 10**9,
    "linger_ms_max": 10**9,
    "window_size": 4096,
    "windows_per_connection": 2,
    "window_count": 8,
    "connections_max": 16,
    "refusals_max": 4,
    "connections_per_address": 2**32 - 1,
    "requests_per_second": 2**32 - 1,
    "requests_burst": 1,
    "bytes_per_second": 2**64 - 1,
    "leases_per_connection": 8,
    "memory_files_max": 256,
    "part_bytes_max": 100_000,
    "held_bytes_max": 1 << 20,
    "turn_bytes_max": 1 << 20,
    "way_bytes": 1 << 30,
}


class Server:
    """A worker, `by_itself` or not, and its kernel: files are real, connections are not."""

    def __init__(self, place: Path, *, by_itself: bool, **options: str) -> None:
        asked = load({"root": str(place), "revalidate_ms": str(REVALIDATE_MS), **options}, {})
        self.root = Root(place)
        self._wake, waker = os.pipe()
        os.set_blocking(waker, False)
        # Who owns the waker closes it.
        mailbox = LoopMailbox(waker)
        cache = EntryCache(self.root, asked, post=mailbox.post)
        new_paths = NewPaths(asked, self.root, cache)
        new_paths._knows = new_paths._knows and by_itself
        cells = partial(cells_of, memoryview(bytearray(STATS_BYTES)))
        loader = Loader(asked, Handler(asked, cache), [cache], mailbox, new_paths, cells)
        self.looks = 0  # that found something
        self._recv = self._accept = self._watch = 0
        self._said = b""
        self._due: list[tuple[int, int]] = []
        self.machine = testing.SimWorker(
            execute=self._execute,
            handler=loader,
            limits=LIMITS | {"zc_size_min": max(1, asked.zc_size_min)},
            plans_max=asked.plans_max,
            send_mode="plain",
        )
        loader.begin(self.machine)
        self.machine.start()

    def close(self) -> None:
        self.machine.close()
        self.root.close()
        os.close(self._wake)

    def _execute(self, op: testing.ExecutedOp) -> int:
        if op.kind == "look":
            error: int = testing_site.look_for(op.address, op.fd)
            self.looks += error == 0
            return error
        if op.kind == "check_root":
            result: int = testing_site.look_for_root(op.address)
            return result
        if op.kind in ("accept", "recv", "watch"):
            setattr(self, f"_{op.kind}", op.token)
        elif op.kind == "send":
            self._said += self.machine.peek(op.address, op.length)
            self._due.append((op.token, op.length))
        elif op.kind == "cancel_all":
            self._due += [(self._recv, -errno.ECANCELED), (op.token, 0)]
        elif op.kind == "cancel":
            self._due += [(op.offset, -errno.ECANCELED), (op.token, 0)]
        elif op.kind == "close":
            self._due.append((op.token, 0))
        elif op.kind == "close_file":
            os.close(op.fd)
        elif op.kind == "fill":
            content = os.pread(op.fd, op.length, op.offset)
            self.machine.poke(op.address, content)
            self._due.append((op.token, len(content)))
        elif op.kind == "map_file":
            return -errno.ENOMEM
        elif op.kind == "read":
            content = os.pread(op.fd, op.length, op.offset)
            self.machine.poke(op.address, content)
            self._due.append((op.token, len(content)))
        return 0

    def ask(self, heads: list[bytes], now_ms: int) -> bytes:
        """All that is said to these heads, sent at once on a connection of their own."""
        self.machine.now_us, self.machine.unix_second = 5_000_000 + now_ms * 1000, int(time.time())
        self._said = b""
        self.machine.deliver(self._accept, 100, True)
        self.machine.step()
        _, slot, _ = testing.unpack(self._recv)
        self.machine.deliver(self._recv, sum(map(len, heads)), True, received=b"".join(heads))
        self.machine.step()
        while self._goes_on(slot):
            self.machine.step()
        self.machine.deliver(self._recv, 0)
        while self._due or self.machine.conn(slot)["state"]:
            self._goes_on(slot)
            self.machine.step()
        return self._said

    def _goes_on(self, slot: int) -> bool:
        if self._due:
            self.machine.deliver(*self._due.pop(0))
            return True
        if testing.STATES.get(self.machine.conn(slot)["state"]) != "parked":
            return False
        if not self.machine.conn(slot)["queued"]:
            assert select.select([self._wake], [], [], STUCK_S)[0], "nothing ever comes"
            os.read(self._wake, 512)
            self.machine.deliver(self._watch, 1)
        return True


class Pair:
    """One worker that answers by itself, and one that does not; they are asked the same."""

    def __init__(self, place: Path, **options: str) -> None:
        self.alone = Server(place, by_itself=True, **options)
        self.handled = Server(place, by_itself=False, **options)

    def close(self) -> None:
        self.alone.close()
        self.handled.close()

    def ask(self, *heads: bytes, now_ms: int = 0) -> bytes:
        said, expected = (server.ask([*heads], now_ms) for server in (self.alone, self.handled))
        assert _dateless(said) == _dateless(expected)
        return said


def _dateless(said: bytes) -> list[bytes]:
    return [line for line in said.split(b"\r\n") if not line.startswith(b"Date: ")]


def alter(place: Tree, way: str, name: str, size: int, mtime_ns: int | None) -> None:
    """As `Tree.change`; or a directory takes the place of another, with all its files as they were."""
    if way != "rename back":
        place.change(way, name, size, mtime_ns)
        return
    here, there = place.root / "dir", place.root.parent / "dir"
    if here.is_symlink():
        return
    if there.exists():
        here.rename(place.root.parent / "old")
        there.rename(here)
        (place.root.parent / "old").rename(there)
    else:
        there.mkdir()
        (there / "a.txt").write_bytes(b"other")
        os.utime(there / "a.txt", ns=(LIVED_NS + size, LIVED_NS + size))


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(OPTIONS, st.lists(CHANGE, max_size=12), st.lists(STEP, min_size=4, max_size=12))
def test_the_machine_answers_as_the_handler_does(
    options: dict[str, str],
    changes: list[tuple[str, str, int, int | None]],
    steps: list[tuple[list[tuple[str, str, int, int | None]], list[bytes], int]],
) -> None:
    with tree() as place:
        for change in changes:
            alter(place, *change)
        pair = Pair(place.root, **options)
        now_ms = 0
        try:
            for more, heads, later_ms in steps:
                for change in more:
                    alter(place, *change)
                now_ms += later_ms
                pair.ask(*heads, now_ms=now_ms)
        finally:
            pair.close()


@pytest.fixture
def place() -> Iterator[Tree]:
    with tree() as made:
        for number, name in enumerate(("a.txt", "b.txt", "dir/a.txt", "dir/b.txt")):
            made.change("write", name, 9, LIVED_NS + number * 10**9)
        yield made


@pytest.fixture
def pair(place: Tree) -> Iterator[Pair]:
    made = Pair(place.root)
    yield made
    made.close()


def test_a_clean_url_says_nothing_of_other_names(place: Tree) -> None:
    """Its type is that of the file which it leads to, and not that of its own name."""
    for name in ("c.html", "noext"):
        place.change("write", name, 9, LIVED_NS)
    pair = Pair(place.root, clean_urls="yes")
    try:
        for path in ("/c", "/c", "/noext"):
            pair.ask(head_of(path))
    finally:
        pair.close()


def test_new_paths_are_answered_without_the_handler(pair: Pair) -> None:
    pair.ask(head_of("/a.txt"))
    assert pair.alone.looks == 0
    for looks, target in enumerate(("/b.txt", "/dir/a.txt", "/dir/b.txt"), 1):
        pair.ask(head_of(target))
        assert (pair.alone.looks, pair.handled.looks) == (looks, 0)


def test_second_looks_as_well(pair: Pair, place: Tree) -> None:
    pair.ask(head_of("/a.txt"), head_of("/b.txt"))
    pair.ask(head_of("/a.txt"), head_of("/b.txt"), now_ms=1001)
    assert pair.alone.looks == 3
    place.change("rename", "b.txt", 5, LIVED_NS)
    place.change("write", "a.txt.gz", 5, LIVED_NS)
    pair.ask(head_of("/a.txt"), head_of("/b.txt"), now_ms=2002)
    pair.ask(head_of("/a.txt"), head_of("/b.txt"), now_ms=3003)


def test_what_is_older_gets_another_tag_and_date(pair: Pair, place: Tree) -> None:
    """Whoever put it there, and whoever gave the other."""
    pair.ask(head_of("/a.txt"), head_of("/b.txt"))
    for now_ms, mtime_ns in ((1001, LIVED_NS - 10**9), (2002, LIVED_NS + 9), (3003, LIVED_NS + 10**10)):
        place.change("rename", "a.txt", 9, mtime_ns)
        place.change("rename", "b.txt", 9, mtime_ns)
        said = pair.ask(head_of("/b.txt"), head_of("/a.txt"), now_ms=now_ms)
        assert (b'ETag: "h' in said) == (mtime_ns < LIVED_NS + 10**10)


def test_a_root_that_leads_elsewhere(place: Tree, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(place.root)
    pair = Pair(link)
    pair.ask(head_of("/a.txt"), head_of("/b.txt"))
    link.unlink()
    link.symlink_to(place.root / "dir")
    assert pair.ask(head_of("/dir/b.txt"), now_ms=1).startswith(b"HTTP/1.1 404")
    pair.ask(head_of("/b.txt"), head_of("/a.txt"), now_ms=1001)
    pair.ask(head_of("/b.txt", "Accept: x"), now_ms=1002)
    looks = pair.alone.looks
    pair.ask(head_of("/a.txt", "Accept: x"), now_ms=1003)
    assert pair.alone.looks == looks + 1
    pair.close()

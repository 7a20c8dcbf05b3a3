"""Listings that are kept, and what is made in a thread."""

from __future__ import annotations

import errno
import itertools
import os
import queue
from functools import partial
from typing import TYPE_CHECKING

import pytest

from zchttpd.files import listing_cache, singleflight
from zchttpd.files.listing import SORTS, Order
from zchttpd.files.listing_cache import ListingCache, etag
from zchttpd.files.listing_page import HTML, JSON
from zchttpd.files.memfd import MemoryRepresentation
from zchttpd.files.root import Root
from zchttpd.files.singleflight import Pending, SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zchttpd.files.singleflight import Job

LARGE = listing_cache.ITEMS_AT_ONCE + 1


@pytest.fixture
def www(tmp_path: Path) -> Path:
    (tmp_path / "www").mkdir()
    return tmp_path / "www"


@pytest.fixture
def root(www: Path) -> Iterator[Root]:
    opened = Root(www)
    yield opened
    opened.close()


class Loop:
    """A loop that does what is mailbox when it is told to."""

    def __init__(self) -> None:
        self._mailbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def post(self, act: Callable[[], None]) -> None:
        self._mailbox.put(act)

    def turn(self) -> None:
        """Wait for the next thing that is mailbox, and do it."""
        self._mailbox.get(timeout=60)()

    def wait(self, job: Job) -> OSError | None:
        """Until the job tells how it ended."""
        told: list[OSError | None] = []
        job.waiting.append(told.append)
        while not told:
            self.turn()
        return told[0]


def fill(directory: Path, count: int = LARGE) -> None:
    directory.mkdir(exist_ok=True)
    for number in range(count):
        (directory / f"{number:04}").write_bytes(b"")


def pending(ask: Callable[[], object]) -> Job:
    with pytest.raises(Pending) as raised:
        ask()
    return raised.value.job


# At once, where there is no loop to hold up or there is little to do


def test_a_scan_is_repeated_only_when_it_has_paid(www: Path, root: Root) -> None:
    ticks = iter([0.0, 1.0, 20.9, 21.0, 22.0, 23.0, 50.0, 51.0])
    cache = ListingCache(root, SingleFlight(None), clock=lambda: next(ticks))
    first = cache.look((), www.stat())
    (www / "new").write_bytes(b"")
    # It took one second, from 0 to 1: at 20.9 it is not due.
    assert cache.look((), www.stat()) is first
    second = cache.look((), www.stat())
    assert [name for _, name, _, _ in second.files or ()] == [b"new"]
    assert cache.look((), www.stat()) is second
    # Looked at again without a change: the same object.
    assert cache.look((), www.stat()) is second


def test_rows_are_bounded_and_can_be_had_again(
    www: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_cache, "ITEMS_MAX", 10)
    cache = ListingCache(root, SingleFlight(None))
    scans = []
    for number in range(20):
        here = www / f"d{number}"
        fill(here, 4)
        scans.append(cache.look((b"d%d" % number,), here.stat()))
        assert cache._items == sum(len(each.scan) for each in cache._scans.values()) <= 10
    assert [each.emptied for each in scans] == [True] * 18 + [False] * 2
    assert cache.page(scans[0], Order(), JSON) is None
    again = cache.look((b"d0",), (www / "d0").stat())
    assert again is scans[0]
    assert cache.page(again, Order(), JSON) is not None


def test_scans_are_bounded(www: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_cache, "SCANS_MAX", 3)
    cache = ListingCache(root, SingleFlight(None))
    for number in range(5):
        here = www / f"d{number}"
        fill(here, 2)
        cache.look((b"d%d" % number,), here.stat())
    assert len(cache._scans) == 3
    assert cache._items == 6


def test_pages_are_drawn_once_and_bounded(www: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(www, 5)
    cache = ListingCache(root, SingleFlight(None))
    found = cache.look((), www.stat())
    page = cache.page(found, Order(), HTML)
    assert page is not None
    assert cache.page(found, Order(), HTML) is page
    monkeypatch.setattr(listing_cache, "PAGES_SIZE_MAX", 8 * page.size)
    for number in range(50):
        (www / "grows").write_bytes(b"x" * number)
        found = listing_cache.scan(root, ())
        cache.page(found, Order(), HTML)
        assert cache._pages_size == sum(each.size for each in cache._pages.values()) <= 8 * page.size


def test_an_entity_tag_for_each_page(www: Path, root: Root) -> None:
    found = listing_cache.scan(root, ())
    orders = [Order(by, turned) for by in SORTS for turned in (False, True)]
    tags = {etag(found, order, kind) for order in orders for kind in (HTML, JSON)}
    assert len(tags) == 2 * len(orders) == 4 * len(SORTS)


# In a thread


def test_a_large_directory_is_looked_at_and_drawn_beside_the_loop(www: Path, root: Root) -> None:
    fill(www)
    loop = Loop()
    cache = ListingCache(root, SingleFlight(loop.post), clock=itertools.count().__next__)
    look = partial(cache.look, (), www.stat())
    job = pending(look)
    # Whoever asks meanwhile waits for the same scan.
    assert pending(look) is job
    assert loop.wait(job) is None
    found = look()
    assert len(found) == LARGE
    assert cache.drawn(found, Order(), JSON) is None
    assert loop.wait(pending(lambda: cache.page(found, Order(), JSON))) is None
    page = cache.page(found, Order(), JSON)
    assert page is not None
    assert cache.drawn(found, Order(), JSON) is page
    assert isinstance(page.body, bytes)
    assert page.body.count(b'"name"') == LARGE


def test_a_small_directory_that_has_grown_is_left_to_the_thread(www: Path, root: Root) -> None:
    fill(www, 3)
    loop, ticks = Loop(), itertools.count()
    cache = ListingCache(root, SingleFlight(loop.post), clock=lambda: next(ticks))
    before = cache.look((), www.stat())
    assert cache.page(before, Order(), JSON) is not None
    fill(www)
    while cache._scans[((), www.stat().st_dev, www.stat().st_ino)].late_s > next(ticks):
        pass
    assert loop.wait(pending(lambda: cache.look((), www.stat()))) is None
    assert len(cache.look((), www.stat())) == LARGE


def test_the_old_scan_does_for_a_while(www: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(www)
    loop, now = Loop(), [0.0]
    cache = ListingCache(root, SingleFlight(loop.post), clock=lambda: now[0])
    scan = listing_cache.scan

    def slow(*arguments: object, **bounds: int) -> object:
        now[0] += 1
        return scan(*arguments, **bounds)  # type: ignore[arg-type]

    monkeypatch.setattr(listing_cache, "scan", slow)
    loop.wait(pending(lambda: cache.look((), www.stat())))
    first = cache.look((), www.stat())
    (www / "new").write_bytes(b"")
    now[0] += listing_cache.REST
    # Due, but not for long: the old one, while a new one is on its way.
    assert cache.look((), www.stat()) is first
    loop.turn()
    second = cache.look((), www.stat())
    assert len(second) == LARGE + 1
    assert first.emptied
    (www / "newer").write_bytes(b"")
    now[0] += 10 * listing_cache.REST
    # Nobody has asked for long: what was true then is of no use.
    loop.wait(pending(lambda: cache.look((), www.stat())))
    assert len(cache.look((), www.stat())) == LARGE + 2


def test_many_symlinks_are_left_to_the_thread(www: Path, root: Root) -> None:
    (www / "f").write_bytes(b"")
    for number in range(listing_cache.LINKS_AT_ONCE + 1):
        (www / f"l{number}").symlink_to("f")
    loop = Loop()
    cache = ListingCache(root, SingleFlight(loop.post), clock=itertools.count().__next__)
    loop.wait(pending(lambda: cache.look((), www.stat())))
    assert len(cache.look((), www.stat())) == listing_cache.LINKS_AT_ONCE + 2


def test_a_thread_keeps_to_the_root_that_was(www: Path, root: Root) -> None:
    """While it cache, the loop may turn to another root, and reuse the number of the descriptor."""
    fill(www)
    kept = root.duplicate()
    number = root._fd
    root.close()
    os.close(os.dup2(os.open("/", os.O_PATH), number))
    assert len(listing_cache.scan(kept, ())) == LARGE
    kept.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        listing_cache.scan(kept, ())


def test_what_cannot_be_made_is_told(www: Path, root: Root, caplog: pytest.LogCaptureFixture) -> None:
    fill(www / "d")
    facts = (www / "d").stat()
    loop = Loop()
    cache = ListingCache(root, SingleFlight(loop.post), clock=itertools.count().__next__)
    found = pending(lambda: cache.look((b"d",), facts))
    loop.wait(found)
    scan = cache.look((b"d",), facts)
    assert scan.files is not None
    scan.files[0] = (b"", b"", "not a size", 0)  # type: ignore[assignment]
    error = loop.wait(pending(lambda: cache.page(scan, Order("size"), HTML)))
    assert error is not None
    assert error.errno == errno.EIO
    assert "could not be made" in caplog.text


def test_a_directory_that_goes_meanwhile_is_told(
    www: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(www / "d")
    loop = Loop()
    cache = ListingCache(root, SingleFlight(loop.post), clock=itertools.count().__next__)
    facts = (www / "d").stat()
    scan = listing_cache.scan

    def late(*arguments: object, **bounds: int) -> object:
        if "items_max" not in bounds:
            (www / "d").rename(www / "e")
        return scan(*arguments, **bounds)  # type: ignore[arg-type]

    monkeypatch.setattr(listing_cache, "scan", late)
    error = loop.wait(pending(lambda: cache.look((b"d",), facts)))
    assert isinstance(error, FileNotFoundError)


def test_one_at_a_time_and_not_too_many() -> None:
    loop = Loop()
    at_work = SingleFlight(loop.post)
    running: list[int] = []
    most: list[int] = []
    stored: list[int] = []

    def make(number: int) -> int:
        running.append(number)
        most.append(len(running))
        running.remove(number)
        return number

    started = [at_work.start(n, partial(make, n), stored.append) for n in range(singleflight.JOBS_MAX)]
    assert at_work.start(3, partial(make, 3), stored.append) is started[3]
    with pytest.raises(OSError, match="too many") as refused:
        at_work.start(singleflight.JOBS_MAX, partial(make, 0), stored.append)
    assert refused.value.errno == errno.EBUSY
    loop.wait(started[-1])
    assert stored == list(range(singleflight.JOBS_MAX))
    assert set(most) == {1}
    assert at_work.find(0) is None


# Large pages


@pytest.fixture
def large_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_cache, "MEMORY_FILE_SIZE_MIN", 1)


@pytest.mark.usefixtures("large_pages")
def test_a_large_page_is_a_file(www: Path, root: Root) -> None:
    fill(www, 5)
    cache = ListingCache(root, SingleFlight(None))
    found = cache.look((), www.stat())
    page = cache.page(found, Order(), HTML)
    assert page is not None
    assert isinstance(page.body, MemoryRepresentation)
    fd = page.body.open()
    facts = os.fstat(fd)
    assert (facts.st_size, facts.st_mtime_ns) == (page.size, page.body.mtime_ns)
    assert os.pread(fd, 2 * page.size, 0).endswith(b"</html>\n")
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    os.close(fd)
    cache._pages.clear()
    again = cache.page(found, Order(), HTML)
    assert again is not page
    # An engine that holds the bytes of the first need not read the second.
    assert again == page
    assert cache.page(found, Order("size"), HTML) != page


@pytest.mark.usefixtures("large_pages")
def test_an_evicted_page_gives_its_descriptor_back(
    www: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(www, 5)
    cache = ListingCache(root, SingleFlight(None))
    found = cache.look((), www.stat())
    monkeypatch.setattr(listing_cache, "PAGES_MAX", 1)
    page = cache.page(found, Order(), HTML)
    assert page is not None
    assert isinstance(page.body, MemoryRepresentation)
    fds = len(os.listdir("/proc/self/fd"))
    cache.page(found, Order("time"), HTML)
    assert len(os.listdir("/proc/self/fd")) == fds
    with pytest.raises(OSError, match=rf"{errno.ESTALE}.*given up"):
        page.body.open()
    cache._pages.clear()


@pytest.mark.usefixtures("large_pages")
def test_without_memory_files_a_page_is_bytes(www: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted() -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    for refusing in (lambda: -1, exhausted):
        monkeypatch.setattr(listing_cache, "new_memory_file", refusing)
        cache = ListingCache(root, SingleFlight(None))
        page = cache.page(cache.look((), www.stat()), Order(), JSON)
        assert page is not None
        assert page.body == b"[]\n"

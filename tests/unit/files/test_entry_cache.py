"""Entries: what a path is, how long that holds, and what is noticed."""

from __future__ import annotations

import errno
import os
import re
import socket
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.names import IDENTITY
from zchttpd.config.settings import Settings
from zchttpd.files.entry_cache import ABSENT_MAX, EntryCache
from zchttpd.files.lookup import SIBLING_LAG_NS, Entry, Kind, exhausted
from zchttpd.files.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    Unprivileged = Callable[[], AbstractContextManager[None]]

SECOND_NS = 1_000_000_000
REVALIDATE_MS = 1000


def find(cache: EntryCache, path: str, now_ms: int = 0) -> Entry:
    """The entry of a path as a URL spells it."""
    segments = tuple(os.fsencode(part) for part in path.strip("/").split("/") if part)
    return cache.lookup(segments, path.endswith("/"), now_ms)


def content(entry: Entry, encoding: str = IDENTITY) -> bytes:
    with open(entry.representations[encoding].open(), "rb") as opened:
        return opened.read()


def put(path: Path, text: bytes, mtime_ns: int | None = None) -> None:
    path.write_bytes(text)
    if mtime_ns is not None:
        os.utime(path, ns=(mtime_ns, mtime_ns))


@pytest.fixture
def tree(site: Path) -> Path:
    """One of everything."""
    put(site / "index.html", b"home")
    put(site / "file.txt", b"file")
    put(site / "empty", b"")
    (site / "dir").mkdir()
    put(site / "dir" / "index.html", b"index of dir")
    (site / "bare").mkdir()
    (site / "odd" / "index.html").mkdir(parents=True)
    os.mkfifo(site / "fifo")
    (site / "fifo-index").mkdir()
    os.mkfifo(site / "fifo-index" / "index.html")
    (site / "null").symlink_to("/dev/null")
    (site / "out").symlink_to("../secret")
    (site / "loop").symlink_to("loop")
    (site / "dirlink").symlink_to("dir")
    return site


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("/", Kind.FILE, b"home"),
        ("/index.html", Kind.FILE, b"home"),
        ("/file.txt", Kind.FILE, b"file"),
        ("/empty", Kind.FILE, b""),
        ("/dir/", Kind.FILE, b"index of dir"),
        ("/dirlink/", Kind.FILE, b"index of dir"),
        ("/dir", Kind.REDIRECT, None),
        ("/dirlink", Kind.REDIRECT, None),
        ("/bare", Kind.REDIRECT, None),
        ("/bare/", Kind.DIRECTORY, None),
        ("/odd/", Kind.DIRECTORY, None),
        ("/fifo-index/", Kind.DIRECTORY, None),
        ("/file.txt/", Kind.MISSING, None),
        ("/file.txt/extra", Kind.MISSING, None),
        ("/none", Kind.MISSING, None),
        ("/none/", Kind.MISSING, None),
        ("/none/none", Kind.MISSING, None),
        ("/fifo", Kind.MISSING, None),
        ("/fifo/", Kind.MISSING, None),
        ("/null", Kind.MISSING, None),
        ("/out", Kind.MISSING, None),
        ("/out/", Kind.MISSING, None),
        ("/loop", Kind.MISSING, None),
        ("/" + "n" * 300, Kind.MISSING, None),
        ("/" + "n" * 300 + "/", Kind.MISSING, None),
        ("/" + "/".join(["n" * 200] * 30), Kind.MISSING, None),
    ],
)
def test_what_a_path_is(cache: EntryCache, tree: Path, path: str, kind: Kind, text: bytes | None) -> None:
    entry = find(cache, path)
    assert entry.kind is kind
    assert (content(entry) if entry.representations else None) == text


def test_a_socket_is_nothing(cache: EntryCache, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert find(cache, "/socket").kind is Kind.MISSING


def test_the_name_is_that_of_the_file(cache: EntryCache, tree: Path) -> None:
    assert find(cache, "/dir/").state.segments == (b"dir", b"index.html")
    assert find(cache, "/file.txt").state.segments == (b"file.txt",)
    assert find(cache, "/none").state.segments == ()


def test_unreadable(cache: EntryCache, tree: Path, unprivileged: Unprivileged) -> None:
    (tree / "file.txt").chmod(0)
    (tree / "index.html").chmod(0)
    put(tree / "bare" / "x", b"x")
    (tree / "bare").chmod(0)
    with unprivileged():
        assert find(cache, "/file.txt").kind is Kind.FORBIDDEN
        assert find(cache, "/").kind is Kind.FORBIDDEN
        assert find(cache, "/bare/x").kind is Kind.FORBIDDEN
        assert find(cache, "/bare/none").kind is Kind.FORBIDDEN
        assert find(cache, "/bare/").kind is Kind.FORBIDDEN
        assert find(cache, "/file.txt/").kind is Kind.MISSING
        (entry,) = [find(cache, "/file.txt")]
        assert cache.revalidate(entry, REVALIDATE_MS)
    (tree / "file.txt").chmod(0o644)
    (tree / "bare").chmod(0o755)
    with unprivileged():
        assert not cache.revalidate(entry, 2 * REVALIDATE_MS)
        assert find(cache, "/file.txt", 2 * REVALIDATE_MS).kind is Kind.FILE


# Validators


def test_the_etag_is_mtime_and_size_with_a_separator(cache: EntryCache, site: Path) -> None:
    put(site / "x", b"12345", 1_700_000_000_123_456_789)
    found = find(cache, "/x").representations[IDENTITY]
    assert found.etag == f'"{1_700_000_000_123_456_789:x}-5"'
    assert found.last_modified_s == 1_700_000_000
    # Nanoseconds count, and so does where the number ends.
    put(site / "y", b"12345", 1_700_000_000_123_456_790)
    assert find(cache, "/y").representations[IDENTITY].etag != found.etag


def test_last_modified_is_never_in_the_future(root: Root, site: Path) -> None:
    put(site / "x", b"x", 253_402_300_800 * SECOND_NS // 30)
    cache = EntryCache(root, Settings(root=site), wall=lambda: 1_700_000_000.9)
    # A second early: the Date that goes with it may have been taken a moment ago.
    assert find(cache, "/x").representations[IDENTITY].last_modified_s == 1_699_999_999


def test_no_inode_in_the_etag(cache: EntryCache, site: Path) -> None:
    put(site / "x", b"x", 1_700_000_000 * SECOND_NS)
    put(site / "y", b"x", 1_700_000_000 * SECOND_NS)
    tags = {find(cache, path).representations[IDENTITY].etag for path in ("/x", "/y")}
    assert len(tags) == 1


# Precompressed siblings


def test_siblings_are_representations(cache: EntryCache, site: Path) -> None:
    put(site / "app.js", b"plain")
    for suffix in (".br", ".zst", ".gz"):
        put(site / f"app.js{suffix}", f"packed{suffix}".encode())
    entry = find(cache, "/app.js")
    assert set(entry.representations) == {IDENTITY, "br", "zstd", "gzip"}
    assert entry.varies
    assert entry.state.segments == (b"app.js",)
    assert content(entry, "zstd") == b"packed.zst"
    tags = {each.etag for each in entry.representations.values()}
    assert len(tags) == len(entry.representations)
    for encoding in ("br", "zstd", "gzip"):
        assert entry.representations[encoding].etag.endswith(f'-{encoding}"')


def test_siblings_of_an_index(cache: EntryCache, site: Path) -> None:
    put(site / "index.html", b"plain")
    put(site / "index.html.gz", b"packed")
    assert content(find(cache, "/"), "gzip") == b"packed"


def test_a_sibling_is_also_a_file_of_its_own(cache: EntryCache, site: Path) -> None:
    put(site / "app.js.br", b"packed")
    put(site / "app.js.br.br", b"twice")
    entry = find(cache, "/app.js.br")
    assert set(entry.representations) == {IDENTITY}
    assert not entry.varies
    assert find(cache, "/app.js").kind is Kind.MISSING


def test_a_sibling_is_opened_under_the_same_policy(cache: EntryCache, site: Path) -> None:
    put(site / "app.js", b"plain")
    put(site / ".br", b"hidden")
    (site / "app.js.br").symlink_to("../secret")
    (site / "app.js.gz").symlink_to(".br")
    os.mkfifo(site / "app.js.zst")
    entry = find(cache, "/app.js")
    assert set(entry.representations) == {IDENTITY}
    assert not entry.varies


def test_an_unreadable_sibling_is_as_none(cache: EntryCache, site: Path, unprivileged: Unprivileged) -> None:
    put(site / "app.js", b"plain")
    put(site / "app.js.br", b"packed")
    (site / "app.js.br").chmod(0)
    with unprivileged():
        assert set(find(cache, "/app.js").representations) == {IDENTITY}


@pytest.mark.parametrize(
    ("lag_ns", "used"), [(-SECOND_NS, True), (SIBLING_LAG_NS, True), (SIBLING_LAG_NS + 1, False)]
)
def test_a_sibling_of_an_earlier_edition_is_not_used(
    cache: EntryCache, site: Path, lag_ns: int, used: bool
) -> None:
    base_ns = 1_700_000_000 * SECOND_NS
    put(site / "app.js", b"plain", base_ns)
    put(site / "app.js.br", b"packed", base_ns - lag_ns)
    assert ("br" in find(cache, "/app.js").representations) is used


# Freshness


def test_an_entry_is_kept_until_it_is_due(cache: EntryCache, site: Path) -> None:
    put(site / "x", b"old")
    entry = find(cache, "/x")
    assert entry.check_at_ms == REVALIDATE_MS
    put(site / "x", b"newer")
    assert find(cache, "/x", REVALIDATE_MS - 1) is entry
    after = find(cache, "/x", REVALIDATE_MS)
    assert after is not entry
    assert after.generation != entry.generation
    assert content(after) == b"newer"


def test_an_unchanged_entry_is_kept_after_it_is_due(cache: EntryCache, site: Path) -> None:
    put(site / "x", b"x")
    entry = find(cache, "/x")
    generation = entry.generation
    assert find(cache, "/x", 5000) is entry
    assert entry.check_at_ms == 5000 + REVALIDATE_MS
    assert entry.generation == generation


def test_revalidation_every_time(root: Root, site: Path) -> None:
    cache = EntryCache(root, Settings(root=site, revalidate_ms=0))
    put(site / "x", b"old")
    find(cache, "/x", 7)
    put(site / "x", b"newer")
    assert content(find(cache, "/x", 7)) == b"newer"


def rewrite(site: Path) -> None:
    (site / "f").write_bytes(b"rewritten")


def replace(site: Path) -> None:
    put(site / "other", b"f", (site / "f").stat().st_mtime_ns)
    (site / "other").rename(site / "f")


def same_size_same_mtime(site: Path) -> None:
    mtime_ns = (site / "f").stat().st_mtime_ns
    put(site / "f", b"g", mtime_ns)


def remove(site: Path) -> None:
    (site / "f").unlink()


def turn_to_directory(site: Path) -> None:
    (site / "f").unlink()
    (site / "f").mkdir()


def hide_behind_symlink(site: Path) -> None:
    (site / "f").rename(site / ".f")
    (site / "f").symlink_to(".f")


def add_sibling(site: Path) -> None:
    put(site / "f.br", b"packed")


def change_permissions(site: Path) -> None:
    (site / "f").chmod(0o600)


@pytest.mark.parametrize(
    "change",
    [rewrite, replace, same_size_same_mtime, remove, turn_to_directory, hide_behind_symlink, add_sibling,
     change_permissions],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_a_changed_file_is_noticed(cache: EntryCache, site: Path, change: Callable[[Path], None]) -> None:
    put(site / "f", b"f")
    entry = find(cache, "/f")
    assert cache.revalidate(entry, REVALIDATE_MS)
    change(site)
    assert not cache.revalidate(entry, 2 * REVALIDATE_MS)
    assert entry.check_at_ms == 2 * REVALIDATE_MS
    assert find(cache, "/f", 2 * REVALIDATE_MS).generation != entry.generation


@pytest.mark.parametrize("change", [remove, rewrite], ids=lambda change: change.__name__)
def test_a_changed_sibling_is_noticed(cache: EntryCache, site: Path, change: Callable[[Path], None]) -> None:
    put(site / "base", b"base")
    put(site / "f", b"f")
    (site / "base.gz").symlink_to("f")
    entry = find(cache, "/base")
    assert entry.varies
    assert cache.revalidate(entry, REVALIDATE_MS)
    change(site)
    assert not cache.revalidate(entry, REVALIDATE_MS)


@pytest.mark.parametrize(
    ("path", "appears"),
    [("/f", "f"), ("/d/", "d/index.html"), ("/d", "gone"), ("/d/f", "d/f"), ("/f/", "f/index.html")],
)
def test_what_was_not_there_is_noticed(cache: EntryCache, site: Path, path: str, appears: str) -> None:
    (site / "d").mkdir()
    entry = find(cache, path)
    assert not entry.representations
    assert cache.revalidate(entry, REVALIDATE_MS)
    if appears == "gone":
        (site / "d").rmdir()
    else:
        (site / appears).parent.mkdir(exist_ok=True)
        put(site / appears, b"now")
    assert not cache.revalidate(entry, 2 * REVALIDATE_MS)
    assert find(cache, path, 2 * REVALIDATE_MS).kind is not entry.kind


def test_a_swapped_root_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "x", name.encode())
    put(tmp_path / "two" / "only", b"only")
    (tmp_path / "current").symlink_to("one")
    root = Root(tmp_path / "current")
    cache = EntryCache(root, Settings(root=tmp_path / "current"))
    entry, missing = find(cache, "/x"), find(cache, "/only")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "current")
    assert find(cache, "/x", REVALIDATE_MS - 1) is entry
    assert content(find(cache, "/x", REVALIDATE_MS)) == b"two"
    assert not cache.revalidate(missing, REVALIDATE_MS)
    root.close()


def test_a_new_path_is_looked_up_in_the_root_of_now(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "x", name.encode())
    (tmp_path / "current").symlink_to("one")
    root = Root(tmp_path / "current")
    cache = EntryCache(root, Settings(root=tmp_path / "current"))
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "current")
    assert content(find(cache, "/x")) == b"two"
    root.close()


def test_an_evicted_entry_can_still_be_revalidated(root: Root, site: Path) -> None:
    cache = EntryCache(root, Settings(root=site, plans_max=16))
    put(site / "first", b"first")
    entry = find(cache, "/first")
    for number in range(16):
        put(site / str(number), b"")
        find(cache, f"/{number}")
    assert find(cache, "/first") is not entry
    assert cache.revalidate(entry, REVALIDATE_MS)
    rewrite(site)
    (site / "f").rename(site / "first")
    assert not cache.revalidate(entry, REVALIDATE_MS)


def test_a_later_edition_is_not_forgotten_with_the_earlier(cache: EntryCache, site: Path) -> None:
    put(site / "f", b"f")
    earlier = find(cache, "/f")
    rewrite(site)
    later = find(cache, "/f", REVALIDATE_MS)
    assert later is not earlier
    assert not cache.revalidate(earlier, REVALIDATE_MS)
    assert find(cache, "/f", REVALIDATE_MS) is later


def test_an_outdated_entry_is_forgotten_at_once(cache: EntryCache, site: Path) -> None:
    put(site / "f", b"f")
    entry = find(cache, "/f")
    rewrite(site)
    assert find(cache, "/f", 1) is entry
    assert not cache.revalidate(entry, 1)
    assert content(find(cache, "/f", 1)) == b"rewritten"


# Bounds


def test_a_flood_of_invented_names_pushes_nothing_out(cache: EntryCache, site: Path) -> None:
    put(site / "x", b"x")
    entry = find(cache, "/x")
    size = len(cache)
    for number in range(2 * ABSENT_MAX):
        find(cache, f"/none-{number}")
    assert find(cache, "/x") is entry
    assert len(cache) == size + ABSENT_MAX


def test_files_are_bounded_and_the_unused_goes_first(root: Root, site: Path) -> None:
    cache = EntryCache(root, Settings(root=site, plans_max=16))
    for number in range(17):
        put(site / str(number), b"")
    entries = [find(cache, f"/{number}") for number in range(16)]
    assert find(cache, "/0") is entries[0]
    find(cache, "/16")
    assert len(cache) == 16
    assert find(cache, "/0") is entries[0]
    assert find(cache, "/1") is not entries[1]


def test_a_revalidated_entry_counts_as_used(root: Root, site: Path) -> None:
    cache = EntryCache(root, Settings(root=site, plans_max=16))
    for number in range(17):
        put(site / str(number), b"")
    entries = [find(cache, f"/{number}") for number in range(16)]
    assert cache.revalidate(entries[0], 0)
    find(cache, "/16")
    assert find(cache, "/0") is entries[0]


def test_a_path_is_in_one_table_only(cache: EntryCache, site: Path) -> None:
    for now_ms, present in enumerate((True, False, True, False)):
        (put(site / "f", b"f") if present else remove(site))
        assert (find(cache, "/f", now_ms * REVALIDATE_MS).kind is Kind.FILE) is present
        assert len(cache) == 1


def test_generations_are_never_used_twice(cache: EntryCache, site: Path) -> None:
    seen = [find(cache, f"/{number}").generation for number in range(50)]
    assert len(set(seen)) == len(seen)


# Opening


def test_a_replaced_file_is_not_opened(cache: EntryCache, site: Path) -> None:
    put(site / "f", b"f")
    found = find(cache, "/f").representations[IDENTITY]
    fd = found.open()
    assert found.same_as(os.fstat(fd))
    os.close(fd)
    replace(site)
    with pytest.raises(OSError, match="replaced") as caught:
        found.open()
    assert caught.value.errno == errno.ESTALE
    remove(site)
    with pytest.raises(FileNotFoundError):
        found.open()


def test_equal_representations_are_the_same_bytes(cache: EntryCache, site: Path) -> None:
    put(site / "index.html", b"home")
    one, other = (find(cache, path).representations[IDENTITY] for path in ("/", "/index.html"))
    assert one == other
    assert hash(one) == hash(other)
    os.utime(site / "index.html", ns=(5 * SECOND_NS, 5 * SECOND_NS))
    assert find(cache, "/", REVALIDATE_MS).representations[IDENTITY] != one


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN])
def test_out_of_descriptors(
    cache: EntryCache, site: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(site / "x", b"x")
    put(site / "y", b"y")
    entry = find(cache, "/x")

    def full(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Root, "open", full)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        find(cache, "/y")
    assert exhausted(caught.value)
    # What is known goes on being served.
    assert find(cache, "/x", 10 * REVALIDATE_MS) is entry
    monkeypatch.undo()
    assert find(cache, "/y").kind is Kind.FILE


def test_a_broken_disk_is_not_a_missing_file(
    cache: EntryCache, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(site / "x", b"x")
    entry = find(cache, "/x")

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Root, "open", broken)
    assert not cache.revalidate(entry, REVALIDATE_MS)
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EIO))) as caught:
        find(cache, "/x", REVALIDATE_MS)
    assert not exhausted(caught.value)

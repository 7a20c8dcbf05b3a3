"""Encodings that are made: once for each version, off the loop, within bounds, never of another version."""

from __future__ import annotations

import errno
import os
import threading
import zlib
from typing import TYPE_CHECKING, Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from zchttpd.config.names import ENCODINGS, IDENTITY
from zchttpd.config.settings import Settings
from zchttpd.files import compressor as module
from zchttpd.files.compressor import PENDING_MAX, RESULTS, UNFIT_MAX, Compressed, Compressor, Unavailable
from zchttpd.files.encoders import ENCODERS, Encoder, chosen
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zchttpd.files.version import Representation

KIB = 1024
TEXT = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(2000))
STUCK_S = 60.0
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "zstd": lambda content: zstandard.ZstdDecompressor().decompress(content),
    "gzip": lambda content: zlib.decompress(content, 31),
}


class Cells:
    """The counters, by name."""

    def __init__(self) -> None:
        self._cells: dict[str, memoryview] = {}

    def __call__(self, name: str) -> memoryview:
        return self._cells.setdefault(name, memoryview(bytearray(24 * 8)).cast("Q"))

    def ended(self, encoding: str, result: str) -> int:
        """How many compressions into `encoding` ended so."""
        at = list(ENCODERS).index(encoding) * len(RESULTS) + RESULTS.index(result)
        return int(self("compressions")[at])


class Bench:
    """Compressors over the files of a directory; each is closed in the end."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.cells = Cells()
        self.root = Root(site)
        self._cache = EntryCache(self.root, Settings(root=site, revalidate_ms=0, no_precompressed=True))
        self._made: list[Compressor] = []

    def compressor(self, **options: Any) -> Compressor:
        bounds = {"size_min": 1, "size_max": 1 << 20, "memory": 1 << 20, "threads": 1, **options}
        compressor = Compressor(tuple(ENCODERS), self.cells, **bounds)
        self._made.append(compressor)
        return compressor

    def put(self, name: str, content: bytes) -> Representation:
        """Write a file; its only representation."""
        (self.site / name).write_bytes(content)
        return self._cache.lookup((name.encode(),), False, 0).representations[IDENTITY]

    def made(self, compressor: Compressor, base: Representation, encoding: str = "br") -> Compressed:
        """The encoding, after it has been waited for."""
        assert compressor.find(base, encoding, start=True) is Unavailable.PENDING
        finish(compressor)
        made = compressor.find(base, encoding, start=True)
        assert isinstance(made, Compressed)
        return made

    def close(self) -> None:
        for compressor in self._made:
            compressor.close()
        self.root.close()


def finish(compressor: Compressor) -> None:
    """Until what was begun has ended; for one thread, which does one after the other."""
    compressor._executors[None].submit(int).result(STUCK_S)


def content_of(representation: Representation) -> bytes:
    with open(representation.open(), "rb") as opened:
        return opened.read()


class Encoding:
    """A coding of the test's own: `act` makes the bytes; `calls` are the contents that came."""

    def __init__(self, act: Callable[[bytes], bytes]) -> None:
        self.act = act
        self.calls: list[bytes] = []

    def __call__(self, content: bytes) -> bytes:
        self.calls.append(content)
        return self.act(content)


@pytest.fixture
def bench(site: Path) -> Iterator[Bench]:
    bench = Bench(site)
    yield bench
    bench.close()


@pytest.fixture
def as_br(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[bytes], bytes]], Encoding]:
    """Puts a function in the place of brotli."""

    def put(act: Callable[[bytes], bytes]) -> Encoding:
        encoding = Encoding(act)
        monkeypatch.setitem(ENCODERS, "br", Encoder("", lambda _module: encoding))
        return encoding

    return put


@pytest.mark.parametrize("encoding", ENCODERS)
def test_it_decodes_to_the_file(bench: Bench, encoding: str) -> None:
    base = bench.put("a.txt", TEXT)
    made = bench.made(bench.compressor(), base, encoding)
    content = content_of(made)
    assert DECODERS[encoding](content) == TEXT
    assert made.size == len(content) < len(TEXT)
    assert (made.encoding, made.last_modified_s) == (encoding, base.last_modified_s)
    assert bench.cells.ended(encoding, "made") == 1
    assert bench.cells("compressed_bytes")[0] == made.size


def test_tags_are_of_the_bytes(bench: Bench) -> None:
    base = bench.put("a.txt", TEXT)
    tags = {encoding: bench.made(bench.compressor(), base, encoding).etag for encoding in ENCODERS}
    again = {encoding: bench.made(bench.compressor(), base, encoding).etag for encoding in ENCODERS}
    assert again == tags
    assert len({base.etag, *tags.values()}) == 4
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags.values())
    other = bench.put("b.txt", TEXT + b"!")
    assert bench.made(bench.compressor(), other).etag != tags["br"]


def test_another_level_makes_another_tag(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    base = bench.put("a.txt", TEXT)
    tag = bench.made(bench.compressor(), base).etag
    monkeypatch.setattr("zchttpd.files.encoders.BROTLI_QUALITY", 5)
    assert bench.made(bench.compressor(), base).etag != tag


@pytest.mark.parametrize("mtime_s", [0, 1, -86_400, 1_700_000_000, 16_000_000_000])
def test_what_it_opens_is_what_the_engines_check(bench: Bench, mtime_s: int) -> None:
    bench.put("a.txt", TEXT)
    os.utime(bench.site / "a.txt", ns=(mtime_s * 10**9 + 7, mtime_s * 10**9 + 7))
    base = bench._cache.lookup((b"a.txt",), False, 0).representations[IDENTITY]
    made = bench.made(bench.compressor(), base)
    fd = made.open()
    try:
        assert made.same_as(os.fstat(fd))
        assert made.mtime_ns == base.mtime_ns
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (1, False)])
def test_it_must_save_a_part_of_the_file(bench: Bench, as_br: Any, spare: int, fits: bool) -> None:
    encoding = as_br(lambda content: bytes(950 + spare))
    compressor = bench.compressor()
    base = bench.put("a.txt", bytes(1000))
    compressor.find(base, "br", start=True)
    finish(compressor)
    for _ in range(3):
        assert isinstance(compressor.find(base, "br", start=True), Compressed) is fits
        finish(compressor)
    assert len(encoding.calls) == 1
    assert bench.cells.ended("br", "made" if fits else "unfit") == 1


def test_only_what_has_the_right_size_may_be_compressed(bench: Bench) -> None:
    compressor = bench.compressor(size_min=10, size_max=20)
    sizes = {size: compressor.encodings_of(bench.put("a.txt", bytes(size))) for size in (9, 10, 20, 21)}
    assert sizes == {9: (), 10: tuple(ENCODERS), 20: tuple(ENCODERS), 21: ()}


def test_nothing_is_begun_unless_it_is_asked_for(bench: Bench, as_br: Any) -> None:
    encoding = as_br(lambda content: b"")
    compressor = bench.compressor()
    base = bench.put("a.txt", TEXT)
    assert compressor.find(base, "br", start=False) is Unavailable.PENDING
    finish(compressor)
    assert encoding.calls == []
    bench.made(compressor, base)
    assert isinstance(compressor.find(base, "br", start=False), Compressed)


def test_many_requests_are_one_compression(bench: Bench, as_br: Any) -> None:
    gate = threading.Event()
    encoding = as_br(lambda content: b"x" * gate.wait(STUCK_S))
    compressor = bench.compressor(threads=4)
    base = bench.put("a.txt", TEXT)
    askers = [
        threading.Thread(target=compressor.find, args=(base, "br"), kwargs={"start": True}) for _ in range(20)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(STUCK_S)
    assert compressor.find(base, "br", start=True) is Unavailable.PENDING
    assert bench.cells("compressions_pending")[0] == 1
    gate.set()
    compressor.close()
    assert isinstance(compressor.find(base, "br", start=True), Compressed)
    assert encoding.calls == [TEXT]
    assert bench.cells("compressions_pending")[0] == 0


def test_so_many_at_a_time(bench: Bench, as_br: Any) -> None:
    gate, two = threading.Event(), threading.Barrier(3, timeout=STUCK_S)

    def hold(content: bytes) -> bytes:
        if not gate.is_set():
            two.wait()
            gate.wait(STUCK_S)
        return b""

    encoding = as_br(hold)
    compressor = bench.compressor(threads=2)
    bases = [bench.put(f"{number}.txt", TEXT) for number in range(3)]
    for base in bases:
        compressor.find(base, "br", start=True)
    two.wait()
    assert len(encoding.calls) == 2
    assert bench.cells("compressions_pending")[0] == 3
    gate.set()
    compressor._executors[None].shutdown()
    assert all(isinstance(compressor.find(base, "br", start=True), Compressed) for base in bases)


def test_what_waits_is_bounded(bench: Bench, as_br: Any) -> None:
    gate = threading.Event()
    as_br(lambda content: b"x" * gate.wait(STUCK_S))
    compressor = bench.compressor()
    bases = [bench.put(f"{number}.txt", TEXT) for number in range(PENDING_MAX + 2)]
    for base in bases:
        assert compressor.find(base, "br", start=True) is Unavailable.PENDING
    assert bench.cells("compressions_pending")[0] == PENDING_MAX
    assert bench.cells.ended("br", "postponed") == 2
    gate.set()
    finish(compressor)
    standing = [compressor.find(base, "br", start=True) for base in bases]
    assert [isinstance(each, Compressed) for each in standing] == [True] * PENDING_MAX + [False] * 2
    finish(compressor)
    assert isinstance(compressor.find(bases[-1], "br", start=True), Compressed)


@pytest.mark.parametrize("change", ["write", "replace", "unlink", "truncate"])
def test_a_file_that_changes_meanwhile_is_not_kept(bench: Bench, as_br: Any, change: str) -> None:
    path = bench.site / "a.txt"

    def disturb(content: bytes) -> bytes:
        if change == "write":
            path.write_bytes(TEXT)
        elif change == "replace":
            (bench.site / "new").write_bytes(TEXT)
            os.replace(bench.site / "new", path)
        elif change == "unlink":
            path.unlink()
        else:
            os.truncate(path, 10)
        return b"of the old version"

    encoding = as_br(disturb)
    compressor = bench.compressor()
    base = bench.put("a.txt", TEXT)
    for _ in range(3):
        assert not isinstance(compressor.find(base, "br", start=True), Compressed)
        finish(compressor)
    assert len(encoding.calls) == 1, "that version does not come back"
    assert (bench.cells.ended("br", "stale"), bench.cells.ended("br", "made")) == (1, 0)
    assert bench.cells("compressed_bytes")[0] == 0
    if change != "unlink":
        encoding.act = lambda content: b"of the new version"
        new = bench.put("a.txt", TEXT + b"new")
        assert content_of(bench.made(compressor, new)) == b"of the new version"


def test_a_file_that_was_replaced_before_is_not_read(bench: Bench, as_br: Any) -> None:
    encoding = as_br(lambda content: b"")
    compressor = bench.compressor()
    base = bench.put("a.txt", TEXT)
    bench.put("a.txt", TEXT + b"new")
    compressor.find(base, "br", start=True)
    finish(compressor)
    assert compressor.find(base, "br", start=True) is Unavailable.UNFIT
    assert encoding.calls == []


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(bench: Bench, as_br: Any) -> None:
    as_br(lambda content: content[:100])
    compressor = bench.compressor(memory=250)
    bases = [bench.put(f"{number}.txt", bytes([number]) * 1000) for number in range(3)]
    first, second = (bench.made(compressor, base) for base in bases[:2])
    assert compressor.find(bases[0], "br", start=True) == first
    bench.made(compressor, bases[2])
    assert bench.cells("compressed_bytes")[0] == 200
    assert content_of(first) == bytes(100)
    with pytest.raises(OSError, match="evicted") as gone:
        second.open()
    assert gone.value.errno == errno.ESTALE
    again = bench.made(compressor, bases[1])
    assert (again, again.etag) == (second, second.etag), "who still has its bytes may go on with them"
    assert content_of(second) == bytes([1]) * 100


def test_what_is_known_not_to_shrink_is_bounded(bench: Bench, as_br: Any) -> None:
    encoding = as_br(lambda content: content)
    compressor = bench.compressor()
    base = bench.put("a.txt", TEXT)
    compressor.find(base, "br", start=True)
    finish(compressor)
    assert compressor.find(base, "br", start=True) is Unavailable.UNFIT
    for number in range(UNFIT_MAX - 1):
        compressor._unfit[(base.version, str(number))] = None
    other = bench.put("b.txt", TEXT)
    compressor.find(other, "br", start=True)
    finish(compressor)
    assert len(compressor._unfit) == UNFIT_MAX
    assert compressor.find(base, "br", start=True) is Unavailable.PENDING
    finish(compressor)
    assert len(encoding.calls) == 3


def test_out_of_descriptors_it_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    compressor = bench.compressor()
    base = bench.put("a.txt", TEXT)

    def refuse(_segments: tuple[bytes, ...], _flags: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as full:
        full.setattr(bench.root, "open", refuse)
        compressor.find(base, "br", start=True)
        finish(compressor)
    assert bench.cells.ended("br", "failed") == 1
    assert DECODERS["br"](content_of(bench.made(compressor, base))) == TEXT


def test_what_the_library_refuses_is_told_once(
    bench: Bench, as_br: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(content: bytes) -> bytes:
        raise ValueError("no such luck")

    as_br(fail)
    compressor = bench.compressor()
    base = bench.put("a.txt", TEXT)
    for _ in range(3):
        compressor.find(base, "br", start=True)
        finish(compressor)
    assert [record.message for record in caplog.records] == ["br of a file could not be made"]
    assert bench.cells.ended("br", "broken") == 1
    assert compressor.find(base, "br", start=True) is Unavailable.UNFIT


def test_settings_make_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Compressor.of(Settings(root=bench.site), bench.cells) is None
    asked = Settings(root=bench.site, compress=("gzip",), compress_size_min=10)
    compressor = Compressor.of(asked, bench.cells)
    assert compressor is not None
    assert compressor.encodings_of(bench.put("a.txt", bytes(10))) == ("gzip",)
    assert compressor.encodings_of(bench.put("a.txt", bytes(9))) == ()
    compressor.close()
    assert module.notes(asked) == module.notes(Settings(root=bench.site)) == []

    def refuse(_name: str, _flags: int) -> int:
        raise PermissionError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert Compressor.of(asked, bench.cells) is None
    assert "memfd_create" in module.notes(asked)[0]


def test_what_is_not_installed_is_left_out_or_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = Settings(root=site, compress=("auto",))
    assert chosen(everything.compress) == ("br", "zstd", "gzip")
    monkeypatch.setitem(ENCODINGS, "br", "no_such_module")
    assert chosen(everything.compress) == ("zstd", "gzip")
    assert module.notes(everything) == ["compression: without br. Fix: pip install no_such_module"]
    assert module.notes(Settings(root=site, compress=("gzip",))) == []

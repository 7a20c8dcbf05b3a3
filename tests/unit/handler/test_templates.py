"""What a template answers is what the handler answers without any, byte for byte, for any tree and head."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zchttpd.config.load import load
from zchttpd.files.compressor import Compressor
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.handler.answer import Answer
from zchttpd.handler.handler import Handler
from zchttpd.handler.templates import Key, Plain, Templates

from .test_handler import head_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zchttpd.files.lookup import Entry

STUCK_S = 60.0
NAMES = [
    *(
        "a.txt",
        "b.txt",
        "c.html",
        "c",
        "d.svgz",
        "e.js",
        "e.js.br",
        "e.js.gz",
        "noext",
        "apple-app-site-association",
    ),
    *("dir/a.txt", "dir/b.txt", "dir/index.html", "dir/.hid.txt", ".hid.txt", "404.html", "index.html"),
    *("link.txt", "linked/a.txt", "out.txt", "fifo.txt"),
]
SET_NS = 1_700_000_000_000_000_000
TIMES = st.sampled_from([None, None, None, 0, SET_NS, SET_NS + 7])
SIZES = st.sampled_from([0, 1, 5, 5, 5, 9, 300])
WAYS = ["write", "write", "rename", "remove", "chmod", "link", "replace by a link"]
CHANGE = st.tuples(st.sampled_from(WAYS), st.sampled_from(NAMES), SIZES, TIMES)
TARGETS = st.one_of(
    st.sampled_from(["/" + name for name in NAMES]),
    st.sampled_from(
        [
            "/",
            "/dir",
            "/dir/",
            "/a.txt?x",
            "/./a.txt",
            "/%61.txt",
            "//a.txt",
            "/a.txt/",
            "/c/",
            "/" + "x" * 300,
        ]
    ),
)
FIELDS = st.lists(
    st.sampled_from(
        [
            *("Accept-Encoding: br", "Accept-Encoding: gzip", "Cookie: a", "Cookie: b", "Connection: close"),
            *("Range: bytes=0-0", "If-None-Match: *", "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT"),
            *('If-Range: "x"', "Expect: 100-continue", "Content-Length: 1", "Upgrade: h2c", "bad field"),
            *("sec-fetch-mode: navigate", "Accept: text/html", "If-Match: *"),
            *("Want-Repr-Digest: sha-256=9", "Want-Repr-Digest: sha-256=0", "want-content-digest: sha-256=1"),
        ]
    ),
    max_size=2,
)
HEADS = st.builds(
    lambda target, fields, method, version: head_of(target, *fields, method=method, version=version),
    TARGETS,
    FIELDS,
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST"]),
    st.sampled_from(["1.1", "1.1", "1.0"]),
)
# Not --listing: how long a scan is good for is told by the real clock, for each handler anew.
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "cors": st.just("yes"),
        "spa": st.just("yes"),
        "clean_urls": st.just("yes"),
        "error_pages": st.just("yes"),
        "no_precompressed": st.just("yes"),
        "encoded_slash": st.just("yes"),
        "compress": st.just("gzip"),
        "compress_size_min": st.just("2"),
        "zc_size_min": st.sampled_from(["0", "8"]),
        "header": st.just("dir/* X-A: b\n*.txt Vary: Origin"),
        "cache_control": st.just("/a.txt=max-age=5"),
        "immutable": st.just("e.*"),
        "type": st.just("b.txt=text/x-b"),
        "coding": st.just("c=gzip"),
        "digest": st.just("yes"),
        "digest_size_max": st.just("9"),
    },
)
REVALIDATE_MS = 1000
LATER_MS = st.sampled_from([0, 0, 1, REVALIDATE_MS])
STEP = st.tuples(st.lists(CHANGE, max_size=2), HEADS, LATER_MS)


class Tree:
    """What may lie beneath a root, and next to it."""

    def __init__(self, base: Path) -> None:
        self.root = base / "www"
        (self.root / "dir").mkdir(parents=True)
        (base / "away").mkdir()
        (base / "away" / "a.txt").write_bytes(b"secret")
        (self.root / "linked").symlink_to("dir")
        (self.root / "link.txt").symlink_to("a.txt")
        (self.root / "out.txt").symlink_to("../away/a.txt")
        os.mkfifo(self.root / "fifo.txt")

    def change(self, way: str, name: str, size: int, mtime_ns: int | None) -> None:
        path = self.root / name
        there = path.is_file() and not path.is_symlink()
        if way == "link":
            # A directory turns into a symlink out of the root, or back.
            place = self.root / "dir"
            if place.is_symlink():
                place.unlink()
                place.mkdir()
            else:
                shutil.rmtree(place)
                place.symlink_to("../away")
        elif way == "remove":
            if there:
                path.unlink()
        elif way == "chmod":
            if there:
                path.chmod(0o600)
        elif path.parent.is_symlink() or path.is_fifo():
            return
        elif way == "replace by a link":
            path.unlink(missing_ok=True)
            path.symlink_to("../away/a.txt")
        else:
            if way == "rename" or path.is_symlink():
                path.unlink(missing_ok=True)
            path.write_bytes(os.urandom(size))
            if mtime_ns is not None:
                os.utime(path, ns=(mtime_ns, mtime_ns))


class Unaided(Handler):
    """As if there were no templates."""

    def _plain_response(self, asked: Plain, head: bytes, now_ms: int, *, secure: bool) -> Answer:
        del asked
        return self._parsed_response(head, now_ms, secure=secure)


class Counted(Templates):
    """How many answers came from them."""

    def __init__(self) -> None:
        super().__init__()
        self.filled = 0

    def fill(
        self, shape: bytes, key: Key, entry: Entry, content: bytes | None, digest: bytes | None
    ) -> Answer | None:
        answer = super().fill(shape, key, entry, content, digest)
        self.filled += answer is not None
        return answer


class Site:
    """Two handlers of one root, one without templates, that are asked the same; no compression ends."""

    def __init__(self, root: Path, **options: str) -> None:
        asked = load({"root": str(root), "revalidate_ms": str(REVALIDATE_MS), **options}, {})
        self.root = Root(root)
        self._gate = threading.Event()
        self._compressor = Compressor.of(asked, lambda _: memoryview(bytearray(24 * 8)).cast("Q"))
        if self._compressor is not None:
            for _ in range(asked.compress_threads):
                self._compressor._executors[None].submit(self._gate.wait, STUCK_S)
        self.quick, self.plain = (
            kind(asked, EntryCache(self.root, asked), self._compressor) for kind in (Handler, Unaided)
        )
        self.templates = self.quick._templates = Counted()

    def close(self) -> None:
        self._gate.set()
        if self._compressor is not None:
            self._compressor.close()
        self.root.close()

    def ask(self, head: bytes, now_ms: int = 0) -> Answer:
        """What both say, which is the same."""
        said, expected = (handler.answer(head, now_ms) for handler in (self.quick, self.plain))
        assert isinstance(said, Answer)
        assert isinstance(expected, Answer)
        assert flat(said) == flat(expected)
        if said.content is not None:
            assert said.representation is not None
            with open(said.representation.open(), "rb") as file:
                assert file.read() == said.content
        return said


def flat(answer: Answer) -> tuple[object, ...]:
    """All of an answer but how its handler came to it, and what it has read."""
    entry = answer.entry
    seen = None
    if entry is not None:
        state = entry.state._replace(scan=None)
        seen = (entry.segments, entry.directory, state, entry.kind, entry.check_at_ms, entry.representations)
    return answer._replace(entry=None, content=None, template=None), seen


@contextmanager
def tree() -> Iterator[Tree]:
    base = Path(tempfile.mkdtemp())
    try:
        yield Tree(base)
    finally:
        shutil.rmtree(base)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    OPTIONS,
    st.lists(CHANGE, max_size=12),
    st.lists(
        st.tuples(st.lists(CHANGE, max_size=2), HEADS, st.sampled_from([0, 0, 1, REVALIDATE_MS])), min_size=4
    ),
)
def test_a_template_answers_as_the_handler_does(
    options: dict[str, str],
    changes: list[tuple[str, str, int, int | None]],
    steps: list[tuple[list[tuple[str, str, int, int | None]], bytes, int]],
) -> None:
    """Also at a second look, when something has been written, renamed, removed or put beside it."""
    with tree() as place:
        for change in changes:
            place.change(*change)
        site = Site(place.root, **options)
        now_ms = 0
        try:
            for more, head, later_ms in steps:
                for change in more:
                    place.change(*change)
                now_ms += later_ms
                site.ask(head, now_ms)
        finally:
            site.close()


@pytest.fixture
def place() -> Iterator[Tree]:
    with tree() as made:
        yield made


@pytest.fixture
def site(place: Tree) -> Iterator[Site]:
    for name in ("a.txt", "b.txt", "dir/a.txt"):
        place.change("write", name, 9, None)
    made = Site(place.root)
    yield made
    made.close()


def test_a_new_path_of_a_known_shape_takes_the_template(site: Site, place: Tree) -> None:
    for count, (target, cookie) in enumerate((("/a.txt", "1"), ("/b.txt", "2"), ("/dir/a.txt", "3"))):
        said = site.ask(head_of(target, f"Cookie: {cookie}"))
        assert site.templates.filled == count
        assert said.content == ((place.root / target[1:]).read_bytes() if count else None)
    site.ask(head_of("/b.txt", "Accept-Encoding: br"))
    site.ask(head_of("/a.txt", "Accept-Encoding: br"))
    assert site.templates.filled == 3


@pytest.mark.parametrize(
    ("head", "filled"),
    [
        (head_of("/b.txt"), 1),
        (head_of("/link.txt"), 1),
        (head_of("/linked/a.txt"), 1),
        (head_of("/b.txt", "Range: bytes=0-0"), 0),
        (head_of("/b.txt", "IF-None-Match: *"), 0),
        (head_of("/b.txt", "Connection: close"), 0),
        (head_of("/b.txt", method="HEAD"), 0),
        (head_of("/b.txt?x"), 0),
        (head_of("/%62.txt"), 0),
        (head_of("/./b.txt"), 0),
        (head_of("/out.txt"), 0),
        (head_of("/e.js"), 0),
    ],
)
def test_anything_odd_does_not(site: Site, place: Tree, head: bytes, filled: int) -> None:
    for name in ("e.js", "e.js.br"):
        place.change("write", name, 9, None)
    site.ask(head_of("/a.txt"))
    site.ask(head)
    assert site.templates.filled == filled


def test_a_digest_that_is_asked_for_is_of_each_file(site: Site) -> None:
    for want in ("Want-Repr-Digest", "want-content-digest"):
        for target in ("/a.txt", "/b.txt", "/dir/a.txt"):
            said = site.ask(head_of(target, f"{want}: sha-256=1"))
            assert said.head.count(b"-Digest: sha-256=:") == 1
    assert site.templates.filled == 0


def test_a_digest_that_all_are_told_is_of_each_file(place: Tree) -> None:
    for name in ("a.txt", "b.txt", "dir/a.txt"):
        place.change("write", name, 9, None)
    site = Site(place.root, digest="yes")
    for count, target in enumerate(("/a.txt", "/b.txt", "/dir/a.txt")):
        said = site.ask(head_of(target))
        assert said.head.count(b"Repr-Digest: sha-256=:") == 1
        assert said.template is None
        assert site.templates.filled == count
    site.close()


def test_a_head_that_is_not_valid_leads_to_no_file(site: Site) -> None:
    """A file is looked for only once a head of the same shape has been parsed."""
    site.ask(head_of("/a.txt"))
    assert site.ask(head_of("/b.txt", "bad field")).status == 400
    assert len(site.quick._cache) == 1


def test_no_more_than_so_many_are_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zchttpd.handler.templates.SHAPES_MAX", 2)
    for host in range(4):
        site.ask(head_of("/a.txt").replace(b"Host: h", b"Host: h%d" % host))
    assert len(site.templates._shapes) == 2


def test_what_is_no_file_is_not_opened(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes into a FIFO would be woken up."""
    opened = []
    monkeypatch.setattr(Root, "open_in", lambda *asked: opened.append(asked))
    for _ in range(2):
        assert site.ask(head_of("/fifo.txt")).status == 404
    assert not opened

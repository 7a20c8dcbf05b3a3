"""How often a look at a path, and the answer with its file, open something; and who may read it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from zchttpd.config.settings import Settings
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.lookup import Kind
from zchttpd.files.root import Root

from .test_entry_cache import REVALIDATE_MS, content, find, put

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, ...]]:
    """What is opened beneath the root from now on."""
    seen: list[tuple[bytes, ...]] = []
    real = Root.open

    def opening(self: Root, segments: tuple[bytes, ...], flags: int) -> int:
        seen.append(segments)
        return real(self, segments, flags)

    monkeypatch.setattr(Root, "open", opening)
    return seen


@pytest.mark.parametrize("encoding", ["identity", "br"])
@pytest.mark.parametrize("siblings", [(), ("br",), ("br", "gz", "zst")])
def test_a_cold_file_takes_two_opens(
    cache: EntryCache, site: Path, opened: list[tuple[bytes, ...]], siblings: Sequence[str], encoding: str
) -> None:
    """The directory, for all that is looked at there, and the file whose bytes are wanted."""
    (site / "js").mkdir()
    for suffix in ("", *(f".{each}" for each in siblings)):
        put(site / "js" / f"app.js{suffix}", b"bytes" + suffix.encode())
    entry = find(cache, "/js/app.js")
    assert opened == [(b"js",)]
    found = entry.representations.get(encoding, entry.representations["identity"])
    assert content(entry, found.encoding).startswith(b"bytes")
    assert len(opened) == 2
    del opened[:]
    assert cache.revalidate(entry, REVALIDATE_MS)
    assert opened == [(b"js",)]


@pytest.mark.parametrize(
    ("target", "kind", "opens"),
    [
        ("/none", Kind.MISSING, 1),
        ("/none/none", Kind.MISSING, 1),
        ("/file/none", Kind.MISSING, 1),
        ("/dir", Kind.REDIRECT, 1),
        ("/dir/", Kind.FILE, 1),
        ("/bare/", Kind.DIRECTORY, 1),
        ("/link", Kind.FILE, 2),
    ],
)
def test_other_paths_take_one(
    cache: EntryCache, site: Path, opened: list[tuple[bytes, ...]], target: str, kind: Kind, opens: int
) -> None:
    """A symlink may lead out, so the root is asked for what is behind it."""
    put(site / "file", b"f")
    for name in ("dir", "bare"):
        (site / name).mkdir()
    put(site / "dir" / "index.html", b"home")
    (site / "link").symlink_to("file")
    assert find(cache, target).kind is kind
    assert len(opened) == opens


@pytest.mark.parametrize("name", [b"..", b".", b"", b"../secret", b"a/b", b"a\0"])
def test_a_name_in_a_directory_leads_nowhere_else(root: Root, name: bytes) -> None:
    place = root.open((), os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(FileNotFoundError):
            root.stat_in(place, name)
    finally:
        os.close(place)


def test_what_only_an_open_refuses_is_forbidden_from_then_on(
    cache: EntryCache, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """access(2) knows nothing of what Landlock and the like forbid."""
    put(site / "app.js", b"plain")
    put(site / "app.js.br", b"packed")
    real = Root.open
    forbidden = {(b"app.js.br",)}

    def opening(self: Root, segments: tuple[bytes, ...], flags: int) -> int:
        if segments in forbidden and not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(self, segments, flags)

    monkeypatch.setattr(Root, "open", opening)
    entry = find(cache, "/app.js")
    with pytest.raises(PermissionError):
        entry.representations["br"].open()
    entry = find(cache, "/app.js", REVALIDATE_MS)
    assert set(entry.representations) == {"identity"}
    forbidden.add((b"app.js",))
    with pytest.raises(PermissionError):
        entry.representations["identity"].open()
    assert find(cache, "/app.js", 2 * REVALIDATE_MS).kind is Kind.FORBIDDEN
    # Another version may be another matter.
    forbidden.clear()
    put(site / "app.js", b"plain again")
    assert find(cache, "/app.js", 3 * REVALIDATE_MS).kind is Kind.FILE


def test_where_access_is_refused_itself_an_open_decides(
    cache: EntryCache,
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    unprivileged: Callable[[], AbstractContextManager[None]],
) -> None:
    def refused(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(os, "access", refused)
    put(site / "open", b"o")
    put(site / "closed", b"c")
    (site / "closed").chmod(0)
    with unprivileged():
        assert find(cache, "/open").kind is Kind.FILE
        assert find(cache, "/closed").kind is Kind.FORBIDDEN


def test_no_more_than_so_many_are_remembered(root: Root, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zchttpd.files.root.UNREADABLE_MAX", 2)
    cache = EntryCache(root, Settings(root=site))
    versions: list[Any] = []
    for number in range(3):
        put(site / f"f{number}", b"f")
        versions.append(find(cache, f"/f{number}").representations["identity"].version)
        root.forbid(versions[-1])
    assert root.unreadable == {versions[-1]}

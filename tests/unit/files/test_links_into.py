"""Directories that symlinks of the root may lead into, by openat2 and by walking."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.settings import Settings
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.listing import scan
from zchttpd.files.root import Root

from .test_entry_cache import content, find
from .test_root import read, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Opening = Callable[..., Root]


@pytest.fixture
def shared(site: Path) -> Path:
    """A directory beside the root, with what it has, and a secret beside both."""
    shared = site.parent / "shared"
    for name in ("up/a.txt", "up/deep/b.txt", ".env", "up/.env", "plain.txt"):
        (shared / name).parent.mkdir(parents=True, exist_ok=True)
        (shared / name).write_bytes(name.encode())
    (site / "own.txt").write_bytes(b"own")
    return shared


@pytest.fixture(params=["openat2", "walk"])
def opening(request: pytest.FixtureRequest, site: Path) -> Iterator[Opening]:
    """Makes roots of `site` whose links may lead into some directories."""
    roots: list[Root] = []

    def opened(*links_into: Path, path: Path = site) -> Root:
        roots.append(Root(path, links_into=links_into, walk=request.param == "walk"))
        return roots[-1]

    yield opened
    for root in roots:
        root.close()


@pytest.mark.parametrize(
    "target", ["../shared/up", "{shared}/up", "./../shared//up/", "../shared/up/deep/.."]
)
def test_links_lead_into_it(opening: Opening, site: Path, shared: Path, target: str) -> None:
    (site / "d").symlink_to(target.format(shared=shared))
    root = opening(shared)
    assert read(root, b"d", b"a.txt") == b"up/a.txt"
    assert read(root, b"d", b"deep", b"b.txt") == b"up/deep/b.txt"
    fd = root.open((b"d",), os.O_PATH)
    assert os.path.samestat(os.fstat(fd), os.stat(shared / "up"))
    os.close(fd)
    assert refused(opening(), b"d", b"a.txt") == errno.EXDEV


def test_nothing_else_changes(opening: Opening, site: Path, shared: Path) -> None:
    targets = {
        "beside": "../secret",
        "beside-it": str(shared.parent / "secret"),
        "private": "../www-private/x",
        "passwd": "/etc/passwd",
        "up": "..",
        "around": "../www/own.txt",
        "around-to-it": "../www/../shared/plain.txt",
        "like-it": f"{shared}-not/x",
        "above": "../shared/../secret",
        "far-above": f"{shared}/up/../../secret",
        "file-of-it": "../shared/plain.txt/x",
    }
    (shared.parent / "shared-not").mkdir()
    (shared.parent / "shared-not" / "x").write_bytes(b"secret")
    for name, target in targets.items():
        (site / name).symlink_to(target)
    root = opening(shared)
    numbers = {name: refused(root, name.encode()) for name in targets if name != "up"}
    assert numbers.pop("file-of-it") == errno.ENOTDIR
    assert set(numbers.values()) == {errno.EXDEV}
    # What a link names is its own: the path that is asked for does not go on for it.
    assert refused(root, b"up", b"shared", b"plain.txt") == errno.EXDEV
    assert refused(root, b"..", b"shared", b"plain.txt") == errno.EXDEV


def test_dotfiles_in_it_stay_hidden(opening: Opening, site: Path, shared: Path) -> None:
    (site / "env").symlink_to("../shared/.env")
    (site / "d").symlink_to(shared / "up")
    (shared / "up" / "link").symlink_to("../.env")
    root = opening(shared)
    for segments in ((b"env",), (b"d", b".env"), (b"d", b"link")):
        assert refused(root, *segments) == errno.ENOENT


def test_the_name_of_the_directory_itself_may_have_a_dot(opening: Opening, site: Path) -> None:
    store = site.parent / ".cache" / ".store"
    store.mkdir(parents=True)
    (store / "x").write_bytes(b"stored")
    (store / ".env").write_bytes(b"secret")
    for name, target in {"x": "../.cache/.store/x", "y": str(store / "x"), "z": str(store / ".env")}.items():
        (site / name).symlink_to(target)
    root = opening(store)
    assert (read(root, b"x"), read(root, b"y")) == (b"stored", b"stored")
    assert refused(root, b"z") == errno.ENOENT


def test_a_store_of_packages_within_the_root(opening: Opening, site: Path) -> None:
    """As pnpm has it: each package is a link into a hidden directory, and leads on to the next."""
    modules = site / "node_modules"
    for name, needs in (("left", "right"), ("right", None)):
        package = modules / ".pnpm" / f"{name}@1.0.0" / "node_modules"
        (package / name).mkdir(parents=True)
        (package / name / "index.js").write_bytes(name.encode())
        (package / name / ".env").write_bytes(b"secret")
        if needs:
            (package / needs).symlink_to(f"../../{needs}@1.0.0/node_modules/{needs}")
    (modules / "left").symlink_to(".pnpm/left@1.0.0/node_modules/left")
    (modules / "right").symlink_to(modules / ".pnpm/left@1.0.0/node_modules/right")
    (modules / "git").symlink_to("../.git")
    (site / ".git").mkdir()
    (site / ".git" / "config").write_bytes(b"secret")
    assert refused(opening(), b"node_modules", b"left", b"index.js") == errno.ENOENT
    for links_into in (modules / ".pnpm", site.parent / "www" / "node_modules" / ".pnpm"):
        root = opening(links_into)
        assert read(root, b"node_modules", b"left", b"index.js") == b"left"
        assert read(root, b"node_modules", b"right", b"index.js") == b"right"
        assert refused(root, b"node_modules", b"left", b".env") == errno.ENOENT
        assert refused(root, b"node_modules", b"git", b"config") == errno.ENOENT
    # The directory is known by its name: what somebody puts in its place leads nowhere else.
    (modules / ".pnpm").rename(site.parent / "store")
    (modules / ".pnpm").symlink_to(site.parent / "store")
    assert refused(root, b"node_modules", b"left", b"index.js") == errno.EXDEV


def test_chains_of_links(opening: Opening, site: Path, shared: Path) -> None:
    other = site.parent / "other"
    other.mkdir()
    (other / "c.txt").write_bytes(b"other")
    (site / "one").symlink_to("two")
    (site / "two").symlink_to("../shared/three")
    (shared / "three").symlink_to("up/deep")
    (shared / "home").symlink_to("../www/own.txt")
    (shared / "home-too").symlink_to(site / "own.txt")
    (shared / "on").symlink_to("../other/c.txt")
    (shared / "off").symlink_to("../secret")
    (other / "loop").symlink_to(shared / "loop")
    (shared / "loop").symlink_to("../other/loop")
    (site / "d").symlink_to(shared)
    root = opening(shared, other)
    assert read(root, b"one", b"b.txt") == b"up/deep/b.txt"
    assert read(root, b"d", b"home") == read(root, b"d", b"home-too") == b"own"
    assert read(root, b"d", b"on") == b"other"
    assert refused(root, b"d", b"off") == errno.EXDEV
    assert refused(root, b"d", b"loop") == errno.ELOOP
    assert refused(opening(shared), b"d", b"on") == errno.EXDEV


def test_it_is_known_by_the_name_that_was_typed_and_by_the_real_one(
    opening: Opening, site: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = site.parent / "name"
    name.symlink_to("shared")
    (site / "typed").symlink_to("../name/plain.txt")
    (site / "real").symlink_to(shared / "plain.txt")
    (site / "climbs").symlink_to("../name/../secret")
    monkeypatch.chdir(site.parent)
    for links_into in (name, Path("name"), Path("www/../shared")):
        root = opening(links_into)
        monkeypatch.chdir("/")
        assert read(root, b"real") == b"plain.txt"
        assert refused(root, b"climbs") == errno.EXDEV
        if links_into.name == "name":
            assert read(root, b"typed") == b"plain.txt"
        monkeypatch.chdir(site.parent)


def test_a_deploy_swaps_the_root_and_the_directory(opening: Opening, site: Path, shared: Path) -> None:
    current = site.parent / "current"
    current.symlink_to("www")
    (site / "system").symlink_to("../shared/up")
    root = opening(shared, path=current)
    assert read(root, b"system", b"a.txt") == b"up/a.txt"
    release = site.parent / "release"
    release.mkdir()
    (release / "system").symlink_to(shared / "up")
    (site.parent / "next").symlink_to("release")
    (site.parent / "next").rename(current)
    root.refresh()
    assert read(root, b"system", b"a.txt") == b"up/a.txt"
    shared.rename(site.parent / "old")
    assert refused(root, b"system", b"a.txt") == errno.ENOENT
    (site.parent / "old").rename(shared)
    assert read(root, b"system", b"a.txt") == b"up/a.txt"


def test_the_directory_that_everything_lies_in(opening: Opening, site: Path, shared: Path) -> None:
    (site / "around").symlink_to("../www/own.txt")
    (site / "plain").symlink_to("../shared/plain.txt")
    (site / "hosts").symlink_to("/etc/hostname")
    root = opening(site.parent)
    assert (read(root, b"around"), read(root, b"plain")) == (b"own", b"plain.txt")
    assert refused(root, b"hosts") == errno.EXDEV


@pytest.mark.parametrize("inside", ["d/x", "d/deep/x"])
def test_a_component_swapped_while_it_is_opened(
    opening: Opening, site: Path, shared: Path, inside: str
) -> None:
    """Whoever can write in the directory must not be able to race a path out of it."""
    for place in (shared / "deep", shared.parent / "deep"):
        place.mkdir()
    for name in ("x", "deep/x"):
        (shared / name).write_bytes(b"mine")
        (shared.parent / name).write_bytes(b"secret")
    (site / "d").symlink_to("../shared")
    what = inside.split("/")[1]
    (shared / "evil").symlink_to(f"../{what}")
    root = opening(shared)
    swapping = threading.Event()

    def swap() -> None:
        while not swapping.is_set():
            (shared / what).rename(shared / "aside")
            (shared / "evil").rename(shared / what)
            (shared / what).rename(shared / "evil")
            (shared / "aside").rename(shared / what)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes | int] = set()
    try:
        for _ in range(1000):
            try:
                seen.add(read(root, *map(os.fsencode, inside.split("/"))))
            except OSError as error:
                seen.add(error.errno or 0)
    finally:
        swapping.set()
        swapper.join()
    assert seen <= {b"mine", errno.ENOENT, errno.EXDEV, errno.ELOOP, errno.ENOTDIR}
    assert read(root, *map(os.fsencode, inside.split("/"))) == b"mine"


def test_what_lies_there_is_served_and_listed_as_what_lies_here(
    opening: Opening, site: Path, shared: Path
) -> None:
    (shared / "up" / "a.txt.gz").write_bytes(b"packed")
    (site / "d").symlink_to("../shared/up")
    (site / "out").symlink_to("../secret")
    root = opening(shared)
    cache = EntryCache(root, Settings(root=site, links_into=(shared,), revalidate_ms=1000))
    entry = find(cache, "/d/a.txt")
    assert (content(entry), content(entry, "gzip")) == (b"up/a.txt", b"packed")
    (shared / "up" / "a.txt").write_bytes(b"changed")
    assert content(find(cache, "/d/a.txt", 1000)) == b"changed"
    here, there = scan(root, ()), scan(root, (b"d",))
    assert {row[0] for row in here.take()} == {b"d", b"own.txt"}
    assert {row[0] for row in there.take()} == {b"a.txt", b"a.txt.gz", b"deep"}

"""A root on disk, and ways to change it as people do."""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.settings import Settings
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

NOBODY = 65534


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An empty directory to serve, with a secret beside it."""
    # Another user must get as far as the root for tests of permissions.
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "www-private").mkdir()
    (tmp_path / "www-private" / "x").write_bytes(b"private")
    root = tmp_path / "www"
    root.mkdir()
    return root


@pytest.fixture(params=["openat2", "walk"])
def root(request: pytest.FixtureRequest, site: Path) -> Iterator[Root]:
    """Both ways of resolving: every promise holds for each of them."""
    opened = Root(site, walk=request.param == "walk")
    yield opened
    opened.close()


@pytest.fixture
def cache(root: Root, site: Path) -> EntryCache:
    """Entries good for 1000 ms."""
    return EntryCache(root, Settings(root=site, revalidate_ms=1000))


@pytest.fixture
def unprivileged() -> Callable[[], AbstractContextManager[None]]:
    """A context in which permissions count, also when the tests are run as root."""

    @contextmanager
    def dropped() -> Iterator[None]:
        was = os.geteuid()
        if was != 0:
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(was)

    return dropped


@pytest.fixture(scope="package", autouse=True)
def fast_collector() -> Iterator[None]:
    """What pytest holds of thousands of tests is not walked through again with each of these."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    """What was opened was closed."""
    # What earlier tests left to the collector may still go meanwhile; nothing may come.
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before

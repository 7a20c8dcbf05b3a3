"""Looks at paths and opens files on mounts that may hang: in threads of each, for the loop to ask again."""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from zchttpd.files.singleflight import Pending, SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from zchttpd.files.root import Root
    from zchttpd.files.singleflight import Job
    from zchttpd.files.version import Representation
    from zchttpd.files.walk import Names

# Of one mount: those that hang keep so many, and nobody else's.
THREADS = 4
JOBS_MAX = 1024
# When nothing has come from a mount for so long, nobody waits for it any more.
PATIENCE_S = 10.0
# What has been found, or opened, is forgotten when nobody has come for it: a look at what was says nothing.
KEPT_S = 2.0


class Looking(Pending):
    """A path is being looked at in a thread."""


class Aside:
    """Does in threads of its mount what may hang. `post`: as `SingleFlight` has it."""

    def __init__(self, root: Root, post: Callable[[Callable[[], None]], None]) -> None:
        self._root = root
        self._jobs = SingleFlight(post, threads=THREADS, jobs_max=JOBS_MAX)
        self._done: dict[Hashable, tuple[float, object]] = {}

    def open(self, found: Representation, mount: Names, *, grown: bool) -> int:
        """As `Representation.open`: raises Pending until the file has been opened in a thread."""
        key = (found, grown)
        fd = self._take(key)
        if fd is None:
            raise Pending(self._start(key, mount, partial(_open, found, grown=grown)))
        assert isinstance(fd, int)
        return fd

    def look(self, key: Hashable, mount: Names, look: Callable[[Root], object]) -> object:
        """What `look` tells with a root of its own: raises Looking until it has been asked in a thread."""
        told = self._take(key)
        if told is None:
            raise Looking(self._start(key, mount, look))
        return told

    def _start(self, key: Hashable, mount: Names, act: Callable[[Root], object]) -> Job:
        """Raises OSError (EBUSY) when too much waits for the mount, or it hangs."""
        jobs = self._jobs.beside(mount)
        if jobs.stuck_s() > PATIENCE_S:
            raise OSError(errno.EBUSY, "a file system does not answer", os.fsdecode(b"/" + b"/".join(mount)))
        known = jobs.find(key)
        if known is not None:
            return known
        root = self._root.duplicate()
        try:
            return jobs.start(key, partial(_with, root, act), partial(self._keep, key))
        except OSError:
            root.close()
            raise

    def _take(self, key: Hashable) -> object:
        self._sweep()
        _, told = self._done.pop(key, (0.0, None))
        return told

    def _keep(self, key: Hashable, told: object) -> None:
        self._sweep()
        self._done[key] = time.monotonic(), told

    def _sweep(self) -> None:
        """Forget what nobody has come for: the request has been answered otherwise."""
        late_s = time.monotonic() - KEPT_S
        while self._done and next(iter(self._done.values()))[0] < late_s:
            _, told = self._done.pop(next(iter(self._done)))
            if isinstance(told, int):
                self._jobs.away(partial(os.close, told))


def _with(root: Root, act: Callable[[Root], object]) -> object:
    with closing(root):
        return act(root)


def _open(found: Representation, root: Root, *, grown: bool) -> int:
    return dataclasses.replace(found, root=root).open(grown=grown)

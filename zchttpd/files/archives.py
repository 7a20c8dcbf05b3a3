"""A bounded cache of folders as archives, and the pace at which folders are looked at for it."""

from __future__ import annotations

import errno
import os
import time
from contextlib import closing
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from zchttpd.files.archive import Archive
from zchttpd.files.checksums import Checksums
from zchttpd.files.lru import Lru
from zchttpd.files.singleflight import Pending, SingleFlight
from zchttpd.files.tree import Refusal, Tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.digests import Counts
    from zchttpd.files.root import Root
    from zchttpd.files.singleflight import Job

# Of all that is kept: six of the largest folders, or thousands of small ones.
KEPT_SIZE = 32 << 20
# What is kept of any folder beside the names in it.
KNOWN_SIZE = 4096
# More are refused (EBUSY), and the request is answered 503.
JOBS_MAX = 16
# A look at a folder that took T is not repeated before 20 T have gone: at most a twentieth of the time.
REST = 20
# And whatever is looked at, all of it takes at most this part of the time, but for half a second in advance:
# who asks waits. The thread that looks has the interpreter lock, and a loop waits for it.
PACE = 8
ADVANCE_S = 4.0

_Key: TypeAlias = tuple[int, tuple[bytes, ...], tuple[str, ...], int, int]
Gives: TypeAlias = "Callable[[tuple[bytes, ...], bool], bool]"
_Told: TypeAlias = "tuple[Archive | Refusal, float]"


class _Known(NamedTuple):
    """What a look told, which does until `due_s`, and the bytes that it takes."""

    found: Archive | Refusal
    due_s: float
    weight: int


class Looks:
    """What the folders of all sites have together: one thread that looks at them, and what is kept of that.

    Called on the loop's thread; `post`: see `SingleFlight`. `pause` waits for so many seconds, and tells
    whether to give up.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None] | None,
        counts: Counts | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self.clock = clock
        self.checksums = Checksums(post, counts)
        self._jobs = SingleFlight(post, jobs_max=JOBS_MAX)
        self._closed = Event()
        self._pause = pause or self._closed.wait
        # Until when the thread would rest, had it rested after each look. It alone reads and sets this.
        self._rested_s = 0.0
        # The bytes of all that is known.
        self._size = 0
        self._known: Lru[_Key, _Known] = Lru()

    def close(self) -> None:
        """Give up what is under way: a process that ends would wait for its threads."""
        self._closed.set()
        self.checksums.close()

    def use(self, key: _Key) -> _Known | None:
        """What is known, which thereby counts as used now."""
        return self._known.use(key)

    def look(self, key: _Key, root: Root, look: Callable[[Root], _Told]) -> Archive | Refusal:
        """What `look` tells of the root. Raises Pending while it looks, in its turn; OSError (EBUSY) when too
        many wait for that, and EMFILE.
        """
        if not self._jobs.threaded:
            with closing(root.duplicate()) as kept:
                self._store(key, look(kept))
            return self._known[key].found
        raise Pending(self._jobs.find(key) or self._start(key, root.duplicate(), look))

    def _start(self, key: _Key, root: Root, look: Callable[[Root], _Told]) -> Job:
        try:
            return self._jobs.start(key, partial(self._in_turn, root, look), partial(self._store, key))
        except OSError:
            root.close()
            raise

    def _in_turn(self, root: Root, look: Callable[[Root], _Told]) -> _Told:
        with closing(root):
            wait_s = self._rested_s - ADVANCE_S - self.clock()
            if wait_s > 0 and self._pause(wait_s):
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            begun_s = self.clock()
            try:
                return look(root)
            finally:
                self._rested_s = max(self._rested_s, begun_s) + PACE * (self.clock() - begun_s)

    def _store(self, key: _Key, told: _Told) -> None:
        found, rest_s = told
        known = self._known.pop(key, None)
        if known is not None:
            self._size -= known.weight
            if _is_same(known.found, found):
                # Those who are being sent it need not have another.
                found = known.found
        weight = KNOWN_SIZE + (found.weight if isinstance(found, Archive) else 0)
        self._known.put(key, _Known(found, self.clock() + rest_s, weight))
        self._size += weight
        while self._size > KEPT_SIZE and len(self._known) > 1:
            _, lost = self._known.popitem(last=False)
            self._size -= lost.weight


class Archives:
    """Folders beneath `root`, which is that of a `site`, as archives."""

    def __init__(self, root: Root, looks: Looks, revalidate_ms: int, site: int = 0) -> None:
        self._root = root
        self._looks = looks
        self._revalidate_s = revalidate_ms / 1000
        self._site = site

    def find(
        self, segments: tuple[bytes, ...], gives: Gives, depends_on: tuple[str, ...] = ()
    ) -> Archive | Refusal:
        """The archive of a folder, or why there is none. `gives`: see `Tree`, and called in a thread; it says
        the same for equal `depends_on`.

        Raises as `Looks.look` does.
        """
        # A swapped root has other folders at the same paths.
        key = (self._site, segments, depends_on, *self._root.identity)
        known = self._looks.use(key)
        if known is not None and self._looks.clock() < known.due_s and not _is_outdated(known.found):
            return known.found
        return self._looks.look(key, self._root, partial(self._look, segments, gives))

    def _look(self, segments: tuple[bytes, ...], gives: Gives, root: Root) -> _Told:
        begun_s = self._looks.clock()
        root.mounts = root.mounts.here()
        tree = Tree(root, gives)
        refusal = tree.walk(segments)
        found = refusal or Archive(self._root, self._looks.checksums, segments, tree.members, tree.left_out)
        return found, max(self._revalidate_s, REST * (self._looks.clock() - begun_s))


def _is_outdated(found: Archive | Refusal) -> bool:
    return isinstance(found, Archive) and found.outdated


def _is_same(known: Archive | Refusal, found: Archive | Refusal) -> bool:
    if not isinstance(known, Archive) or not isinstance(found, Archive):
        return False
    return not known.outdated and known.etag == found.etag

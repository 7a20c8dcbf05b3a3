"""A bounded cache of folders as archives, and of the checksums of what is in them."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
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

# Five megabytes for each of the largest.
KEPT = 8
JOBS_MAX = 16
# A look at a folder that took T is not repeated before 20 T have gone: at most a twentieth of the time.
REST = 20

_Key: TypeAlias = tuple[tuple[bytes, ...], tuple[str, ...], int, int]
Gives: TypeAlias = "Callable[[tuple[bytes, ...], bool], bool]"


class _Known(NamedTuple):
    """What a look told, which does until `due_s`."""

    found: Archive | Refusal
    due_s: float


class Archives:
    """Folders beneath `root` as archives. Called on the loop's thread; `post`: see `SingleFlight`."""

    def __init__(
        self,
        root: Root,
        post: Callable[[Callable[[], None]], None] | None,
        revalidate_ms: int,
        counts: Counts | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._jobs = SingleFlight(post, jobs_max=JOBS_MAX)
        self._revalidate_s = revalidate_ms / 1000
        self._clock = clock
        self._known: Lru[_Key, _Known] = Lru(KEPT)
        self._checksums = Checksums(post, counts)

    def close(self) -> None:
        """Give up what is under way."""
        self._checksums.close()

    def find(
        self, segments: tuple[bytes, ...], gives: Gives, depends_on: tuple[str, ...] = ()
    ) -> Archive | Refusal:
        """The archive of a folder, or why there is none. `gives`: see `Tree`, and called in a thread; it says
        the same for equal `depends_on`.

        Raises Pending while it is looked at, OSError (EBUSY) when too many wait for that.
        """
        # A swapped root has other folders at the same paths.
        key = (segments, depends_on, *self._root.identity)
        known = self._known.use(key)
        if known is not None and self._clock() < known.due_s and not _outdated(known.found):
            return known.found
        if not self._jobs.threaded:
            self._store(key, self._look(self._root.duplicate(), segments, gives))
            return self._known[key].found
        job = self._jobs.find(key)
        if job is None:
            root = self._root.duplicate()
            try:
                look = partial(self._look, root, segments, gives)
                job = self._jobs.start(key, look, partial(self._store, key))
            except OSError:
                root.close()
                raise
        raise Pending(job)

    def _look(self, root: Root, segments: tuple[bytes, ...], gives: Gives) -> tuple[Archive | Refusal, float]:
        begun = self._clock()
        with closing(root):
            root.mounts = root.mounts.here()
            tree = Tree(root, gives)
            refusal = tree.walk(segments)
        found = refusal or Archive(self._root, self._checksums, segments, tree.members, tree.left_out)
        return found, max(self._revalidate_s, REST * (self._clock() - begun))

    def _store(self, key: _Key, told: tuple[Archive | Refusal, float]) -> None:
        found, rest_s = told
        known = self._known.get(key)
        if (
            known is not None
            and isinstance(found, Archive)
            and isinstance(known.found, Archive)
            and not known.found.outdated
            and known.found.etag == found.etag
        ):
            # Those who are being sent it need not have another.
            found = known.found
        self._known.put(key, _Known(found, self._clock() + rest_s))


def _outdated(found: Archive | Refusal) -> bool:
    return isinstance(found, Archive) and found.outdated

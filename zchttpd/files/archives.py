"""A bounded cache of folders as archives, and the pace at which folders are looked at for it."""

from __future__ import annotations

import errno
import os
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from zchttpd.files.archive import Archive
from zchttpd.files.checksums import Checksums
from zchttpd.files.lru import Lru
from zchttpd.files.singleflight import Job, Pending, SingleFlight, Wanted
from zchttpd.files.tree import Refusal, Tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.digests import Counts, Stop
    from zchttpd.files.root import Root

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
_Walk: TypeAlias = "Callable[[Root, Stop], _Told]"


class _Known(NamedTuple):
    """What a look told, which does until `due_s`, and the bytes that it takes."""

    found: Archive | Refusal
    due_s: float
    weight: int


@dataclass(slots=True, eq=False)
class _Look:
    """A folder that is looked at by `walk`, or waits for that. The root is its own, and closed with it."""

    key: _Key
    root: Root
    walk: _Walk
    closed: Event
    job: Job = field(default_factory=Job)
    stopped: bool = False

    def is_set(self) -> bool:
        """Whether it is to stop; asked in the thread."""
        return self.stopped or self.closed.is_set()


class Looks:
    """What the folders of all sites have together: one thread that looks at them, and what is kept of that.

    They are looked at in the order in which they were asked for, and those that only clients wait for which
    may have left behind all others. One that nobody waits for any more is not looked at, or no further.

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
        self._thread = SingleFlight(post)
        # In the order in which they were asked for; one of them is under way.
        self._looks: dict[_Key, _Look] = {}
        self._under_way: _Look | None = None
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
        for look in self._looks.values():
            if look is not self._under_way:
                look.root.close()

    def use(self, key: _Key) -> _Known | None:
        """What is known, which thereby counts as used now."""
        return self._known.use(key)

    def look(self, key: _Key, root: Root, walk: _Walk) -> Archive | Refusal:
        """What `walk` tells of the root. Raises Pending while it looks, in its turn; OSError (EBUSY) when too
        many wait for that, and EMFILE.
        """
        if not self._thread.threaded:
            with closing(root.duplicate()) as kept:
                self._store(key, walk(kept, self._closed))
            return self._known[key].found
        look = self._looks.get(key)
        if look is None:
            if len(self._looks) >= JOBS_MAX:
                self._make_room()
            look = self._looks[key] = _Look(key, root.duplicate(), walk, self._closed)
            look.job.heed = partial(self._heed, look)
            if self._under_way is None:
                try:
                    self._begin(look)
                except OSError as error:
                    self._drop(look, error)
                    raise
        raise Pending(look.job)

    def _make_room(self) -> None:
        """Who may have left gives way, the last of them first."""
        error = OSError(errno.EBUSY, "too many folders are being looked at")
        for look in reversed(self._looks.values()):
            if look is not self._under_way and look.job.wanted is Wanted.MAYBE:
                self._drop(look, error)
                return
        raise error

    def _heed(self, look: _Look) -> None:
        """It has turned out how much it is wanted."""
        if look is not self._under_way and look.job.wanted is Wanted.NO:
            self._drop(look, None)
        under_way = self._under_way
        if under_way is not None:
            # What nobody waits for, or perhaps, holds up nobody.
            under_way.stopped = under_way.job.wanted is Wanted.NO or (
                under_way.job.wanted is Wanted.MAYBE and self._next().job.wanted is Wanted.YES
            )

    def _next(self) -> _Look:
        """Whose turn it is; who is under way when nobody else is there."""
        return min(
            self._looks.values(),
            key=lambda look: (look is self._under_way, look.job.wanted is not Wanted.YES),
        )

    def _begin(self, look: _Look) -> None:
        """Raises OSError where no thread can be started."""
        job = self._thread.start(look.key, partial(self._in_turn, look), partial(self._store, look.key))
        job.waiting.append(partial(self._on_ended, look))
        self._under_way = look

    def _on_ended(self, look: _Look, error: OSError | None) -> None:
        self._under_way = None
        if error is not None and error.errno == errno.ECANCELED and not self._closed.is_set():
            # Who has come while it stopped asks again.
            error = None
        self._drop(look, error)
        while self._looks and self._under_way is None:
            look = self._next()
            try:
                self._begin(look)
            except OSError as failed:
                self._drop(look, failed)

    def _drop(self, look: _Look, error: OSError | None) -> None:
        """It is not looked at, or no more: tell who waits for it."""
        del self._looks[look.key]
        look.root.close()
        # It refers to this.
        look.job.heed = None
        for tell in look.job.waiting:
            tell(error)

    def _in_turn(self, look: _Look) -> _Told:
        with closing(look.root):
            wait_s = self._rested_s - ADVANCE_S - self.clock()
            if (wait_s > 0 and self._pause(wait_s)) or look.is_set():
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            begun_s = self.clock()
            try:
                return look.walk(look.root, look)
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

    def _look(self, segments: tuple[bytes, ...], gives: Gives, root: Root, stop: Stop) -> _Told:
        begun_s = self._looks.clock()
        root.mounts = root.mounts.here()
        tree = Tree(root, gives, stop)
        refusal = tree.walk(segments)
        found = refusal or Archive(self._root, self._looks.checksums, segments, tree.members, tree.left_out)
        return found, max(self._revalidate_s, REST * (self._looks.clock() - begun_s))


def _is_outdated(found: Archive | Refusal) -> bool:
    return isinstance(found, Archive) and found.outdated


def _is_same(known: Archive | Refusal, found: Archive | Refusal) -> bool:
    if not isinstance(known, Archive) or not isinstance(found, Archive):
        return False
    return not known.outdated and known.etag == found.etag

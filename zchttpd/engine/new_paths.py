"""What the machine is told of the site, so that it can answer new paths by itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from zchttpd.config.rules import whole_pattern
from zchttpd.engine.limits import own_max
from zchttpd.files.entry_cache import versions_kept
from zchttpd.handler.handler import READ_SIZE_MAX

if TYPE_CHECKING:
    from zchttpd._core.site_worker import SiteWorker
    from zchttpd.config.settings import Settings
    from zchttpd.files.entry_cache import EntryCache
    from zchttpd.files.lookup import Entry
    from zchttpd.files.root import Root
    from zchttpd.handler.answer import Answer

PATTERNS_MAX = 64
# The type of this name is not that of its extension (http/media_types.py).
_NAMED_TYPE = b"/apple-app-site-association"


class NewPaths:
    """Tells `engine` of the root of `cache`, and of each template once it is there. All of that is of the
    site of the root: the machine looks beneath that alone, and answers no head that is of another site.

    Nothing is told where paths are resolved component by component, and where a pattern of the options has
    `[`, or there are too many: then all new paths are the handler's.
    """

    def __init__(self, settings: Settings, root: Root, cache: EntryCache) -> None:
        self._settings = settings
        self._root = root
        self._cache = cache
        self._told: tuple[int, int] | None = None
        self._patterns = _patterns(settings)
        # A forced line leads away from files too; and who may have a file is not for the machine to say.
        handled = any(line.force for line in settings.redirects) or settings.auth
        self._knows = not root.walks and self._patterns is not None and not handled
        self._engine: SiteWorker

    def begin(self, engine: SiteWorker, size_max: int) -> None:
        """From now on this engine answers; of files of `size_max` bytes and more the handler does."""
        self._engine = engine
        if not self._knows or self._patterns is None:
            return
        limits = {
            "memory": self._settings.memory,
            "own_bytes_max": own_max(self._settings),
            "content_max": min(size_max, READ_SIZE_MAX) - 1,
            "revalidate_ms": self._settings.revalidate_ms,
            "given_max": versions_kept(self._settings),
        }
        engine.know_site(limits, self._patterns, not self._settings.no_precompressed)
        self._cache.elsewhere = engine

    def end(self) -> None:
        """The engine has ended, and goes."""
        self._cache.elsewhere = None
        del self._engine

    def number(self, entry: Entry) -> int:
        """Of a new unit of freshness for `entry`, which the machine looks at by itself where it can."""
        number = self._engine.entry(entry.check_at_ms)
        if entry.version is not None and not entry.site:
            self._engine.watch(number, entry.version)
        return number

    def learn(self, head: bytes, answer: Answer) -> None:
        """The handler has answered a head. Raises nothing."""
        if not self._knows or answer.template is None or answer.entry is None or answer.entry.site:
            return
        device = answer.entry.state.versions[0][1].dev
        if self._cache.sizes.holds(device):
            self._engine.trust(device)
        # There may be no descriptor, or no memory, for it now.
        with contextlib.suppress(OSError, MemoryError):
            self._turn()
            self._engine.teach(head, *answer.template)

    def _turn(self) -> None:
        """Have the machine look where the handler does."""
        identity = self._root.identity
        if identity != self._told:
            fd, path = self._root.lend()
            self._engine.turn_to(fd, path, *identity)
            self._told = identity


def _patterns(settings: Settings) -> list[bytes] | None:
    """What the options look at in a path beside its extension: a few patterns of `*` and `?`; else None."""
    patterns = [
        *(rule.pattern for rule in settings.type),
        *(rule.pattern for rule in settings.coding),
        *(rule.pattern for rule in settings.header),
        *(rule.pattern for rule in settings.cache_control),
        *settings.immutable,
    ]
    whole = dict.fromkeys(whole_pattern(each).encode("utf-8", "surrogateescape") for each in patterns)
    if len(whole) >= PATTERNS_MAX or any(b"[" in pattern for pattern in whole):
        return None
    return [_NAMED_TYPE, *whole]

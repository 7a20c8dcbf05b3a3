"""Encodings of files that have none beside them: made once for each version, in threads, and kept in memory.

Nobody waits for one. Until it is there, the one who asks is told so, and sends something else.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Self, TypeAlias

from zchttpd.config.names import AUTO, missing_encodings
from zchttpd.files.announced import Announced
from zchttpd.files.encoders import ENCODERS, chosen
from zchttpd.files.lru import Lru
from zchttpd.files.memfd import fill, new_memory_file, read_through
from zchttpd.files.settling import settle
from zchttpd.files.version import Representation

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.config.settings import Settings
    from zchttpd.files.version import Version
    from zchttpd.files.walk import Names

LOGGER = logging.getLogger("zchttpd")

# An encoding that saves less than this part of the file is not worth a second copy in every cache.
SAVED_PART_MIN = 20
# Compressions that wait for a thread; whoever comes then asks again with the next request.
PENDING_MAX = 64
# Versions that are known not to shrink, so that nobody tries again.
UNFIT_MAX = 4096

# How a compression ends, in the order of its cells. Unfit: it would not be smaller; stale: the file changed;
# failed: no memory or no descriptor; broken: the library refuses; postponed: too many were waiting.
RESULTS = ("made", "unfit", "stale", "failed", "broken", "postponed")
US_PER_S = 1_000_000

_Key: TypeAlias = "tuple[Version, str]"
_PLACES = {name: place for place, name in enumerate(ENCODERS)}
_GONE = (errno.ESTALE, errno.ENOENT)


class Unavailable(Enum):
    """Why an encoding of a version is not available."""

    PENDING = "it is not there yet"
    UNFIT = "it would not be smaller"


@dataclass(frozen=True, slots=True)
class Compressed(Representation):
    """An encoding of a file version that is in memory, as long as `compressor` keeps it.

    `version` is that of the file, `encoded_size` the length of the encoding, `sha256` of its bytes; so is the
    tag.
    """

    encoded_size: int = field(compare=False)
    sha256: bytes = field(compare=False)
    compressor: Compressor = field(compare=False, repr=False)

    @property
    def size(self) -> int:
        """Length in bytes, encoded."""
        return self.encoded_size

    @property
    def in_memory(self) -> bool:
        """Always."""
        return True

    @property
    def digest(self) -> bytes | None:
        """Of the bytes as they are sent."""
        return self.sha256

    def same_as(self, facts: os.stat_result) -> bool:
        """Whether a stat(2) result describes a file that `open` gave."""
        return self.size == facts.st_size and self.mtime_ns == facts.st_mtime_ns

    def open(self, *, grown: bool = False) -> int:
        """A new descriptor of a sealed memory file that has the bytes, and the time of the file.

        Raises OSError: ESTALE when they have been evicted, ENOSYS where there are no memory files, EMFILE.
        """
        del grown  # It cannot.
        content = self.compressor.content_of(self)
        if content is None:
            raise OSError(errno.ESTALE, "the encoding was evicted", os.fsdecode(self.segments[-1]))
        fd = new_memory_file()
        if fd < 0:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        try:
            fill(fd, content)
            os.lseek(fd, 0, os.SEEK_SET)
            os.utime(fd, ns=(self.mtime_ns, self.mtime_ns))
        except OSError:
            os.close(fd)
            raise
        return fd


class Compressor:
    """Makes `encodings` of what has at least `size_min` and at most `size_max` bytes, in so many `threads`.

    It keeps `memory` bytes of them; what was not asked for longest goes. Sizes in bytes. `cells` gives the
    64-bit cells of a counter by its name; nobody else writes these. For any thread.
    """

    def __init__(
        self,
        encodings: tuple[str, ...],
        cells: Callable[[str], memoryview],
        *,
        size_min: int,
        size_max: int,
        memory: int,
        threads: int,
    ) -> None:
        self._encodings = encodings
        self._encode = {name: ENCODERS[name].load() for name in encodings}
        self._size_min = size_min
        self._size_max = size_max
        self._memory = memory
        # Of mounts that may hang, each, and one of all others.
        self._executors: defaultdict[Names | None, ThreadPoolExecutor] = defaultdict(
            partial(ThreadPoolExecutor, threads, thread_name_prefix="compress")
        )
        self._lock = threading.Lock()
        self._made: OrderedDict[_Key, tuple[Compressed, bytes]] = OrderedDict()
        self._unfit: Lru[_Key, bool] = Lru(UNFIT_MAX)
        self._pending: set[_Key] = set()
        self._held = 0
        self._results = cells("compressions")
        self._spent_us = cells("compression_us")
        self._held_cell = cells("compressed_bytes")
        self._pending_cell = cells("compressions_pending")

    @classmethod
    def of(cls, settings: Settings, cells: Callable[[str], memoryview]) -> Self | None:
        """What these settings ask for; None where that is nothing, or memory files are forbidden."""
        encodings = chosen(settings.compress)
        if not encodings or not _memory_files():
            return None
        return cls(
            encodings,
            cells,
            size_min=settings.compress_size_min,
            size_max=settings.compress_size_max,
            memory=settings.compress_memory,
            threads=settings.compress_threads,
        )

    def close(self) -> None:
        """Begin nothing new, and wait for what is under way."""
        for executor in self._executors.values():
            executor.shutdown(cancel_futures=True)

    def encodings_of(self, base: Representation) -> tuple[str, ...]:
        """What may be made of a file of this size."""
        return self._encodings if self._size_min <= base.size <= self._size_max else ()

    def encodings_of_listing(self, size_least: int) -> tuple[str, ...]:
        """What is made of a listing that has at least so many bytes; how many it may have others see to."""
        return self._encodings if self._size_min <= size_least else ()

    def encode(self, encoding: str, content: bytes) -> bytes:
        """The encoding of what was made here, for the caller to keep. Raises what the library does."""
        began_s = time.thread_time()
        encoded = self._encode[encoding](content)
        with self._lock:
            self._count(encoding, "made")
            self._spent_us[_PLACES[encoding]] += int((time.thread_time() - began_s) * US_PER_S)
        return encoded

    def find(self, base: Representation, encoding: str, *, start: bool) -> Compressed | Unavailable:
        """The encoding of a file version, which is begun with `start` if nobody has yet."""
        key = (base.version, encoding)
        with self._lock:
            known = self._made.get(key)
            if known is not None:
                self._made.move_to_end(key)
                return known[0]
            if key in self._unfit:
                return Unavailable.UNFIT
            if not start or key in self._pending:
                return Unavailable.PENDING
            mount_of = base.root.mounts.of
            mount = mount_of(base.version.dev)
            if sum(mount_of(version.dev) == mount for version, _ in self._pending) >= PENDING_MAX:
                self._count(encoding, "postponed")
                return Unavailable.PENDING
            self._pending.add(key)
            self._pending_cell[0] = len(self._pending)
        try:
            self._executors[mount].submit(self._work, key, base)
        except RuntimeError:
            # No thread can be started: whoever asks next tries again, as the executor has it all the same.
            with self._lock:
                self._pending.discard(key)
                self._pending_cell[0] = len(self._pending)
                self._count(encoding, "postponed")
        return Unavailable.PENDING

    def content_of(self, made: Compressed) -> bytes | None:
        """The bytes, unless they have been evicted."""
        with self._lock:
            known = self._made.get((made.version, made.encoding))
            return None if known is None else known[1]

    # ---- in a thread ----

    def _work(self, key: _Key, base: Representation) -> None:
        with self._lock:
            if key not in self._pending:
                return
        encoding = key[1]
        began_s = time.thread_time()
        made: tuple[Compressed, bytes] | None = None
        try:
            made = self._make(base, encoding)
            result = "made" if made else "unfit"
        except (OSError, MemoryError) as error:
            gone = isinstance(error, OSError) and error.errno in _GONE
            result = "stale" if gone else "failed"
        except Exception:
            LOGGER.exception("%s of a file could not be made", encoding)
            result = "broken"
        spent_us = int((time.thread_time() - began_s) * US_PER_S)
        with self._lock:
            self._pending.discard(key)
            self._pending_cell[0] = len(self._pending)
            if made is not None:
                self._store(key, made)
            elif result != "failed":
                # Descriptors and memory come back; the rest will not be otherwise for this version.
                self._unfit.put(key, True)
            self._count(encoding, result)
            self._spent_us[_PLACES[encoding]] += spent_us

    def _make(self, base: Representation, encoding: str) -> tuple[Compressed, bytes] | None:
        # The loop may turn to another root meanwhile and close the directory that this opens beneath. What is
        # opened then by its number is looked at: only the very version that was asked for is read.
        fd = base.open()
        try:
            settle(fd, base.mtime_ns)
            content = self._encode[encoding](read_through(Announced(fd, base.size, base.mtime_ns)))
            if not base.same_as(os.fstat(fd)):
                raise OSError(errno.ESTALE, "the file changed while it was compressed")
        finally:
            os.close(fd)
        if len(content) > base.size - base.size // SAVED_PART_MIN:
            return None
        # Of the bytes, as another level or library makes others of the same file.
        digest = hashlib.sha256(content)
        etag = f'"z{digest.hexdigest()[:32]}-{len(content):x}-{encoding}"'
        made = Compressed(
            base.version,
            encoding,
            etag,
            base.last_modified_s,
            base.segments,
            base.root,
            encoded_size=len(content),
            sha256=digest.digest(),
            compressor=self,
        )
        return made, content

    def _store(self, key: _Key, made: tuple[Compressed, bytes]) -> None:
        self._made[key] = made
        self._held += len(made[1])
        while self._held > self._memory:
            _, (_, oldest) = self._made.popitem(last=False)
            self._held -= len(oldest)
        self._held_cell[0] = self._held

    def _count(self, encoding: str, result: str) -> None:
        self._results[_PLACES[encoding] * len(RESULTS) + RESULTS.index(result)] += 1


def notes(settings: Settings) -> list[str]:
    """Lines for the start report: what was asked for and cannot be had."""
    if not settings.compress:
        return []
    if not _memory_files():
        return ["compression: none, a sandbox refuses memory files. Fix: let it pass memfd_create"]
    missing = missing_encodings() if AUTO in settings.compress else {}
    return [f"compression: without {name}. Fix: pip install {package}" for name, package in missing.items()]


def _memory_files() -> bool:
    fd = new_memory_file()
    if fd >= 0:
        os.close(fd)
    return fd >= 0

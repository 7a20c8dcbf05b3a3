"""Bytes of file versions, and the entries that lead to them, as the io_uring engine knows them."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from zchttpd.engine.limits import CACHED_PART, LIVE_SIZE_MIN, MAPPINGS_MAX, evicted_max, streamed_max
from zchttpd.files.frozen import Frozen
from zchttpd.files.version import read_at_once

if TYPE_CHECKING:
    from zchttpd._core.worker import Worker
    from zchttpd.config.settings import Settings
    from zchttpd.files.lookup import Entry
    from zchttpd.files.version import Representation

LOGGER = logging.getLogger("zchttpd")

# Larger bodies are not copied into plans, however large --zc-size-min is: making the copy holds up the loop.
INLINE_SIZE_MAX = 1 << 20


class State(Enum):
    """Where the bytes of a representation are."""

    FILLING = "filling"
    INLINE = "inline"
    MAPPED = "mapped"
    STREAMED = "streamed"


@dataclass(slots=True, eq=False)
class Body:
    """The bytes of one representation: a few of them here, more in a mapping, or too many and so streamed.

    `number` is the engine's mapping or source; `waiting` are requests that came while it was being filled.
    `live`: it streams from a file that could be cached and is not. `makeshift`: so does a small one, because
    there was no room. `taken`: bytes of its mapping. `counted`: bytes sent in parts, as admission counts.
    """

    representation: Representation
    state: State
    small: bytes = b""
    number: int = -1
    owners: int = 0
    live: bool = False
    makeshift: bool = False
    taken: int = 0
    counted: int = 0
    waiting: list[tuple[int, bytes, int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Holding:
    """An entry of the cache as the engine knows it. `placed_ms`: when it was last known to be used."""

    entry: Entry
    number: int
    bodies: set[Body] = field(default_factory=set)
    plans: dict[tuple[bytes, tuple[object, ...]], int] = field(default_factory=dict)
    placed_ms: int = 0

    @property
    def fills(self) -> bool:
        """Whether any of them is being read into memory."""
        return any(body.state is State.FILLING for body in self.bodies)

    @property
    def streamed(self) -> list[Body]:
        """Those that are sent from their file."""
        return [body for body in self.bodies if body.state is State.STREAMED]


class Bodies:
    """Opens bodies, has them filled, and counts what they take. Their owners are holdings.

    At most one body of each representation, and one more that streams as long as that is not in memory.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._whole: dict[Representation, Body] = {}
        self._live: dict[Representation, Body] = {}
        self._filling: dict[int, Body] = {}
        self._mapped_bytes = 0
        self._mapped = 0
        self._inline_bytes = 0
        self._streamed = 0
        self._streamed_max = streamed_max()
        self._cached_max = settings.memory // CACHED_PART
        self._frozen = Frozen(settings)
        # Bodies below this are joined to their heads.
        self.inline_below = min(settings.zc_size_min, INLINE_SIZE_MAX, self._cached_max + 1)
        self._memlock_told = False
        self.engine: Worker

    def cached(self, representation: Representation) -> bool:
        """Whether all its bytes are in memory."""
        body = self._whole.get(representation)
        return body is not None and body.state in (State.INLINE, State.MAPPED)

    def live_of(self, representation: Representation) -> Body | None:
        """What streams to those that came before it was cached."""
        return self._live.get(representation)

    def lives(self, representation: Representation) -> bool:
        """Whether it is large enough to be sent from its file as long as it is not cached, as it may be."""
        return (
            LIVE_SIZE_MIN <= representation.size <= self._cached_max
            and not representation.in_memory
            and not self.cached(representation)
        )

    def find(self, representation: Representation, *, grown: bool, content: bytes | None = None) -> Body:
        """The bytes of a representation, begun to be read if they are new, or what streams them.

        `content`: them, if they have been read. `grown`, and OSError, as `Representation.open` has them.
        """
        live = self.lives(representation)
        known = self._live if live else self._whole
        body = known.get(representation)
        if body is None and content is not None and len(content) < self.inline_below:
            body = known[representation] = self._inline(representation, content)
        elif body is None:
            fd = representation.open(grown=grown)
            body = (
                self._stream(fd, representation, live=True, grown=grown)
                if live
                else self._open(fd, representation, grown=grown)
            )
            known[representation] = body
        return body

    def may_snapshot(self, representation: Representation) -> bool:
        """Whether a snapshot of what lives could be begun now."""
        return representation not in self._whole and self.has_room(representation.size)

    def snapshot(self, representation: Representation) -> Body:
        """Have all bytes of what lives read into memory; until they are there it goes on to live.

        Raises OSError as `Representation.open` has it.
        """
        body = self._fill(representation.open(), representation, grown=False)
        self._whole[representation] = body
        return body

    def weight(self, body: Body) -> int:
        """Bytes of --memory that come free when it is dropped."""
        return body.taken if body.state is State.MAPPED else len(body.small)

    def missing(self, size: int) -> int:
        """Bytes of --memory that something must make room for before `size` more are cached."""
        taken, limit = self.used()[0]
        return taken + size - limit

    def lost(self, body: Body) -> bool:
        """Whether it streams from a file that has other bytes by now."""
        return body.state is State.STREAMED and not self.engine.holds(body.number)

    def release(self, body: Body) -> None:
        """A holding no longer leads to it."""
        body.owners -= 1
        if body.owners == 0 and body.state is not State.FILLING:
            self._drop(body)

    def filled(self, number: int, error: int) -> Body:
        """The mapping of this number has been filled, or could not be. Who owns the body keeps it."""
        body = self._filling.pop(number)
        size = body.representation.size
        if error or size < self.inline_below:
            self._mapped_bytes -= body.taken
            self._mapped -= 1
            if not error:
                body.small = self.engine.read(number, 0, size)
                self._inline_bytes += size
                body.state = State.INLINE
            self.engine.drop(number)
        else:
            body.state = State.MAPPED
            self._register(number)
        if error:
            del self._whole[body.representation]
        return body

    def forsaken(self, body: Body) -> None:
        """Drop a filled body if nobody leads to it."""
        if body.owners == 0 and self._whole.get(body.representation) is body:
            self._drop(body)

    def literal(self, body: Body, offset: int, length: int, length_max: int) -> bytes | None:
        """The bytes of a window if it is cheaper to join them to the head than to send them on their own.

        Of what can be sent on its own at most `length_max` bytes are.
        """
        if body.state is State.INLINE:
            return body.small[offset : offset + length]
        if body.state is State.MAPPED and length < self.inline_below and length <= length_max:
            return self.engine.read(body.number, offset, length)
        return None

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes may be cached: what was evicted counts for as long as somebody reads it.

        Half a budget on top is for that, and for what comes in before the handler has evicted.
        """
        return self.engine.snapshot_bytes + size <= self._settings.memory + evicted_max(self._settings)

    def outgrown(self, body: Body) -> bool:
        """Whether it streams and there is room by now, or has pages of another size than it would get now."""
        if body.state is State.MAPPED:
            return self.engine.wants_other_pages(body.number)
        return body.makeshift and self.has_room(body.representation.size)

    def used(self) -> tuple[tuple[int, int], ...]:
        """What they take of each budget, and how much that is."""
        return (
            (self._mapped_bytes + self._inline_bytes + self.engine.image_bytes, self._settings.memory),
            (self._mapped, MAPPINGS_MAX),
        )

    def streams_too_many(self) -> bool:
        """Whether more files are open for streaming than may be."""
        return self._streamed > self._streamed_max

    def _open(self, fd: int, representation: Representation, *, grown: bool) -> Body:
        size = representation.size
        if size < self.inline_below and not representation.may_hang:
            small = read_at_once(fd, representation)
            if small is not None:
                os.close(fd)
                return self._inline(representation, small)
        cacheable = size <= self._cached_max
        if not (cacheable and self.has_room(size)):
            return self._stream(fd, representation, makeshift=cacheable, grown=grown)
        return self._fill(fd, representation, grown=grown)

    def _fill(self, fd: int, representation: Representation, *, grown: bool) -> Body:
        size = representation.size
        try:
            device, aside = _device_of(representation)
            number = self.engine.fill(fd, size, representation.mtime_ns, grown, device, aside)
        except MemoryError as error:
            raise OSError(f"no memory to read {size} bytes") from error
        body = Body(representation, State.FILLING, number=number)
        body.taken = self.engine.capacity(number)
        self._filling[number] = body
        self._mapped_bytes += body.taken
        self._mapped += 1
        return body

    def _inline(self, representation: Representation, content: bytes) -> Body:
        self._inline_bytes += len(content)
        return Body(representation, State.INLINE, content)

    def _stream(
        self,
        fd: int,
        representation: Representation,
        *,
        grown: bool,
        live: bool = False,
        makeshift: bool = False,
    ) -> Body:
        try:
            frozen = not representation.in_memory and self._frozen.holds(fd, representation)
            size, mtime_ns = representation.size, representation.mtime_ns
            device, aside = _device_of(representation)
            number = self.engine.source(fd, size, mtime_ns, grown, device, frozen, aside)
        except MemoryError as error:
            raise OSError("no room for another streamed file") from error
        self._streamed += 1
        return Body(representation, State.STREAMED, number=number, live=live, makeshift=makeshift)

    def _drop(self, body: Body) -> None:
        del (self._live if body.live else self._whole)[body.representation]
        if body.state is State.MAPPED:
            self._mapped_bytes -= body.taken
            self._mapped -= 1
            self.engine.drop(body.number)
        elif body.state is State.STREAMED:
            self._streamed -= 1
            self.engine.drop_source(body.number)
        elif body.state is State.INLINE:
            self._inline_bytes -= len(body.small)

    def _register(self, number: int) -> None:
        error = self.engine.register_mapping(number)
        if error and not self._memlock_told:
            self._memlock_told = True
            LOGGER.info(
                "memory cannot be registered (%s), so files are sent by copying. Type: zchttpd doctor",
                os.strerror(error),
            )


def _device_of(representation: Representation) -> tuple[int, bool]:
    """Where it is read from, and whether that may hang. Memory is a device of its own."""
    if representation.in_memory:
        return 0, False
    return representation.version.dev, representation.may_hang


def name_of(representation: Representation) -> str:
    """Its path beneath the root, for people."""
    return os.fsdecode(b"/".join(representation.segments))

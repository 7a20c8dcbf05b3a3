"""Archives on their way: one plan after the other, each with a few small members or a part of a large one.

So a response has at most one file open, whatever is in it, and holds little memory. What has changed since it
began breaks it off.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from zchttpd.engine.limits import downloads_max
from zchttpd.files.archive import Part
from zchttpd.files.lookup import exhausted
from zchttpd.files.singleflight import Pending
from zchttpd.files.version import read_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd._core.worker import Worker
    from zchttpd.files.archive import Archive, Piece
    from zchttpd.files.settling import Settling
    from zchttpd.handler.answer import Answer
    from zchttpd.http.response import Slice

# Members up to here are copied, and so many bytes at a time.
COPIED_SIZE_MAX = 16 << 10
IMAGE_SIZE_MAX = 48 << 10
# Of all archives that are being sent.
SENT_SIZE_MAX = 32 << 20


@dataclass(slots=True, eq=False)
class Download:
    """A response with parts of an archive. `parts` are still to be sent, the first from `at` bytes on; those
    are `left` bytes in all.
    """

    archive: Archive
    answer: Answer
    parts: deque[bytes | Slice]
    left: int
    at: int = 0


@dataclass(slots=True)
class _Next:
    """What a plan is made of: literal bytes, and then perhaps some of an open file."""

    image: bytearray
    source: int | None = None
    offset: int = 0
    length: int = 0


class Downloads:
    """Sends archives by tickets. `again` has something called in a later turn of the handler."""

    def __init__(self, settling: Settling, again: Callable[[Callable[[], None]], None]) -> None:
        self._settling = settling
        self._again = again
        self._sent: dict[int, Download] = {}
        self._sent_max = downloads_max()
        self.engine: Worker

    def begin(self, ticket: int, answer: Answer) -> None:
        """Answer with parts of an archive. Raises OSError when it has changed, and then it is looked at anew,
        or when descriptors run out; MemoryError when too many are being sent.
        """
        archive = answer.archive
        assert archive is not None
        if self.engine.is_last(ticket):
            answer = answer.as_last()
        self.sweep()
        weights = {id(each.archive): each.archive.weight for each in self._sent.values()}
        weights[id(archive)] = archive.weight
        if len(self._sent) >= self._sent_max or sum(weights.values()) > SENT_SIZE_MAX:
            raise MemoryError("too many archives are being sent")
        length = sum(len(part) if isinstance(part, bytes) else part.length for part in answer.parts)
        download = Download(archive, answer, deque(answer.parts), length)
        made = _Next(bytearray(answer.head))
        try:
            self._fill(download, made, IMAGE_SIZE_MAX)
        except Pending:
            # Those that come first need not wait.
            pass
        except OSError as error:
            archive.outdated |= not exhausted(error)
            archive.checksums.leave(download)
            raise
        try:
            plan = self._plan(download, made, date_at=answer.date_at, head_length=len(answer.head))
        except MemoryError:
            archive.checksums.leave(download)
            raise
        if download.left:
            self._sent[ticket] = download
        self.engine.answer(ticket, plan, False, answer.user)
        self.engine.release(plan)

    def go_on(self, ticket: int) -> None:
        """Send what comes next, or break the response off."""
        download = self._sent.get(ticket)
        if download is None or not self.engine.wants_more(ticket):
            self._forget(ticket)
            return
        made = _Next(bytearray())
        try:
            try:
                self._fill(download, made, IMAGE_SIZE_MAX)
            except Pending as pending:
                if not made.image:
                    pending.job.waiting.append(partial(self._on_made, ticket))
                    return
            plan = self._plan(download, made)
        except (OSError, MemoryError) as error:
            self._break_off(ticket, error)
            return
        if not download.left:
            self._forget(ticket)
        self.engine.go_on(ticket, plan)
        self.engine.release(plan)

    def _on_made(self, ticket: int, error: OSError | None) -> None:
        """What a response waits for has been made, or could not be."""
        self._again(partial(self.go_on, ticket) if error is None else partial(self._break_off, ticket, error))

    def _break_off(self, ticket: int, error: OSError | MemoryError) -> None:
        download = self._forget(ticket)
        if download is not None and isinstance(error, OSError) and not exhausted(error):
            download.archive.outdated = True
        self.engine.abandon(ticket)

    def sweep(self) -> None:
        """Forget those whose clients have gone."""
        for ticket in [ticket for ticket in self._sent if not self.engine.wants_more(ticket)]:
            self._forget(ticket)

    def _forget(self, ticket: int) -> Download | None:
        """It is sent no more, and wants no checksum."""
        download = self._sent.pop(ticket, None)
        if download is not None:
            download.archive.checksums.leave(download)
        return download

    def _plan(self, download: Download, made: _Next, *, date_at: int = -1, head_length: int = 0) -> int:
        segments = [("literal", 0, len(made.image))] if made.image else []
        if made.source is not None:
            segments.append(("streamed", made.offset, made.length))
        try:
            return self.engine.plan(
                status=download.answer.status,
                # A plan has an image, whether or not anything of it is sent.
                image=bytes(made.image) or b"\0",
                date_at=date_at,
                segments=segments,
                keep_alive=download.answer.keep_alive,
                linger=download.answer.linger,
                source=made.source,
                head_length=head_length,
                more=download.left,
            )
        finally:
            if made.source is not None:
                self.engine.drop_source(made.source)

    def _fill(self, download: Download, made: _Next, size_max: int) -> None:
        """Take from what is to be sent as much as goes with one plan. What has been taken stays taken when it
        raises: Pending when something has to be waited for first, OSError when that cannot be had.
        """
        while download.parts and made.source is None and len(made.image) < size_max:
            part = download.parts[0]
            if isinstance(part, bytes):
                made.image += part
                download.left -= len(part)
                download.parts.popleft()
                continue
            at = part.offset + download.at
            end = part.offset + part.length
            piece = download.archive.piece(at)
            count = min(piece.end, end) - at
            if piece.part is Part.DATA:
                self._add_data(download, piece, at, count, made, goes_on=end > piece.end)
            else:
                crc = 0
                if download.archive.wants_crc(piece):
                    found = download.archive.representation(piece.number)
                    crc = download.archive.checksums.of(found, download)
                record = download.archive.record(piece, crc)
                made.image += record[at - piece.begin : at - piece.begin + count]
            download.at += count
            download.left -= count
            if download.at == part.length:
                download.parts.popleft()
                download.at = 0

    def _add_data(
        self, download: Download, piece: Piece, at: int, count: int, made: _Next, *, goes_on: bool
    ) -> None:
        """Add bytes of a file. `goes_on`: its checksum is sent behind them."""
        archive = download.archive
        found = archive.representation(piece.number)
        settling = self._settling.job(found)
        if settling is not None:
            raise Pending(settling)
        offset = at - piece.begin
        fd = found.open()
        if found.size <= COPIED_SIZE_MAX:
            try:
                content = read_at_once(fd, found)
                if content is not None and not archive.checksums.check(found, content):
                    raise OSError(errno.ESTALE, "the file was replaced")
            except BaseException:
                os.close(fd)
                raise
            if content is not None:
                os.close(fd)
                made.image += content[offset : offset + count]
                return
        if goes_on:
            archive.checksums.prepare(found, download)
        made.source = self.engine.source(fd, found.size, found.mtime_ns, False, found.version.dev)
        made.offset, made.length = offset, count

"""Answers to what went wrong: bad heads (400 and the like), failures (500), lacks (503); the site's pages."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY
from zchttpd.files.lookup import Kind
from zchttpd.http.request import HttpError, parse_request
from zchttpd.http.response import Page, ResponseBuilder

if TYPE_CHECKING:
    from zchttpd.files.entry_cache import EntryCache
    from zchttpd.files.lookup import Entry
    from zchttpd.handler.answer import Answer, AnswerEncoder
    from zchttpd.handler.site import MediaPolicy
    from zchttpd.http.request import Request
    from zchttpd.http.response import Fields

LOGGER = logging.getLogger("zchttpd")

# What is said of input that never became a head, or of one that was not looked at.
REASONS = {
    400: "The first line is not a request line of HTTP/1.1, or a line does not end with CR LF.",
    429: "Your address asks too often, or for too much at a time.",
}
# What is refused and keeps its connection is as good as this.
_ORDINARY = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

PAGES = {403: (b"403.html",), 404: (b"404.html",)}
# For 500 and 503. It is kept in memory: it is needed when files cannot be opened.
FAULT_PAGE = (b"50x.html",)
FAULT_PAGE_SIZE_MAX = 64 * 1024

_FAILURE = "Something went wrong here."
_COMPLAINT_MS_MIN = 1000
_RETRY_AFTER = ((b"Retry-After", b"1"),)
_FIXES = {
    errno.EMFILE: "Raise the limit of open files, or type a lower --connections-max. See: zchttpd doctor",
    errno.ENFILE: "Raise the limit of this machine: sysctl -w fs.file-max=1000000",
    errno.ENOMEM: "Give the server more memory, or start it with a smaller --memory",
    errno.EAGAIN: "See who holds a lease on it: cat /proc/locks; or allow more threads: pids.max, ulimit -u",
    errno.EBUSY: "Use --listing for directories that few ask for, or keep fewer files in one",
    errno.EUSERS: "Type --requests-per-second N, or make hashes that cost less: htpasswd -B -C 8 FILE USER",
    errno.ESTALE: "Write the file elsewhere, then rename it to its place",
}


def describe_error(error: OSError) -> str:
    """What went wrong, with which file, and what to do about it."""
    where = f" /{error.filename}" if error.filename else ""
    return f"{error.strerror}{where}. {_FIXES.get(error.errno or 0, '')}".strip()


class ErrorAnswers:
    """Answers that need no file. Times in milliseconds of the engine's clock.

    `cache` is None where the site has no pages of its own; `fields` are those of all answers.
    """

    def __init__(
        self, cache: EntryCache | None, media: MediaPolicy, fields: Fields, encoder: AnswerEncoder
    ) -> None:
        self._cache = cache
        self._media = media
        self._fields = fields
        self._encoder = encoder
        self._fault_entry: Entry | None = None
        self._fault_page: Page | None = None
        self._silent_until_ms = 0
        self._make_failures()
        self._read_fault_page(0)

    @property
    def has_pages(self) -> bool:
        """Whether the site may have pages of its own for errors."""
        return self._cache is not None

    def refused(self, http_error: HttpError, *, keeps: bool = False) -> Answer:
        """To a head that is not valid, or not looked at, or to what never became one; the connection closes,
        but with `keeps`.
        """
        request = parse_request(_ORDINARY) if keeps else None
        assert not isinstance(request, HttpError)
        builder = ResponseBuilder(request, with_content=not http_error.bodiless)
        later = _RETRY_AFTER if http_error.status in (429, 503) else ()
        response = builder.error(http_error.status, later, reason=http_error.reason)
        return self._encoder.encode(request, response)

    def failure(self, head: bytes) -> Answer:
        """500. Made before: what failed once might fail again while it is told."""
        return self._failures[head.startswith(b"HEAD ")]

    def unavailable(self, request: Request, error: OSError, now_ms: int) -> Answer:
        """503: descriptors or memory ran out, or a file changes too fast. Logged once a second."""
        if now_ms >= self._silent_until_ms:
            self._silent_until_ms = now_ms + _COMPLAINT_MS_MIN
            LOGGER.warning("answering 503: %s", describe_error(error))
        self._read_fault_page(now_ms)
        builder = ResponseBuilder(request, self._fields)
        # Each connection that closes gives a descriptor back.
        response = builder.error(503, _RETRY_AFTER, page=self._fault_page, close=True)
        return self._encoder.encode(request, response)

    def page_of(self, status: int, now_ms: int) -> Entry | None:
        """The site's page for a status of PAGES, if it has one. Raises OSError."""
        if self._cache is None:
            return None
        entry = self._cache.lookup(PAGES[status], False, now_ms)
        return entry if entry.kind is Kind.FILE else None

    def _make_failures(self) -> None:
        self._failures = {}
        for bodiless in (False, True):
            builder = ResponseBuilder(None, with_content=not bodiless)
            response = builder.error(500, reason=_FAILURE, page=self._fault_page)
            self._failures[bodiless] = self._encoder.encode(None, response)

    def _read_fault_page(self, now_ms: int) -> None:
        """Have the site's page for 500 and 503 at hand. Raises nothing: what was read before is kept."""
        if self._cache is None:
            return
        try:
            entry = self._cache.lookup(FAULT_PAGE, False, now_ms)
            if entry is self._fault_entry:
                return
            content = _read(entry) if entry.kind is Kind.FILE else None
        except OSError:
            return
        page = None
        if content is not None:
            page = Page(content, *self._media.of_path(FAULT_PAGE))
        self._fault_entry, self._fault_page = entry, page
        self._make_failures()


def _read(entry: Entry) -> bytes | None:
    """The bytes of a small page; None for one that is too large. Raises OSError."""
    found = entry.representations[IDENTITY]
    if found.size > FAULT_PAGE_SIZE_MAX:
        LOGGER.warning(
            "/%s is not used: it has more than %d KiB", FAULT_PAGE[0].decode(), FAULT_PAGE_SIZE_MAX // 1024
        )
        return None
    with open(found.open(), "rb") as file:
        return file.read()

"""A request head becomes an answer: what HTTP says of it joined to what the file system has for it.

Knows no socket and no engine; every engine asks here, so that they cannot differ in what they say.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY
from zchttpd.files.cache import exhausted
from zchttpd.files.entry import Entry, FallbackPage, Kind, Representation
from zchttpd.files.listing import parse_order
from zchttpd.files.listing_cache import etag
from zchttpd.files.listing_page import HTML, JSON, least_size
from zchttpd.files.listing_style import CONTENT_SECURITY_POLICY
from zchttpd.files.singleflight import Job, Pending
from zchttpd.handler.choice import choose, choose_made
from zchttpd.handler.site import MediaPolicy, SitePolicy
from zchttpd.http.accept import JSON_VARY, NAVIGATION_VARY, navigates, prefers_json
from zchttpd.http.parse_cache import ParseCache
from zchttpd.http.request import HttpError, Request
from zchttpd.http.response import (
    Metadata,
    Page,
    Response,
    Slice,
    compile_response,
    early_response,
    error_response,
    http_error_response,
    redirect_response,
    with_fields,
)
from zchttpd.http.response_head import HeadEncoder, encode_head
from zchttpd.http.target import Target, hidden, parse_target, slash_added, slash_removed

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings
    from zchttpd.files.cache import Cache
    from zchttpd.files.compressor import Compressor
    from zchttpd.files.listing import Scan
    from zchttpd.http.response import Fields

LOGGER = logging.getLogger("zchttpd")

# What the engines do alike with answers. A file that would take more of the memory than this part of it is
# not cached whole.
CACHED_PART = 4
# A file may change faster than it can be read: after so many attempts the request is told 503.
ATTEMPTS_MAX = 3
# Plans of one entry that are found again by their head, and the statuses of those; ranges and the like are
# not among them.
PLANS_PER_ENTRY = 64
REUSED = frozenset((200, 301, 304, 403, 404))

# What is said of input that never became a head.
REASONS = {400: "The first line is not a request line of HTTP/1.1, or a line does not end with CR LF."}

FORBIDDEN_PAGE = (b"403.html",)
MISSING_PAGE = (b"404.html",)
FAULT_PAGE = (b"50x.html",)
# It is kept in memory: it is needed when files cannot be opened.
FAULT_PAGE_SIZE_MAX = 64 * 1024

_COMPLAINT_MS_MIN = 1000
_FAILURE = "Something went wrong here."
_FIXES = {
    errno.EMFILE: "Raise the limit of open files, or type a lower --connections-max. See: zchttpd doctor",
    errno.ENFILE: "Raise the limit of this machine: sysctl -w fs.file-max=1000000",
    errno.ENOMEM: "Give the server more memory, or start it with a smaller --memory",
    errno.EAGAIN: "See who holds a lease on it: cat /proc/locks",
    errno.EBUSY: "Use --listing for directories that few ask for, or keep fewer files in one",
    errno.ESTALE: "Write the file elsewhere, then rename it to its place",
}


def describe_error(error: OSError) -> str:
    """What went wrong, with which file, and what to do about it."""
    where = f" /{error.filename}" if error.filename else ""
    return f"{error.strerror}{where}. {_FIXES.get(error.errno or 0, '')}".strip()


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer. `head` has 29 bytes of Date at `date_at`, to be overwritten when it is sent.

    `parts` are literal bytes and windows, in order; windows index `representation`, which is None where there
    are none. `entry` is what to revalidate before the answer is used again, also where there is no file; None
    where no file was asked for. `cacheable`: the same head gets the same answer as long as `entry` is valid.
    Without `keep_alive` the connection closes afterwards.
    """

    status: int
    head: bytes
    date_at: int
    parts: tuple[bytes | Slice, ...]
    representation: Representation | None
    entry: Entry | None
    keep_alive: bool
    cacheable: bool


class Handler:
    """Answers heads from the entries of `cache`, and from what `compressor` makes of them, if there is one.

    Times in milliseconds of the engine's clock.
    """

    def __init__(self, settings: Settings, cache: Cache, compressor: Compressor | None = None) -> None:
        self._cache = cache
        self._compressor = compressor
        self._site = SitePolicy.of(settings)
        self._media = MediaPolicy.of(settings)
        self._encoded_slash = settings.encoded_slash
        self._error_pages = settings.error_pages
        self._fault_entry: Entry | None = None
        self._fault_page: Page | None = None
        # One of the two ways to fill a head, the target or the fields, may take half of it.
        self._parse_cache = ParseCache(settings.head_size_max // 2)
        self._head_encoder = HeadEncoder()
        self._silent_until_ms = 0
        # Made now: what failed once might fail again while it is told.
        self._failure = self._refused(HttpError(500, _FAILURE))
        self._failure_of_head = self._refused(HttpError(500, _FAILURE, bodiless=True))
        self._read_fault_page(0)

    def answer(self, head: bytes, now_ms: int) -> Answer | Job:
        """Answer one request head: the bytes up to and including its empty line.

        A job: something has to be made first, off the loop; ask again when it is done. Raises nothing:
        whatever goes wrong becomes a 500 and a log record.
        """
        try:
            request = self._parse_cache.parse(head)
            if isinstance(request, HttpError):
                return self._refused(request)
            early = early_response(request)
            return self._find(request, now_ms) if early is None else self._early(request, early)
        except Pending as pending:
            return pending.job
        except Exception:
            LOGGER.exception("a request could not be answered, and got 500")
            return self._failure_of_head if head.startswith(b"HEAD ") else self._failure

    def refuse(self, status: int, *, bodiless: bool = False) -> Answer:
        """The answer to what never became a head (400, 408, 414, 431, 503); the connection closes.

        `bodiless`: it began as a HEAD request. Raises KeyError for a status that this server does not give.
        """
        return self._refused(HttpError(status, REASONS.get(status, ""), bodiless))

    def _find(self, request: Request, now_ms: int) -> Answer:
        target = parse_target(request.target, encoded_slash=self._encoded_slash)
        if isinstance(target, HttpError) and target.status != 404:
            return self._refused(dataclasses.replace(target, bodiless=request.method == "HEAD"))
        try:
            if isinstance(target, HttpError):
                return self._error(request, 404, self._site.common, now_ms)
            if hidden(target.segments):
                fields = self._site.of_path(target.segments, target.directory)
                return self._error(request, 404, fields, now_ms)
            entry = self._cache.lookup(target.segments, target.directory, now_ms)
            return self._found(request, target, entry, now_ms)
        except OSError as error:
            if exhausted(error) or error.errno == errno.ESTALE:
                return self._unavailable(request, error, now_ms)
            raise

    def _found(self, request: Request, target: Target, entry: Entry, now_ms: int) -> Answer:
        if entry.kind is Kind.FILE:
            return self._file(request, entry, entry.state.segments, entry)
        if entry.state.scan is not None:
            return self._listing(request, target, entry, entry.state.scan, now_ms)
        fields = self._site.of_path(target.segments, target.directory)
        if entry.kind is Kind.REDIRECT:
            return self._redirect(request, slash_added(target), target.query, fields, entry)
        if entry.kind is Kind.SLASHED:
            reference = slash_removed(target)
            if reference is None:
                return self._error(request, 404, fields, now_ms, entry)
            return self._redirect(request, reference, target.query, fields, entry)
        if entry.kind is Kind.FORBIDDEN:
            # Two entries decide, and an answer has one to revalidate.
            return self._error(request, 403, fields, now_ms, entry)
        if 200 in entry.fallback_pages:
            vary = ((b"Vary", NAVIGATION_VARY),)
            fields = (*fields, *vary)
            if navigates(request, asset=_names_asset(target)):
                page = entry.fallback_pages[200]
                return self._file(request, page, page.segments, entry, extra=vary)
        if 404 in entry.fallback_pages:
            page = entry.fallback_pages[404]
            return self._file(request, page, page.segments, entry, status=404, extra=fields)
        return self._signed(request, with_fields(error_response(404, request), fields), entry=entry)

    def _redirect(
        self, request: Request, reference: bytes, query: bytes | None, fields: Fields, entry: Entry
    ) -> Answer:
        response = redirect_response(request, reference, query)
        return self._signed(request, with_fields(response, fields), entry=entry)

    def _error(
        self, request: Request, status: int, fields: Fields, now_ms: int, entry: Entry | None = None
    ) -> Answer:
        """An error that `entry` tells, or the head alone; with the site's page for it, if it has one."""
        if self._error_pages:
            segments = FORBIDDEN_PAGE if status == 403 else MISSING_PAGE
            page = self._cache.lookup(segments, False, now_ms)
            if page.kind is Kind.FILE:
                answer = self._file(request, page, segments, page, status=status, extra=fields)
                return answer if entry is None else dataclasses.replace(answer, cacheable=False)
        response = with_fields(error_response(status, request), fields)
        if self._error_pages or entry is None:
            response = dataclasses.replace(response, cacheable=False)
        return self._signed(request, response, entry=entry)

    def _early(self, request: Request, response: Response) -> Answer:
        preflight = self._site.preflight if request.method == "OPTIONS" else ()
        return self._without_entry(request, with_fields(response, (*self._site.common, *preflight)))

    def _unavailable(self, request: Request, error: OSError, now_ms: int) -> Answer:
        if now_ms >= self._silent_until_ms:
            self._silent_until_ms = now_ms + _COMPLAINT_MS_MIN
            LOGGER.warning("answering 503: %s", describe_error(error))
        self._read_fault_page(now_ms)
        fields = ((b"Retry-After", b"1"), *self._site.common)
        response = error_response(503, request, fields, page=self._fault_page)
        # Each connection that closes gives a descriptor back.
        return self._without_entry(request, dataclasses.replace(response, keep_alive=False))

    def _read_fault_page(self, now_ms: int) -> None:
        """Have the site's page for 500 and 503 at hand. Raises nothing: what was read before is kept."""
        if not self._error_pages:
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
            page = Page(content, self._media.type_of(FAULT_PAGE), self._media.coding_of(FAULT_PAGE))
        self._fault_entry, self._fault_page = entry, page
        failure = error_response(500, None, page=page)
        self._failure = self._signed(None, failure)
        self._failure_of_head = self._signed(None, dataclasses.replace(failure, parts=()))

    def _listing(self, request: Request, target: Target, entry: Entry, scan: Scan, now_ms: int) -> Answer:
        assert self._cache.listings is not None
        order, kind = parse_order(target.query), JSON if prefers_json(request) else HTML
        compressor = self._compressor
        made = compressor.encodings_of_listing(least_size(scan.count, kind)) if compressor else ()
        encoding = choose_made(request, made)
        metadata = Metadata(
            0,
            etag(scan, order, kind, encoding),
            None,
            kind,
            encoding,
            vary=bool(made),
            extra=self._fields_of_listing(target),
        )
        page = self._cache.listings.drawn(scan, order, kind, encoding)
        if page is None:
            response = compile_response(request, metadata)
            if response.status in (304, 412):
                # Which tells nothing of the page, so that it need not be drawn.
                return self._signed(request, response, entry=entry)
            encode = partial(compressor.encode, encoding) if compressor and encoding != IDENTITY else None
            page = self._cache.listings.page(scan, order, kind, encoding, encode)
        if page is None:
            entry.check_at_ms = now_ms
            again = self._cache.lookup(target.segments, target.directory, now_ms)
            return self._found(request, target, again, now_ms)
        response = compile_response(request, dataclasses.replace(metadata, size=page.size))
        body = page.body
        if not isinstance(body, bytes):
            return self._signed(request, response, entry=entry, found=body)
        parts = tuple(
            body[part.offset : part.offset + part.length] if isinstance(part, Slice) else part
            for part in response.parts
        )
        return self._signed(request, dataclasses.replace(response, parts=parts), entry=entry)

    def _fields_of_listing(self, target: Target) -> Fields:
        fields = {name.lower(): (name, value) for name, value in self._site.of_path(target.segments, True)}
        for name, value in (
            (b"Content-Security-Policy", CONTENT_SECURITY_POLICY.encode("ascii")),
            (b"Cache-Control", b"no-cache"),
        ):
            fields[name.lower()] = (name, value)
        return (*fields.values(), (b"Vary", JSON_VARY))

    def _file(
        self,
        request: Request,
        page: Entry | FallbackPage,
        segments: tuple[bytes, ...],
        entry: Entry,
        *,
        status: int = 200,
        extra: Fields = (),
    ) -> Answer:
        """The file at `segments`, whose representations `page` has; `entry` is what to revalidate."""
        kind, coding = self._media.type_of(segments), self._media.coding_of(segments)
        tag_of = partial(self._tag_of, entry)
        choice = choose(request, page, kind, coding, self._compressor, tag_of)
        found, base = choice.found, page.representations[IDENTITY]
        # Neither yes nor no can be said to If-Match before the tag is known.
        named = request.field(b"if-match") not in (None, b"*")
        tag = tag_of(found, wait=named) if status == 200 else None
        metadata = Metadata(
            size=found.size,
            etag=tag,
            # What was made of a file has the date of the file.
            last_modified_s=page.representations.get(found.encoding, base).last_modified_s,
            media_type=kind,
            encoding=choice.coding,
            vary=choice.varies,
            extra=(*self._site.of_file(segments, kind), *extra) if status == 200 else extra,
        )
        response = compile_response(request, metadata, status=status)
        if not choice.settled or (tag is None and status == 200):
            response = dataclasses.replace(response, cacheable=False)
        return self._signed(request, response, entry=entry, found=found)

    def _tag_of(self, entry: Entry, found: Representation, *, wait: bool = False) -> str | None:
        """The tag of what `entry` has. Raises as `Digests.tag_of` does."""
        try:
            return self._cache.digests.tag_of(found, wait=wait)
        except Pending as pending:
            pending.job.waiting.insert(0, partial(_outdate, entry))
            raise

    def _refused(self, http_error: HttpError) -> Answer:
        return self._signed(None, http_error_response(http_error))

    def _without_entry(self, request: Request, response: Response) -> Answer:
        return self._signed(request, dataclasses.replace(response, cacheable=False))

    def _signed(
        self,
        request: Request | None,
        response: Response,
        *,
        entry: Entry | None = None,
        found: Representation | None = None,
    ) -> Answer:
        if request is None:
            encoded = encode_head(None, response.status, response.headers, keep_alive=False)
        else:
            encoded = self._head_encoder.encode(
                request, response.status, response.headers, keep_alive=response.keep_alive
            )
        return Answer(
            status=response.status,
            head=encoded.head,
            date_at=encoded.date_at,
            parts=response.parts,
            representation=found if any(isinstance(part, Slice) for part in response.parts) else None,
            entry=entry,
            keep_alive=response.keep_alive,
            cacheable=response.cacheable,
        )


def _outdate(entry: Entry, error: OSError | None) -> None:
    """What `entry` has could not be read: whoever asks now looks for it anew."""
    if error is not None:
        entry.check_at_ms = 0


def _names_asset(target: Target) -> bool:
    """Whether the last segment seems to have an extension: most routes have none."""
    stem, dot, extension = target.segments[-1].rpartition(b".") if target.segments else (b"", b"", b"")
    return bool(stem and dot and extension)


def _read(entry: Entry) -> bytes | None:
    """The bytes of a small page; None for one that is too large. Raises OSError."""
    found = entry.representations["identity"]
    if found.size > FAULT_PAGE_SIZE_MAX:
        LOGGER.warning(
            "/%s is not used: it has more than %d KiB", FAULT_PAGE[0].decode(), FAULT_PAGE_SIZE_MAX // 1024
        )
        return None
    with open(found.open(), "rb") as file:
        return file.read()

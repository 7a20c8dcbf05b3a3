"""A request head becomes an answer: what HTTP says of it joined to what the file system has for it.

Knows no socket and no engine; every engine asks here, so that they cannot differ in what they say.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from zchttpd.config.names import IDENTITY
from zchttpd.config.rules import path_of
from zchttpd.files.digests import NO_DIGEST
from zchttpd.files.lookup import Entry, FallbackPage, Kind, exhausted
from zchttpd.files.singleflight import Job, Pending
from zchttpd.handler.answer import Answer, AnswerEncoder, Cacheable, as_private
from zchttpd.handler.archive import ArchiveAnswers, wants_archive
from zchttpd.handler.auth import Auth, Busy
from zchttpd.handler.choice import choose
from zchttpd.handler.errors import REASONS, ErrorAnswers
from zchttpd.handler.integrity import Integrity
from zchttpd.handler.listing import ListingAnswers
from zchttpd.handler.redirects import Moved, Redirects, Rewritten, origin_of
from zchttpd.handler.site import MediaPolicy, SitePolicy
from zchttpd.handler.sites import host_of
from zchttpd.handler.templates import Key, Plain, Templates, plain
from zchttpd.http.accept import NAVIGATION_VARY, navigates
from zchttpd.http.media_types import compressible
from zchttpd.http.parse_cache import ParseCache
from zchttpd.http.request import HttpError, Request
from zchttpd.http.response import Metadata, ResponseBuilder
from zchttpd.http.target import Target, hidden, parse_target, slash_added, slash_removed

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.config.settings import Settings
    from zchttpd.files.compressor import Compressor
    from zchttpd.files.entry_cache import EntryCache
    from zchttpd.files.version import Representation
    from zchttpd.http.response import Fields

# Larger files are read by the engine, off the loop where it can.
READ_SIZE_MAX = 64 << 10

LOGGER = logging.getLogger("zchttpd")

_T = TypeVar("_T")


class Handler:
    """Answers heads from the entries of `cache`, and from what `compressor` makes of them, if there is one.

    Times in milliseconds of the engine's clock.
    """

    def __init__(
        self,
        settings: Settings,
        cache: EntryCache,
        compressor: Compressor | None = None,
        post: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """`post`: see `SingleFlight`."""
        self._cache = cache
        self._compressor = compressor
        self._encoded_slash = settings.encoded_slash
        # One of the two ways to fill a head, the target or the fields, may take half of it.
        self._parse_cache = ParseCache(settings.head_size_max // 2)
        self._site = SitePolicy.of(settings)
        self._media = MediaPolicy.of(settings)
        self._redirects = Redirects(settings.redirects)
        self._auth = Auth(settings.auth, post)
        self._encoder = AnswerEncoder(request_id=settings.request_id)
        self._integrity = Integrity(settings, cache.digests)
        self._templates = Templates()
        # Smaller bodies are joined to their heads.
        self._read_max = min(settings.zc_size_min, READ_SIZE_MAX) - 1
        pages = cache if settings.error_pages else None
        self._errors = ErrorAnswers(pages, self._media, self._site.common, self._encoder)
        self._listings = (
            ListingAnswers(cache.listings, compressor, self._site, self._encoder) if cache.listings else None
        )
        self._archives = None
        if cache.archives is not None:
            made = (self._auth, self._redirects, self._site, self._encoder)
            self._archives = ArchiveAnswers(cache.archives, *made)

    def answer(self, head: bytes, now_ms: int, *, secure: bool = False) -> Answer | Job:
        """Answer one request head: the bytes up to and including its empty line. `secure`: it came by https,
        which matters to redirects alone.

        A job: something has to be made first, off the loop; ask again when it is done. Raises nothing:
        whatever goes wrong becomes a 500 and a log record.
        """
        try:
            asked = None if self._redirects.forced or self._auth else plain(head)
            if asked is None:
                return self._parsed_response(head, now_ms, secure=secure)
            return self._plain_response(asked, head, now_ms, secure=secure)
        except Pending as pending:
            return pending.job
        except Exception:
            LOGGER.exception("a request could not be answered, and got 500")
            return self._errors.failure(head)

    def refuse(self, status: int, *, bodiless: bool = False, keeps: bool = False) -> Answer:
        """The answer to what never became a head (400, 408, 414, 431, 503), or is not looked at (429); the
        connection closes, but with `keeps`.

        `bodiless`: it began as a HEAD request. Raises KeyError for a status that this server does not give.
        """
        return self._errors.refused(HttpError(status, REASONS.get(status, ""), bodiless), keeps=keeps)

    def turn_away(self, head: bytes, status: int) -> Answer:
        """The answer to a head whose host nobody has here: 404, or 421 (RFC 9110 section 15.5.20)."""
        request = self._parse_cache.parse(head)
        if isinstance(request, HttpError):
            return self._errors.refused(request)
        return self._encoder.encode(request, ResponseBuilder(request, self._site.common).error(status))

    def _plain_response(self, asked: Plain, head: bytes, now_ms: int, *, secure: bool) -> Answer:
        """The answer by a template; where none fits it is made as any other, and may become one."""
        entry = content = answer = key = None
        if asked.shape in self._templates:
            try:
                entry, content = self._cache.glance(asked.segments, now_ms, self._read_max)
            except OSError:
                # What is to be said of it is said below.
                return self._parsed_response(head, now_ms, secure=secure)
            key = self._template_key(entry)
            if key is not None:
                answer = self._filled(asked.shape, key, entry, content)
        if answer is None:
            answer = self._parsed_response(head, now_ms, secure=secure)
            key = self._template_key(answer.entry) if answer.entry is not None else None
            if key is not None and answer.entry is not None and answer.representation is not None:
                digest = self._digest_of(answer.entry, answer.representation)
                self._templates.learn(asked.shape, key, answer, digest)
            found = answer.representation
            if entry is not None and found is not None and found is entry.representations.get(IDENTITY):
                answer = answer._replace(content=content)
        # Else the type is that of another name: of a stored coding, or of what a clean URL leads to.
        # And a template has no hole for a digest, which the machine could not make.
        described = key is not None and key.coding == IDENTITY and _lies_at(answer.entry, asked)
        if key is not None and described and not self._integrity.always:
            answer = answer._replace(template=self._templates.find(asked.shape, key))
        return answer

    def _filled(self, shape: bytes, key: Key, entry: Entry, content: bytes | None) -> Answer | None:
        """The answer by a template with the file of `entry`, None where none fits. Raises Pending."""
        if shape not in self._templates:
            return None
        digest = self._digest_of(entry, entry.representations[IDENTITY], content)
        return None if digest is None else self._templates.fill(shape, key, entry, content, digest)

    def _digest_of(self, entry: Entry, found: Representation, content: bytes | None = None) -> bytes | None:
        """What a template says of a file; NO_DIGEST for nothing, None: not yet. Raises Pending."""
        if not self._integrity.always:
            return NO_DIGEST
        return self._waiting(entry, self._integrity.usual, found, content)

    def _template_key(self, entry: Entry) -> Key | None:
        """What the head of an answer with this file depends on besides its shape, but for what templates have
        holes for; None where there is no file, or a choice.
        """
        if entry.kind is not Kind.FILE or entry.varies:
            return None
        segments = entry.state.segments
        kind, coding = self._media.of_path(segments)
        if self._compressor is not None and compressible(kind):
            return None
        return Key(kind, coding, self._site.of_file(segments, kind))

    def _parsed_response(self, head: bytes, now_ms: int, *, secure: bool) -> Answer:
        request = self._parse_cache.parse(head)
        if isinstance(request, HttpError):
            return self._errors.refused(request)
        if request.method not in ("GET", "HEAD"):
            return self._method_response(request)
        if self._redirects.by_site:
            request = dataclasses.replace(request, origin=origin_of(host_of(head), secure=secure))
        if not self._auth:
            return self._get_response(request, now_ms)
        try:
            return self._guarded_response(request, head, now_ms)
        except Busy as busy:
            return self._errors.unavailable(request, busy, now_ms)

    def _guarded_response(self, request: Request, head: bytes, now_ms: int) -> Answer:
        """The answer for who may have it, or that a password is wanted: by the path that was asked for, and
        by that of the file. Nothing is looked at for who lacks what the first wants. Raises Pending, Busy.
        """
        target = parse_target(request.target, encoded_slash=self._encoded_slash)
        paths = []
        if isinstance(target, Target):
            led = self._redirects.find(target, forced=True, origin=request.origin)
            if isinstance(led, Moved) and led.by_site:
                # Who is to ask by https, or elsewhere, is not to send a password here.
                return self._moved_response(request, target, None, led)
            paths.append(path_of(target.segments) + ("/" if target.directory and target.segments else ""))
        realm = self._auth.realm_of(paths)
        if realm is None or self._auth.knows(realm, head):
            answer = self._get_response(request, now_ms)
            paths += [] if answer.found_at is None else [path_of(answer.found_at)]
            realm = self._auth.realm_of(paths)
            user = self._auth.user_of(realm, head) if realm is not None else None
            if realm is None or user is not None:
                return answer if user is None else as_private(answer, user)
        challenge = ((b"WWW-Authenticate", realm.challenge),)
        response = ResponseBuilder(request, self._site.common).error(401, challenge)
        return self._encoder.encode(request, response)

    def _method_response(self, request: Request) -> Answer:
        preflight = self._site.preflight if request.method == "OPTIONS" else ()
        builder = ResponseBuilder(request, (*self._site.common, *preflight))
        return self._encoder.encode(request, builder.of_method())

    def _get_response(self, request: Request, now_ms: int) -> Answer:
        target = parse_target(request.target, encoded_slash=self._encoded_slash)
        if isinstance(target, HttpError) and target.status != 404:
            return self._errors.refused(dataclasses.replace(target, bodiless=request.method == "HEAD"))
        try:
            if isinstance(target, HttpError):
                return self._error_response(request, 404, self._site.common, None, now_ms)
            if hidden(target.segments):
                fields = self._site.of_path(target.segments, target.directory)
                return self._error_response(request, 404, fields, None, now_ms)
            entry = self._cache.lookup(target.segments, target.directory, now_ms)
            return self._entry_response(request, target, entry, now_ms)
        except OSError as error:
            if exhausted(error) or error.errno == errno.ESTALE:
                return self._errors.unavailable(request, error, now_ms)
            raise

    def _entry_response(self, request: Request, target: Target, entry: Entry, now_ms: int) -> Answer:
        if self._redirects:
            led = self._redirects.find(target, forced=_is_there(entry), origin=request.origin)
            if led is not None:
                return self._led_response(request, target, entry, led, now_ms)
        if self._archives and wants_archive(target) and entry.kind in (Kind.FILE, Kind.DIRECTORY):
            return self._archives.answer(request, target)
        if entry.kind is Kind.FILE:
            return self._file_response(request, entry, entry.state.segments, entry)
        if entry.state.scan is not None and self._listings is not None:
            answer = self._listings.answer(request, target, entry, entry.state.scan)
            if answer is not None:
                return answer
            entry.check_at_ms = now_ms
            again = self._cache.lookup(target.segments, target.directory, now_ms)
            return self._entry_response(request, target, again, now_ms)
        fields = self._site.of_path(target.segments, target.directory)
        if entry.kind is Kind.REDIRECT:
            return self._redirect_response(request, target, slash_added(target), fields, entry)
        if entry.kind is Kind.SLASHED:
            reference = slash_removed(target)
            if reference is None:
                return self._error_response(request, 404, fields, entry, now_ms)
            return self._redirect_response(request, target, reference, fields, entry)
        if entry.kind is Kind.FORBIDDEN:
            return self._error_response(request, 403, fields, entry, now_ms)
        return self._missing_response(request, target, entry, fields)

    def _led_response(
        self, request: Request, target: Target, entry: Entry, led: Moved | Rewritten, now_ms: int
    ) -> Answer:
        """What a line of --redirects says of the path of `entry`. No line leads to another."""
        if isinstance(led, Moved):
            return self._moved_response(request, target, entry, led)
        fields = self._site.of_path(target.segments, target.directory)
        page = None
        if led.target is not None and not hidden(led.target.segments):
            page = self._cache.lookup(led.target.segments, led.target.directory, now_ms)
        if page is None or page.kind is not Kind.FILE:
            return self._error_response(request, 404, fields, entry, now_ms)
        segments = page.state.segments
        if led.status != 200:
            return self._file_response(
                request, page, segments, page, status=led.status, fields=fields, caching=Cacheable.TWO_ENTRIES
            )
        return self._file_response(request, page, segments, page, caching=Cacheable.TWO_ENTRIES)

    def _moved_response(self, request: Request, target: Target, entry: Entry | None, led: Moved) -> Answer:
        fields = self._site.of_path(target.segments, target.directory)
        response = ResponseBuilder(request, fields).moved(led.status, led.location)
        return self._encoder.encode(request, response, entry=entry)

    def _missing_response(self, request: Request, target: Target, entry: Entry, fields: Fields) -> Answer:
        """The page that stands for every route, the site's page for 404, or a plain 404."""
        if 200 in entry.fallback_pages:
            vary = ((b"Vary", NAVIGATION_VARY),)
            fields = (*fields, *vary)
            if navigates(request, asset=_names_asset(target)):
                page = entry.fallback_pages[200]
                return self._file_response(request, page, page.segments, entry, fields=vary)
        if 404 in entry.fallback_pages:
            page = entry.fallback_pages[404]
            return self._file_response(request, page, page.segments, entry, status=404, fields=fields)
        return self._encoder.encode(request, ResponseBuilder(request, fields).error(404), entry=entry)

    def _redirect_response(
        self, request: Request, target: Target, reference: bytes, fields: Fields, entry: Entry
    ) -> Answer:
        response = ResponseBuilder(request, fields).redirect(reference, target.query)
        return self._encoder.encode(request, response, entry=entry)

    def _error_response(
        self, request: Request, status: int, fields: Fields, entry: Entry | None, now_ms: int
    ) -> Answer:
        """An error that `entry` tells, or the head alone; with the site's page for it, if it has one."""
        page = self._errors.page_of(status, now_ms)
        caching = Cacheable.TWO_ENTRIES if self._errors.has_pages and entry is not None else Cacheable.YES
        if page is None:
            response = ResponseBuilder(request, fields).error(status)
            return self._encoder.encode(request, response, entry=entry, caching=caching)
        segments = page.state.segments
        return self._file_response(
            request, page, segments, page, status=status, fields=fields, caching=caching
        )

    def _file_response(
        self,
        request: Request,
        page: Entry | FallbackPage,
        segments: tuple[bytes, ...],
        entry: Entry,
        *,
        status: int = 200,
        fields: Fields = (),
        caching: Cacheable = Cacheable.YES,
    ) -> Answer:
        """The file at `segments`, whose representations `page` has; `entry` is what to revalidate."""
        kind, coding = self._media.of_path(segments)
        tag_of = partial(self._waiting, entry, self._cache.digests.tag_of)
        choice = choose(request, page, kind, coding, self._compressor, tag_of)
        found, base = choice.found, page.representations[IDENTITY]
        tag = None
        if status == 200:
            fields = (*self._site.of_file(segments, kind), *fields)
            # Neither yes nor no can be said to If-Match before the tag is known.
            tag = tag_of(found, wait=request.field(b"if-match") not in (None, b"*"))
            if tag is None:
                caching = Cacheable.NO_TAG_YET
        if not choice.settled:
            caching = Cacheable.NO_ENCODING_YET
        metadata = Metadata(
            size=found.size,
            etag=tag,
            # What was made of a file has the date of the file.
            last_modified_s=page.representations.get(found.encoding, base).last_modified_s,
            media_type=kind,
            encoding=choice.coding,
            vary=choice.varies,
        )
        builder = ResponseBuilder(request, fields)
        if status != 200:
            response = builder.representation(metadata, status=status)
        else:
            response, whole = self._waiting(entry, self._integrity.add, request, builder, metadata, found)
            if not whole and caching is Cacheable.YES:
                caching = Cacheable.NO_DIGEST_YET
        answer = self._encoder.encode(request, response, entry=entry, found=found, caching=caching)
        return answer._replace(found_at=segments)

    def _waiting(self, entry: Entry, ask: Callable[..., _T], *arguments: Any, **more: Any) -> _T:
        """What is asked of what `entry` has. Raises as that does."""
        try:
            return ask(*arguments, **more)
        except Pending as pending:
            pending.job.waiting.insert(0, partial(_outdate, entry))
            raise


def _lies_at(entry: Entry | None, asked: Plain) -> bool:
    """Whether the file that was found is that of the path which was asked for."""
    return entry is not None and entry.state.segments == asked.segments


def _is_there(entry: Entry) -> bool:
    """Whether a path has something to show, or leads to it."""
    if entry.kind is Kind.DIRECTORY:
        return entry.state.scan is not None
    return entry.kind is not Kind.MISSING


def _outdate(entry: Entry, error: OSError | None) -> None:
    """What `entry` has could not be read: whoever asks now looks for it anew."""
    if error is not None:
        entry.check_at_ms = 0


def _names_asset(target: Target) -> bool:
    """Whether the last segment seems to have an extension: most routes have none."""
    stem, dot, extension = target.segments[-1].rpartition(b".") if target.segments else (b"", b"", b"")
    return bool(stem and dot and extension)

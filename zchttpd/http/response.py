"""Request + Metadata -> Response: status, fields, and a body of bytes and slices."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from zchttpd.config.names import IDENTITY
from zchttpd.http.conditional import Outcome, evaluate, if_range_holds
from zchttpd.http.dates import format_date
from zchttpd.http.integrity import digest_value
from zchttpd.http.ranges import Span, parse_range
from zchttpd.http.response_head import PHRASES
from zchttpd.http.target import quote_query

if TYPE_CHECKING:
    from zchttpd.http.request import Request

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]

METHODS = (b"Allow", b"GET, HEAD, OPTIONS")
# RFC 9110 section 9 and RFC 5789: known, but not for files that are only read.
_KNOWN_METHODS = frozenset(("POST", "PUT", "DELETE", "PATCH", "TRACE"))
# A path without a slash in front, and without a colon in its first segment.
_RELATIVE = re.compile(
    rb"(?![^/]*:)(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-F]{2})+(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-F]{2})+)*/?"
)
_NOSNIFF = (b"X-Content-Type-Options", b"nosniff")
_HTML = "text/html; charset=utf-8"
# How long a file may be kept says nothing about how long its absence or a failed precondition lasts.
NOT_ON_ERRORS = (b"cache-control", b"expires", b"content-disposition", b"content-language")


class Slice(NamedTuple):
    """`length` bytes from `offset` of the selected representation."""

    offset: int
    length: int


class Metadata(NamedTuple):
    """Representation metadata (RFC 9110 section 8): what a response tells of the selected representation.

    `size` in bytes; `etag` with its quotes, `last_modified_s` in Unix seconds, None where there is none;
    `encoding` a content coding or "identity"; `vary`: Accept-Encoding was asked for the choice; `digest`: its
    SHA-256, or None.
    """

    size: int
    etag: str | None
    last_modified_s: int | None
    media_type: str
    encoding: str = IDENTITY
    vary: bool = False
    digest: bytes | None = None


class Response(NamedTuple):
    """Everything but the encoding of the head. `parts` is empty where no content is sent (HEAD, 204, 304)."""

    status: int
    headers: Fields
    parts: tuple[bytes | Slice, ...]
    keep_alive: bool


class Page(NamedTuple):
    """The content of an error; `encoding` is a content coding or "identity"."""

    content: bytes
    media_type: str = _HTML
    encoding: str = IDENTITY


class ResponseBuilder:
    """Builds the response to `request`, with the fields of the site in it. None: the head was not valid.

    `with_content`: False where the answer has none although there is no request to tell so.
    """

    def __init__(
        self, request: Request | None, site_fields: Fields = (), *, with_content: bool = True
    ) -> None:
        self._request = request
        self._site_fields = site_fields
        self._with_content = with_content and (request is None or request.method != "HEAD")

    def of_method(self) -> Response:
        """The response to a method that asks for no file: any but GET and HEAD."""
        assert self._request is not None
        method = self._request.method
        if method == "OPTIONS":
            # RFC 9110 section 9.3.7: what may be asked of any path, and of the server as a whole.
            return self._build(204, (METHODS,), ())
        if method in _KNOWN_METHODS:
            # RFC 9110 section 15.5.6. TRACE gets it too: nothing is ever echoed.
            return self.error(405, (METHODS,))
        # RFC 9110 section 9.1: nobody here knows the method.
        return self.error(501)

    def representation(self, metadata: Metadata, *, status: int = 200) -> Response:
        """Answer GET or HEAD for a representation: 200, 206, 304, 412 or 416.

        With another `status` the file is the page of an error: it is sent whole and without validators, as
        preconditions and ranges mean only what would be a 200 (RFC 9110 sections 13.2.1 and 14.2).
        """
        request = self._request
        assert request is not None
        if status != 200:
            return self._whole(metadata, status)
        outcome = evaluate(
            request.method,
            if_match=request.field(b"if-match"),
            if_none_match=request.field(b"if-none-match"),
            if_modified_since=request.field(b"if-modified-since"),
            if_unmodified_since=request.field(b"if-unmodified-since"),
            etag=metadata.etag,
            last_modified_s=metadata.last_modified_s,
        )
        if outcome is Outcome.PRECONDITION_FAILED:
            return self.error(412, _vary(metadata))
        if outcome is Outcome.NOT_MODIFIED:
            # RFC 9110 section 15.4.5: what a cache needs to freshen what it has, and nothing of the content.
            return self._build(304, (*_etag(metadata), *_vary(metadata)), ())
        wanted = request.field(b"range") if request.method == "GET" else None
        if wanted is None or not if_range_holds(
            request.field(b"if-range"), metadata.etag, metadata.last_modified_s
        ):
            return self._whole(metadata, status)
        spans = parse_range(wanted, metadata.size)
        # The parts of an encoded file would need a Content-Encoding each, which no client knows.
        if spans is None or (len(spans) > 1 and metadata.encoding != IDENTITY):
            return self._whole(metadata, status)
        if not spans:
            whole_size = (b"Content-Range", b"bytes */%d" % metadata.size)
            return self.error(416, (whole_size, *_vary(metadata)))
        return self._single(metadata, spans[0]) if len(spans) == 1 else self._multiple(metadata, spans)

    def error(
        self,
        status: int,
        headers: Fields = (),
        *,
        reason: str = "",
        page: Page | None = None,
        close: bool = False,
    ) -> Response:
        """A small page that says the status, and the `reason`, a sentence of ours; or the given page."""
        if page is None:
            page = Page(_page(status, reason))
        fields = (
            (b"Content-Type", page.media_type.encode("ascii")),
            (b"Content-Length", b"%d" % len(page.content)),
            *_coding(page.encoding),
            _NOSNIFF,
            *headers,
        )
        return self._build(status, fields, (page.content,), close=close)

    def redirect(self, reference: bytes, query: bytes | None) -> Response:
        """Point to another path of this server (RFC 9110 section 10.2.2), with the query of the request.

        `reference` is relative to the path of the request and encoded, as `slash_added` gives it; raises
        ValueError for anything that could name another host or scheme (RFC 3986 section 4.2).
        """
        if not _RELATIVE.fullmatch(reference):
            raise ValueError(
                f"{reference!r} could lead to another host. Give a path relative to the request's"
            )
        location = reference if query is None else reference + b"?" + quote_query(query)
        return self.error(301, ((b"Location", location),))

    def moved(self, status: int, location: bytes) -> Response:
        """Lead to `location`, an absolute path, or the URL of a site that the options name."""
        return self.error(status, ((b"Location", location),))

    def _whole(self, metadata: Metadata, status: int) -> Response:
        parts = (Slice(0, metadata.size),) if metadata.size else ()
        return self._content(status, metadata, metadata.media_type.encode("ascii"), parts)

    def _single(self, metadata: Metadata, span: Span) -> Response:
        place = ((b"Content-Range", _content_range(span, metadata.size)),)
        parts = (Slice(span.first, span.length),)
        return self._content(206, metadata, metadata.media_type.encode("ascii"), parts, place)

    def _multiple(self, metadata: Metadata, spans: tuple[Span, ...]) -> Response:
        """RFC 9110 sections 14.6 and 15.3.7.2.

        The first boundary has an empty line before it, as from nginx and Apache (RFC 2046 section 5.1.1: an
        empty preamble): the readers of zsync and zckdl look for it.
        """
        # Nobody can have written a boundary into the file that was chosen after it.
        boundary = secrets.token_hex(12).encode("ascii")
        media_type = metadata.media_type.encode("ascii")
        parts: list[bytes | Slice] = []
        for span in spans:
            parts.append(
                b"\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n"
                % (boundary, media_type, _content_range(span, metadata.size))
            )
            parts.append(Slice(span.first, span.length))
        parts.append(b"\r\n--%s--\r\n" % boundary)
        return self._content(206, metadata, b"multipart/byteranges; boundary=" + boundary, tuple(parts))

    def _content(
        self,
        status: int,
        metadata: Metadata,
        media_type: bytes,
        parts: tuple[bytes | Slice, ...],
        place: Fields = (),
    ) -> Response:
        """All of the representation, or of its parts; as the page of an error it has no validators."""
        length = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
        headers = (
            (b"Content-Type", media_type),
            (b"Content-Length", b"%d" % length),
            *place,
            *_coding(metadata.encoding),
            *(_validators(metadata) if status in (200, 206) else ()),
            _NOSNIFF,
            *_vary(metadata),
        )
        return self._build(status, headers, parts)

    def _build(
        self, status: int, headers: Fields, parts: tuple[bytes | Slice, ...], *, close: bool = False
    ) -> Response:
        """Join the fields of the site, with Vary once (RFC 9110 section 12.5.5)."""
        site = self._site_fields
        if status >= 400:
            site = tuple(field for field in site if field[0].lower() not in NOT_ON_ERRORS)
        if site:
            fields = (*headers, *site)
            vary = [value for name, value in fields if name.lower() == b"vary"]
            headers = tuple(field for field in fields if field[0].lower() != b"vary")
            if vary:
                headers = (*headers, (b"Vary", b", ".join(vary)))
        keep_alive = self._request is not None and self._request.keep_alive and not close
        return Response(status, headers, parts if self._with_content else (), keep_alive)


def _content_range(span: Span, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (span.first, span.end - 1, size)


def _etag(metadata: Metadata) -> Fields:
    return () if metadata.etag is None else ((b"ETag", metadata.etag.encode("ascii")),)


def _coding(encoding: str) -> Fields:
    return () if encoding == IDENTITY else ((b"Content-Encoding", encoding.encode("ascii")),)


def _validators(metadata: Metadata) -> Fields:
    modified_s = metadata.last_modified_s
    date = () if modified_s is None else ((b"Last-Modified", format_date(modified_s)),)
    # Behind the others that are of the file, see `handler/templates.py`.
    return *_etag(metadata), *date, *repr_digest(metadata.digest), (b"Accept-Ranges", b"bytes")


def repr_digest(digest: bytes | None) -> Fields:
    """Repr-Digest (RFC 9530 section 3) with the SHA-256 of a selected representation, if there is one."""
    return ((b"Repr-Digest", digest_value(digest)),) if digest else ()


def _vary(metadata: Metadata) -> Fields:
    return ((b"Vary", b"Accept-Encoding"),) if metadata.vary else ()


def _page(status: int, reason: str) -> bytes:
    title = f"{status} {PHRASES[status]}"
    text = f"<p>{reason}</p>\n" if reason else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n'
        f'<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n<h1>{title}</h1>\n{text}</body>\n</html>\n"
    ).encode("ascii")

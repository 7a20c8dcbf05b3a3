"""Request + Metadata -> Response: status, fields, and a body of bytes and slices."""

from __future__ import annotations

import dataclasses
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from zchttpd.config.names import IDENTITY
from zchttpd.http.conditional import Outcome, evaluate, if_range_holds
from zchttpd.http.dates import format_date
from zchttpd.http.ranges import UNSATISFIABLE, Span, parse_range
from zchttpd.http.response_head import PHRASES
from zchttpd.http.target import quote_query

if TYPE_CHECKING:
    from zchttpd.http.request import HttpError, Request

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
_NOT_ON_ERRORS = (b"cache-control", b"expires", b"content-disposition", b"content-language")


@dataclass(frozen=True, slots=True)
class Slice:
    """`length` bytes from `offset` of the selected representation."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """Representation metadata (RFC 9110 section 8): what a response tells of the selected representation.

    `size` in bytes; `etag` with its quotes, `last_modified_s` in Unix seconds, None where there is none;
    `encoding` a content coding or "identity"; `vary`: Accept-Encoding was asked for the choice; `extra`:
    fields of the site's policy.
    """

    size: int
    etag: str | None
    last_modified_s: int | None
    media_type: str
    encoding: str = IDENTITY
    vary: bool = False
    extra: Fields = ()


@dataclass(frozen=True, slots=True)
class Response:
    """Everything but the encoding of the head. `parts` is empty where no content is sent (HEAD, 204, 304).

    `cacheable`: the same request bytes get this response again while the metadata stays the same.
    """

    status: int
    headers: Fields
    parts: tuple[bytes | Slice, ...]
    keep_alive: bool
    cacheable: bool


@dataclass(frozen=True, slots=True)
class Page:
    """The content of an error; `encoding` is a content coding or "identity"."""

    content: bytes
    media_type: str = _HTML
    encoding: str = IDENTITY


def early_response(request: Request) -> Response | None:
    """The response to a method that asks for no file; None for GET and HEAD."""
    if request.method in ("GET", "HEAD"):
        return None
    if request.method == "OPTIONS":
        return options_response(request)
    if request.method in _KNOWN_METHODS:
        return method_not_allowed(request)
    # RFC 9110 section 9.1: nobody here knows the method.
    return error_response(501, request)


def compile_response(request: Request, metadata: Metadata, *, status: int = 200) -> Response:
    """Answer GET or HEAD for a representation: 200, 206, 304, 412 or 416.

    With another `status` the file is the page of an error: it is sent whole and without validators, as
    preconditions and ranges mean only what would be a 200 (RFC 9110 sections 13.2.1 and 14.2).
    """
    if status != 200:
        return _whole(request, metadata, status)
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
        return error_response(412, request, _policy(metadata, error=True))
    if outcome is Outcome.NOT_MODIFIED:
        # RFC 9110 section 15.4.5: what a cache needs to freshen what it has, and nothing of the content.
        return Response(
            304, (*_etag(metadata), *_policy(metadata)), (), request.keep_alive, request.cacheable
        )
    wanted = request.field(b"range") if request.method == "GET" else None
    if wanted is None or not if_range_holds(
        request.field(b"if-range"), metadata.etag, metadata.last_modified_s
    ):
        return _whole(request, metadata, status)
    spans = parse_range(wanted, metadata.size)
    if spans is UNSATISFIABLE:
        whole_size = (b"Content-Range", b"bytes */%d" % metadata.size)
        return error_response(416, request, (whole_size, *_policy(metadata, error=True)))
    # The parts of an encoded file would need a Content-Encoding each, which no client knows.
    if spans is None or (len(spans) > 1 and metadata.encoding != IDENTITY):
        return _whole(request, metadata, status)
    return _single(request, metadata, spans[0]) if len(spans) == 1 else _multiple(request, metadata, spans)


def with_fields(response: Response, fields: Fields) -> Response:
    """The response with fields of the site's policy as well, and Vary once."""
    if not fields:
        return response
    vary = b", ".join(value for name, value in (*response.headers, *fields) if name.lower() == b"vary")
    others = tuple(field for field in (*response.headers, *fields) if field[0].lower() != b"vary")
    return dataclasses.replace(response, headers=(*others, (b"Vary", vary)) if vary else others)


def error_response(
    status: int, request: Request | None, headers: Fields = (), *, page: Page | None = None
) -> Response:
    """A small page that says the status, nothing of the request; or the given one.

    Without a request the connection closes.
    """
    if page is None:
        page = Page(_page(status, ""))
    fields = (
        (b"Content-Type", page.media_type.encode("ascii")),
        (b"Content-Length", b"%d" % len(page.content)),
        *_coding(page.encoding),
        _NOSNIFF,
        *headers,
    )
    if request is None:
        return Response(status, fields, (page.content,), keep_alive=False, cacheable=False)
    parts = () if request.method == "HEAD" else (page.content,)
    return Response(status, fields, parts, request.keep_alive, request.cacheable)


def http_error_response(http_error: HttpError) -> Response:
    """A small page that says the status and the reason; the connection closes."""
    page = _page(http_error.status, http_error.reason)
    fields = ((b"Content-Type", _HTML.encode("ascii")), (b"Content-Length", b"%d" % len(page)), _NOSNIFF)
    parts = () if http_error.bodiless else (page,)
    return Response(http_error.status, fields, parts, keep_alive=False, cacheable=False)


def redirect_response(
    request: Request, reference: bytes, query: bytes | None, headers: Fields = (), *, status: int = 301
) -> Response:
    """Point to another path of this server (RFC 9110 section 10.2.2), with the query of the request.

    `reference` is relative to the path of the request and encoded, as `slash_added` gives it; raises
    ValueError for anything that could name another host or scheme (RFC 3986 section 4.2).
    """
    if not _RELATIVE.fullmatch(reference):
        raise ValueError(f"{reference!r} could lead to another host. Give a path relative to the request's")
    location = reference if query is None else reference + b"?" + quote_query(query)
    return error_response(status, request, ((b"Location", location), *headers))


def options_response(request: Request, headers: Fields = ()) -> Response:
    """What may be asked of any path, and of the server as a whole (RFC 9110 section 9.3.7)."""
    return Response(204, (METHODS, *headers), (), request.keep_alive, request.cacheable)


def method_not_allowed(request: Request) -> Response:
    """405 with Allow (RFC 9110 section 15.5.6). TRACE gets it too: nothing is ever echoed."""
    return error_response(405, request, (METHODS,))


def _whole(request: Request, metadata: Metadata, status: int) -> Response:
    validators = _validators(metadata) if status == 200 else ()
    headers = (
        (b"Content-Type", metadata.media_type.encode("ascii")),
        (b"Content-Length", b"%d" % metadata.size),
        *_coding(metadata.encoding),
        *validators,
        _NOSNIFF,
        *_policy(metadata, error=status != 200),
    )
    parts = () if request.method == "HEAD" or not metadata.size else (Slice(0, metadata.size),)
    return Response(status, headers, parts, request.keep_alive, request.cacheable)


def _single(request: Request, metadata: Metadata, span: Span) -> Response:
    headers = (
        (b"Content-Type", metadata.media_type.encode("ascii")),
        (b"Content-Length", b"%d" % span.length),
        (b"Content-Range", _content_range(span, metadata.size)),
        *_coding(metadata.encoding),
        *_validators(metadata),
        _NOSNIFF,
        *_policy(metadata),
    )
    return Response(206, headers, (Slice(span.first, span.length),), request.keep_alive, request.cacheable)


def _multiple(request: Request, metadata: Metadata, spans: tuple[Span, ...]) -> Response:
    """RFC 9110 sections 14.6 and 15.3.7.2.

    The first boundary has an empty line before it, as from nginx and Apache (RFC 2046 section 5.1.1: an empty
    preamble): the readers of zsync and zckdl look for it.
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
    length = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
    headers = (
        (b"Content-Type", b"multipart/byteranges; boundary=" + boundary),
        (b"Content-Length", b"%d" % length),
        *_validators(metadata),
        _NOSNIFF,
        *_policy(metadata),
    )
    return Response(206, headers, tuple(parts), request.keep_alive, request.cacheable)


def _content_range(span: Span, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (span.first, span.end - 1, size)


def _etag(metadata: Metadata) -> Fields:
    return () if metadata.etag is None else ((b"ETag", metadata.etag.encode("ascii")),)


def _coding(encoding: str) -> Fields:
    return () if encoding == IDENTITY else ((b"Content-Encoding", encoding.encode("ascii")),)


def _validators(metadata: Metadata) -> Fields:
    ranges = (b"Accept-Ranges", b"bytes")
    if metadata.last_modified_s is None:
        return *_etag(metadata), ranges
    return *_etag(metadata), (b"Last-Modified", format_date(metadata.last_modified_s)), ranges


def _policy(metadata: Metadata, *, error: bool = False) -> Fields:
    """The site's fields, with Vary once (RFC 9110 section 12.5.5): alike on 200, 206, 304 and errors."""
    if not metadata.extra:
        return ((b"Vary", b"Accept-Encoding"),) if metadata.vary else ()
    vary = [b"Accept-Encoding"] if metadata.vary else []
    others: list[tuple[bytes, bytes]] = []
    for name, value in metadata.extra:
        lower = name.lower()
        if lower == b"vary":
            vary.append(value)
        elif not (error and lower in _NOT_ON_ERRORS):
            others.append((name, value))
    return (*others, (b"Vary", b", ".join(vary))) if vary else tuple(others)


def _page(status: int, reason: str) -> bytes:
    title = f"{status} {PHRASES[status]}"
    text = f"<p>{reason}</p>\n" if reason else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n'
        f'<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n<h1>{title}</h1>\n{text}</body>\n</html>\n"
    ).encode("ascii")

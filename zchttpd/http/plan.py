"""A verdict and the facts of a file become a response: status, fields, and a body of bytes and windows."""

from __future__ import annotations

import dataclasses
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from zchttpd.config.names import IDENTITY
from zchttpd.http.conditional import Outcome, evaluate, if_range_holds
from zchttpd.http.dates import format_date
from zchttpd.http.head import PHRASES
from zchttpd.http.ranges import UNSATISFIABLE, Span, parse_range
from zchttpd.http.target import quote_query

if TYPE_CHECKING:
    from zchttpd.http.judge import Refusal, Verdict

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
class Window:
    """`length` bytes from `offset` of the selected representation."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a response tells of the selected representation.

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

    `memo`: the same request bytes get this response again while the facts stand.
    """

    status: int
    headers: Fields
    parts: tuple[bytes | Window, ...]
    keep_alive: bool
    memo: bool


@dataclass(frozen=True, slots=True)
class Page:
    """The content of an error; `encoding` is a content coding or "identity"."""

    content: bytes
    media_type: str = _HTML
    encoding: str = IDENTITY


def early_response(verdict: Verdict) -> Response | None:
    """The response to a method that asks for no file; None for GET and HEAD."""
    if verdict.method in ("GET", "HEAD"):
        return None
    if verdict.method == "OPTIONS":
        return options_response(verdict)
    if verdict.method in _KNOWN_METHODS:
        return method_not_allowed(verdict)
    # RFC 9110 section 9.1: nobody here knows the method.
    return error_response(501, verdict)


def compile_response(verdict: Verdict, facts: Facts, *, status: int = 200) -> Response:
    """Answer GET or HEAD for a representation: 200, 206, 304, 412 or 416.

    With another `status` the file is the page of an error: it is sent whole and without validators, as
    preconditions and ranges mean only what would be a 200 (RFC 9110 sections 13.2.1 and 14.2).
    """
    if status != 200:
        return _whole(verdict, facts, status)
    outcome = evaluate(
        verdict.method,
        if_match=verdict.field(b"if-match"),
        if_none_match=verdict.field(b"if-none-match"),
        if_modified_since=verdict.field(b"if-modified-since"),
        if_unmodified_since=verdict.field(b"if-unmodified-since"),
        etag=facts.etag,
        last_modified_s=facts.last_modified_s,
    )
    if outcome is Outcome.PRECONDITION_FAILED:
        return error_response(412, verdict, _policy(facts, error=True))
    if outcome is Outcome.NOT_MODIFIED:
        # RFC 9110 section 15.4.5: what a cache needs to freshen what it has, and nothing of the content.
        return Response(304, (*_etag(facts), *_policy(facts)), (), verdict.keep_alive, verdict.memo)
    wanted = verdict.field(b"range") if verdict.method == "GET" else None
    if wanted is None or not if_range_holds(verdict.field(b"if-range"), facts.etag, facts.last_modified_s):
        return _whole(verdict, facts, status)
    spans = parse_range(wanted, facts.size)
    if spans is UNSATISFIABLE:
        whole_size = (b"Content-Range", b"bytes */%d" % facts.size)
        return error_response(416, verdict, (whole_size, *_policy(facts, error=True)))
    # The parts of an encoded file would need a Content-Encoding each, which no client knows.
    if spans is None or (len(spans) > 1 and facts.encoding != IDENTITY):
        return _whole(verdict, facts, status)
    return _single(verdict, facts, spans[0]) if len(spans) == 1 else _multiple(verdict, facts, spans)


def with_fields(response: Response, fields: Fields) -> Response:
    """The response with fields of the site's policy as well, and Vary once."""
    if not fields:
        return response
    vary = b", ".join(value for name, value in (*response.headers, *fields) if name.lower() == b"vary")
    others = tuple(field for field in (*response.headers, *fields) if field[0].lower() != b"vary")
    return dataclasses.replace(response, headers=(*others, (b"Vary", vary)) if vary else others)


def error_response(
    status: int, verdict: Verdict | None, headers: Fields = (), *, page: Page | None = None
) -> Response:
    """A small page that says the status, nothing of the request; or the given one.

    Without a verdict the connection closes.
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
    if verdict is None:
        return Response(status, fields, (page.content,), keep_alive=False, memo=False)
    parts = () if verdict.method == "HEAD" else (page.content,)
    return Response(status, fields, parts, verdict.keep_alive, verdict.memo)


def refusal_response(refusal: Refusal) -> Response:
    """A small page that says the status and the reason; the connection closes."""
    page = _page(refusal.status, refusal.reason)
    fields = ((b"Content-Type", _HTML.encode("ascii")), (b"Content-Length", b"%d" % len(page)), _NOSNIFF)
    parts = () if refusal.bodiless else (page,)
    return Response(refusal.status, fields, parts, keep_alive=False, memo=False)


def redirect_response(
    verdict: Verdict, reference: bytes, query: bytes | None, headers: Fields = (), *, status: int = 301
) -> Response:
    """Point to another path of this server (RFC 9110 section 10.2.2), with the query of the request.

    `reference` is relative to the path of the request and encoded, as `slash_added` gives it; raises
    ValueError for anything that could name another host or scheme (RFC 3986 section 4.2).
    """
    if not _RELATIVE.fullmatch(reference):
        raise ValueError(f"{reference!r} could lead to another host. Give a path relative to the request's")
    location = reference if query is None else reference + b"?" + quote_query(query)
    return error_response(status, verdict, ((b"Location", location), *headers))


def options_response(verdict: Verdict, headers: Fields = ()) -> Response:
    """What may be asked of any path, and of the server as a whole (RFC 9110 section 9.3.7)."""
    return Response(204, (METHODS, *headers), (), verdict.keep_alive, verdict.memo)


def method_not_allowed(verdict: Verdict) -> Response:
    """405 with Allow (RFC 9110 section 15.5.6). TRACE gets it too: nothing is ever echoed."""
    return error_response(405, verdict, (METHODS,))


def _whole(verdict: Verdict, facts: Facts, status: int) -> Response:
    validators = _validators(facts) if status == 200 else ()
    headers = (
        (b"Content-Type", facts.media_type.encode("ascii")),
        (b"Content-Length", b"%d" % facts.size),
        *_coding(facts.encoding),
        *validators,
        _NOSNIFF,
        *_policy(facts, error=status != 200),
    )
    parts = () if verdict.method == "HEAD" or not facts.size else (Window(0, facts.size),)
    return Response(status, headers, parts, verdict.keep_alive, verdict.memo)


def _single(verdict: Verdict, facts: Facts, span: Span) -> Response:
    headers = (
        (b"Content-Type", facts.media_type.encode("ascii")),
        (b"Content-Length", b"%d" % span.length),
        (b"Content-Range", _content_range(span, facts.size)),
        *_coding(facts.encoding),
        *_validators(facts),
        _NOSNIFF,
        *_policy(facts),
    )
    return Response(206, headers, (Window(span.first, span.length),), verdict.keep_alive, verdict.memo)


def _multiple(verdict: Verdict, facts: Facts, spans: tuple[Span, ...]) -> Response:
    """RFC 9110 sections 14.6 and 15.3.7.2.

    The first boundary has an empty line before it, as from nginx and Apache (RFC 2046 section 5.1.1: an empty
    preamble): the readers of zsync and zckdl look for it.
    """
    # Nobody can have written a boundary into the file that was chosen after it.
    boundary = secrets.token_hex(12).encode("ascii")
    media_type = facts.media_type.encode("ascii")
    parts: list[bytes | Window] = []
    for span in spans:
        parts.append(
            b"\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n"
            % (boundary, media_type, _content_range(span, facts.size))
        )
        parts.append(Window(span.first, span.length))
    parts.append(b"\r\n--%s--\r\n" % boundary)
    length = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
    headers = (
        (b"Content-Type", b"multipart/byteranges; boundary=" + boundary),
        (b"Content-Length", b"%d" % length),
        *_validators(facts),
        _NOSNIFF,
        *_policy(facts),
    )
    return Response(206, headers, tuple(parts), verdict.keep_alive, verdict.memo)


def _content_range(span: Span, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (span.first, span.end - 1, size)


def _etag(facts: Facts) -> Fields:
    return () if facts.etag is None else ((b"ETag", facts.etag.encode("ascii")),)


def _coding(encoding: str) -> Fields:
    return () if encoding == IDENTITY else ((b"Content-Encoding", encoding.encode("ascii")),)


def _validators(facts: Facts) -> Fields:
    ranges = (b"Accept-Ranges", b"bytes")
    if facts.last_modified_s is None:
        return *_etag(facts), ranges
    return *_etag(facts), (b"Last-Modified", format_date(facts.last_modified_s)), ranges


def _policy(facts: Facts, *, error: bool = False) -> Fields:
    """The site's fields, with Vary once (RFC 9110 section 12.5.5): alike on 200, 206, 304 and errors."""
    if not facts.extra:
        return ((b"Vary", b"Accept-Encoding"),) if facts.vary else ()
    vary = [b"Accept-Encoding"] if facts.vary else []
    others: list[tuple[bytes, bytes]] = []
    for name, value in facts.extra:
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

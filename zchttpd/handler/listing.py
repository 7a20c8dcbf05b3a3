"""A directory listing as an answer: which form and encoding, its tag, its fields, and the page itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY
from zchttpd.files.listing import parse_order
from zchttpd.files.listing_cache import etag
from zchttpd.files.listing_page import HTML, JSON, least_size
from zchttpd.files.listing_style import CONTENT_SECURITY_POLICY
from zchttpd.handler.choice import choose_made
from zchttpd.http.accept import JSON_VARY, prefers_json
from zchttpd.http.response import Metadata, ResponseBuilder, Slice

if TYPE_CHECKING:
    from zchttpd.files.compressor import Compressor
    from zchttpd.files.listing import Scan
    from zchttpd.files.listing_cache import ListingCache
    from zchttpd.files.lookup import Entry
    from zchttpd.files.version import Representation
    from zchttpd.handler.answer import Answer, AnswerEncoder
    from zchttpd.handler.site import SitePolicy
    from zchttpd.http.request import Request
    from zchttpd.http.response import Fields
    from zchttpd.http.target import Target

_FIELDS = (
    (b"Content-Security-Policy", CONTENT_SECURITY_POLICY.encode("ascii")),
    (b"Cache-Control", b"no-cache"),
)


class ListingAnswers:
    """Answers with pages of `listings`, encoded by `compressor` if there is one."""

    def __init__(
        self, listings: ListingCache, compressor: Compressor | None, site: SitePolicy, encoder: AnswerEncoder
    ) -> None:
        self._listings = listings
        self._compressor = compressor
        self._site = site
        self._encoder = encoder

    def answer(self, request: Request, target: Target, entry: Entry, scan: Scan) -> Answer | None:
        """The listing of a directory that was scanned; None if that has to be done again.

        Raises Pending when it takes long, OSError (EBUSY) when too much does.
        """
        order, kind = parse_order(target.query), JSON if prefers_json(request) else HTML
        compressor = self._compressor
        makeable = compressor.encodings_of_listing(least_size(scan.count, kind)) if compressor else ()
        encoding = choose_made(request, makeable)
        tag = etag(scan, order, kind, encoding)
        metadata = Metadata(0, tag, None, kind, encoding, vary=bool(makeable))
        builder = ResponseBuilder(request, self._fields(target))
        page = self._listings.drawn(scan, order, kind, encoding)
        if page is None:
            response = builder.representation(metadata)
            if response.status in (304, 412):
                # Which tells nothing of the page, so that it need not be drawn.
                return self._encoder.encode(request, response, entry=entry)
            encode = partial(compressor.encode, encoding) if compressor and encoding != IDENTITY else None
            page = self._listings.page(scan, order, kind, encoding, encode)
        if page is None:
            return None
        response = builder.representation(metadata._replace(size=page.size))
        body = page.body
        found: Representation | None = None
        if isinstance(body, bytes):
            parts = tuple(
                body[part.offset : part.offset + part.length] if isinstance(part, Slice) else part
                for part in response.parts
            )
            response = response._replace(parts=parts)
        else:
            found = body
        return self._encoder.encode(request, response, entry=entry, found=found)

    def _fields(self, target: Target) -> Fields:
        fields = {name.lower(): (name, value) for name, value in self._site.of_path(target.segments, True)}
        fields.update((name.lower(), (name, value)) for name, value in _FIELDS)
        return (*fields.values(), (b"Vary", JSON_VARY))

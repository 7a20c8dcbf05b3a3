"""What the handler gives to an engine: a response with its head encoded, and the entry that it depends on."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from zchttpd.http.response import Slice
from zchttpd.http.response_head import KEEP_ALIVE, PLACE_OF_REQUEST_ID, HeadEncoder, encode_head

if TYPE_CHECKING:
    from zchttpd.files.archive import Archive
    from zchttpd.files.lookup import Entry
    from zchttpd.files.version import Representation
    from zchttpd.handler.templates import Template
    from zchttpd.http.request import Request
    from zchttpd.http.response import Response

_END = b"\r\n\r\n"
_LAST = b"\r\nConnection: close"
_KEPT_ALIVE = b"\r\nConnection: " + KEEP_ALIVE
_CACHE_CONTROL = re.compile(rb"\r\nCache-Control: ([^\r\n]*)", re.IGNORECASE)
_SHARED = (b"public", b"private", b"proxy-revalidate")


class Cacheable(Enum):
    """Whether a cache key gets the same answer for as long as its entry is valid; if not, why."""

    YES = "yes"
    NO_REQUEST = "the head is not valid, has content behind it, or expects more than an answer"
    NO_ENTRY = "nothing tells when it is outdated"
    TWO_ENTRIES = "two entries decide, and an answer has one to revalidate"
    NO_ENCODING_YET = "a better encoding is being made"
    NO_TAG_YET = "its entity tag is being made"
    NO_DIGEST_YET = "its digest is being made"
    ONE_USER = "it is for those alone who have the password"
    LAST = "it is the last one of a worker that drains"


class Answer(NamedTuple):
    """One whole answer.

    Attributes:
        status: of HTTP.
        head: with 29 bytes of Date at `date_at`, to be overwritten when it is sent.
        parts: literal bytes, and slices of `representation`, in order.
        representation: None where there are no slices.
        entry: what to revalidate before the answer is used again, also where there is no file; None where no
            file was asked for.
        keep_alive: if not, the connection closes afterwards.
        linger: the client may send on all the same: what comes is discarded for a while before it closes.
        caching: whether an engine may replay it, and why not.
        content: the bytes of `representation`, where they have been read already.
        template: what it has in common with those to other paths; None where an engine is not to fill it in.
        found_at: the path of the file that it tells of, whatever the encoding, also where nothing of it is
            sent; None for no file.
        user: whom it is for; empty where it is for everybody.
        archive: what the slices are of, where that is no file.
    """

    status: int
    head: bytes
    date_at: int
    parts: tuple[bytes | Slice, ...]
    representation: Representation | None
    entry: Entry | None
    keep_alive: bool
    linger: bool
    caching: Cacheable
    content: bytes | None = None
    template: Template | None = None
    found_at: tuple[bytes, ...] | None = None
    user: bytes = b""
    archive: Archive | None = None

    @property
    def cacheable(self) -> bool:
        """Whether the same cache key gets the same answer as long as `entry` is valid."""
        return self.caching is Cacheable.YES

    def as_last(self) -> Answer:
        """The same answer, after which the connection closes (RFC 9112 section 9.6)."""
        if not self.keep_alive:
            return self
        fields = self.head[: -len(_END)].removesuffix(_KEPT_ALIVE)
        return self._replace(
            head=fields + _LAST + _END, keep_alive=False, linger=True, caching=Cacheable.LAST, template=None
        )


def as_private(answer: Answer, user: bytes) -> Answer:
    """The answer for one user: neither an engine nor a shared cache (RFC 9111 section 5.2.2.7) keeps it."""
    fields, end = answer.head[: -len(_END)], _END
    for last in (_LAST, _KEPT_ALIVE):
        if fields.endswith(last):
            fields, end = fields.removesuffix(last), last + _END
    told = _CACHE_CONTROL.search(fields)
    kept = [] if told is None else [each.strip(b" \t") for each in told[1].split(b",")]
    private = [
        each for each in kept if each.lower() not in _SHARED and not each.lower().startswith(b"s-maxage")
    ]
    value = b"\r\nCache-Control: " + b", ".join([b"private", *private])
    fields = _CACHE_CONTROL.sub(b"", fields) + value
    return answer._replace(head=fields + end, caching=Cacheable.ONE_USER, template=None, user=user)


class AnswerEncoder:
    """Makes answers of responses. `request_id`: with the place of one, right behind Date."""

    def __init__(self, *, request_id: bool = False) -> None:
        self._head_encoder = HeadEncoder()
        self._common = (PLACE_OF_REQUEST_ID,) if request_id else ()

    def encode(
        self,
        request: Request | None,
        response: Response,
        *,
        entry: Entry | None = None,
        found: Representation | None = None,
        caching: Cacheable = Cacheable.YES,
    ) -> Answer:
        """The answer to `request`, None for a head that is not valid. `found`: what its slices are of.

        `caching`: what the branch knows that made the response; the request or no entry may rule it out too.
        """
        headers = (*self._common, *response.headers)
        if request is None:
            encoded = encode_head(None, response.status, headers, keep_alive=False)
        else:
            encoded = self._head_encoder.encode(
                request, response.status, headers, keep_alive=response.keep_alive
            )
        if request is None or not request.cacheable:
            caching = Cacheable.NO_REQUEST
        elif entry is None:
            caching = Cacheable.NO_ENTRY
        return Answer(
            status=response.status,
            head=encoded.head,
            date_at=encoded.date_at,
            parts=response.parts,
            representation=found if any(isinstance(part, Slice) for part in response.parts) else None,
            entry=entry,
            keep_alive=response.keep_alive,
            linger=not response.keep_alive and not (request is not None and request.last),
            caching=caching,
        )

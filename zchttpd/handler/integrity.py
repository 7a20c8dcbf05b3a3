"""Which digests an answer carries (RFC 9530), and what of them is worth waiting for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zchttpd.files.digests import AT_ONCE_SIZE_MAX, NO_DIGEST, Digests, Wait
from zchttpd.http.integrity import digest_value, wanted
from zchttpd.http.response import Metadata, Response, ResponseBuilder, Slice, repr_digest

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings
    from zchttpd.files.version import Representation
    from zchttpd.http.request import Request


class Wants(NamedTuple):
    """What a request says of digests, as `wanted` has it; `representation` also where it says nothing."""

    representation: bool
    asked: bool
    content: bool


class Integrity:
    """Adds digests to responses with files.

    `always`: Repr-Digest is sent unless a request refuses it. Then nothing is waited for but what is small,
    and so is read for the answer anyway. Who asks for one waits for what takes milliseconds.
    """

    def __init__(self, settings: Settings, digests: Digests) -> None:
        self.always = settings.digest
        self._digests = digests

    def wants(self, request: Request) -> Wants:
        """What this request is to have."""
        asked = wanted(request.field(b"want-repr-digest"))
        return Wants(
            representation=self.always if asked is None else asked,
            asked=bool(asked),
            content=bool(wanted(request.field(b"want-content-digest"))),
        )

    def usual(self, found: Representation, content: bytes | None = None) -> bytes | None:
        """The digest that goes with an answer to who says nothing of it; None: not yet. Raises Pending."""
        wait = Wait.BRIEFLY if found.size <= AT_ONCE_SIZE_MAX else Wait.NEVER
        return self._digests.whole(found, wait, content)

    def add(
        self, request: Request, builder: ResponseBuilder, metadata: Metadata, found: Representation
    ) -> tuple[Response, bool]:
        """The response with its digests, and whether it has all that it will ever have. Raises Pending."""
        response = builder.representation(metadata)
        wants = self.wants(request)
        if not (wants.representation or wants.content) or response.status not in (200, 206, 304):
            return response, True
        if response.status == 304:
            return self._not_modified(response, wants, found)
        digest: bytes | None = None
        settled = True
        if wants.representation:
            digest = self._digests.whole(found, Wait.BRIEFLY) if wants.asked else self.usual(found)
            settled = digest is not None
            response = builder.representation(metadata._replace(digest=digest))
        if not wants.content or request.method == "HEAD":
            return response, settled
        of_content = self._of_content(response, found)
        if of_content:
            field = (b"Content-Digest", digest_value(of_content))
            response = response._replace(headers=(*response.headers, field))
        return response, settled and of_content is not None

    def _not_modified(self, response: Response, wants: Wants, found: Representation) -> tuple[Response, bool]:
        """RFC 9110 section 15.4.5: no metadata that is not asked for; whoever asks checks what it has."""
        if not wants.asked:
            return response, True
        digest = self._digests.whole(found, Wait.BRIEFLY)
        return response._replace(headers=(*response.headers, *repr_digest(digest))), digest is not None

    def _of_content(self, response: Response, found: Representation) -> bytes | None:
        """The digest of the content; of several parts, whose boundaries are new each time, there is none."""
        if response.status == 200:
            return self._digests.whole(found, Wait.BRIEFLY)
        part = response.parts[0]
        if len(response.parts) > 1 or not isinstance(part, Slice):
            return NO_DIGEST
        return self._digests.part(found, *part)

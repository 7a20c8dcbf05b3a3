"""Which representation of a file an answer carries: what lies on the disk, and what can be made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zchttpd.config.names import IDENTITY
from zchttpd.files.compressor import Unavailable
from zchttpd.files.version import Representation
from zchttpd.http.accept import acceptable, negotiate
from zchttpd.http.conditional import strong_tags
from zchttpd.http.media_types import compressible

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.files.compressor import Compressor
    from zchttpd.files.lookup import Entry, FallbackPage
    from zchttpd.http.request import Request


class Choice(NamedTuple):
    """`coding`: the content coding of `found`. `settled`: the same request gets the same next time. `varies`:
    Accept-Encoding was asked for it.
    """

    found: Representation
    coding: str
    settled: bool
    varies: bool


def choose(
    request: Request,
    page: Entry | FallbackPage,
    media_type: str,
    coding: str,
    compressor: Compressor | None,
    tag_of: Callable[[Representation], str | None],
) -> Choice:
    """What to send of `page`, a file of `media_type`, and of what `compressor` can make of it.

    What is stored in a content coding has no other, whatever Accept-Encoding says: as everywhere here, a
    client that refuses all there is gets the file.

    Which encodings have been made by now is chance, so a range without a validator is of what lies on the
    disk: otherwise a client that resumes would join bytes of two representations. With one (If-Range, else
    If-Match) it is of the representation that has that tag.
    """
    choice = page.representations
    if coding != IDENTITY:
        return Choice(choice[IDENTITY], coding, True, False)
    makeable: tuple[str, ...] = ()
    if compressor is not None and compressible(media_type):
        makeable = compressor.encodings_of(choice[IDENTITY])
    varies = page.varies or bool(makeable)
    accept_encoding = request.field(b"accept-encoding")
    on_disk = choice[negotiate(accept_encoding, tuple(choice))]
    if compressor is None or not makeable:
        return Choice(on_disk, on_disk.encoding, True, varies)
    if _wants_part(request):
        tags = _tags(request)
        if not tags:
            return Choice(on_disk, on_disk.encoding, True, varies)
        for encoding in (IDENTITY, *makeable):
            named = (
                choice.get(encoding) or compressor.find(choice[IDENTITY], encoding, start=False)
                if acceptable(accept_encoding, encoding)
                else None
            )
            if isinstance(named, Representation) and (tag_of(named) or "").encode("ascii") in tags:
                return Choice(named, encoding, True, varies)
    found, settled = _best(accept_encoding, choice, makeable, compressor)
    return Choice(found, found.encoding, settled, varies)


def choose_made(request: Request, made: tuple[str, ...]) -> str:
    """The content coding of what is made whole, as a listing is: one of `made`. As with a file, a
    range without a validator is of what has none.
    """
    if _wants_part(request) and not _tags(request):
        return IDENTITY
    return negotiate(request.field(b"accept-encoding"), (IDENTITY, *made))


def _wants_part(request: Request) -> bool:
    return request.method == "GET" and request.field(b"range") is not None


def _tags(request: Request) -> list[bytes]:
    return strong_tags(request.field(b"if-range") or request.field(b"if-match"))


def _best(
    accept_encoding: bytes | None,
    choice: dict[str, Representation],
    makeable: tuple[str, ...],
    compressor: Compressor,
) -> tuple[Representation, bool]:
    """What to send of `choice` and of what can be made of it; and whether it will be the same next time.

    The encoding that the client likes best is begun, and no other. While it is being made the answer is
    the best of what there is, and is not to be remembered: so nothing has to be called back later.
    """
    offered = {*choice, *makeable}
    settled = True
    while (encoding := negotiate(accept_encoding, tuple(offered))) not in choice:
        made = compressor.find(choice[IDENTITY], encoding, start=settled)
        if isinstance(made, Representation):
            return made, settled
        settled = settled and made is Unavailable.UNFIT
        offered.discard(encoding)
    return choice[encoding], settled

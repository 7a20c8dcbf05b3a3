"""What a client would like (RFC 9110 section 12.5, W3C Fetch Metadata): the types, encodings and pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY
from zchttpd.http.request import TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.http.request import Request

# On equal wishes the smallest is sent: what brotli makes ahead of time is seldom larger than the others.
PREFERENCE = ("br", "zstd", "gzip", IDENTITY)
_QVALUE = rb"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)"
_WEIGHT = re.compile(_QVALUE)
_MEMBER = re.compile(rb"(" + TOKEN + rb")(?:[ \t]*;[ \t]*" + _QVALUE + rb")?")
# No client lists more; what comes behind is not looked at.
MEMBERS_MAX = 100

# What `navigates` and `prefers_json` look at, for Vary.
NAVIGATION_VARY = b"Accept, Sec-Fetch-Mode"
JSON_VARY = b"Accept"


def wish(accept: bytes | None, media_type: bytes) -> int:
    """How much a type is wished for by its own name, in thousandths; wildcards do not count."""
    best = 0
    for member in (accept or b"").split(b",", MEMBERS_MAX)[:MEMBERS_MAX]:
        name, *parameters = (each.strip(b" \t") for each in member.split(b";"))
        if name.lower() == media_type:
            weights = [match for each in parameters if (match := _WEIGHT.fullmatch(each))]
            best = max(best, round(float(weights[0][1]) * 1000) if weights else 1000)
    return best


def navigates(request: Request, *, asset: bool) -> bool:
    """Whether somebody goes to a page, rather than a page loading what it needs.

    The browser knows. Where it does not say, a wish for HTML tells a page, unless the path is that of an
    `asset` by its name.
    """
    if request.field(b"sec-fetch-mode") == b"navigate":
        return True
    return not asset and wish(request.field(b"accept"), b"text/html") > 0


def prefers_json(request: Request) -> bool:
    """Whether JSON is asked for by name, and more than HTML."""
    accept = request.field(b"accept")
    return wish(accept, b"application/json") > wish(accept, b"text/html")


def negotiate(accept_encoding: bytes | None, available: Sequence[str]) -> str:
    """The best of `available` for a client, by its q-values, then by PREFERENCE.

    Without the field, or with an empty one, that is "identity"; so it is where the client refuses all
    there is. A member that is not valid counts as absent.
    """
    if not accept_encoding or tuple(available) == (IDENTITY,):
        return IDENTITY
    wishes = _codings(accept_encoding)
    others = wishes.get("*", 0)
    best, weight = IDENTITY, 0
    for coding in PREFERENCE:
        if coding in available:
            # Identity is acceptable unless it is refused, but nothing is gained by it.
            wish = wishes.get(coding, others)
            if wish > weight:
                best, weight = coding, wish
    return best


def acceptable(accept_encoding: bytes | None, encoding: str) -> bool:
    """Whether a client that has it may be sent it again: identity always is, as in `negotiate`."""
    if encoding == IDENTITY:
        return True
    wishes = _codings(accept_encoding or b"")
    return wishes.get(encoding, wishes.get("*", 0)) > 0


def _codings(value: bytes) -> dict[str, int]:
    """Wishes in thousandths."""
    wishes: dict[str, int] = {}
    # What is listed behind them counts as one member that is not valid.
    for member in value.split(b",", MEMBERS_MAX):
        match = _MEMBER.fullmatch(member.strip(b" \t"))
        if match is None:
            continue
        coding = match[1].decode("ascii").lower()
        weight = round(float(match[2]) * 1000) if match[2] else 1000
        # RFC 9110 section 8.4.1.3: x-gzip is another name of gzip.
        wishes["gzip" if coding == "x-gzip" else coding] = weight
    return wishes

"""What a client would like to see: Accept (RFC 9110 section 12.5.1), Sec-Fetch-Mode (W3C Fetch Metadata)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zchttpd.http.judge import Verdict

# No browser lists more; what comes behind is not looked at.
MEMBERS_MAX = 100

_WEIGHT = re.compile(rb"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")

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


def navigates(verdict: Verdict, *, asset: bool) -> bool:
    """Whether somebody goes to a page, rather than a page loading what it needs.

    The browser knows. Where it does not say, a wish for HTML tells a page, unless the path is that of an
    `asset` by its name.
    """
    if verdict.field(b"sec-fetch-mode") == b"navigate":
        return True
    return not asset and wish(verdict.field(b"accept"), b"text/html") > 0


def prefers_json(verdict: Verdict) -> bool:
    """Whether JSON is asked for by name, and more than HTML."""
    accept = verdict.field(b"accept")
    return wish(accept, b"application/json") > wish(accept, b"text/html")

"""Which encoding of a file to send (RFC 9110 section 12.5.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Sequence

# On equal wishes the smallest is sent: what brotli makes ahead of time is seldom larger than the others.
PREFERENCE = ("br", "zstd", "gzip", IDENTITY)
# No client knows more codings; what is listed behind them counts as one member that is not valid.
MEMBERS_MAX = 100

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEMBER = re.compile(rb"(" + _TOKEN + rb")(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")


def negotiate(accept_encoding: bytes | None, available: Sequence[str]) -> str:
    """The best of `available` for a client, by its q-values, then by PREFERENCE.

    Without the field, or with an empty one, that is "identity"; so it is where the client refuses all
    there is. A member that is not valid counts as absent.
    """
    if not accept_encoding or tuple(available) == (IDENTITY,):
        return IDENTITY
    wishes = _parse(accept_encoding)
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
    wishes = _parse(accept_encoding or b"")
    return wishes.get(encoding, wishes.get("*", 0)) > 0


def _parse(value: bytes) -> dict[str, int]:
    """Wishes in thousandths."""
    wishes: dict[str, int] = {}
    for member in value.split(b",", MEMBERS_MAX):
        match = _MEMBER.fullmatch(member.strip(b" \t"))
        if match is None:
            continue
        coding = match[1].decode("ascii").lower()
        weight = round(float(match[2]) * 1000) if match[2] else 1000
        # RFC 9110 section 8.4.1.3: x-gzip is another name of gzip.
        wishes["gzip" if coding == "x-gzip" else coding] = weight
    return wishes

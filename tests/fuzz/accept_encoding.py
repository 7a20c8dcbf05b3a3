# What is chosen is there, is not refused, and no other is wished for more; a type is wished for by its whole
# name, with a weight from 0 to 1.
"""Fuzzes `zchttpd.http.encoding` and `accept`: one byte of what there is, then the value of the field."""

from __future__ import annotations

import re

from zchttpd.config.names import IDENTITY
from zchttpd.http.accept import MEMBERS_MAX, PREFERENCE, negotiate, wish

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
WEIGHT = re.compile(rb"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def check(fuzz: bytes) -> None:
    bits, value = (fuzz[0], fuzz[1:]) if fuzz else (0, b"")
    available = (IDENTITY, *(coding for at, coding in enumerate(PREFERENCE[:-1]) if bits >> at & 1))
    chosen = negotiate(value, available)
    assert chosen in available
    weights = _weights(value)
    wished = {coding: weights.get(coding, weights.get("*", 0)) for coding in available}
    best = max(wished.values())
    assert wished[chosen] == best
    assert chosen == (next(each for each in PREFERENCE if wished.get(each) == best) if best else IDENTITY)
    assert negotiate(value + b",", available) == chosen or value.count(b",") >= MEMBERS_MAX - 1
    assert negotiate(value.swapcase(), available) == chosen
    for name in (b"text/html", b"application/json"):
        assert 0 <= wish(value, name) <= 1000
        assert wish(value, name) == 0 or name in value.lower()


def _weights(value: bytes) -> dict[str, int]:
    """Thousandths of each coding that is named as RFC 9110 section 12.5.3 has it; the last mention counts."""
    found: dict[str, int] = {}
    members = value.split(b",", MEMBERS_MAX)
    for member in members:
        coding, *parameters = (part.strip(b" \t") for part in member.split(b";"))
        if not TOKEN.fullmatch(coding) or len(parameters) > 1:
            continue
        weight = b"1"
        if parameters:
            if parameters[0][:2].lower() != b"q=" or not WEIGHT.fullmatch(parameters[0][2:]):
                continue
            weight = parameters[0][2:]
        name = coding.decode().lower()
        found["gzip" if name == "x-gzip" else name] = round(float(weight) * 1000)
    return found

"""Integrity fields (RFC 9530): whether a request wants a digest, and how one is written. SHA-256 alone."""

from __future__ import annotations

import base64

from http_sf import StructuredFieldError, parse

ALGORITHM = "sha-256"
# RFC 9530 section 4: 1 is wanted least, 10 most; 0 is not acceptable.
_WEIGHT_MAX = 10


def wanted(value: bytes | None) -> bool | None:
    """Whether a Want-Repr-Digest or Want-Content-Digest field asks for SHA-256 (section 4).

    None: it does not say, names other algorithms alone, or is not valid, which is to be ignored (RFC 9651
    section 4.2).
    """
    if value is None:
        return None
    try:
        members = parse(value, tltype="dictionary")
    except StructuredFieldError:
        return None
    assert isinstance(members, dict)
    weights = {}
    for name, member in members.items():
        weight = member[0] if isinstance(member, tuple) else None
        # True is no number here, although it is in Python.
        if type(weight) is not int or not 0 <= weight <= _WEIGHT_MAX:
            return None
        weights[name] = weight
    return weights[ALGORITHM] > 0 if ALGORITHM in weights else None


def digest_value(digest: bytes) -> bytes:
    """The value of Repr-Digest or Content-Digest (sections 2 and 3) for 32 bytes of SHA-256."""
    return b"sha-256=:%b:" % base64.b64encode(digest)

"""Media types: one table of the server, never the host's; text says its charset (RFC 9110 section 8.3, RFC
9239 for JavaScript).
"""

from __future__ import annotations

from ..case import KEPT, Case
from ..client import request
from ..tree import MEDIA

CASES = tuple(
    Case(
        f"type-{name.decode()}",
        request(b"/types/" + name),
        200,
        body=name,
        headers={"Content-Type": kind},
        kept=KEPT,
    )
    for name, kind in MEDIA.items()
)

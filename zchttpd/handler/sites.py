"""Several sites behind one address: which handler a head is for.

What is remembered of a head is remembered with its request line and its Host, byte for byte (`cache_key`),
and the site follows from these alone. So no answer of one site is ever replayed for another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zchttpd.config.site import Names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.config.settings import Settings
    from zchttpd.files.singleflight import Job
    from zchttpd.handler.answer import Answer
    from zchttpd.handler.handler import Handler

_HOST = re.compile(rb"\r\nhost:[ \t]*([^\r\n]*)", re.IGNORECASE)
# RFC 9112 section 3.2.2: where the target names a host, that of the field is ignored.
_ABSOLUTE = re.compile(rb"[^ ]+ https?://([^/?# ]*)", re.IGNORECASE)


def host_of(head: bytes) -> str:
    """The host that a head asks for: in lower case, without a port and without the last dot of a full name.
    Empty where there is none. What it is in a head that is not valid does not matter: that is refused.
    """
    found = _ABSOLUTE.match(head) or _HOST.search(head)
    if found is None:
        return ""
    host = found[1].strip(b" \t").decode("latin-1").lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].removesuffix(".")


class Sites:
    """Answers as `Handler` does, each head by the handler of its site: `handlers` are that of the root, and
    then those of the sites.
    """

    def __init__(self, settings: Settings, handlers: Sequence[Handler]) -> None:
        self._names = Names(site.names for site in settings.sites)
        self._root, self._handlers = handlers[0], handlers[1:]
        self._unknown = 0 if settings.unknown_host == "root" else int(settings.unknown_host)

    def answer(self, head: bytes, now_ms: int, *, secure: bool = False) -> Answer | Job:
        """See `Handler`."""
        number = self._names.find(host_of(head))
        if number is not None:
            return self._handlers[number].answer(head, now_ms, secure=secure)
        if self._unknown:
            return self._root.turn_away(head, self._unknown)
        return self._root.answer(head, now_ms, secure=secure)

    def refuse(self, status: int, *, bodiless: bool = False, keeps: bool = False) -> Answer:
        """See `Handler`: what never became a head is no site's."""
        return self._root.refuse(status, bodiless=bodiless, keeps=keeps)

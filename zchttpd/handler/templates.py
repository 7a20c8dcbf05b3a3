"""Response heads with holes: new paths are answered with those of others that were asked for alike.

The shape of a head is its cache key without the target. Where no precondition, no range and no wish for a
digest is in it, the head of an answer with a whole file differs from that of another file in length, tag,
date and the digest that `--digest` adds, and in what the options say of the two paths, and in nothing else.
So the first such answer, written and checked as all are, is a template for the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from zchttpd.config.names import IDENTITY
from zchttpd.handler.answer import Answer, Cacheable
from zchttpd.http.cache_key import cache_key
from zchttpd.http.dates import format_date
from zchttpd.http.response import Slice, repr_digest

if TYPE_CHECKING:
    from zchttpd.files.lookup import Entry
    from zchttpd.files.version import Representation
    from zchttpd.http.response import Fields

# Half a kilobyte for each template.
SHAPES_MAX = 256
OPTIONS_MAX = 32
# Shorter than any limit of a target.
PATH_SIZE_MAX = 250

# No empty name, none that begins with a dot, nothing to decode, no query.
_PLAIN = re.compile(rb"GET /((?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*) HTTP/1\.")
_DEPENDING = re.compile(rb"\n(?:if-[a-z-]+|range|want-[a-z-]+):", re.IGNORECASE)


class Plain(NamedTuple):
    """A head that asks for what is at `segments`."""

    shape: bytes
    segments: tuple[bytes, ...]


class Key(NamedTuple):
    """What the options say of a path: its media type, the coding of what is stored, and fields."""

    media_type: str
    coding: str
    fields: Fields


class Template(NamedTuple):
    """The head of an answer before and behind its holes; the rest as in `Answer`."""

    before: bytes
    behind: bytes
    date_at: int
    keep_alive: bool
    linger: bool


class Templates:
    """Those of at most SHAPES_MAX shapes, each by what the options say of a path (at most OPTIONS_MAX)."""

    def __init__(self) -> None:
        self._shapes: dict[bytes, dict[Key, Template]] = {}

    def __contains__(self, shape: bytes) -> bool:
        """Whether a head of this shape has been parsed, and answered with a file."""
        return shape in self._shapes

    def find(self, shape: bytes, key: Key) -> Template | None:
        """The one of a shape and of what the options say."""
        return self._shapes.get(shape, {}).get(key)

    def learn(self, shape: bytes, key: Key, answer: Answer, digest: bytes | None) -> None:
        """Make a template of an answer to a plain head, if it is one with a file that has all holes.

        `digest`: of the file where the answer tells it.
        """
        found = answer.representation
        if found is None or answer.status != 200 or not answer.cacheable or _DEPENDING.search(shape):
            return
        holes = _holes(found, digest)
        if holes is None or answer.head.count(holes) != 1:
            return
        if shape not in self._shapes and len(self._shapes) >= SHAPES_MAX:
            del self._shapes[next(iter(self._shapes))]
        templates = self._shapes.setdefault(shape, {})
        if len(templates) < OPTIONS_MAX:
            before, _, behind = answer.head.partition(holes)
            templates[key] = Template(before, behind, answer.date_at, answer.keep_alive, answer.linger)

    def fill(
        self, shape: bytes, key: Key, entry: Entry, content: bytes | None, digest: bytes | None
    ) -> Answer | None:
        """The answer with the file of `entry`, and with its `content`; None if no template fits."""
        template = self.find(shape, key)
        found = entry.representations[IDENTITY]
        holes = _holes(found, digest) if template is not None else None
        if template is None or holes is None:
            return None
        before, behind, date_at, keep_alive, linger = template
        head, parts = before + holes + behind, (Slice(0, found.size),)
        answer = Answer(200, head, date_at, parts, found, entry, keep_alive, linger, Cacheable.YES, content)
        return answer._replace(found_at=entry.state.segments)


def plain(head: bytes) -> Plain | None:
    """What a head is that may be answered by a template; None for any other."""
    line = _PLAIN.match(head)
    if line is None or len(line[1]) > PATH_SIZE_MAX:
        return None
    key = cache_key(head)
    if key is None:
        return None
    return Plain(key[line.end(1) :], tuple(line[1].split(b"/")))


def _holes(found: Representation, digest: bytes | None) -> bytes | None:
    """The fields that differ from file to file, as they follow each other in a head."""
    if found.etag is None or found.last_modified_s is None or not found.size:
        return None
    return b"Content-Length: %d\r\nETag: %b\r\nLast-Modified: %b\r\n%b" % (
        found.size,
        found.etag.encode("ascii"),
        format_date(found.last_modified_s),
        b"".join(b"%b: %b\r\n" % field for field in repr_digest(digest)),
    )

"""Where the lines of --redirects lead: found by the decoded path, the first that matches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from zchttpd.config.redirects import MOVED, SPLAT
from zchttpd.http.target import Target, parse_target, quote_path, quote_query, quote_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zchttpd.config.redirects import Redirect, Source


class Moved(NamedTuple):
    """Another path or site."""

    status: int
    location: bytes


class Rewritten(NamedTuple):
    """The file at another path of this server; None where there can be none."""

    status: int
    target: Target | None


class Redirects:
    """Made once, of the lines in their order."""

    def __init__(self, lines: Iterable[Redirect]) -> None:
        self._lines = tuple(lines)
        # Of a path the first line with it alone; the others are tried, and are few.
        self._literal: dict[tuple[tuple[bytes, ...], bool], int] = {}
        self._patterns: list[tuple[int, re.Pattern[bytes]]] = []
        for at, line in enumerate(self._lines):
            if line.source.literal:
                segments = tuple(each for each in line.source.segments if isinstance(each, bytes))
                for force in (line.force, False):
                    self._literal.setdefault((segments, force), at)
            else:
                self._patterns.append((at, _compile(line.source)))

    def __bool__(self) -> bool:
        return bool(self._lines)

    @property
    def forced(self) -> bool:
        """Whether a path with a file may lead elsewhere."""
        return any(line.force for line in self._lines)

    def find(self, target: Target, *, forced: bool) -> Moved | Rewritten | None:
        """Where a path leads; `forced`: by those lines alone that say so of files too."""
        first = self._literal.get((target.segments, forced), len(self._lines))
        found: Mapping[str, bytes] = {}
        path = b"/" + b"".join(name + b"/" for name in target.segments)
        if not target.directory:
            path = path[:-1] or b"/"
        for at, pattern in self._patterns:
            if at > first:
                break
            if forced and not self._lines[at].force:
                continue
            match = pattern.fullmatch(path)
            if match is not None:
                first, found = at, match.groupdict()
                break
        return self._led(self._lines[first], found, target) if first < len(self._lines) else None

    @staticmethod
    def _led(line: Redirect, found: Mapping[str, bytes], target: Target) -> Moved | Rewritten:
        location = b""
        for each in line.to:
            if isinstance(each, str):
                each = (quote_value if b"?" in location else quote_path)(found[each])
            location += each
        if location.startswith(b"/"):
            # What stands for nothing must leave no two slashes, which would name another site.
            location = b"/" + location.lstrip(b"/")
        if line.status not in MOVED:
            parsed = parse_target(location)
            return Rewritten(line.status, parsed if isinstance(parsed, Target) else None)
        before, mark, fragment = location.partition(b"#")
        if target.query is not None and b"?" not in before:
            before += b"?" + quote_query(target.query)
        return Moved(line.status, before + mark + fragment)


def _compile(source: Source) -> re.Pattern[bytes]:
    """Each name is one segment, and what follows is the rest: there is one way to match, or none."""
    parts = [
        re.escape(each) if isinstance(each, bytes) else b"(?P<%b>[^/]+)" % each.encode("ascii")
        for each in source.segments
    ]
    end = b"/(?P<%b>.*)" % SPLAT.encode("ascii") if source.splat else b"/?"
    return re.compile(b"".join(b"/" + part for part in parts) + end, re.DOTALL)

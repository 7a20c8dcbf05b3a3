"""Where the lines of --redirects lead: by the decoded path, and by scheme and host where a line has them;
the first that matches.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from zchttpd.config.redirects import ANY, HOST, MOVED, SPLAT
from zchttpd.config.site import is_name
from zchttpd.http.target import Target, parse_target, quote_path, quote_query, quote_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zchttpd.config.redirects import Redirect, Source


# RFC 1035 section 2.3.4
HOST_SIZE_MAX = 253


class Moved(NamedTuple):
    """Another path or site. `by_site`: for those alone who asked a scheme and a host for it."""

    status: int
    location: bytes
    by_site: bool = False


class Rewritten(NamedTuple):
    """The file at another path of this server; None where there can be none."""

    status: int
    target: Target | None


def origin_of(host: str, *, secure: bool) -> str:
    """Scheme and host of a request, as the sites of lines have them. Empty for a host that is no name, though
    RFC 3986 section 3.2.2 lets it have such signs, also those that stand for others in lines: none is told.
    """
    if len(host) > HOST_SIZE_MAX or host.startswith(ANY) or not is_name(host):
        return ""
    return ("https://" if secure else "http://") + host


class Redirects:
    """Made once, of the lines in their order."""

    def __init__(self, lines: Iterable[Redirect]) -> None:
        self._lines = tuple(lines)
        self._sites = frozenset(line.source.site for line in self._lines) - {""}
        # Of a path the first line with it alone; the others are tried, and are few.
        self._literal: dict[tuple[str, tuple[bytes, ...], bool], int] = {}
        self._patterns: list[tuple[int, re.Pattern[bytes]]] = []
        for at, line in enumerate(self._lines):
            if line.source.literal:
                segments = tuple(each for each in line.source.segments if isinstance(each, bytes))
                for force in (line.force, False):
                    self._literal.setdefault((line.source.site, segments, force), at)
            else:
                self._patterns.append((at, _compile(line.source)))

    def __bool__(self) -> bool:
        return bool(self._lines)

    @property
    def forced(self) -> bool:
        """Whether a path with a file may lead elsewhere."""
        return any(line.force for line in self._lines)

    @property
    def by_site(self) -> bool:
        """Whether it depends on the origin of a request where a path leads."""
        return bool(self._sites)

    def sites_of(self, origin: str) -> tuple[str, ...]:
        """Which sites of lines are meant of an origin, that of `origin_of`."""
        if not self._sites or not origin:
            return ("",)
        scheme, _, host = origin.partition("://")
        found = ["", origin, f"{scheme}://{ANY}"]
        while "." in host:
            _, _, host = host.partition(".")
            found.append(f"{scheme}://{ANY}.{host}")
        return tuple(each for each in found if not each or each in self._sites)

    def find(self, target: Target, *, forced: bool, origin: str = "") -> Moved | Rewritten | None:
        """Where a path leads; `forced`: by those lines alone that say so of files too."""
        sites = self.sites_of(origin)
        none = len(self._lines)
        first = min(self._literal.get((site, target.segments, forced), none) for site in sites)
        found: Mapping[str, bytes] = {}
        path = b"/" + b"".join(name + b"/" for name in target.segments)
        if not target.directory:
            path = path[:-1] or b"/"
        for at, pattern in self._patterns:
            if at > first:
                break
            if forced and not self._lines[at].force:
                continue
            if self._lines[at].source.site not in sites:
                continue
            match = pattern.fullmatch(path)
            if match is not None:
                first, found = at, match.groupdict()
                break
        return self._led(self._lines[first], found, target, origin) if first < none else None

    @staticmethod
    def _led(line: Redirect, found: Mapping[str, bytes], target: Target, origin: str) -> Moved | Rewritten:
        location = b""
        for each in line.to:
            if line.source.site and each == HOST:
                each = origin.partition("://")[2].encode("ascii")
            elif isinstance(each, str):
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
        return Moved(line.status, before + mark + fragment, bool(line.source.site))


def _compile(source: Source) -> re.Pattern[bytes]:
    """Each name is one segment, and what follows is the rest: there is one way to match, or none."""
    parts = [
        re.escape(each) if isinstance(each, bytes) else b"(?P<%b>[^/]+)" % each.encode("ascii")
        for each in source.segments
    ]
    end = b"/(?P<%b>.*)" % SPLAT.encode("ascii") if source.splat else b"/?"
    return re.compile(b"".join(b"/" + part for part in parts) + end, re.DOTALL)

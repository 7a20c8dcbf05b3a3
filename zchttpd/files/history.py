"""The latest times of versions that are gone from a path: a time that does not grow is no validator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from zchttpd.files.version import SECOND_NS, make_last_modified

if TYPE_CHECKING:
    from collections.abc import Collection

    from zchttpd.files.version import Representation, Version

_NEVER = -(1 << 63)


@dataclass(slots=True)
class _There:
    """A version that is there: what its tag and date were made of, and what its date must be later than."""

    mtime_ns: int
    date_s: int
    after_s: int


class Elsewhere(Protocol):
    """Who gives files too, each with a tag and a date of its modification time. Paths lead from the root."""

    def given(self, path: bytes) -> tuple[int, int, int, int, int] | None:
        """The fields of the version of this path that was given last, if that was so."""

    def give(self, path: bytes, version: Version, plain: bool) -> None:
        """This version is given here; `plain`: of the file at the path, and so."""


@dataclass(slots=True)
class Past:
    """The latest times under which a path had versions that are gone from it: `mtime_ns` of those whose tags
    were made of it, and `date_s` of Last-Modified (Unix seconds).

    Who still has such a version may ask with its tag or date, and must not be told that it is what is there
    now: so what came later under no later time gets a tag of its content, and another date or none.
    """

    mtime_ns: int = _NEVER
    date_s: int = _NEVER
    _there: dict[Version, _There] = field(default_factory=dict)

    def see(self, versions: Collection[Version]) -> None:
        """Record that the path has these versions now, and no others."""
        before_s = max([self.date_s, *(each.date_s for each in self._there.values())])
        for version in [each for each in self._there if each not in versions]:
            gone = self._there.pop(version)
            self.mtime_ns = max(self.mtime_ns, gone.mtime_ns)
            self.date_s = max(self.date_s, gone.date_s)
        for version in versions:
            # An encoding that came later must not be joined to what was sent before it.
            self._there.setdefault(version, _There(_NEVER, _NEVER, before_s))

    def gave(self, version: Version) -> None:
        """Record that clients may have this version, with a tag and a date of its modification time."""
        if version not in self._there:
            self.see((version,))
            self._there[version].mtime_ns = version.mtime_ns
            self._there[version].date_s = version.mtime_ns // SECOND_NS

    def tells(self, version: Version) -> bool:
        """Whether the modification time of a version tells it from all that were there before."""
        return version.lived and version.mtime_ns > self.mtime_ns

    def last_modified(self, version: Version, now_s: int) -> int | None:
        """See `make_last_modified`. Of a version that has been seen."""
        return make_last_modified(version, now_s, max(self.date_s, self._there[version].after_s))

    def give(self, found: Representation) -> None:
        """Record that clients may have this representation."""
        there = self._there[found.version]
        if found.last_modified_s is not None:
            there.date_s = max(there.date_s, found.last_modified_s)
        if found.etag is not None:
            there.mtime_ns = found.mtime_ns

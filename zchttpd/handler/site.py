"""What a site asks for beyond its files, by path: fields, who may read across origins, types and codings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zchttpd.config.names import IDENTITY
from zchttpd.config.rules import matcher, path_of
from zchttpd.http.media_types import decoded_name, media_type_of_path, stored_coding
from zchttpd.http.response import NOT_ON_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.config.settings import Settings
    from zchttpd.http.response import Fields

    _Rules = tuple[tuple[Callable[[str], object], str], ...]

# RFC 8246: whoever has it need not even ask whether it changed.
IMMUTABLE = "public, max-age=31536000, immutable"
# RFC 9111 section 5.2.2.4: keep it, but ask each time; otherwise browsers guess, and show an old page.
HTML_CACHE_CONTROL = "no-cache"
# https://fetch.spec.whatwg.org/#http-cors-protocol: for requests without credentials * is all there is.
_CORS = ((b"Access-Control-Allow-Origin", b"*"), (b"Access-Control-Expose-Headers", b"*"))
_PREFLIGHT = (
    (b"Access-Control-Allow-Methods", b"GET, HEAD, OPTIONS"),
    (b"Access-Control-Allow-Headers", b"*"),
    (b"Access-Control-Max-Age", b"86400"),
)
# https://html.spec.whatwg.org/#coep: both together give a page SharedArrayBuffer and exact timers.
_ISOLATED = (
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Embedder-Policy", b"require-corp"),
)


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """The fields that the options of a site add to answers. Made once, from Settings."""

    common: Fields
    preflight: Fields
    _headers: tuple[tuple[Callable[[str], object], bytes, bytes], ...]
    _caching: tuple[tuple[Callable[[str], object], bytes], ...]

    @classmethod
    def of(cls, settings: Settings) -> SitePolicy:
        """What these settings ask for."""
        cors = _CORS if settings.cors else ()
        # First what never changes: `--cache-control '*=...'` is meant for the rest.
        caching = [(pattern, IMMUTABLE) for pattern in settings.immutable]
        caching += [(rule.pattern, rule.value) for rule in settings.cache_control]
        return cls(
            common=(*cors, *(_ISOLATED if settings.cross_origin_isolated else ())),
            preflight=_PREFLIGHT if settings.cors else (),
            _headers=tuple(
                (matcher(rule.pattern), rule.name.encode("ascii"), rule.value.encode("ascii"))
                for rule in settings.header
            ),
            _caching=tuple((matcher(pattern), value.encode("ascii")) for pattern, value in caching),
        )

    def of_file(self, segments: tuple[bytes, ...], media_type: str) -> Fields:
        """For an answer that carries the file at `segments`."""
        path = path_of(segments)
        fields = self._matching(path)
        caching = next((value for matches, value in self._caching if matches(path)), None)
        if caching is None and media_type.lower().startswith("text/html"):
            caching = HTML_CACHE_CONTROL.encode("ascii")
        if caching is not None:
            fields.setdefault(b"cache-control", (b"Cache-Control", caching))
        return tuple(fields.values())

    def of_path(self, segments: tuple[bytes, ...], directory: bool) -> Fields:
        """For an answer that carries no file: errors and redirects."""
        fields = self._matching(path_of(segments) + ("/" if directory and segments else ""))
        return tuple(field for name, field in fields.items() if name not in NOT_ON_ERRORS)

    def _matching(self, path: str) -> dict[bytes, tuple[bytes, bytes]]:
        fields: dict[bytes, tuple[bytes, bytes]] = {}
        for matches, name, value in self._headers:
            # Of several rules for one field the first is meant.
            if name.lower() not in fields and matches(path):
                fields[name.lower()] = (name, value)
        for name, value in self.common:
            fields.setdefault(name.lower(), (name, value))
        return fields


@dataclass(frozen=True, slots=True)
class MediaPolicy:
    """What the files of a site are, by the options and by their names. Made once, from Settings."""

    _types: _Rules
    _codings: _Rules

    @classmethod
    def of(cls, settings: Settings) -> MediaPolicy:
        """What these settings say."""
        return cls(
            tuple((matcher(rule.pattern), rule.media_type) for rule in settings.type),
            tuple((matcher(rule.pattern), rule.coding) for rule in settings.coding),
        )

    def of_path(self, segments: tuple[bytes, ...]) -> tuple[str, str]:
        """The media type of the file at `segments`, which is that of what it holds once its coding is undone;
        and the content coding that its stored bytes have, "identity" for none.
        """
        coding = self._rule_for(self._codings, segments) or stored_coding(segments[-1])
        decoded = segments
        if coding != IDENTITY:
            decoded = (*segments[:-1], decoded_name(segments[-1], coding))
        media_type = self._rule_for(self._types, segments, decoded) or media_type_of_path(decoded)
        return media_type, coding

    @staticmethod
    def _rule_for(rules: _Rules, *names: tuple[bytes, ...]) -> str | None:
        """What the first rule says that matches any of these paths."""
        if not rules:
            return None
        paths = [path_of(segments) for segments in names]
        return next((value for matches, value in rules if any(matches(path) for path in paths)), None)

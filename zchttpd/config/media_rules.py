"""What a site says of its files: media types and content codings by pattern, as in `site`."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zchttpd.config.options import did_you_mean
from zchttpd.config.rules import TOKEN, check_names_files, check_pattern, lines, matcher, path_of
from zchttpd.http.media import STORED_CODINGS, decoded_name, media_type_of_path, stored_coding

if TYPE_CHECKING:
    from collections.abc import Callable

    from zchttpd.config.settings import Settings

# RFC 9110 section 8.3.1: a type, and parameters whose values are tokens or quoted.
_PARAMETER = rf'[ \t]*;[ \t]*{TOKEN}=(?:{TOKEN}|"[\x20\x21\x23-\x5b\x5d-\x7e\t]*")'
_MEDIA_TYPE = re.compile(rf"{TOKEN}/{TOKEN}(?:{_PARAMETER})*")


@dataclass(frozen=True, slots=True)
class TypeRule:
    """Files whose path matches `pattern` have this media type. Raises ValueError with a one-line text."""

    pattern: str
    media_type: str

    def __post_init__(self) -> None:
        check_names_files(check_pattern(self.pattern))
        if not _MEDIA_TYPE.fullmatch(self.media_type):
            raise ValueError(
                f"{self.media_type!r} is not a media type. Type such as '*.html=text/html; charset=koi8-r'"
            )


@dataclass(frozen=True, slots=True)
class CodingRule:
    """The bytes of files whose path matches `pattern` have this content coding already.

    Raises ValueError with a one-line text.
    """

    pattern: str
    coding: str

    def __post_init__(self) -> None:
        check_names_files(check_pattern(self.pattern))
        if self.coding not in STORED_CODINGS:
            raise ValueError(
                f"{self.coding!r} is not a content coding.{did_you_mean(self.coding, STORED_CODINGS)}"
            )


def parse_type_rules(text: str) -> tuple[TypeRule, ...]:
    """Lines of PATTERN=TYPE. Raises ValueError with a one-line text."""
    return tuple(TypeRule(*_split(line, "TYPE", "*.html=text/html")) for line in lines(text))


def parse_coding_rules(text: str) -> tuple[CodingRule, ...]:
    """Lines of PATTERN=CODING. Raises ValueError with a one-line text."""
    return tuple(CodingRule(*_split(line, "CODING", "*.svgz=gzip")) for line in lines(text))


def _split(line: str, what: str, example: str) -> tuple[str, str]:
    pattern, equals, value = (part.strip(" \t") for part in line.partition("="))
    if not equals:
        raise ValueError(f"{line!r} is not PATTERN={what}. Type such as {shlex.quote(example)}")
    return pattern, value


@dataclass(frozen=True, slots=True)
class MediaPolicy:
    """What the files of a site are, by the options and by their names. Made once, from Settings."""

    _types: tuple[tuple[Callable[[str], object], str], ...]
    _codings: tuple[tuple[Callable[[str], object], str], ...]

    @classmethod
    def of(cls, settings: Settings) -> MediaPolicy:
        """What these settings say."""
        return cls(
            tuple((matcher(rule.pattern), rule.media_type) for rule in settings.type),
            tuple((matcher(rule.pattern), rule.coding) for rule in settings.coding),
        )

    def coding_of(self, segments: tuple[bytes, ...]) -> str:
        """The content coding that the stored bytes of the file at `segments` have; "identity" for none."""
        path = path_of(segments)
        coding = next((coding for matches, coding in self._codings if matches(path)), None)
        return stored_coding(segments[-1]) if coding is None else coding

    def type_of(self, segments: tuple[bytes, ...]) -> str:
        """The media type of the file at `segments`: of what it holds once its coding is undone."""
        decoded = (*segments[:-1], decoded_name(segments[-1], self.coding_of(segments)))
        paths = (path_of(segments), path_of(decoded))
        for matches, media_type in self._types:
            if any(matches(path) for path in paths):
                return media_type
        return media_type_of_path(decoded)

"""The small languages of --cache-control, --immutable, --header, --type and --coding: rules by PATTERN.

A PATTERN is matched, case and all, with the decoded path of the file that is sent (`/docs/index.html` for
`/docs/`), or with the path that was asked for where no file is sent. `*` stands for any characters, also `/`;
`?` for one; `[a-z]` for one of a set. Without a leading slash it may begin after any slash: `*.js`,
`assets/*`.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from zchttpd.config import options as opt
from zchttpd.config.cache_control import SECONDS, TOKEN, check_cache_control, is_cache_control
from zchttpd.config.names import STORED_CODINGS
from zchttpd.config.options import Group, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

_Rule = TypeVar("_Rule")
_HEADER = re.compile(rf"(.*?\S)\s+({TOKEN})[ \t]*:(.*)", re.DOTALL)
_FIELD = re.compile(rf"{TOKEN}[ \t]*:[ \t]*\S.*", re.DOTALL)
# RFC 9110 section 8.3.1: a type, and parameters whose values are tokens or quoted.
_PARAMETER = rf'[ \t]*;[ \t]*{TOKEN}=(?:{TOKEN}|"[\x20\x21\x23-\x5b\x5d-\x7e\t]*")'
_MEDIA_TYPE = re.compile(rf"{TOKEN}/{TOKEN}(?:{_PARAMETER})*")
_VISIBLE = re.compile(r"[\x20-\x7e\t]+")
# They say where a message ends or which file version it carries: not for anybody to say twice.
_OURS = frozenset(
    (
        *("accept-ranges", "allow", "connection", "content-encoding", "content-length", "content-range"),
        *("content-type", "date", "etag", "keep-alive", "last-modified", "location", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade", "x-content-type-options"),
    )
)
_OPTIONS_OF = {
    "content-type": "such as --type '*.html=text/html'",
    "content-encoding": "such as --coding '*.svgz=gzip'",
}
# Said to --immutable by who takes it for a switch.
_SWITCH_WORDS = ("on", "off", "yes", "no", "true", "false")


@dataclass(frozen=True, slots=True)
class CacheRule:
    """Files whose path matches `pattern` get this Cache-Control. Raises ValueError with a one-line text."""

    pattern: str
    value: str

    def __post_init__(self) -> None:
        check_pattern(self.pattern)
        _check_value(self.value)
        check_cache_control(self.value)


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """Answers to paths that match `pattern` get this field. Raises ValueError with a one-line text."""

    pattern: str
    name: str
    value: str

    def __post_init__(self) -> None:
        check_pattern(self.pattern)
        if not re.fullmatch(TOKEN, self.name):
            raise ValueError(f"{self.name!r} is not a field name. Type such as X-Frame-Options")
        if self.name.lower() in _OURS:
            option = _OPTIONS_OF.get(self.name.lower(), "another field")
            raise ValueError(f"{self.name} is set by the server itself. Type {option}")
        _check_value(self.value)


def _parse_cache_rule(line: str) -> CacheRule:
    pattern, equals, value = (part.strip(" \t") for part in line.partition("="))
    if pattern.lower() in SECONDS or (not is_cache_control(value) and is_cache_control(line)):
        raise ValueError(f"{line!r} has no PATTERN. Type --cache-control {shlex.quote('*=' + line)}")
    first, blank, rest = line.partition(" ")
    if blank and "=" not in first and is_cache_control(rest):
        fix = shlex.quote(f"{first}={rest.strip()}")
        raise ValueError(f"{line!r} has a blank for the = of PATTERN=VALUE. Type --cache-control {fix}")
    if not equals:
        raise ValueError(f"{line!r} is not PATTERN=VALUE. Type such as '/assets/*=max-age=3600'")
    check_names_files(pattern)
    return CacheRule(pattern, value)


def _parse_pattern(line: str) -> str:
    pattern, _, value = line.partition("=")
    if line.lower() in _SWITCH_WORDS or pattern.lower() in SECONDS:
        raise ValueError(f"{line!r} is not a pattern of files. Type '*' for all, or such as '/assets/*'")
    if is_cache_control(value):
        raise ValueError(
            f"{line!r} is more than a pattern, and what it names is kept for a year."
            f" Type {shlex.quote(pattern)} alone, or --cache-control {shlex.quote(line)}"
        )
    check_names_files(line)
    return check_pattern(line)


def _parse_header_rule(line: str) -> HeaderRule:
    if _FIELD.fullmatch(line):
        field, _, last = line.rpartition(" ")
        swapped = _FIELD.fullmatch(field) and (last.startswith("/") or "*" in last)
        words = (last, field) if swapped else ("*", line)
        raise ValueError(f"{line!r} is not PATTERN 'Name: value'. Type --header {shlex.join(words)}")
    match = _HEADER.fullmatch(line)
    if match is None:
        raise ValueError(f"{line!r} is not PATTERN 'Name: value'. Type such as '*' 'X-Frame-Options: DENY'")
    return HeaderRule(match[1], match[2], match[3].strip(" \t"))


def check_pattern(pattern: str) -> str:
    """The pattern itself. Raises ValueError with a one-line text."""
    if not pattern or not pattern.isprintable():
        raise ValueError(f"{pattern!r} is not a pattern. Type such as '*.js' or '/assets/*'")
    if {".", ".."}.intersection(pattern.split("/")):
        raise ValueError(f"{pattern!r} has a dot that no path keeps. Type such as '/assets/*'")
    return pattern


def check_names_files(pattern: str) -> None:
    """Raises ValueError with a one-line text for a pattern that no file can match."""
    if pattern.endswith("/"):
        fix = shlex.quote(pattern + "*")
        raise ValueError(f"{pattern!r} names a directory and no file in it. Type {fix} for what is in it")


def _check_value(value: str) -> None:
    if not _VISIBLE.fullmatch(value):
        raise ValueError(f"{value!r} is not a field value. Type visible ASCII on one line")


def whole_pattern(pattern: str) -> str:
    """The pattern that the whole of a path must match, from its first slash on."""
    return pattern if pattern.startswith("/") else "*/" + pattern


def matcher(pattern: str) -> Callable[[str], object]:
    """A function that tells whether a path, as `path_of` gives it, matches the pattern."""
    return re.compile(fnmatch.translate(whole_pattern(pattern))).match


def path_of(segments: tuple[bytes, ...]) -> str:
    """What a pattern is matched with."""
    # As the command line is decoded, so that a pattern can name any file.
    return "/" + b"/".join(segments).decode("utf-8", "surrogateescape")


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


def _split(line: str, what: str, example: str) -> tuple[str, str]:
    pattern, equals, value = (part.strip(" \t") for part in line.partition("="))
    if not equals:
        raise ValueError(f"{line!r} is not PATTERN={what}. Type such as {shlex.quote(example)}")
    return pattern, value


def _each(parse: Callable[[str], _Rule]) -> Callable[[str], tuple[_Rule, ...]]:
    """Reads a text of one rule on each line. It raises ValueError with a one-line text."""

    def read(text: str) -> tuple[_Rule, ...]:
        return tuple(parse(line.strip(" \t")) for line in text.split("\n") if line.strip(" \t"))

    return read


parse_cache_rules = _each(_parse_cache_rule)
parse_patterns = _each(_parse_pattern)
parse_header_rules = _each(_parse_header_rule)
parse_type_rules = _each(lambda line: TypeRule(*_split(line, "TYPE", "*.html=text/html")))
parse_coding_rules = _each(lambda line: CodingRule(*_split(line, "CODING", "*.svgz=gzip")))


def option(parse: Any, metavar: str, text: str, **more: Any) -> Any:
    return opt.option(
        (), Group.SITE, text, **{"parse": parse, "metavar": metavar, "many": True, "separator": "\n", **more}
    )

"""The grammar of Cache-Control (RFC 9111 section 5.2), to check what is typed for --cache-control."""

from __future__ import annotations

import re

from zchttpd.config.options import did_you_mean, nearest

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_DIRECTIVE = re.compile(rf'({TOKEN})(?:=({TOKEN}|"(?:[^"\\]|\\.)*"))?')
# Of answers: RFC 9111 section 5.2.2, RFC 5861, RFC 8246.
SECONDS = ("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error")
_KNOWN = (
    *SECONDS,
    *("no-cache", "no-store", "no-transform", "must-revalidate", "must-understand", "proxy-revalidate"),
    *("private", "public", "immutable"),
)


def check_cache_control(value: str) -> None:
    """Raises ValueError, with a one-line text, unless `value` is directives of which some cache knows one."""
    found = _directives(value)
    for text, name, argument in found:
        if name in SECONDS and not re.fullmatch("[0-9]+", argument):
            raise ValueError(f"{text!r} does not give whole seconds. Type such as {name}=3600")
        if name not in _KNOWN and (meant := nearest(name, _KNOWN)):
            raise ValueError(f"{name!r} is not a Cache-Control directive. Did you mean {meant}?")
    # Others are allowed (section 5.2.3), but alone they say nothing to most caches.
    if not any(name in _KNOWN for _, name, _ in found):
        raise ValueError(f"{value!r} is not a Cache-Control.{did_you_mean(value, _KNOWN)}")


def is_cache_control(text: str) -> bool:
    """Whether `check_cache_control` accepts it."""
    try:
        check_cache_control(text)
    except ValueError:
        return False
    return True


def _directives(value: str) -> list[tuple[str, str, str]]:
    """(text, lower-case name, argument or "") of each. Raises ValueError with a one-line text."""
    found = []
    rest = value.strip(" \t,")
    while rest:
        match = _DIRECTIVE.match(rest)
        behind = rest[match.end() :].lstrip(" \t") if match else rest
        if match is None or (behind and not behind.startswith(",")):
            raise ValueError(
                f"{value!r} is not a Cache-Control. Type commas between directives: 'public, max-age=3600'"
            )
        found.append((match[0], match[1].lower(), match[2] or ""))
        rest = behind.lstrip(" \t,")
    return found

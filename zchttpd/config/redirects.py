"""The file of --redirects: from, to and status on a line, as Netlify and Cloudflare Pages have them.

`from` is a path; `:name` in it stands for one segment, and `*` at its end for all that follows, which `to`
has as `:name` and `:splat`. Behind http://HOST or https://HOST it is of that scheme and host alone, and `to`
has the host of the request as `:host`. `to` is a path, or for a redirect the URL of another site. The first
line that matches counts, and where there is a file only one whose status has a `!`. Lines are few and short,
and what they match is found in time that grows with the path and the host alone, so nobody's request costs
much.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from zchttpd.config.site import is_name

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings

# Those with `*` or `:name` are tried one after another.
PATTERNS_MAX = 100
LINES_MAX = 5000
LINE_SIZE_MAX = 2000
FILE_SIZE_MAX = 1 << 20

# RFC 9110 section 15.4; 200 and 404 answer with another file of this server.
MOVED = (301, 302, 303, 307, 308)
REWRITTEN = (200, 404)
STATUS_DEFAULT = 302
SPLAT = "splat"
HOST = "host"
# Of hosts, and of what follows in a path.
ANY = "*"

_NAME = re.compile(r":([A-Za-z][A-Za-z0-9_]*)")
# All of it is written out, or is the host of the request: no path becomes the name of a site.
_SITE = re.compile(r"(https?://)(?:(:host)|[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?(?=[/?#]|$)")
_OF_SITE = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE)

# Literal bytes of a target, and names of what stands between them.
Pieces: TypeAlias = "tuple[bytes | str, ...]"


class Source(NamedTuple):
    """What a path must be. `segments`: decoded names, and `:name` as a str; `splat`: others may follow.

    `site`: http:// or https:// and a host name, `*.` and one for those beneath it, or `*`; empty for all.
    """

    segments: tuple[bytes | str, ...]
    splat: bool
    site: str = ""

    @property
    def literal(self) -> bool:
        """Whether one path alone is meant."""
        return not self.splat and all(isinstance(each, bytes) for each in self.segments)


@dataclass(frozen=True, slots=True)
class Redirect:
    """One line. `to`: encoded, with the names of what is put in; `force`: also where there is a file."""

    source: Source
    to: Pieces
    status: int
    force: bool


def parse_redirects(path: str) -> tuple[Redirect, ...]:
    """The lines of a file, none for an empty `path`. Raises ValueError: one line with the file, its line, the
    cause and the fix.
    """
    if not path:
        return ()
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_SIZE_MAX + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}). Type a file that can") from None
    if len(content) > FILE_SIZE_MAX:
        raise ValueError(f"{path}: is larger than {FILE_SIZE_MAX >> 20} MiB. Type fewer lines")
    found: list[Redirect] = []
    patterns = 0
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            redirect = _parse_line(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise ValueError(f"{path}:{number}: is not UTF-8. Type other bytes as %FF") from None
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
        if redirect is not None:
            found.append(redirect)
            patterns += not redirect.source.literal
        if len(found) > LINES_MAX or patterns > PATTERNS_MAX:
            raise ValueError(
                f"{path}:{number}: is one too many: {LINES_MAX} lines, and {PATTERNS_MAX} of them with * or"
                " :name. Type one pattern for several"
            )
    return tuple(found)


def by_site(settings: Settings) -> bool:
    """Whether a line of any site is of a scheme and a host alone."""
    own = (value for site in settings.sites for name, value in site.options if name == "redirects")
    return any(line.source.site for lines in (settings.redirects, *own) for line in lines)


def _parse_line(line: str) -> Redirect | None:
    """None for an empty line, or a comment."""
    if len(line) > LINE_SIZE_MAX:
        raise ValueError(f"is longer than {LINE_SIZE_MAX} characters")
    words = line.split()
    for at, word in enumerate(words):
        if word.startswith("#"):
            words = words[:at]
            break
    if not words:
        return None
    if len(words) not in (2, 3):
        raise ValueError(f"has {len(words)} words. Type FROM TO STATUS, such as /old /new 301")
    status, force = _parse_status(words[2] if len(words) == 3 else str(STATUS_DEFAULT))
    site, path = _parse_site(words[0])
    source, to = _parse_source(path, site), _parse_to(words[1], status)
    names = {each for each in source.segments if isinstance(each, str)} | ({SPLAT} if source.splat else set())
    if site:
        names.add(HOST)
    elif _names_host(words[1]):
        raise ValueError(f"{words[1]!r} has a host that {words[0]!r} does not tell. Type http://*{words[0]}")
    for each in to:
        if isinstance(each, str) and each not in names:
            what = "* at the end" if each == SPLAT else f":{each}"
            raise ValueError(f"{words[1]!r} has :{each}, and {words[0]!r} has no {what}. Type it there too")
    if status in MOVED and words[1] in (words[0], _as_target(site, path)):
        raise ValueError(f"{words[0]!r} leads to itself. Type another path, or take the line out")
    return Redirect(source, to, status, force)


def _parse_status(word: str) -> tuple[int, bool]:
    known = (*MOVED, *REWRITTEN)
    digits = word.removesuffix("!")
    if not digits.isascii() or not digits.isdigit() or int(digits) not in known:
        raise ValueError(
            f"{word!r} is not a status. Type one of {', '.join(map(str, known))}, with ! to force it"
        )
    return int(digits), word.endswith("!")


def _parse_site(text: str) -> tuple[str, str]:
    """The site of a `from`, in lower case, or nothing; and its path."""
    match = _OF_SITE.fullmatch(text)
    if match is None:
        if text.startswith("//"):
            raise ValueError(f"{text!r} has no scheme. Type http:{text}, and https:{text} on another line")
        return "", text
    host = match[2].lower()
    if host != ANY and not is_name(host):
        raise ValueError(
            f"{text!r}: {match[2]!r} is not a host. Type such as example.org, *.example.org or *, without a"
            " port"
        )
    return f"{match[1].lower()}://{host}", match[3] or "/"


def _names_host(text: str) -> bool:
    """Whether a `to` has the host of the request for its own."""
    match = _SITE.match(text)
    return match is not None and match[2] is not None


def _as_target(site: str, path: str) -> str:
    """The `to` that leads to what was asked for."""
    scheme, mark, host = site.partition("://")
    host = f":{HOST}" if host.startswith(ANY) else host
    return scheme + mark + host + (path.removesuffix(ANY) + f":{SPLAT}" if path.endswith(f"/{ANY}") else path)


def _parse_source(text: str, site: str) -> Source:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not a path. Type such as /{text}, or http://HOST/{text}")
    if "?" in text or "#" in text:
        raise ValueError(f"{text!r} has a query, and paths alone are looked at. Type the path")
    *names, last = text[1:].split("/")
    splat = last == "*"
    segments: list[bytes | str] = []
    for name in names if splat else [*names, last]:
        if "*" in name:
            raise ValueError(f"{text!r}: * stands at the end, behind a slash. Type such as /blog/*")
        match = _NAME.fullmatch(name)
        if match is None and name.startswith(":"):
            raise ValueError(f"{text!r}: {name!r} is not a name of letters and digits. Type such as :year")
        if match is not None and match[1] in (SPLAT, HOST if site else SPLAT, *segments):
            raise ValueError(f"{text!r} has :{match[1]} for something else. Type another name")
        decoded = unquote_to_bytes(name)
        if decoded in (b".", b"..") or b"/" in decoded or b"\0" in decoded:
            raise ValueError(f"{text!r} has a segment that no path keeps. Type the path as it is found")
        if match is not None:
            segments.append(match[1])
        elif decoded:
            segments.append(decoded)
    return Source(tuple(segments), splat, site)


def _parse_to(text: str, status: int) -> Pieces:
    site = _SITE.match(text)
    if site is None and not text.startswith("/"):
        raise ValueError(f"{text!r} is neither a path nor http://HOST/... Type such as /{text.lstrip('/')}")
    # Browsers take a backslash for a slash, so either way this would name another site.
    if re.match(r"/[/\\]", text):
        raise ValueError(f"{text!r} would lead to another site. Type https:{text}, or a path with one slash")
    if status in REWRITTEN and site is not None:
        raise ValueError(f"{text!r} is another site, whose files are not here. Type 302 for the status")
    if status in REWRITTEN and ("?" in text or "#" in text):
        raise ValueError(f"{text!r} is to be a file, and has a query. Type its path alone")
    start = site.end() if site is not None else 0
    pieces: list[bytes | str] = [text[:start].encode("ascii")] if start else []
    if site is not None and site[2] is not None:
        port = text[site.end(2) : start].encode("ascii")
        pieces = [site[1].encode("ascii"), HOST, *([port] if port else [])]
    for at, piece in enumerate(_NAME.split(text[start:])):
        if at % 2:
            pieces.append(piece)
        elif piece:
            pieces.append(_encode(piece))
    return tuple(pieces)


def _encode(text: str) -> bytes:
    """As a URI has it (RFC 3986): what it may not have is encoded, and what is encoded stays."""
    return b"".join(
        b"%c" % byte if 0x20 < byte < 0x7F and byte not in b'"<>\\^`{|}' else b"%%%02X" % byte
        for byte in text.encode("utf-8")
    )

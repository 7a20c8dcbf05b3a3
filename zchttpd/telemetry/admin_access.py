"""Who may ask the admin listener, and which pages may read what it answers."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zchttpd.config.options import StartError, split_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zchttpd.config.settings import Settings

# Whoever may read it takes no more tries than they need to find it.
TOKEN_SIZE_MIN = 16


@dataclass(frozen=True, slots=True)
class Access:
    """Which requests are answered, and which pages may read the answers.

    `bound`: the address of the listener. `pages_ports`: where this server has its own pages. `hosts`: names
    that it answers to; `origins`: of other pages; `token`: empty where none is needed.
    """

    bound: str
    pages_ports: frozenset[int]
    hosts: frozenset[str] = frozenset()
    origins: frozenset[bytes] = frozenset()
    token: bytes = field(default=b"", repr=False)

    def names(self, host: bytes | None) -> bool:
        """Whether `Host` may name this listener.

        A page whose name its owner has made an address of this listener (DNS rebinding) has that name here;
        an address, or a name that was given, is no such page's.
        """
        if host is None:
            # Not a browser.
            return True
        name, _ = _split(host)
        if name == self.bound or name in self.hosts or _is_loopback(name):
            return True
        return not _is_loopback(self.bound) and _is_address(name)

    def admits(self, authorization: bytes | None) -> bool:
        """Whether a request with this Authorization has the token, if one is needed (RFC 6750)."""
        scheme, _, token = (authorization or b"").partition(b" ")
        return not self.token or (
            scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self.token)
        )

    def reader(self, host: bytes | None, origin: bytes | None) -> bytes | None:
        """The origin whose pages may read the answer, this server's own or one that was named, or None."""
        if origin is not None and origin in self.origins:
            return origin
        if origin is None or host is None or not origin.startswith(b"http://"):
            return None
        theirs, port = _split(origin.removeprefix(b"http://"))
        ours, _ = _split(host)
        same = theirs == ours or (_is_loopback(theirs) and _is_loopback(ours))
        return origin if same and port in map(str, self.pages_ports) else None


def access_of(settings: Settings, bound: str, pages_ports: Iterable[int]) -> Access:
    """What the options say, for a listener that is bound to the address `bound`. Raises StartError."""
    hosts = {*settings.admin_name}
    if not _is_loopback(bound):
        hosts |= {socket.gethostname(), split_address(settings.admin)[0]}
    return Access(
        bound,
        frozenset(pages_ports),
        frozenset(host.lower() for host in hosts),
        frozenset(origin.encode("ascii") for origin in settings.admin_origin),
        read_token(settings.admin_token_file) if settings.admin_token_file else b"",
    )


def read_token(path: str, flag: str = "--admin-token-file") -> bytes:
    """The token in a file that `flag` names. Raises StartError."""
    fix = "Type such as: openssl rand -hex 32 >FILE, and let this user read it"
    try:
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise StartError(f"{flag}: {path!r} cannot be read ({error.strerror}). {fix}") from None
    if len(token) < TOKEN_SIZE_MIN or not token.isascii() or b" " in token:
        raise StartError(f"{flag}: {path!r} has no token: {TOKEN_SIZE_MIN} visible characters or more. {fix}")
    return token


def _split(authority: bytes) -> tuple[str, str]:
    """Host, in lower case and without brackets, and port of an http authority."""
    text = authority.decode("latin-1").lower()
    name, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        name, port = text, "80"
    return name.strip("[]"), port


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)

"""The small language of --listen: HOST:PORT or unix:PATH, with `,proxy` or not; and networks."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from zchttpd.config import options as opt
from zchttpd.config.options import split_address

if TYPE_CHECKING:
    from collections.abc import Iterable

UNIX_SIZE_MAX = 107  # of sun_path, with its NUL: unix(7)
LISTENERS_MAX = 16
NETWORKS_MAX = 256

# Who comes by a unix socket: its directory decides who may.
UNIX = "unix"

_UNIX = "unix:"
_PROXY = "proxy"

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: at `unix`, a path, or at `host` and `port`.

    `proxy`: each connection begins with a header of the PROXY protocol, which names the client.
    """

    host: str = ""
    port: int = 0
    unix: str = ""
    proxy: bool = False


def read_listen(text: str) -> Listen:
    """What one text of --listen says. Raises ValueError with a one-line text."""
    address, comma, word = text.strip().rpartition(",")
    if comma and word.strip() != _PROXY:
        raise ValueError(f"{word.strip()!r} is not known behind an address. Type {address},{_PROXY}")
    proxy = bool(comma)
    address = address if comma else text.strip()
    if not address.startswith(_UNIX):
        host, port = split_address(address)
        return Listen(host, port, proxy=proxy)
    return Listen(unix=check_unix(address.removeprefix(_UNIX)), proxy=proxy)


def check_unix(path: str) -> str:
    """The path itself. Raises ValueError with a one-line text."""
    if not path:
        raise ValueError(f"{_UNIX} names no path. Type such as unix:/run/zchttpd.sock")
    if len(os.fsencode(path)) > UNIX_SIZE_MAX:
        raise ValueError(f"{path!r} is too long. Type at most {UNIX_SIZE_MAX} bytes")
    return path


def parse_listen(text: str) -> tuple[str, ...]:
    """Lines of one address each, as they were typed. Raises ValueError with a one-line text."""
    lines = tuple(line.strip() for line in text.split("\n") if line.strip())
    for line in lines:
        read_listen(line)
    if len(lines) > LISTENERS_MAX:
        raise ValueError(f"{len(lines)} are too many. Type {LISTENERS_MAX} at most")
    return lines


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks with commas between them; an address is one of its own. Raises ValueError with a one-line
    text.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(names) > NETWORKS_MAX:
        raise ValueError(f"{len(names)} are too many. Type {NETWORKS_MAX} at most")
    return tuple(_network(name) for name in names)


def parse_forwarders(text: str) -> tuple[Network | str, ...]:
    """Networks as `parse_networks` has them, and `unix` for whoever comes by a unix socket."""
    names = [name.strip() for name in text.split(",")]
    networks = parse_networks(",".join(name for name in names if name != UNIX))
    return (*networks, UNIX) if UNIX in names else networks


def _network(name: str) -> Network:
    try:
        found = ipaddress.ip_network(name, strict=False)
    except ValueError:
        raise ValueError(
            f"{name!r} is not a network. Type an address, or such as 10.0.0.0/8 or 2001:db8::/32"
        ) from None
    if str(found) != name and "/" in name and found.network_address != ipaddress.ip_interface(name).ip:
        raise ValueError(f"{name!r} has bits beyond its prefix. Type {found}")
    mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
    if mapped is not None and found.prefixlen >= 96:
        # As clients of IPv4 are seen on a socket for both.
        return ipaddress.ip_network((mapped, found.prefixlen - 96))
    return found


def packed(networks: Iterable[Network | str]) -> list[tuple[bytes, int]]:
    """(address, bits that count) of each; no address for UNIX."""
    return [
        (b"", 0) if isinstance(each, str) else (each.network_address.packed, each.prefixlen)
        for each in networks
    ]


def listed(parse: Any, metavar: str, example: str, group: opt.Group, text: str, separator: str = ",") -> Any:
    """An option of which there may be several."""
    more = {"parse": parse, "metavar": metavar, "example": example, "separator": separator}
    return opt.option((), group, text, many=True, **more)

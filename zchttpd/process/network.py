"""Which way bytes take to an address, and what the device there is: rtnetlink(7), netdevice(7), packet(7)."""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zchttpd.process.memory_limit import read

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSFS = Path("/sys/class/net")
# linux/rtnetlink.h
RTM_GETROUTE = 26
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
RTN_LOCAL = 2
NLM_F_REQUEST = 1
NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_ROUTE = struct.Struct("=8BI")  # rtmsg
_ATTRIBUTE = struct.Struct("=HH")  # rtattr
# linux/sockios.h, linux/ethtool.h
SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO, ETHTOOL_GSG, ETHTOOL_GTSO = 0x03, 0x18, 0x1E
_DRVINFO = struct.Struct("=I32s160x")
# linux/if_arp.h: /sys/class/net/NAME/type
ARPHRD_LOOPBACK = "772"
# linux/if_ether.h: every packet, as /proc/net/packet has it.
ETH_P_ALL = 3


@dataclass(frozen=True, slots=True)
class Route:
    """The kernel's way to an address: over `device`, by `gateway`, "" where it is on the same link. `local`:
    the address is one of this machine's, so that bytes never leave it.
    """

    device: str
    gateway: str
    local: bool


@dataclass(frozen=True, slots=True)
class Device:
    """`driver`: as ethtool has it, "loopback", or "". `gathers`: takes scattered memory (NETIF_F_SG);
    `segments`: cuts large packets itself (NETIF_F_TSO). `below`: devices that this one sends through.
    """

    name: str
    driver: str
    gathers: bool
    segments: bool
    below: tuple[str, ...] = ()


def route_to(address: str) -> Route:
    """Ask the kernel (RTM_GETROUTE). Raises OSError: ENETUNREACH where there is no way."""
    packed = ipaddress.ip_address(address).packed
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), RTA_DST) + packed
    request = _HEADER.pack(_HEADER.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(request)
        answer = netlink.recv(65536)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind == NLMSG_ERROR:
        code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        raise OSError(code, os.strerror(code))
    found = dict(_attributes(answer[_HEADER.size + _ROUTE.size :]))
    gateway = found.get(RTA_GATEWAY, b"")
    return Route(
        device=socket.if_indextoname(struct.unpack("=I", found[RTA_OIF])[0]),
        gateway=socket.inet_ntop(family, gateway) if gateway else "",
        local=_ROUTE.unpack_from(answer, _HEADER.size)[7] == RTN_LOCAL,
    )


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    while len(body) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body)
        yield kind, body[_ATTRIBUTE.size : length]
        # They are aligned to four bytes.
        body = body[(length + 3) & ~3 :]


def devices() -> list[str]:
    """The names of all devices."""
    return sorted(name for _, name in socket.if_nameindex())


def device(name: str) -> Device:
    """What a device is. Raises OSError when there is none of that name."""
    socket.if_nametoindex(name)
    if read(SYSFS / name / "type") == ARPHRD_LOOPBACK:
        return Device(name, "loopback", gathers=True, segments=True)
    below = tuple(sorted(path.name.removeprefix("lower_") for path in (SYSFS / name).glob("lower_*")))
    return Device(name, _driver(name), _flag(name, ETHTOOL_GSG), _flag(name, ETHTOOL_GTSO), below)


def _ethtool(name: str, command: bytes) -> bytes:
    """Raises OSError."""
    value = ctypes.create_string_buffer(command, len(command))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        # struct ifreq
        fcntl.ioctl(any_socket, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(value)))
    return value.raw


def _driver(name: str) -> str:
    try:
        answer = _ethtool(name, _DRVINFO.pack(ETHTOOL_GDRVINFO, b""))
    except OSError:
        return ""
    driver: bytes = _DRVINFO.unpack(answer)[1]
    return driver.rstrip(b"\0").decode()


def _flag(name: str, command: int) -> bool:
    try:
        return bool(struct.unpack("=II", _ethtool(name, struct.pack("=II", command, 0)))[1])
    except OSError:
        return False


def captured(name: str) -> bool:
    """Whether a socket takes a copy of every packet of this device, as tcpdump's does (packet(7))."""
    index = socket.if_nametoindex(name)
    for line in read(Path("/proc/net/packet")).splitlines()[1:]:
        # sk, references, type, protocol, interface
        words = line.split()
        if int(words[3], 16) == ETH_P_ALL and int(words[4]) in (0, index):
            return True
    return False

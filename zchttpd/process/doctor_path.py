"""Does a path send without a copy? Bytes are sent over it, and the kernel is asked what it did with them.

They are sent with MSG_ZEROCOPY (Documentation/networking/msg_zerocopy.rst): below the system call they take
the same way as those of IORING_OP_SEND_ZC, and a sandbox that refuses io_uring lets them pass.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from zchttpd.config.options import SettingsError
from zchttpd.error_queue import MSG_ZEROCOPY, enable, take
from zchttpd.process.findings import Finding, State
from zchttpd.process.network import captured, device, devices, route_to

if TYPE_CHECKING:
    from zchttpd.process.network import Device, Route

# The kernel there acknowledges so much before any program reads. Most protocols ignore empty lines.
SENT = b"\r\n" * 16384
ANSWER_S_MAX = 5.0
AWAY = (
    "serve from where the card is: docker run --network host, Kubernetes hostNetwork: true, or a card for the"
    " container alone (macvlan, ipvlan, SR-IOV)"
)
# By driver: why what goes over such a device is copied, and what to do.
COPYING = {
    "loopback": (
        "what stays on this machine is copied",
        "none needed: --send-mode auto sends by reference there",
    ),
    "veth": ("veth, as containers have it, hands packets to the same kernel, which copies them", AWAY),
    "tun": ("a program reads what is sent over tun or tap, which copies it", AWAY),
    "wireguard": ("what is encrypted is copied", "send it outside of the tunnel"),
}


class Outcome(Enum):
    """What becomes of bytes on a path, and the exit status that says so."""

    ZERO_COPIED = 0
    COPIED = 1
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Target:
    """`host`: an address, or the name of a device; `port` 0: nothing can be sent."""

    host: str
    port: int = 0


def read_target(text: str) -> Target:
    """HOST, HOST:PORT, [HOST]:PORT or the name of a device. Raises SettingsError."""
    if text in devices():
        return Target(text)
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, "0"
    if not port.isdecimal() or int(port) > 65535:
        raise SettingsError("path", f"--path: {port!r} is no port. Type such as --path 192.0.2.7:8080")
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        problem = f"--path: {host!r} is no address, name or device here ({error.strerror})"
        raise SettingsError("path", f"{problem}. Devices: {', '.join(devices())}") from None
    return Target(str(found[0][4][0]), int(port))


def examine(target: Target) -> tuple[list[Finding], Outcome]:
    """What is known of the way to `target`, and what became of bytes sent over it."""
    found = []
    if target.host in devices():
        way = device(target.host)
    else:
        try:
            route = route_to(target.host)
        except OSError as error:
            words = f"no way to {target.host}: {error.strerror}"
            return [Finding("route", State.MISSING, words, "ip route")], Outcome.UNKNOWN
        way = device(route.device)
        found.append(_route(target, route))
    found += _devices(way)
    if captured(way.name):
        words = f"a program takes a copy of every packet of {way.name}, so that each is copied"
        found.append(
            Finding("capture", State.LOW, words, "stop it (tcpdump, Wireshark): ss --packet --processes")
        )
    known = Outcome.UNKNOWN if all(each.state is State.OK for each in found) else Outcome.COPIED
    if not target.port:
        return [*found, _not_asked(target, known)], known
    try:
        copied = send(target)
    except OSError as error:
        return [*found, _not_sent(target, error)], Outcome.UNKNOWN
    if copied:
        words, fix = f"the kernel copied {len(SENT)} bytes to {target.host}", _first_fix(found)
        return [*found, Finding("zero copy", State.MISSING, words, fix)], Outcome.COPIED
    words = f"{len(SENT)} bytes to {target.host} left without a copy"
    if known is Outcome.COPIED:
        words += ", as far as the socket knows; what is said above came behind it"
        return [*found, Finding("zero copy", State.MISSING, words, _first_fix(found))], Outcome.COPIED
    return [*found, Finding("zero copy", State.OK, words)], Outcome.ZERO_COPIED


def _first_fix(found: list[Finding]) -> str:
    return next((each.fix for each in found if each.fix), "--send-mode auto, which sees it and does not try")


def _route(target: Target, route: Route) -> Finding:
    if route.local:
        words = f"{target.host} is this machine itself: what is sent to it stays here, over {route.device}"
        return Finding("route", State.LOW, words, "--path with the address of another machine")
    by = f", by {route.gateway}" if route.gateway else ", on the same link"
    return Finding("route", State.OK, f"{target.host} over {route.device}{by}")


def _devices(way: Device) -> list[Finding]:
    """Of a device, and of those that it sends through."""
    found = []
    for each in (way, *map(device, way.below)):
        words = f"{each.name}: {each.driver or 'driver unknown'}"
        if each.driver in COPYING:
            reason, fix = COPYING[each.driver]
            found.append(Finding("device", State.MISSING, f"{words}; {reason}", fix))
        elif not each.gathers:
            words += " does not take scattered memory, so that all is copied into one piece"
            fix = f"ethtool -K {each.name} sg on tx on, where the card can"
            found.append(Finding("device", State.MISSING, words, fix))
        else:
            more = ", and segments" if each.segments else "; it does not segment: more CPU time for each byte"
            found.append(Finding("device", State.OK, f"{words}, takes scattered memory{more}"))
    return found


def _not_asked(target: Target, known: Outcome) -> Finding:
    if known is Outcome.COPIED:
        return Finding("zero copy", State.MISSING, "not tried: it is known to be copied", "see above")
    there = "HOST" if target.host in devices() else target.host
    fix = f"zchttpd doctor --path {there}:PORT, with a port there that takes connections"
    return Finding("zero copy", State.LOW, "nothing seen that copies, and nothing sent to prove it", fix)


def _not_sent(target: Target, error: OSError) -> Finding:
    reason = error.strerror or str(error)
    fix = f"a port that takes connections and bytes; on {target.host}, type: nc -l {target.port} >/dev/null"
    if error.errno == errno.ENOBUFS:
        fix = "sysctl -w net.core.optmem_max=131072"
    words = f"not known: nothing could be sent to port {target.port} of {target.host} ({reason})"
    return Finding("zero copy", State.LOW, words, fix)


def send(target: Target) -> bool:
    """Send, and return whether the kernel copied. Raises OSError, also when there is no answer in time."""
    with socket.create_connection((target.host, target.port), ANSWER_S_MAX) as peer:
        enable(peer)
        peer.sendmsg([SENT], [], MSG_ZEROCOPY)
        until = time.monotonic() + ANSWER_S_MAX
        waiting = select.poll()
        # Notifications come as an error, which needs not be asked for.
        waiting.register(peer, 0)
        while time.monotonic() < until:
            waiting.poll(1000 * max(0.0, until - time.monotonic()))
            broken = peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if broken:
                # What was not sent is given up, which the kernel tells as copied.
                raise OSError(broken, os.strerror(broken))
            with contextlib.suppress(BlockingIOError):
                for told in take(peer):
                    return told.copied
        raise TimeoutError(errno.ETIMEDOUT, "nothing was acknowledged in time")

"""Listening sockets. What every accepted socket must have is set on its listener and inherited."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import Any

BACKLOG = 4096


class ListenError(Exception):
    """No listening socket could be made; the text is one line: the cause, then the cure."""


def open_listeners(
    host: str, port: int, count: int, *, stall_ms: int, flag: str = "--port"
) -> list[socket.socket]:
    """`count` listening TCP sockets on one and the same address and port; port 0 takes a free one for all.

    More than one share the port by SO_REUSEPORT (socket(7)). `stall_ms` becomes TCP_USER_TIMEOUT (tcp(7)),
    in milliseconds. `flag` is what the error texts tell to type. Raises ListenError.
    """
    failure: OSError | None = None
    addresses = _resolve(host, port)
    for family, address in addresses:
        opened: list[socket.socket] = []
        try:
            opened.append(_bind(family, address, stall_ms))
            shared = opened[0].getsockname()
            for _ in range(count - 1):
                # The first was bound alone, so that a port which another server shares out is refused.
                opened[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                opened.append(_bind(family, shared, stall_ms, reuse_port=True))
            for listener in opened:
                listener.listen(BACKLOG)
            return opened
        except OSError as error:
            failure = failure or error
            for listener in opened:
                listener.close()
    assert failure is not None
    raise ListenError(_explain(failure, host, port, flag)) from failure


def url_of(listener: socket.socket) -> str:
    """`http://127.0.0.1:8080` or `http://[::1]:8080`."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reaches_others(listener: socket.socket) -> bool:
    """Whether other machines can connect to it."""
    return not ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _resolve(host: str, port: int) -> list[tuple[int, Any]]:
    name = host.strip().removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise ListenError(f"the host {host!r} cannot be resolved ({why}). Type such as 127.0.0.1") from None
    return [(family, address) for family, _, _, _, address in found]


def _bind(family: int, address: Any, stall_ms: int, *, reuse_port: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # `::` means all addresses, the IPv4 ones too, whatever net.ipv6.bindv6only says.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stall_ms)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _explain(error: OSError, host: str, port: int, flag: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} on {host} is already in use. Type {flag} with another port,"
                f" or find who listens with: ss -ltnp 'sport = :{port}'"
            )
        case errno.EACCES | errno.EPERM if 0 < port < 1024:
            return (
                f"port {port} is for privileged users only. Type {flag} with a port from 1024 up,"
                f" or: sysctl -w net.ipv4.ip_unprivileged_port_start={port}"
            )
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return f"{host} is not an address of this machine. Type 127.0.0.1 or 0.0.0.0; ip addr lists them"
        case _:
            why = os.strerror(error.errno) if error.errno else str(error)
            return f"cannot listen on {host} port {port} ({why}). Type another address or port"

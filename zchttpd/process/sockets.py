"""Listening sockets. What every accepted socket must have is set on its listener and inherited."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zchttpd.config.listen import LISTENERS_MAX
from zchttpd.config.options import StartError, split_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zchttpd.config.listen import Listen
    from zchttpd.config.settings import Settings

BACKLOG = 4096
# The kernel counts time without progress against TCP_USER_TIMEOUT, but takes a window smaller than a segment
# for none. So whether a client reads is for `stall_ms` to say (docs/decisions/timeouts.md), and this is for
# sockets that are closed by then.
USER_TIMEOUT_FACTOR = 10
# Who may connect is decided by the directory: a proxy is often another user.
UNIX_MODE = 0o666


def open_listeners(
    host: str, port: int, count: int, *, stall_ms: int, flag: str = "--port"
) -> list[socket.socket]:
    """`count` listening TCP sockets on one and the same address and port; port 0 takes a free one for all.

    More than one share the port by SO_REUSEPORT (socket(7)). TCP_USER_TIMEOUT (tcp(7)) is a multiple of
    `stall_ms`, in milliseconds. `flag` is what the error texts tell to type. Raises StartError.
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
    raise StartError(_explain(failure, host, port, flag)) from failure


@dataclass(slots=True)
class Address:
    """One address, and the sockets that listen there: one for each worker. `proxy`: connections begin with
    PROXY headers; `name`: of a unix socket that was opened here; `passed`: how many were passed.
    """

    sockets: list[socket.socket]
    proxy: bool = False
    name: str = ""
    passed: int = 0


def open_for(settings: Settings, passed: Sequence[tuple[int, bool]], count: int) -> list[Address]:
    """What to listen to: the descriptors that were `passed` to this process, each with whether PROXY headers
    are to come, before what the options say. Each address has `count` sockets, or more if more were passed.
    Raises StartError.

    A port that is opened here is shared by SO_REUSEPORT; any other socket is one and the same for all.
    """
    found: list[Address] = []
    try:
        if passed:
            _group(passed, settings, found)
        else:
            for each in settings.listens:
                found.append(_open(each, count, settings))
        if len(found) > LISTENERS_MAX:
            raise StartError(f"{len(found)} sockets were passed. Keep {LISTENERS_MAX} ListenStream= lines")
        if not settings.proxy_from and any(
            each.proxy and each.sockets[0].family != socket.AF_UNIX for each in found
        ):
            raise StartError(
                "a socket for PROXY headers was passed. Type --proxy-from and the network of the proxies"
            )
    except StartError:
        for address in found:
            for listener in address.sockets:
                listener.close()
            if address.name:
                os.unlink(address.name)
        raise
    for address in found:
        address.sockets += [address.sockets[0].dup() for _ in range(count - len(address.sockets))]
    return found


def _open(listen: Listen, count: int, settings: Settings) -> Address:
    flags = ("--listen", "--listen") if settings.listen else ("--port", "--unix")
    if listen.unix:
        return Address([open_unix(listen.unix, flags[1])], listen.proxy, listen.unix)
    stall_ms = settings.stall_ms_max
    opened = open_listeners(listen.host, listen.port, count, stall_ms=stall_ms, flag=flags[0])
    return Address(opened, listen.proxy)


def _group(passed: Sequence[tuple[int, bool]], settings: Settings, found: list[Address]) -> None:
    """Those that were passed, by address."""
    for fd, proxy in passed:
        listener = _passed(fd, settings)
        name = listener.getsockname()
        known = [each for each in found if each.sockets[0].getsockname() == name]
        if not known:
            known = [Address([], proxy)]
            found += known
        known[0].sockets.append(listener)
        known[0].passed += 1


def open_admin(settings: Settings, passed: int) -> socket.socket | None:
    """The listening socket of --admin, which may be that of the descriptor `passed`, if it is not -1; None
    without one. Raises StartError.
    """
    if not settings.admin:
        return None
    if passed >= 0:
        return socket.socket(fileno=passed)
    host, port = split_address(settings.admin)
    [listener] = open_listeners(host, port, 1, stall_ms=settings.stall_ms_max, flag="--admin")
    return listener


def open_unix(path: str, flag: str = "--unix") -> socket.socket:
    """A listening stream socket at `path`, for everybody who may enter its directory (unix(7)).

    One that a server left behind is replaced. `flag` is what the error texts tell to type. Raises StartError.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path, flag)
            listener.bind(path)
        _open_to_all(path, flag)
        listener.listen(BACKLOG)
    except (OSError, StartError) as error:
        listener.close()
        if isinstance(error, StartError):
            raise
        why = os.strerror(error.errno) if error.errno else str(error)
        raise StartError(f"cannot listen on {path} ({why}). Type {flag} and another path") from error
    return listener


def _open_to_all(path: str, flag: str) -> None:
    """Whoever else may write in its directory may have put a link there by now, which is not followed.

    Raises StartError, and OSError where there is no /proc.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise StartError(
                f"{path} is no socket any more: somebody else writes in its directory. Type {flag} and"
                " a path in a directory that is yours alone"
            )
        os.chmod(f"/proc/self/fd/{fd}", UNIX_MODE)
    finally:
        os.close(fd)


def _remove_stale(path: str, flag: str) -> None:
    """Raises StartError unless it is a socket that nobody listens to."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise StartError(f"{path} is there and is no socket. Type {flag} and another path, or: rm {path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        # EAGAIN: somebody listens, and has more to do than it can.
        if client.connect_ex(path) != errno.ECONNREFUSED:
            raise StartError(
                f"{path} is already in use. Type {flag} with another path, or find who listens with: ss -lxp"
            )
    os.unlink(path)


def set_stall(listener: socket.socket, stall_ms: int) -> None:
    """Have what is accepted on a listener give up as `open_listeners` says."""
    if listener.family != socket.AF_UNIX:
        _set_tcp_options(listener, stall_ms)


def _passed(fd: int, settings: Settings) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartError(f"descriptor {fd} was passed and is no socket ({error.strerror})") from None
    if not listens or listener.type != socket.SOCK_STREAM:
        raise StartError("the socket that was passed does not listen. Type ListenStream= and Accept=no")
    if settings.engine != "portable":
        # A ring that is to wait for connections would be told EAGAIN.
        listener.setblocking(True)
    set_stall(listener, settings.stall_ms_max)
    return listener


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    """What opens on this machine: `http://127.0.0.1:8080`, `https://[::1]:8080`, `unix:/run/zchttpd.sock`."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    if _is_any(host):
        host = "127.0.0.1" if _takes_ipv4(listener) else "::1"
    return _url(host, port, tls)


def url_for_others(listener: socket.socket, *, tls: bool = False) -> str:
    """What other machines type to reach a listener on all addresses; empty for any other listener."""
    if listener.family == socket.AF_UNIX or not _is_any(listener.getsockname()[0]):
        return ""
    port = listener.getsockname()[1]
    probes = [(socket.AF_INET, "192.0.2.1")] if _takes_ipv4(listener) else []
    if listener.family == socket.AF_INET6:
        probes.append((socket.AF_INET6, "2001:db8::1"))
    for family, target in probes:
        # Of documentation (RFC 5737, RFC 3849): nothing is sent, the kernel tells what it would send from.
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return _url(probe.getsockname()[0], port, tls)
    return _url(socket.gethostname(), port, tls)


def _url(host: str, port: int, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::")


def _takes_ipv4(listener: socket.socket) -> bool:
    if listener.family == socket.AF_INET:
        return True
    return not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def reaches_others(listener: socket.socket) -> bool:
    """Whether other machines can connect to it."""
    if listener.family == socket.AF_UNIX:
        return False
    return not ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def exposures(
    settings: Settings, served: Sequence[socket.socket], admin: socket.socket | None
) -> Iterator[str]:
    """A line for each way in which other machines reach more than is good."""
    if os.geteuid() == 0 and any(map(reaches_others, served)):
        yield "root serves other machines. Type --user NAME, such as --user nobody"
    if admin is not None and reaches_others(admin) and not settings.admin_token_file:
        fix = "Type 127.0.0.1:PORT, or --admin-token-file, or have a firewall guard it"
        yield f"--admin answers whoever reaches {settings.admin}. {fix}"


def _resolve(host: str, port: int) -> list[tuple[int, Any]]:
    name = host.strip().removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise StartError(f"the host {host!r} cannot be resolved ({why}). Type such as 127.0.0.1") from None
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
        _set_tcp_options(listener, stall_ms)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _set_tcp_options(listener: socket.socket, stall_ms: int) -> None:
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, min(stall_ms * USER_TIMEOUT_FACTOR, 2**31 - 1)
    )


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

"""Options that contradict each other, or what there is here."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from zchttpd.config import options as opt
from zchttpd.config.listen import check_unix
from zchttpd.config.names import AUTO, ENCODINGS, FEATURES, SANDBOX, missing_encodings
from zchttpd.config.options import SettingsError, did_you_mean, format_size

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings

PAGE_SIZE = 4096
_ALL_ADDRESSES = ("0.0.0.0", "::")


def check_together(settings: Settings) -> None:
    """Raises SettingsError for options that contradict each other."""
    if not settings.host.strip():
        raise SettingsError(
            "host", "is empty. Type 127.0.0.1 for this machine only or 0.0.0.0 for all addresses"
        )
    if settings.unix:
        try:
            check_unix(settings.unix)
        except ValueError as error:
            raise SettingsError("unix", str(error)) from None
    _check_listens(settings)
    if not settings.access_log:
        raise SettingsError("access_log", "is empty. Type a file, - for standard output, or off")
    for feature in settings.without:
        known = {**FEATURES, **SANDBOX}
        if feature not in known:
            raise SettingsError("without", f"{feature!r} is not a feature.{did_you_mean(feature, known)}")
    if settings.request_id and any(rule.name.lower() == "x-request-id" for rule in settings.header):
        raise SettingsError("header", "X-Request-Id is what --request-id sends. Type one of them alone")
    if settings.auth and importlib.util.find_spec("bcrypt") is None:
        raise SettingsError("auth", "it needs another package. Type: pip install bcrypt")
    _check_memory(settings)
    _check_compression(settings)
    if settings.tls_cert:
        _check_tls(settings)
    if settings.admin:
        _check_admin(settings)


def _check_tls(settings: Settings) -> None:
    if settings.engine == "uring":
        fix = "Type --engine portable, or a proxy in front (docs/tls.md)"
        raise SettingsError("engine", f"uring has no TLS. {fix}")
    if settings.send_mode == "zerocopy":
        fix = "Type --send-mode auto"
        raise SettingsError("send_mode", f"zerocopy and TLS: what is encrypted is copied. {fix}")


def _check_memory(settings: Settings) -> None:
    if settings.window_size % PAGE_SIZE:
        raise SettingsError(
            "window_size", f"{settings.window_size} is not a multiple of 4K. Type such as 512K"
        )
    if settings.recv_buffers & (settings.recv_buffers - 1):
        raise SettingsError(
            "recv_buffers", f"{settings.recv_buffers} is not a power of two. Type such as 512"
        )
    least = settings.window_size * settings.windows_per_connection
    if settings.stream_memory < least:
        raise SettingsError(
            "stream_memory",
            f"{format_size(settings.stream_memory)} is less than the {settings.windows_per_connection}"
            f" windows of {format_size(settings.window_size)} that one connection may hold."
            f" Type at least {format_size(least)}",
        )


def _check_compression(settings: Settings) -> None:
    missing = missing_encodings()
    for name in settings.compress:
        if name not in (AUTO, *ENCODINGS):
            raise SettingsError(
                "compress", f"{name!r} is not an encoding.{did_you_mean(name, (AUTO, *ENCODINGS))}"
            )
        if name in missing:
            raise SettingsError(
                "compress", f"{name} needs another package. Type: pip install {missing[name]}"
            )
    least, most = settings.compress_size_min, settings.compress_size_max
    if settings.compress and least > most:
        raise SettingsError(
            "compress_size_min",
            f"{format_size(least)} is more than --compress-size-max {format_size(most)}: nothing would be"
            " compressed. Type a smaller one",
        )
    if most > settings.compress_memory:
        raise SettingsError(
            "compress_memory",
            f"{format_size(settings.compress_memory)} may be too small for one file of --compress-size-max."
            f" Type at least {format_size(most)}",
        )


def _check_admin(settings: Settings) -> None:
    try:
        host, port = opt.split_address(settings.admin)
    except ValueError as error:
        raise SettingsError("admin", str(error)) from None
    for each in settings.listens:
        if port and not each.unix and each.port == port and _overlap(each.host, host):
            raise SettingsError("admin", f"{settings.admin} is where files are served. Type another port")


def _check_listens(settings: Settings) -> None:
    demanding = [each for each in settings.listens if each.proxy]
    if not settings.proxy_from and any(not each.unix for each in demanding):
        raise SettingsError(
            "proxy_from",
            "nobody may connect where PROXY headers are to come. Type --proxy-from and the address or network"
            " of the proxies",
        )
    ports: list[tuple[str, int]] = []
    paths: list[str] = []
    for listen in settings.listens:
        at = listen.unix or f"{listen.host}:{listen.port}"
        again = any(listen.port == port and _overlap(listen.host, host) for host, port in ports)
        if listen.unix in paths if listen.unix else listen.port and again:
            raise SettingsError("listen", f"{at} is where another one listens. Type each address once")
        paths.append(listen.unix)
        ports += [] if listen.unix else [(listen.host, listen.port)]


def _overlap(one: str, other: str) -> bool:
    """Whether two hosts may be one and the same address."""
    ours, theirs = _numeric(one), _numeric(other)
    return ours == theirs or ours in _ALL_ADDRESSES or theirs in _ALL_ADDRESSES


def _numeric(host: str) -> str:
    bare = host.strip().strip("[]").lower()
    return "127.0.0.1" if bare == "localhost" else bare

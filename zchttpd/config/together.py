"""Options that contradict each other, or what there is here."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from zchttpd.config import options as opt
from zchttpd.config.names import AUTO, ENCODINGS, FEATURES, missing_encodings
from zchttpd.config.options import SettingsError, did_you_mean, format_size

if TYPE_CHECKING:
    from zchttpd.config.settings import Settings

PAGE_SIZE = 4096
UNIX_SIZE_MAX = 107  # of sun_path, with its NUL: unix(7)
_ALL_ADDRESSES = ("0.0.0.0", "::")


def check_together(settings: Settings) -> None:
    """Raises SettingsError for options that contradict each other."""
    if not settings.host.strip():
        raise SettingsError(
            "host", "is empty. Type 127.0.0.1 for this machine only or 0.0.0.0 for all addresses"
        )
    if len(os.fsencode(settings.unix)) > UNIX_SIZE_MAX:
        raise SettingsError("unix", f"{settings.unix!r} is too long. Type at most {UNIX_SIZE_MAX} bytes")
    if not settings.access_log:
        raise SettingsError("access_log", "is empty. Type a file, - for standard output, or off")
    for feature in settings.without:
        if feature not in FEATURES:
            raise SettingsError("without", f"{feature!r} is not a feature.{did_you_mean(feature, FEATURES)}")
    if settings.request_id and any(rule.name.lower() == "x-request-id" for rule in settings.header):
        raise SettingsError("header", "X-Request-Id is what --request-id sends. Type one of them alone")
    if settings.auth and importlib.util.find_spec("bcrypt") is None:
        raise SettingsError("auth", "it needs another package. Type: pip install bcrypt")
    _check_memory(settings)
    _check_compression(settings)
    if settings.admin:
        _check_admin(settings)


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
    if settings.unix or not port or port != settings.port:
        return
    ours, theirs = (_numeric(each) for each in (settings.host, host))
    if ours == theirs or ours in _ALL_ADDRESSES or theirs in _ALL_ADDRESSES:
        raise SettingsError("admin", f"{settings.admin} is where files are served. Type another port")


def _numeric(host: str) -> str:
    bare = host.strip().strip("[]").lower()
    return "127.0.0.1" if bare == "localhost" else bare

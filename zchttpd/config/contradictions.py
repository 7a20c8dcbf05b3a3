"""What options say: what is out of bounds or contradicts itself is refused, what has no effect is told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zchttpd.config.options import SettingsError, did_you_mean, format_size, split_address
from zchttpd.files.encoders import check_encodings
from zchttpd.process.doctor import FEATURES
from zchttpd.telemetry.access_log import OFF

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zchttpd.config.options import Option
    from zchttpd.config.settings import Settings

PAGE_SIZE = 4096
UNIX_SIZE_MAX = 107  # of sun_path, with its NUL: unix(7)
_ALL_ADDRESSES = ("0.0.0.0", "::")
_COMPRESS_ONLY = ("compress_size_min", "compress_size_max", "compress_memory", "compress_threads")
_URING_ONLY = (
    *("stream_memory", "window_size", "windows_per_connection"),
    *("recv_buffers", "recv_buffer_size", "without"),
)


def check_bounds(name: str, option: Option, value: object) -> None:
    """Raises SettingsError for what the bounds or the choices of one option tell."""
    if option.choices and value not in option.choices:
        raise SettingsError(name, f"{value!r} is not a choice.{did_you_mean(str(value), option.choices)}")
    if isinstance(value, int) and not option.low <= value <= option.high:
        shown = format_size if option.unit == "bytes" else str
        if value < option.low:
            raise SettingsError(name, f"{shown(value)} is too small. Type {shown(option.low)} or more")
        raise SettingsError(name, f"{shown(value)} is too large. Type {shown(option.high)} or less")


def check_together(settings: Settings) -> None:
    """Raises SettingsError for what no bounds of one option can tell."""
    if not settings.host.strip():
        raise SettingsError(
            "host", "is empty. Type 127.0.0.1 for this machine only or 0.0.0.0 for all addresses"
        )
    if len(os.fsencode(settings.unix)) > UNIX_SIZE_MAX:
        raise SettingsError("unix", f"{settings.unix!r} is too long. Type at most {UNIX_SIZE_MAX} bytes")
    if not settings.access_log:
        raise SettingsError("access_log", "is empty. Type a file, - for standard output, or off")
    if settings.engine == "portable" and settings.send_mode == "zerocopy":
        raise SettingsError(
            "send_mode",
            "zerocopy is what io_uring does, and --engine portable does without it."
            " Type --engine uring, or leave --send-mode out",
        )
    for feature in settings.without:
        if feature not in FEATURES:
            raise SettingsError("without", f"{feature!r} is not a feature.{did_you_mean(feature, FEATURES)}")
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
    try:
        check_encodings(settings.compress)
    except ValueError as error:
        raise SettingsError("compress", str(error)) from None
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
        host, port = split_address(settings.admin)
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


def without_effect(settings: Settings, sources: Mapping[str, str]) -> list[str]:
    """A line for each option that was given, at `sources`, and has no effect beside the others."""
    lines = []

    def told(names: tuple[str, ...], why: str) -> None:
        given = [sources[name] for name in names if name in sources]
        if given:
            lines.append(f"without effect: {', '.join(given)}. {why}")

    if settings.unix:
        told(("host", "port"), f"It listens on {settings.unix}; leave one of them out")
    if not settings.compress:
        told(_COMPRESS_ONLY, "Type --compress auto, or leave it out")
    if settings.access_log == OFF:
        told(("access_log_format",), "Type --access-log and a file, or leave it out")
    if settings.engine == "portable":
        told(_URING_ONLY, "It is for io_uring, and --engine portable does without; leave one of them out")
    elif settings.send_mode == "plain":
        told(("zc_size_min",), "With --send-mode plain every body is copied; leave one of them out")
    return lines

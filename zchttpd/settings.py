"""Every option of the server, once: command line, environment and documentation are made from this table."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zchttpd.access import FORMATS, OFF
from zchttpd.config import key_of, read_config
from zchttpd.doctor import LADDER
from zchttpd.files.encoders import ENCODERS, check_encodings
from zchttpd.options import (
    AUTO,
    GIB,
    KIB,
    MIB,
    Group,
    Option,
    did_you_mean,
    format_size,
    parse_count,
    parse_names,
    parse_root,
    parse_size,
    parse_switch,
    parse_user,
    parse_workers,
    split_address,
    usable_cpus,
)
from zchttpd.site import CacheRule, HeaderRule, parse_cache_rules, parse_header_rules, parse_patterns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENVIRONMENT_PREFIX = "ZCHTTPD_"
PAGE_SIZE = 4096
SIZE_MAX = 1024 * GIB
DAY_MS = 86_400_000
UNIX_SIZE_MAX = 107  # of sun_path, with its NUL: unix(7)
LEVELS = ("debug", "info", "warning", "error")


class SettingsError(ValueError):
    """An option has a value that cannot be used. `name`: its field; `problem`: one line, cause, then cure."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


def _option(default: Any, group: Group, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(group, text, **more)})


def _size(default: int, group: Group, text: str, **more: Any) -> Any:
    most = {"parse": parse_size, "metavar": "SIZE", "unit": "bytes", "high": SIZE_MAX}
    return _option(default, group, text, **{**most, **more})


def _ms(default: int, group: Group, text: str, **more: Any) -> Any:
    most = {"parse": parse_count, "metavar": "MS", "unit": "milliseconds", "high": DAY_MS}
    return _option(default, group, text, **{**most, **more})


def _count(default: int, group: Group, text: str, **more: Any) -> Any:
    return _option(default, group, text, **{"parse": parse_count, "metavar": "N", **more})


def _switch(group: Group, text: str) -> Any:
    return _option(False, group, text, parse=parse_switch, switch=True)


def _rules(parse: Any, metavar: str, text: str, **more: Any) -> Any:
    return _option(
        (), Group.SITE, text, **{"parse": parse, "metavar": metavar, "many": True, "separator": "\n", **more}
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server was asked to do; checked when made. Sizes in bytes, times in milliseconds.

    Raises SettingsError for a value that is out of its bounds or contradicts another one.
    """

    root: Path = field(
        metadata={
            "option": Option(
                Group.SERVE,
                "the directory whose files are served (required)",
                parse=parse_root,
                metavar="DIR",
            )
        }
    )
    config: str = _option(
        "", Group.SERVE, "a TOML file with options; the command line and the environment win", metavar="FILE"
    )
    revalidate_ms: int = _ms(
        1000,
        Group.SERVE,
        "how long a cached file may be served before it is checked for changes",
        high=3_600_000,
    )

    listing: bool = _switch(Group.SITE, "list directories without an index.html, as HTML or (by Accept) JSON")
    spa: bool = _switch(
        Group.SITE, "answer a page that does not exist with /index.html; a missing asset stays 404"
    )
    clean_urls: bool = _switch(Group.SITE, "answer /a with a.html where there is no file a; /a/ leads there")
    encoded_slash: bool = _switch(
        Group.SITE, "take %2F in a path for a slash, as npm and the like ask for it"
    )
    error_pages: bool = _switch(Group.SITE, "send /404.html, /403.html and /50x.html of the root with errors")
    no_precompressed: bool = _switch(Group.SITE, "leave .br, .zst and .gz siblings of a file alone")
    cache_control: tuple[CacheRule, ...] = _rules(
        parse_cache_rules, "PATTERN=VALUE", "Cache-Control of files by path (*.js); the first match wins"
    )
    immutable: tuple[str, ...] = _rules(
        parse_patterns, "PATTERN", "files that may be kept for a year unasked; before --cache-control"
    )
    header: tuple[HeaderRule, ...] = _rules(
        parse_header_rules, "PATTERN 'NAME: VALUE'", "a field for the answers to these paths", words=2
    )
    cors: bool = _switch(Group.SITE, "let pages of all origins read the files")
    cross_origin_isolated: bool = _switch(Group.SITE, "send COOP and COEP, which SharedArrayBuffer needs")

    compress: tuple[str, ...] = _option(
        (),
        Group.COMPRESSION,
        f"encodings to make of text and the like: some of {', '.join(ENCODERS)}; auto: all that can be made",
        parse=parse_names,
        metavar="auto|ENCODING,...",
        many=True,
    )
    compress_size_min: int = _size(KIB, Group.COMPRESSION, "smaller files are sent as they are")
    compress_size_max: int = _size(
        8 * MIB, Group.COMPRESSION, "larger files are sent as they are", high=64 * MIB
    )
    compress_memory: int = _size(
        64 * MIB, Group.COMPRESSION, "bytes of encodings that each worker keeps, on top of --memory"
    )
    compress_threads: int = _count(
        1, Group.COMPRESSION, "files that each worker compresses at a time", low=1, high=256
    )

    host: str = _option(
        "127.0.0.1", Group.WHERE, "address or name to listen on; 0.0.0.0 or :: for all", metavar="H"
    )
    port: int = _count(8080, Group.WHERE, "TCP port to listen on; 0 takes a free one", high=65535)
    unix: str = _option(
        "", Group.WHERE, "listen on this unix socket instead of --host and --port", metavar="PATH"
    )
    workers: int = _count(
        1,
        Group.WHERE,
        "worker processes, one ring each; auto is one on each usable CPU",
        parse=parse_workers,
        metavar="N|auto",
        high=1024,
    )

    user: str = _option(
        "",
        Group.WHERE,
        "become this user, for good, once the sockets are bound; for a start as root",
        parse=parse_user,
        metavar="NAME[:GROUP]",
    )

    send_mode: str = _option(
        AUTO,
        Group.SENDS,
        "zerocopy: send from registered memory; plain: copy on send; auto: zerocopy unless the kernel copies",
        choices=(AUTO, "zerocopy", "plain"),
    )
    engine: str = _option(
        AUTO,
        Group.SENDS,
        "uring: io_uring; portable: uvloop; auto: uring, or portable where io_uring is refused",
        choices=(AUTO, "uring", "portable"),
    )
    zc_size_min: int = _size(
        16 * KIB, Group.SENDS, "smaller bodies are copied, which is cheaper than a notification", high=GIB
    )

    memory: int = _size(256 * MIB, Group.MEMORY, "file bytes cached by each worker", low=64 * KIB)
    stream_memory: int = _size(
        64 * MIB, Group.MEMORY, "windows of each worker for files too large to cache", low=64 * KIB
    )
    window_size: int = _size(
        512 * KIB, Group.MEMORY, "bytes of one window; a multiple of 4K", low=4 * KIB, high=GIB
    )
    windows_per_connection: int = _count(
        4, Group.MEMORY, "windows that one connection may hold at a time", low=1, high=1024
    )
    plans_max: int = _count(
        16384, Group.MEMORY, "request heads that each worker remembers", low=16, high=2**22
    )
    recv_buffers: int = _count(
        512, Group.MEMORY, "receive buffers of each worker; a power of two", low=8, high=32768
    )
    recv_buffer_size: int = _size(2 * KIB, Group.MEMORY, "bytes of one receive buffer", low=256, high=MIB)

    head_size_max: int = _size(
        16 * KIB, Group.LIMITS, "longest request head; beyond it 431", low=1024, high=MIB
    )
    head_ms_max: int = _ms(10_000, Group.LIMITS, "time for a whole request head; beyond it 408", low=1)
    idle_ms_max: int = _ms(65_000, Group.LIMITS, "time that a connection may wait between requests", low=1)
    stall_ms_max: int = _ms(
        60_000,
        Group.LIMITS,
        "time without progress: while sending, beyond it a reset; until a file has been read, beyond it 503",
        low=1,
    )
    drain_ms_max: int = _ms(10_000, Group.LIMITS, "time to finish open responses after SIGTERM or Ctrl-C")
    connections_max: int = _count(
        10_000, Group.LIMITS, "connections open at a time in each worker", low=1, high=2**20
    )

    admin: str = _option(
        "",
        Group.OBSERVABILITY,
        "listen here for /metrics, /metrics.json and /healthz; off when empty",
        metavar="H:P",
    )
    access_log: str = _option(
        OFF,
        Group.OBSERVABILITY,
        "a file to append a line for each response to; - is standard output, off is none. SIGUSR1 reopens it",
        metavar="PATH|-|off",
    )
    access_log_format: str = _option(
        "combined",
        Group.OBSERVABILITY,
        "of its lines; timed is combined with the duration in microseconds behind it",
        choices=FORMATS,
    )
    log_level: str = _option(
        "info",
        Group.OBSERVABILITY,
        "least level that is logged (warnings and errors go to stderr)",
        choices=LEVELS,
    )

    without: tuple[str, ...] = _option(
        (),
        Group.DIAGNOSIS,
        f"do without these rungs of the feature ladder, to measure or to test: {', '.join(LADDER)}",
        parse=parse_names,
        metavar="RUNG,...",
        many=True,
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            _check(name, option, getattr(self, name))
        self._check_together()

    def _check_together(self) -> None:
        if not self.host.strip():
            raise SettingsError(
                "host", "is empty. Type 127.0.0.1 for this machine only or 0.0.0.0 for all addresses"
            )
        if len(os.fsencode(self.unix)) > UNIX_SIZE_MAX:
            raise SettingsError("unix", f"{self.unix!r} is too long. Type at most {UNIX_SIZE_MAX} bytes")
        if not self.access_log:
            raise SettingsError("access_log", "is empty. Type a file, - for standard output, or off")
        if self.window_size % PAGE_SIZE:
            raise SettingsError(
                "window_size", f"{self.window_size} is not a multiple of 4K. Type such as 512K"
            )
        if self.recv_buffers & (self.recv_buffers - 1):
            raise SettingsError(
                "recv_buffers", f"{self.recv_buffers} is not a power of two. Type such as 512"
            )
        if self.stream_memory < self.window_size * self.windows_per_connection:
            least = format_size(self.window_size * self.windows_per_connection)
            raise SettingsError(
                "stream_memory",
                f"{format_size(self.stream_memory)} is less than the {self.windows_per_connection} windows of"
                f" {format_size(self.window_size)} that one connection may hold. Type at least {least}",
            )
        for rung in self.without:
            if rung not in LADDER:
                raise SettingsError(
                    "without", f"{rung!r} is not a rung of the ladder.{did_you_mean(rung, LADDER)}"
                )
        try:
            check_encodings(self.compress)
        except ValueError as error:
            raise SettingsError("compress", str(error)) from None
        if self.compress_size_max > self.compress_memory:
            raise SettingsError(
                "compress_memory",
                f"{format_size(self.compress_memory)} may be too small for one file of --compress-size-max."
                f" Type at least {format_size(self.compress_size_max)}",
            )
        if self.admin:
            try:
                host, port = split_address(self.admin)
            except ValueError as error:
                raise SettingsError("admin", str(error)) from None
            if port and (host, port) == (self.host, self.port):
                raise SettingsError("admin", f"{self.admin} is where files are served. Type another port")

    @property
    def worker_count(self) -> int:
        """Workers to start: `workers`, or one on each usable CPU when that is 0."""
        return self.workers or usable_cpus()


OPTIONS: dict[str, Option] = {each.name: each.metadata["option"] for each in dataclasses.fields(Settings)}


def _check(name: str, option: Option, value: object) -> None:
    if option.choices and value not in option.choices:
        raise SettingsError(name, f"{value!r} is not a choice.{did_you_mean(str(value), option.choices)}")
    if isinstance(value, int) and not option.low <= value <= option.high:
        shown = format_size if option.unit == "bytes" else str
        if value < option.low:
            raise SettingsError(name, f"{shown(value)} is too small. Type {shown(option.low)} or more")
        raise SettingsError(name, f"{shown(value)} is too large. Type {shown(option.high)} or less")


def flag_of(name: str) -> str:
    """`send_mode` -> `--send-mode`."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """`send_mode` -> `ZCHTTPD_SEND_MODE`."""
    return ENVIRONMENT_PREFIX + name.upper()


def default_text(name: str) -> str:
    """The default of an option as one would type it; empty when there is none."""
    default = next(each.default for each in dataclasses.fields(Settings) if each.name == name)
    if default is dataclasses.MISSING or default is False or default in ("", ()):
        return ""
    if OPTIONS[name].unit == "bytes":
        return format_size(default)
    return str(default)


def load(command_line: Mapping[str, str], environment: Mapping[str, str]) -> Settings:
    """Settings from texts: `command_line` (field name -> text) before ZCHTTPD_* in `environment`, and both
    before the file of `config`.

    Raises SettingsError whose `problem` names the flag, the variable, or the file and its key.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    path = command_line.get("config", environment.get(variable_of("config"), ""))
    try:
        file = read_config(path, OPTIONS) if path else {}
    except ValueError as error:
        raise SettingsError("config", str(error)) from None
    for name, option in OPTIONS.items():
        sources[name] = flag_of(name)
        text = command_line.get(name)
        if text is None:
            text = environment.get(variable_of(name))
            sources[name] = variable_of(name)
        if text is None:
            text = file.get(name)
            sources[name] = f"{path}: {key_of(name)}"
        if text is None:
            sources[name] = flag_of(name)
            continue
        try:
            values[name] = option.parse(text)
        except ValueError as error:
            raise SettingsError(name, f"{sources[name]}: {error}{_kubernetes_hint(name, text)}") from None
    if "root" not in values:
        raise SettingsError("root", "no directory to serve was named. Type: zchttpd --root DIR")
    try:
        return Settings(**values)
    except SettingsError as error:
        raise SettingsError(error.name, f"{sources[error.name]}: {error.problem}") from None


def _kubernetes_hint(name: str, text: str) -> str:
    # Kubernetes sets ZCHTTPD_PORT=tcp://... in every pod beside a Service named zchttpd.
    if name == "port" and text.startswith("tcp://"):
        return (
            ": Kubernetes sets it for a Service of that name. Type --port N or set enableServiceLinks: false"
        )
    return ""

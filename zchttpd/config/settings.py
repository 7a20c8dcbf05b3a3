"""Every option of the server, once: command line, environment and documentation are made from this table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zchttpd.config.contradictions import check_bounds, check_together
from zchttpd.config.load import key_of, read_config
from zchttpd.config.media_rules import CodingRule, TypeRule, parse_coding_rules, parse_type_rules
from zchttpd.config.options import (
    AUTO,
    GIB,
    KIB,
    MIB,
    Group,
    Option,
    SettingsError,
    flag_of,
    format_size,
    parse_count,
    parse_directories,
    parse_host,
    parse_names,
    parse_root,
    parse_size,
    parse_switch,
    parse_user,
    parse_workers,
    usable_cpus,
    variable_of,
)
from zchttpd.config.rules import CacheRule, HeaderRule, parse_cache_rules, parse_header_rules, parse_patterns
from zchttpd.files.encoders import ENCODERS
from zchttpd.process.doctor import FEATURES
from zchttpd.telemetry.access_log import FORMATS, OFF

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIZE_MAX = 1024 * GIB
DAY_MS = 86_400_000
LEVELS = ("debug", "info", "warning", "error")


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
                example="www/",
            )
        }
    )
    config: str = _option(
        "",
        Group.SERVE,
        "a TOML file with options; the command line and the environment win",
        metavar="FILE",
        example="site.toml",
    )
    links_into: tuple[Path, ...] = _option(
        (),
        Group.SERVE,
        "symlinks of the root may lead into this directory too, such as shared/ of a deploy, or .pnpm",
        parse=parse_directories,
        metavar="DIR",
        example="/srv/shared",
        many=True,
        separator="\n",
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
        parse_cache_rules,
        "PATTERN=VALUE",
        "Cache-Control of files by path (*.js); the first match wins",
        example="'*.js=max-age=3600'",
    )
    immutable: tuple[str, ...] = _rules(
        parse_patterns,
        "PATTERN",
        "files that may be kept for a year unasked; before --cache-control",
        example="'/assets/*'",
    )
    header: tuple[HeaderRule, ...] = _rules(
        parse_header_rules,
        "PATTERN 'NAME: VALUE'",
        "a field for the answers to these paths",
        words=2,
        example="'*' 'X-Frame-Options: DENY'",
    )
    type: tuple[TypeRule, ...] = _rules(
        parse_type_rules,
        "PATTERN=TYPE",
        "the media type of files by path, with its charset if it is to have one; the first match wins",
        example="'*.html=text/html'",
    )
    coding: tuple[CodingRule, ...] = _rules(
        parse_coding_rules,
        "PATTERN=CODING",
        "the content coding that files are stored in, told with every answer; their type is that of the name"
        " without it",
        example="'/Build/*.br=br'",
    )
    cors: bool = _switch(Group.SITE, "let pages of all origins read the files")
    cross_origin_isolated: bool = _switch(Group.SITE, "send COOP and COEP, which SharedArrayBuffer needs")

    compress: tuple[str, ...] = _option(
        (),
        Group.COMPRESSION,
        f"encodings to make of text and the like: some of {', '.join(ENCODERS)}; auto: all that can be made",
        parse=parse_names,
        metavar="auto|ENCODING,...",
        example=AUTO,
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
        "127.0.0.1",
        Group.WHERE,
        "address or name to listen on; 0.0.0.0 or :: for all",
        parse=parse_host,
        metavar="H",
    )
    port: int = _count(8080, Group.WHERE, "TCP port to listen on; 0 takes a free one", high=65535)
    unix: str = _option(
        "",
        Group.WHERE,
        "listen on this unix socket instead of --host and --port",
        metavar="PATH",
        example="/run/zchttpd.sock",
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
        example="nobody",
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

    memory: int = _size(
        256 * MIB,
        Group.MEMORY,
        "file bytes cached by each worker; less by default where there is little",
        low=64 * KIB,
    )
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
    drain_ms_max: int = _ms(
        10_000, Group.LIMITS, "time to finish open responses after SIGTERM, SIGHUP or Ctrl-C"
    )
    connections_max: int = _count(
        10_000, Group.LIMITS, "connections open at a time in each worker", low=1, high=2**20
    )

    admin: str = _option(
        "",
        Group.OBSERVABILITY,
        "listen here for /metrics, /metrics.json and /healthz; off when empty",
        metavar="H:P",
        example="127.0.0.1:9100",
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
        f"do without these features of io_uring, to measure or to test: {', '.join(FEATURES)}",
        parse=parse_names,
        metavar="FEATURE,...",
        example="send_zc",
        many=True,
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            check_bounds(name, option, getattr(self, name))
        check_together(self)

    @property
    def worker_count(self) -> int:
        """Workers to start: `workers`, or one on each usable CPU when that is 0."""
        return self.workers or usable_cpus()


OPTIONS: dict[str, Option] = {each.name: each.metadata["option"] for each in dataclasses.fields(Settings)}


def default_text(name: str) -> str:
    """The default of an option as one would type it; empty when there is none."""
    default = next(each.default for each in dataclasses.fields(Settings) if each.name == name)
    if default is dataclasses.MISSING or default is False or default in ("", ()):
        return ""
    if OPTIONS[name].unit == "bytes":
        return format_size(default)
    return str(default)


@dataclass(frozen=True, slots=True)
class Given:
    """The settings, and where each option that was given was found: its flag, its variable, or the file and
    its key, by field name.
    """

    settings: Settings
    sources: Mapping[str, str]


def load(command_line: Mapping[str, str], environment: Mapping[str, str]) -> Settings:
    """The settings alone of what `read` reads. Raises SettingsError."""
    return read(command_line, environment).settings


def read(command_line: Mapping[str, str], environment: Mapping[str, str]) -> Given:
    """Settings from texts: `command_line` (field name -> text) before ZCHTTPD_* in `environment`, and both
    before the file of `config`. A variable that is empty counts as one that is not set.

    Raises SettingsError whose `problem` names the flag, the variable, or the file and its key.
    """
    variables = {name: environment.get(variable_of(name)) or None for name in OPTIONS}
    path = command_line.get("config", variables["config"])
    try:
        file = read_config(path, OPTIONS) if path else {}
    except ValueError as error:
        raise SettingsError("config", str(error)) from None
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, option in OPTIONS.items():
        for text, source in (
            (command_line.get(name), flag_of(name)),
            (variables[name], variable_of(name)),
            (file.get(name), f"{path}: {key_of(name)}"),
        ):
            if text is None:
                continue
            sources[name] = source
            try:
                values[name] = option.parse(text)
            except ValueError as error:
                raise SettingsError(name, f"{source}: {error}{_kubernetes_hint(name, text)}") from None
            break
    if "root" not in values:
        raise SettingsError("root", "no directory to serve was named. Type: zchttpd --root DIR")
    try:
        return Given(Settings(**values), sources)
    except SettingsError as error:
        source = sources.get(error.name, flag_of(error.name))
        raise SettingsError(error.name, f"{source}: {error.problem}") from None


def _kubernetes_hint(name: str, text: str) -> str:
    # Kubernetes sets ZCHTTPD_PORT=tcp://... in every pod beside a Service named zchttpd.
    if name == "port" and text.startswith("tcp://"):
        return (
            ": Kubernetes sets it for a Service of that name. Type --port N or set enableServiceLinks: false"
        )
    return ""

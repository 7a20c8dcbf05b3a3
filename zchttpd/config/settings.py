"""Every option of the server, once: command line, environment and documentation are made from this table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zchttpd.config import listen as where
from zchttpd.config import options as opt
from zchttpd.config import rules
from zchttpd.config.auth import AuthRule, parse_auth_rules
from zchttpd.config.names import (
    AUTO,
    ENCODINGS,
    ENGINES,
    FEATURES,
    FORWARDED_FIELDS,
    LOG_FORMATS,
    LOG_LEVELS,
    OFF,
    SANDBOX,
    SEND_MODES,
    UNKNOWN_HOSTS,
)
from zchttpd.config.options import GIB, KIB, MIB, Group, format_size
from zchttpd.config.redirects import Redirect, parse_redirects
from zchttpd.config.site import Site, check_sites
from zchttpd.config.together import check_together

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server was asked to do; checked when made. Sizes in bytes, times in milliseconds.

    Raises SettingsError for a value that is out of its bounds or contradicts another one.
    """

    root: Path = field(
        metadata={
            "option": opt.Option(
                Group.SERVE,
                "the directory whose files are served (required)",
                parse=opt.parse_root,
                metavar="DIR",
                example="www/",
            )
        }
    )
    config: str = opt.option(
        "",
        Group.SERVE,
        "a TOML file with options; the command line and the environment win",
        metavar="FILE",
        example="site.toml",
    )
    links_into: tuple[Path, ...] = opt.option(
        (),
        Group.SERVE,
        "symlinks of the root may lead into this directory too, such as shared/ of a deploy, or .pnpm",
        parse=opt.parse_directories,
        metavar="DIR",
        example="/srv/shared",
        many=True,
        separator="\n",
    )
    revalidate_ms: int = opt.ms(
        1000,
        Group.SERVE,
        "how long a cached file may be served before it is checked for changes",
        high=3_600_000,
    )
    frozen: bool = opt.switch(
        Group.SERVE,
        "files are only ever replaced by rename, and never written to: large ones leave by reference",
    )

    listing: bool = opt.switch(
        Group.SITE, "list directories without an index.html, as HTML or (by Accept) JSON"
    )
    zip: bool = opt.switch(
        Group.SITE, "give a folder as a zip that can be resumed: /folder/?zip has all files beneath it"
    )
    spa: bool = opt.switch(
        Group.SITE, "answer a page that does not exist with /index.html; a missing asset stays 404"
    )
    clean_urls: bool = opt.switch(
        Group.SITE, "answer /a with a.html where there is no file a; /a/ leads there"
    )
    encoded_slash: bool = opt.switch(
        Group.SITE, "take %2F in a path for a slash, as npm and the like ask for it"
    )
    error_pages: bool = opt.switch(
        Group.SITE, "send /404.html, /403.html and /50x.html of the root with errors"
    )
    no_precompressed: bool = opt.switch(Group.SITE, "leave .br, .zst and .gz siblings of a file alone")
    digest: bool = opt.switch(
        Group.SITE, "send Repr-Digest (SHA-256) with every file, as soon as it is known; else to who wants it"
    )
    digest_size_max: int = opt.size(
        64 * GIB, Group.SITE, "no digest is made of larger files; 0: of none, whatever is wanted"
    )
    cache_control: tuple[rules.CacheRule, ...] = rules.option(
        rules.parse_cache_rules,
        "PATTERN=VALUE",
        "Cache-Control of files by path (*.js); the first match wins",
        example="'*.js=max-age=3600'",
    )
    immutable: tuple[str, ...] = rules.option(
        rules.parse_patterns,
        "PATTERN",
        "files that may be kept for a year unasked; before --cache-control",
        example="'/assets/*'",
    )
    header: tuple[rules.HeaderRule, ...] = rules.option(
        rules.parse_header_rules,
        "PATTERN 'NAME: VALUE'",
        "a field for the answers to these paths",
        words=2,
        example="'*' 'X-Frame-Options: DENY'",
    )
    type: tuple[rules.TypeRule, ...] = rules.option(
        rules.parse_type_rules,
        "PATTERN=TYPE",
        "the media type of files by path, with its charset if it is to have one; the first match wins",
        example="'*.html=text/html'",
    )
    coding: tuple[rules.CodingRule, ...] = rules.option(
        rules.parse_coding_rules,
        "PATTERN=CODING",
        "the content coding that files are stored in, told with every answer; their type is that of the name"
        " without it",
        example="'/Build/*.br=br'",
    )
    auth: tuple[AuthRule, ...] = rules.option(
        parse_auth_rules,
        "PATTERN=FILE",
        "ask for a name and a password of this file, made by htpasswd -B; the first match wins",
        example="'/private/*=users.htpasswd'",
    )
    redirects: tuple[Redirect, ...] = opt.option(
        (),
        Group.SITE,
        "a file of redirects and rewrites, FROM TO STATUS on each line, as Netlify has them",
        parse=parse_redirects,
        metavar="FILE",
        example="_redirects",
    )
    cors: bool = opt.switch(Group.SITE, "let pages of all origins read the files")
    cross_origin_isolated: bool = opt.switch(Group.SITE, "send COOP and COEP, which SharedArrayBuffer needs")

    unknown_host: str = opt.option(
        "root",
        Group.SITE,
        "what a Host gets that no [[site]] of the file has: the files of --root, or this error",
        choices=UNKNOWN_HOSTS,
    )
    # The tables [[site]] of the file, which no option of the command line can say.
    sites: tuple[Site, ...] = ()

    compress: tuple[str, ...] = opt.option(
        (),
        Group.COMPRESSION,
        f"encodings to make of text and the like: some of {', '.join(ENCODINGS)}; auto: all that can be made",
        parse=opt.parse_names,
        metavar="auto|ENCODING,...",
        example=AUTO,
        many=True,
    )
    compress_size_min: int = opt.size(KIB, Group.COMPRESSION, "smaller files are sent as they are")
    compress_size_max: int = opt.size(
        8 * MIB, Group.COMPRESSION, "larger files are sent as they are", high=64 * MIB
    )
    compress_memory: int = opt.size(
        64 * MIB, Group.COMPRESSION, "bytes of encodings that each worker keeps, on top of --memory"
    )
    compress_threads: int = opt.count(
        1, Group.COMPRESSION, "files that each worker compresses at a time", low=1, high=256
    )

    host: str = opt.option(
        "127.0.0.1",
        Group.WHERE,
        "address or name to listen on; 0.0.0.0 or :: for all",
        parse=opt.parse_host,
        metavar="H",
    )
    port: int = opt.count(8080, Group.WHERE, "TCP port to listen on; 0 takes a free one", high=65535)
    unix: str = opt.option(
        "",
        Group.WHERE,
        "listen on this unix socket instead of --host and --port",
        metavar="PATH",
        example="/run/zchttpd.sock",
    )
    listen: tuple[str, ...] = where.listed(
        *(where.parse_listen, "HOST:PORT|unix:PATH[,proxy]", "unix:/run/zchttpd.sock,proxy", Group.WHERE),
        "listen here instead of --host, --port and --unix; with ,proxy each connection begins with a header"
        " of the PROXY protocol, 1 or 2, which names the client",
        separator="\n",
    )
    proxy_from: tuple[where.Network, ...] = where.listed(
        *(where.parse_networks, "NETWORK", "10.0.0.0/24", Group.WHERE),
        "who may connect where PROXY headers come: addresses and networks; all others are closed",
    )
    tls_cert: str = opt.option(
        "",
        Group.WHERE,
        "speak TLS with this certificate and its chain (PEM), by the portable engine; SIGHUP reads it again",
        metavar="FILE",
        example="/etc/ssl/site.pem",
    )
    tls_key: str = opt.option(
        "",
        Group.WHERE,
        "its key (PEM, without a password); when empty it is in the file of --tls-cert",
        metavar="FILE",
        example="/etc/ssl/private/site.key",
    )
    workers: int = opt.count(
        1,
        Group.WHERE,
        "worker processes, one ring each; auto is one on each usable CPU",
        parse=opt.parse_workers,
        metavar="N|auto",
        high=1024,
    )

    user: str = opt.option(
        "",
        Group.WHERE,
        "become this user, for good, once the sockets are bound; for a start as root",
        parse=opt.parse_user,
        metavar="NAME[:GROUP]",
        example="nobody",
    )
    pid_file: str = opt.option(
        "",
        Group.WHERE,
        "a file that names the process for signals, also when another version has taken over",
        metavar="PATH",
        example="/run/zchttpd/pid",
    )

    send_mode: str = opt.option(
        AUTO,
        Group.SENDS,
        "zerocopy: send memory as it is; plain: copy on send; auto: what costs least here, splice too",
        choices=SEND_MODES,
    )
    engine: str = opt.option(
        AUTO,
        Group.SENDS,
        "uring: io_uring; portable: uvloop; auto: uring, or portable where io_uring is refused",
        choices=ENGINES,
    )
    zc_size_min: int = opt.size(
        16 * KIB, Group.SENDS, "smaller bodies are copied, which is cheaper than a notification", high=GIB
    )

    memory: int = opt.size(
        256 * MIB,
        Group.MEMORY,
        "file bytes cached by each worker; less by default where there is little",
        low=64 * KIB,
    )
    stream_memory: int = opt.size(
        64 * MIB, Group.MEMORY, "windows of each worker for files too large to cache", low=64 * KIB
    )
    window_size: int = opt.size(
        512 * KIB, Group.MEMORY, "bytes of one window; a multiple of 4K", low=4 * KIB, high=GIB
    )
    windows_per_connection: int = opt.count(
        4, Group.MEMORY, "windows that one connection may hold at a time", low=1, high=1024
    )
    plans_max: int = opt.count(
        16384, Group.MEMORY, "request heads that each worker remembers", low=16, high=2**22
    )
    recv_buffers: int = opt.count(
        512, Group.MEMORY, "receive buffers of each worker; a power of two", low=8, high=32768
    )
    recv_buffer_size: int = opt.size(2 * KIB, Group.MEMORY, "bytes of one receive buffer", low=256, high=MIB)

    head_size_max: int = opt.size(
        16 * KIB, Group.LIMITS, "longest request head; beyond it 431", low=1024, high=MIB
    )
    head_ms_max: int = opt.ms(10_000, Group.LIMITS, "time for a whole request head; beyond it 408", low=1)
    idle_ms_max: int = opt.ms(65_000, Group.LIMITS, "time that a connection may wait between requests", low=1)
    stall_ms_max: int = opt.ms(
        60_000,
        Group.LIMITS,
        "time without progress: while sending, beyond it a reset; until a file has been read, beyond it 503",
        low=1,
    )
    drain_ms_max: int = opt.ms(10_000, Group.LIMITS, "time to finish open responses before a worker leaves")
    connections_max: int = opt.count(
        10_000, Group.LIMITS, "connections open at a time in each worker", low=1, high=2**20
    )
    connections_per_address: int = opt.count(
        0,
        Group.LIMITS,
        "and of these from one address, or 64 bits of IPv6; beyond it 503. Where --forwarded-from names"
        " clients, of their requests at a time; beyond it 429. 0 is no limit",
        high=2**20,
    )
    requests_per_second: int = opt.count(
        0,
        Group.LIMITS,
        "that one such address may ask of each worker for long; beyond it 429. 0 is no limit",
        high=1_000_000,
    )
    requests_burst: int = opt.count(
        0,
        Group.LIMITS,
        "and at once after a rest; 0 is what it may in a second",
        high=1_000_000,
    )
    bytes_per_second: int = opt.size(
        0,
        Group.LIMITS,
        "that each worker sends to one such address, all its connections together, after a second's worth at"
        " once; 0 is no limit",
    )

    admin: str = opt.option(
        "",
        Group.OBSERVABILITY,
        "listen here for /metrics, /metrics.json, /healthz, /livez and /readyz; off when empty",
        metavar="H:P",
        example="127.0.0.1:9100",
    )
    admin_token_file: str = opt.option(
        "",
        Group.OBSERVABILITY,
        "a file with the bearer token that it wants for all but what tells health; none when empty",
        metavar="PATH",
        example="/etc/zchttpd/token",
    )
    admin_name: tuple[str, ...] = opt.option(
        (),
        Group.OBSERVABILITY,
        "a name in Host that it answers to, besides addresses and the names of this machine",
        parse=opt.parse_hosts,
        metavar="HOST",
        example="metrics.example",
        many=True,
    )
    admin_origin: tuple[str, ...] = opt.option(
        (),
        Group.OBSERVABILITY,
        "pages of this origin may read its answers, besides those that are served here",
        parse=opt.parse_origins,
        metavar="URL",
        example="https://graphs.example",
        many=True,
    )
    access_log: str = opt.option(
        OFF,
        Group.OBSERVABILITY,
        "a file to append a line for each response to; - is standard output, off is none. SIGUSR1 reopens it",
        metavar="PATH|-|off",
    )
    access_log_format: str = opt.option(
        "combined",
        Group.OBSERVABILITY,
        "of its lines; timed is combined with the duration in microseconds behind it",
        choices=LOG_FORMATS,
    )
    request_id: bool = opt.switch(
        Group.OBSERVABILITY,
        "tell in X-Request-Id, and in a log of JSON, which request an answer is to: by the client's id, or a"
        " new one",
    )
    forwarded_from: tuple[where.Network | str, ...] = where.listed(
        *(where.parse_forwarders, "NETWORK|unix", "10.0.0.0/24", Group.OBSERVABILITY),
        "proxies that are believed in who the client is, for the access log and limits of an address, and"
        " whether it asked by https, for redirects: addresses, networks, or unix",
    )
    forwarded_field: str = opt.option(
        FORWARDED_FIELDS[0],
        Group.OBSERVABILITY,
        "where they say it: the one that they set themselves, as a client may send the other",
        choices=FORWARDED_FIELDS,
    )
    log_level: str = opt.option(
        "info",
        Group.OBSERVABILITY,
        "least level that is logged (warnings and errors go to stderr)",
        choices=LOG_LEVELS,
    )

    without: tuple[str, ...] = opt.option(
        (),
        Group.DIAGNOSIS,
        "do without these features of io_uring, to measure or to test:"
        f" {', '.join(FEATURES)}; or do not confine workers by {', '.join(SANDBOX)}",
        parse=opt.parse_names,
        metavar="FEATURE,...",
        example="send_zc",
        many=True,
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            opt.check_bounds(name, option, getattr(self, name))
        check_together(self)
        check_sites(self)

    @property
    def listens(self) -> tuple[where.Listen, ...]:
        """Where to listen: at --listen, before --unix, before --host and --port."""
        if self.listen:
            return tuple(where.read_listen(each) for each in self.listen)
        return (where.Listen(unix=self.unix) if self.unix else where.Listen(self.host, self.port),)

    @property
    def worker_count(self) -> int:
        """Workers to start: `workers`, or one on each usable CPU when that is 0."""
        return self.workers or opt.usable_cpus()


OPTIONS: dict[str, opt.Option] = {
    each.name: each.metadata["option"] for each in dataclasses.fields(Settings) if each.metadata
}


def default_text(name: str) -> str:
    """The default of an option as one would type it; empty when there is none."""
    default = next(each.default for each in dataclasses.fields(Settings) if each.name == name)
    if default is dataclasses.MISSING or default is False or default in ("", ()):
        return ""
    if OPTIONS[name].unit == "bytes":
        return format_size(default)
    return str(default)

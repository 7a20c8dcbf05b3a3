"""What can be measured: each server's program, command line and configuration.

The configurations are the fair ones: one core, no access log, sendfile, connections that are never closed for
their number of requests, and one neutral media type for everybody. nginx comes with its file cache (the
yardstick) and without.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of server: program, Debian package, command line and configuration for (root, port, admin
    port).
    """

    name: str
    program: str
    package: str
    version_arguments: tuple[str, ...]
    arguments: tuple[str, ...]
    config: str = ""
    ours: bool = False


NGINX_CONFIG = """\
daemon off;
worker_processes 1;
user {user} {group};
pid {run}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 65s;
    keepalive_requests 1000000000;
    {file_cache}
    types {{}}
    default_type application/octet-stream;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{ listen {host}:{port} backlog=4096; root {root}; }}
}}
"""
# A second is what zchttpd trusts an entry for by default, too.
NGINX_FILE_CACHE = (
    "open_file_cache max=10000 inactive=60s; open_file_cache_valid 1s; open_file_cache_min_uses 1;"
)
LIGHTTPD_CONFIG = """\
server.document-root = "{root}"
server.bind = "{host}"
server.port = {port}
server.modules = ()
server.errorlog = "/dev/stderr"
server.max-connections = 8192
server.max-fds = 16384
server.listen-backlog = 4096
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 65
server.network-backend = "sendfile"
server.stat-cache-engine = "simple"
mimetype.assign = ("" => "application/octet-stream")
"""
H2O_CONFIG = """\
num-threads: 1
user: {user}
pid-file: {run}/h2o.pid
error-log: /dev/stderr
http1-request-timeout: 65
max-connections: 8192
hosts:
  default:
    listen: {{host: {host}, port: {port}}}
    paths:
      "/": {{file.dir: "{root}"}}
"""


def _zchttpd(name: str, *extra: str) -> Kind:
    fixed = (
        "--root",
        "{root}",
        "--host",
        "{host}",
        "--port",
        "{port}",
        "--admin",
        "{host}:{admin}",
        "--workers",
        "1",
    )
    return Kind(name, "zchttpd", "", ("--version",), (*fixed, *extra), ours=True)


def _nginx(name: str, file_cache: str) -> Kind:
    config = NGINX_CONFIG.replace("{file_cache}", file_cache)
    return Kind(
        name, "nginx", "nginx-light", ("-v",), ("-e", "stderr", "-p", "{run}", "-c", "{config}"), config
    )


KINDS = {
    kind.name: kind
    for kind in (
        _zchttpd("zerocopy", "--send-mode", "zerocopy"),
        _zchttpd("plain", "--send-mode", "plain"),
        _zchttpd("auto", "--send-mode", "auto"),
        _zchttpd("portable", "--engine", "portable"),
        _nginx("nginx", NGINX_FILE_CACHE),
        _nginx("nginx-nocache", "open_file_cache off;"),
        Kind("lighttpd", "lighttpd", "lighttpd", ("-v",), ("-D", "-f", "{config}"), LIGHTTPD_CONFIG),
        Kind("h2o", "h2o", "h2o", ("-v",), ("-c", "{config}"), H2O_CONFIG),
    )
}


def with_arguments(kind: Kind, name: str, *extra: str) -> Kind:
    """Return `kind` under another name with more command-line arguments."""
    return Kind(
        name,
        kind.program,
        kind.package,
        kind.version_arguments,
        (*kind.arguments, *extra),
        kind.config,
        kind.ours,
    )

"""What can be measured: each server's program, command line and configuration.

The configurations are the fair ones: one core, no access log, connections that are never closed for their
number of requests, and what each server's own documentation recommends for static files. nginx comes with its
file cache (the yardstick) and without.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from measure import configs

# Made by `make bench`: the Python peers have an environment of their own.
PEERS_PYTHON = "peers-python"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of server: program, Debian package, command line and configuration for (root, port, admin
    port).

    `prefix`: what it wants before every target. `skips`: workloads that it is not put through, and why.
    """

    name: str
    program: str
    package: str
    version_arguments: tuple[str, ...]
    arguments: tuple[str, ...]
    config: str = ""
    ours: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    suffix: str = ".conf"
    prefix: str = ""
    skips: tuple[tuple[str, str], ...] = ()


def _zchttpd(name: str, *extra: str) -> Kind:
    fixed = ("--root", "{root}", "--host", "{host}", "--port", "{port}", "--admin", "{host}:{admin}")
    # As many connections as the peers get.
    limits = ("--workers", "1", "--connections-max", "16384")
    return Kind(name, "zchttpd", "", ("--version",), (*fixed, *limits, *extra), ours=True)


def _nginx(name: str, file_cache: str) -> Kind:
    config = configs.NGINX.replace("{file_cache}", file_cache)
    arguments = ("-e", "stderr", "-p", "{run}", "-c", "{config}")
    return Kind(name, "nginx", "nginx-light", ("-v",), arguments, config)


def _python(name: str, module: str, config: str, *arguments: str, **more: object) -> Kind:
    words = f"import importlib.metadata as m; print({name!r}, m.version({module!r}))"
    if not module:
        words = f"import platform; print({name!r}, 'of Python', platform.python_version())"
    kind = Kind(name, PEERS_PYTHON, "", ("-c", words), arguments or ("{config}",), config, suffix="_app.py")
    return dataclasses.replace(kind, **more)  # type: ignore[arg-type]


KINDS = {
    kind.name: kind
    for kind in (
        _zchttpd("zerocopy", "--send-mode", "zerocopy"),
        _zchttpd("plain", "--send-mode", "plain"),
        _zchttpd("auto", "--send-mode", "auto"),
        _zchttpd("portable", "--engine", "portable"),
        _nginx("nginx", configs.NGINX_FILE_CACHE),
        _nginx("nginx-nocache", "open_file_cache off;"),
        Kind("lighttpd", "lighttpd", "lighttpd", ("-v",), ("-D", "-f", "{config}"), configs.LIGHTTPD),
        Kind("h2o", "h2o", "h2o", ("-v",), ("-c", "{config}"), configs.H2O),
        Kind(
            "caddy",
            "caddy",
            "caddy",
            ("version",),
            ("run", "--config", "{config}", "--adapter", "caddyfile"),
            configs.CADDY,
            environment=(("GOMAXPROCS", "1"), ("XDG_DATA_HOME", "{run}"), ("XDG_CONFIG_HOME", "{run}")),
        ),
        _python(
            "granian",
            "granian",
            configs.GRANIAN,
            *("-m", "granian", "--interface", "wsgi", "--working-dir", "{directory}", "granian_app:app"),
            *("--host", "{host}", "--port", "{port}", "--workers", "1", "--backlog", "16384"),
            *("--blocking-threads", "1", "--no-access-log", "--log-level", "warning"),
            *("--static-path-route", "/static", "--static-path-mount", "{root}"),
            prefix="/static",
        ),
        _python(
            "starlette",
            "starlette",
            configs.STARLETTE,
            *("-m", "uvicorn", "--app-dir", "{directory}", "starlette_app:app", "--host", "{host}"),
            *("--port", "{port}", "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
            *("--log-level", "warning", "--backlog", "4096", "--timeout-keep-alive", "65"),
        ),
        _python("aiohttp", "aiohttp", configs.AIOHTTP),
        _python(
            "http.server",
            "",
            configs.HTTP_SERVER,
            skips=(
                ("idle", "it makes a thread for each of 10 000 connections"),
                ("connect", "it closes without saying so (no Connection: close), an error for wrk"),
            ),
        ),
    )
}


def with_arguments(kind: Kind, name: str, *extra: str) -> Kind:
    """Return `kind` under another name with more command-line arguments."""
    return dataclasses.replace(kind, name=name, arguments=(*kind.arguments, *extra))

"""What can be measured: zchttpd, and each peer's program, command line and configuration.

The configurations, bench/configs/, are the fair ones: one core, no access log, connections that are never
closed for their number of requests, and what each server's own documentation recommends for static files.
nginx comes with its file cache (the yardstick) and without.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchlib.server import OURS, Kind

# Made by `make bench`: the Python peers have an environment of their own.
PEERS_PYTHON = "peers-python"
CONFIGS = Path(__file__).with_name("configs")


def _nginx(name: str, file_cache: str) -> Kind:
    arguments = ("-e", "stderr", "-p", "{run}", "-c", "{config}")
    values = (("file_cache", file_cache),)
    return Kind(name, "nginx", "nginx-light", ("-v",), arguments, CONFIGS / "nginx.conf", values)


def _python(name: str, module: str, *arguments: str, **more: object) -> Kind:
    words = f"import importlib.metadata as m; print({name!r}, m.version({module!r}))"
    if not module:
        words = f"import platform; print({name!r}, 'of Python', platform.python_version())"
    config = CONFIGS / f"{name.replace('.', '_')}_app.py"
    kind = Kind(name, PEERS_PYTHON, "", ("-c", words), arguments or ("{config}",), config)
    return dataclasses.replace(kind, **more)  # type: ignore[arg-type]


KINDS = OURS | {
    kind.name: kind
    for kind in (
        _nginx("nginx", "yes"),
        _nginx("nginx-nocache", ""),
        Kind(
            *("lighttpd", "lighttpd", "lighttpd", ("-v",), ("-D", "-f", "{config}")),
            config=CONFIGS / "lighttpd.conf",
        ),
        Kind("h2o", "h2o", "h2o", ("-v",), ("-c", "{config}"), CONFIGS / "h2o.yaml"),
        Kind(
            *("caddy", "caddy", "caddy", ("version",)),
            ("run", "--config", "{config}", "--adapter", "caddyfile"),
            CONFIGS / "Caddyfile",
            environment=(("GOMAXPROCS", "1"), ("XDG_DATA_HOME", "{run}"), ("XDG_CONFIG_HOME", "{run}")),
        ),
        _python(
            *("granian", "granian"),
            *("-m", "granian", "--interface", "wsgi", "--working-dir", "{run}", "granian_app:app"),
            *("--host", "{host}", "--port", "{port}", "--workers", "1", "--backlog", "16384"),
            *("--blocking-threads", "1", "--no-access-log", "--log-level", "warning"),
            *("--static-path-route", "/static", "--static-path-mount", "{root}"),
            prefix="/static",
        ),
        _python(
            *("starlette", "starlette"),
            *("-m", "uvicorn", "--app-dir", "{run}", "starlette_app:app", "--host", "{host}"),
            *("--port", "{port}", "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
            *("--log-level", "warning", "--backlog", "4096", "--timeout-keep-alive", "65"),
        ),
        _python("aiohttp", "aiohttp"),
        _python(
            *("http.server", ""),
            skips=(
                ("idle", "it makes a thread for each of 10 000 connections"),
                ("active", "it makes a thread for each of 10 000 connections"),
                ("connect", "it closes without saying so (no Connection: close), an error for wrk"),
            ),
        ),
    )
}

"""The configurations of the peers, as texts to be filled in; kinds.py says who gets which."""

from __future__ import annotations

NGINX = """\
{modules}
daemon off;
worker_processes 1;
user {user} {group};
pid {run}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush off;
    tcp_nodelay on;
    keepalive_timeout 65s;
    keepalive_requests 1000000000;
    {file_cache}
    {brotli}
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
LIGHTTPD = """\
server.document-root = "{root}"
server.bind = "{host}"
server.port = {port}
server.modules = ()
server.errorlog = "/dev/stderr"
server.max-connections = 12288
server.max-fds = 16384
server.listen-backlog = 4096
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 65
server.network-backend = "sendfile"
server.stat-cache-engine = "simple"
mimetype.assign = ("" => "application/octet-stream")
"""
H2O = """\
num-threads: 1
user: {user}
pid-file: {run}/h2o.pid
error-log: /dev/stderr
http1-request-timeout: 65
max-connections: 16384
file.send-compressed: "ON"
hosts:
  default:
    listen: {{host: {host}, port: {port}}}
    paths:
      "/": {{file.dir: "{root}"}}
"""
CADDY = """\
{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
    servers {{
        protocols h1
    }}
}}
http://{host}:{port} {{
    root * {root}
    file_server {{
        precompressed br gzip
    }}
}}
"""
# Granian serves the files by itself; the application behind them is never asked.
GRANIAN = """\
def app(environ, start_response):
    start_response("404 Not Found", [("Content-Length", "0")])
    return [b""]
"""
STARLETTE = """\
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

app = Starlette(routes=[Mount("/", StaticFiles(directory="{root}"))])
"""
AIOHTTP = """\
import uvloop
from aiohttp import web

app = web.Application()
app.router.add_static("/", "{root}")
web.run_app(
    app, host="{host}", port={port}, backlog=4096, access_log=None, print=None, loop=uvloop.new_event_loop()
)
"""
# As `python -m http.server` does, with what its documentation leaves to a subclass: HTTP/1.1, no log line for
# each request, and no delay between head and body.
HTTP_SERVER = """\
import http.server


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, *arguments):
        super().__init__(*arguments, directory="{root}")

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 4096


Server(("{host}", {port}), Handler).serve_forever()
"""

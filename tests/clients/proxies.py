"""Proxies in front of a server of the test."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..wire.client import eventually, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

NGINX = """
daemon off; master_process off; pid {0}/nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0};
    uwsgi_temp_path {0}; scgi_temp_path {0};
    {1}
}}
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


@contextmanager
def running(port: int, *words: object) -> Iterator[None]:
    """A proxy that listens there."""
    proxy = subprocess.Popen([str(word) for word in words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        eventually("the proxy listens", lambda: proxy.poll() is not None or not refused(("127.0.0.1", port)))
        assert proxy.poll() is None, proxy.communicate()[1].decode()
        yield
    finally:
        proxy.terminate()
        proxy.communicate()

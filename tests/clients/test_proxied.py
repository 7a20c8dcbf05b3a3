"""nginx in front: with a prefix that the server does not know of, and with the clients that it names."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..wire.client import eventually, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Run, Serve

CONFIGURATION = """
daemon off;
master_process off;
error_log stderr warn;
pid {place}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {place}; proxy_temp_path {place}; fastcgi_temp_path {place};
    uwsgi_temp_path {place}; scgi_temp_path {place};
    upstream files {{ server {upstream}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location /up/ {{ proxy_pass http://files/; }}
        location /kept/ {{
            proxy_pass http://files/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location /named/ {{
            proxy_pass http://files/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""


@contextmanager
def in_front(url: str, place: Path) -> Iterator[str]:
    """nginx before `url`; gives its own URL."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    text = CONFIGURATION.format(place=place, upstream=url.removeprefix("http://"), port=port)
    (place / "nginx.conf").write_text(text)
    nginx = subprocess.Popen(
        ["nginx", "-p", str(place), "-c", str(place / "nginx.conf")],
        stderr=subprocess.PIPE,
    )
    try:
        eventually("nginx listens", lambda: nginx.poll() is not None or not refused(("127.0.0.1", port)))
        assert nginx.poll() is None, nginx.communicate()[1].decode()
        yield f"http://127.0.0.1:{port}"
    finally:
        nginx.terminate()
        nginx.communicate()


def test_redirects_ranges_and_conditions_behind_a_prefix(
    serve: Serve, run: Run, root: Path, tmp_path: Path
) -> None:
    (root / "hls" / "a:b").mkdir(parents=True)
    (root / "hls" / "index.html").write_text("found\n")
    (root / "hls" / "a:b" / "index.html").write_text("colon\n")
    (root / "about.html").write_text("about\n")
    (root / "0123").write_text("0123456789")
    front = tmp_path / "front"
    front.mkdir()
    with serve(root, clean_urls=True) as url, in_front(url, front) as outside:
        for prefix in (f"{outside}/up", f"{outside}/kept"):
            follow = ("curl", "-sS", "-f", "-L", "-w", " %{url_effective} %{num_redirects}")
            assert run(*follow, f"{prefix}/hls") == f"found\n {prefix}/hls/ 1"
            assert run(*follow, f"{prefix}/hls/a:b?x=1") == f"colon\n {prefix}/hls/a:b/?x=1 1"
            assert run(*follow, f"{prefix}/about/") == f"about\n {prefix}/about 1"
            assert run("curl", "-sS", "-r", "3-5", f"{prefix}/0123") == "345"
            write = ("curl", "-sS", "-w", "%{http_code}", "-o", "got")
            run(*write, "--etag-save", "tag", f"{prefix}/0123")
            assert run(*write, "--etag-compare", "tag", f"{prefix}/0123") == "304"


def test_each_client_has_its_own_limit(serve: Serve, run: Run, root: Path, tmp_path: Path) -> None:
    (root / "a").write_text("a\n")
    front = tmp_path / "front"
    front.mkdir()
    limits = {"requests_per_second": 1, "requests_burst": 5, "connections_per_address": 1}
    with serve(root, forwarded_from="127.0.0.1", **limits) as url, in_front(url, front) as outside:

        def statuses(source: str, count: int) -> list[str]:
            asking = ("curl", "-sS", "--interface", source, "-H", f"X-Forwarded-For: {source}9")
            return run(*asking, "-w", "%{http_code}\n", "-o", "got", f"{outside}/named/a?[1-{count}]").split()

        assert "429" in statuses("127.0.0.2", 20)
        assert statuses("127.0.0.3", 5) == ["200"] * 5

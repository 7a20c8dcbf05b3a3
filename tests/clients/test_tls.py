"""What docs/tls.md says, typed: the server itself, and each proxy in front."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from ..wire.client import eventually
from ..wire.servers import serving
from .played import URL, Played, shell
from .proxies import NGINX, free_port, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Run, Serve


def test_by_the_server_itself(run: Run, tmp_path: Path, root: Path) -> None:
    (root / "index.html").write_text("the first page\n")
    recipe = Played("tls.md")
    shell(run, recipe.before)
    # Relative to where it is started, which here is elsewhere.
    options = {name: tmp_path / value[0][0] for name, value in recipe.options.items()}  # type: ignore[index]
    assert options.keys() == {"tls_cert", "tls_key"}
    with serving(tmp_path / recipe.root, engine="portable", **options) as server:
        url = f"https://127.0.0.1:{server.address[1]}"
        assert "the first page" in shell(run, recipe.after.replace(URL.replace("http:", "https:"), url))
        trusting = ("curl", "-sS", "--cacert", "site.pem")
        for version in ("--tlsv1.3", "--tls-max 1.2"):
            shown = run(*trusting, "--http2", "-w", "%{http_version}", *version.split(), f"{url}/")
            assert shown == "the first page\n1.1"
        assert "https://" in run("curl", "-sS", url.replace("https:", "http:"))


@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddyfile", "ini"])
def test_a_proxy_in_front(
    serve: Serve, run: Run, tmp_path: Path, root: Path, name: str, noise: Callable[[int], bytes]
) -> None:
    front, port = tmp_path / "front", free_port()
    front.mkdir()
    content = noise(20 << 20)
    (root / "large.bin").write_bytes(content)
    recipe = Played("tls.md")
    shell(run, recipe.before)
    shutil.copy(tmp_path / "site.key", tmp_path / "site.pem.key")
    config = front / "config"
    with serve(root) as url:
        text = recipe.block(name).replace(URL.removeprefix("http://"), url.removeprefix("http://"))
        text = re.sub(r"(?<![\w.])443\b", str(port), text.replace("/etc/ssl/", f"{tmp_path}/"))
        words: tuple[object, ...] = ("stunnel", config)
        if name == "nginx":
            text, words = NGINX.format(front, text), ("nginx", "-p", front, "-c", config)
        elif name == "haproxy":
            words = ("haproxy", "-db", "-f", config)
        elif name == "caddyfile":
            text = "{\n    admin off\n    auto_https off\n}\n" + text
            words = ("caddy", "run", "--adapter", "caddyfile", "--config", config)
        config.write_text(text)
        outside = f"https://localhost:{port}/large.bin"
        with running(port, *words):
            trusting = ("curl", "-sS", "--cacert", "site.pem")
            eventually(
                "it finds the server", lambda: run(*trusting, "-r", "0-0", outside) == content[:1].decode()
            )
            for version, told in (("--http1.1", "1.1"), ("--http2", "1.1" if name == "ini" else "2")):
                assert run(*trusting, version, "-o", "got", "-w", "%{http_version}", outside) == told
                assert (tmp_path / "got").read_bytes() == content
            assert run(*trusting, "-r", "16-31", outside) == content[16:32].decode()

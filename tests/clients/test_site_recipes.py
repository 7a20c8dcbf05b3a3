"""What the pages of docs/recipes say of sites and repositories, typed, and what comes of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from ..wire.client import eventually
from .played import URL, Played, shell
from .proxies import NGINX, free_port, running
from .test_browser import SEEK, browsing, describe_error
from .test_packages import apt_settings, make_deb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Run, Serve

WHO = dict.fromkeys(
    ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"), "test@example.org"
)
CONTROLLED = """
    if (!navigator.serviceWorker.controller)
        await new Promise(done => navigator.serviceWorker.oncontrollerchange = done);
"""
UNREGISTER = "for (const each of await navigator.serviceWorker.getRegistrations()) await each.unregister()"
STATIC = """
import django
from django.templatetags.static import static
django.setup()
print(static("admin/css/base.css"))
"""


def test_apt(serve: Serve, run: Run, tmp_path: Path) -> None:
    for name in ("packages", "etc/keyrings", "etc/sources.list.d"):
        (tmp_path / name).mkdir(parents=True)
    make_deb(run, tmp_path, tmp_path / "packages/left_1.0_all.deb")
    settings = apt_settings(tmp_path, tmp_path / "etc")
    (tmp_path / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    recipe = Played("recipes/apt.md")
    # The machine that the test runs on stays as it is.
    recipe.after = recipe.after.replace("/etc/apt/", f"{tmp_path}/etc/").replace(
        "install left", "download left"
    )
    try:
        recipe.play(serve, run, tmp_path, APT_CONFIG=str(tmp_path / "apt.conf"))
    finally:
        run("gpgconf", "--kill", "gpg-agent")
    got, expected = tmp_path / "left_1.0_all.deb", tmp_path / "packages/left_1.0_all.deb"
    assert got.read_bytes() == expected.read_bytes()


def test_git(serve: Serve, run: Run, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (tmp_path / "repositories").mkdir()
    run("git", "init", "-q", "-b", "main", project)
    commit = ("git", "-C", project, "commit", "-q", "--allow-empty", "-m")
    run(*commit, "first", **WHO)
    recipe = Played("recipes/git.md")
    recipe.options |= {"revalidate_ms": 0}
    with recipe.playing(serve, run, tmp_path) as url:
        shell(run, recipe.after.replace(URL, url))
        run(*commit, "second", **WHO)
        run("git", "-C", project, "push", "-q", tmp_path / "repositories/project.git", "main")
        run("git", "-C", tmp_path / "cloned", "pull", "-q")
    assert "second" in run("git", "-C", tmp_path / "cloned", "log", "--oneline")


def test_video(serve: Serve, run: Run, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    source = ("-f", "lavfi", "-i", "testsrc2=duration=20:size=640x480:rate=10")
    coded = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10")
    run("ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", *source, *coded, tmp_path / "film.mov")
    recipe = Played("recipes/video.md")
    log = tmp_path / "access"
    recipe.options |= {"access_log": log}
    with recipe.playing(serve, run, tmp_path) as url:
        durations = shell(run, recipe.after.replace(URL, url)).split()
        page = "<!DOCTYPE html>" + recipe.block("html").replace(URL, url)
        (tmp_path / "films" / "index.html").write_text(page)
        with browsing(tmp_path) as browser:
            browser.get(url)
            at, _, error = describe_error(browser, SEEK)
            assert (at, error) == (17, None)
    assert [round(float(each)) for each in durations] == [20, 20]
    assert re.search(r'"GET /film\.mp4 HTTP/1\.1" 206 ', log.read_text())


def test_spa(serve: Serve, run: Run, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    recipe = Played("recipes/spa.md")
    (dist / "index.html").write_text(recipe.block("html"))
    (dist / "worker.js").write_text(recipe.block("js"))
    (dist / "assets" / "index-4f9c1b.js").write_text("document.title = location.pathname;")
    with recipe.playing(serve, run, tmp_path) as url:
        headers = ("curl", "-sS", "-o", "/dev/null", "-D", "-")
        assert "immutable" in run(*headers, f"{url}/assets/index-4f9c1b.js")
        assert "no-cache" in run(*headers, f"{url}/worker.js")
        assert "no-cache" in run(*headers, f"{url}/index.html")
        assert " 404 " in run(*headers, f"{url}/assets/gone.js")
        with browsing(tmp_path) as browser:
            browser.get(f"{url}/a/route")
            assert browser.title == "/a/route"
            describe_error(browser, CONTROLLED)
            cached = describe_error(browser, 'return (await (await caches.match("/")).text()).length')
            assert cached == len(recipe.block("html"))
            browser.get(f"{url}/another/route")
            assert browser.title == "/another/route"
            describe_error(browser, UNREGISTER)


def test_spa_without_a_network(serve: Serve, run: Run, tmp_path: Path) -> None:
    """What the worker keeps is what is seen when nobody answers any more."""
    dist = tmp_path / "dist"
    dist.mkdir()
    recipe = Played("recipes/spa.md")
    (dist / "index.html").write_text(recipe.block("html"))
    (dist / "worker.js").write_text(recipe.block("js"))
    with browsing(tmp_path) as browser:
        recipe.options |= {"idle_ms_max": 100}
        with recipe.playing(serve, run, tmp_path) as url:
            browser.get(url)
            describe_error(browser, CONTROLLED)
        browser.get(f"{url}/a/route")
        assert browser.title == "shell"


def test_django(serve: Serve, run: Run, tmp_path: Path) -> None:
    recipe = Played("recipes/django.md")
    shell(run, "django-admin startproject shop .")
    with open(tmp_path / "shop" / "settings.py", "a", encoding="utf-8") as settings:
        settings.write(recipe.block("py"))
    with recipe.playing(serve, run, tmp_path) as url:
        paths = json.loads((tmp_path / "static" / "staticfiles.json").read_text())["paths"]
        hashed = paths["admin/css/base.css"]
        told = shell(run, f"python3 -c '{STATIC}'", DJANGO_SETTINGS_MODULE="shop.settings")
        assert told.strip() == f"{URL}/{hashed}"
        headers = run("curl", "-sS", "-D", "-", "-o", "got", f"{url}/{hashed}")
        assert "immutable" in headers
        assert "immutable" not in run(
            "curl", "-sS", "-D", "-", "-o", "/dev/null", f"{url}/admin/css/base.css"
        )
    assert (tmp_path / "got").read_bytes() == (tmp_path / "static" / hashed).read_bytes()


@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddyfile"])
def test_proxies(serve: Serve, run: Run, tmp_path: Path, name: str, noise: Callable[[int], bytes]) -> None:
    site, front, port = tmp_path / "site", tmp_path / "front", free_port()
    (site / "dir").mkdir(parents=True)
    front.mkdir()
    content = noise(20 << 20)
    (site / "large.bin").write_bytes(content)
    (site / "index.html").write_text("the first page\n")
    (site / "dir" / "index.html").write_text("found\n")
    recipe = Played("recipes/proxies.md")
    with recipe.playing(serve, run, tmp_path) as url:
        text = recipe.block(name).replace(URL.removeprefix("http://"), url.removeprefix("http://"))
        place = f"{'http://' if name == 'caddyfile' else ''}127.0.0.1:{port}"
        text = re.sub(r"(?<![\w:.]):?80(?!\w)", place, text)
        config = front / "config"
        words: tuple[object, ...] = ("caddy", "run", "--adapter", "caddyfile", "--config", config)
        if name == "nginx":
            text = NGINX.format(front, text)
            words = ("nginx", "-p", front, "-c", config)
        elif name == "haproxy":
            words = ("haproxy", "-db", "-f", config)
        else:
            text = "{\n    admin off\n    auto_https off\n}\n" + text
        config.write_text(text)
        outside = f"http://127.0.0.1:{port}/files"
        with running(port, *words):
            follow = ("curl", "-sS", "-f", "-L", "-w", " %{url_effective}")
            eventually("it finds the server", lambda: "the first page" in run("curl", "-s", f"{outside}/"))
            assert run(*follow, f"{outside}/dir") == f"found\n {outside}/dir/"
            assert run("curl", "-sS", "-r", "16-31", f"{outside}/large.bin") == content[16:32].decode()
            headers = run("curl", "-sS", "-D", "-", "-o", "got", f"{outside}/large.bin")
            write = ("curl", "-sS", "-w", "%{http_code}", "-o", "none")
            run(*write, "--etag-save", "tag", f"{outside}/dir/")
            assert run(*write, "--etag-compare", "tag", f"{outside}/dir/") == "304"
            small = run("curl", "-sSI", f"{outside}/dir/").lower()
    assert (tmp_path / "got").read_bytes() == content
    assert " 200 " in headers
    assert "repr-digest: sha-256=:" in small

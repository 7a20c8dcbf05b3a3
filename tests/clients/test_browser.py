"""Chromium without a screen: what a page asks of its server beyond plain fetches."""

from __future__ import annotations

import gzip
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Run, Serve

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--no-proxy-server"),
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="70" height="50"><rect width="70" height="50"/></svg>'
# A module of eight bytes of header and nothing else is valid.
WASM = b"\0asm\1\0\0\0"
# Where the film then is, how long it is, and what is wrong.
SEEK = """
    const video = document.querySelector('video');
    if (video.readyState < 1) await new Promise(done => video.onloadedmetadata = done);
    const sought = new Promise(done => video.onseeked = done);
    video.currentTime = 17;
    await sought;
    return [video.currentTime, video.duration, video.error];
"""
PAGE = "<!DOCTYPE html><meta charset=utf-8><title>t</title>"


@contextmanager
def browsing(place: Path) -> Iterator[webdriver.Chrome]:
    """A browser that is gone, with its connections, before its server is to be at rest."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "chromium is missing. Type: make clients"
    assert driver, "chromedriver is missing. Type: make clients"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={place / 'profile'}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    try:
        browser.set_script_timeout(30)
        yield browser
    finally:
        browser.quit()


def describe_error(browser: webdriver.Chrome, script: str) -> Any:
    """What a piece of JavaScript hands to `done`; an error of it is a failure."""
    wrapped = (
        "const finish = arguments[arguments.length - 1];"
        f"(async () => {{ {script} }})().then(finish, error => finish('failed: ' + error));"
    )
    result = browser.execute_async_script(wrapped)
    assert not str(result).startswith("failed: "), result
    return result


def test_a_page_says_its_own_charset(serve: Serve, root: Path, tmp_path: Path) -> None:
    page = '<!DOCTYPE html><meta charset="windows-1251"><title>\u041f\u0440\u0438\u0432\u0435\u0442</title>'
    (root / "old.html").write_bytes(page.encode("cp1251"))
    with serve(root, type="*.html=text/html") as url, browsing(tmp_path) as browser:
        browser.get(f"{url}/old.html")
        assert browser.title == "\u041f\u0440\u0438\u0432\u0435\u0442"


def test_stored_codings_are_decoded(serve: Serve, root: Path, tmp_path: Path) -> None:
    (root / "a.svgz").write_bytes(gzip.compress(SVG))
    (root / "Build").mkdir()
    (root / "Build" / "x.framework.js.gz").write_bytes(gzip.compress(b"window.loaded = 7"))
    (root / "index.html").write_text(PAGE + '<script src="Build/x.framework.js.gz"></script>')
    with serve(root, coding=("*.svgz=gzip", "/Build/*.gz=gzip")) as url, browsing(tmp_path) as browser:
        browser.get(url)
        assert describe_error(browser, "return window.loaded") == 7
        draw = "const i = new Image(); i.src = 'a.svgz'; await i.decode(); return i.naturalWidth"
        assert describe_error(browser, draw) == 70


def test_a_film_is_sought_in(serve: Serve, run: Run, root: Path, tmp_path: Path) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=duration=20:size=640x480:rate=10")
    quiet = ("-hide_banner", "-nostdin", "-loglevel", "error")
    coded = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10")
    # The index of this kind of file is at its end: it is asked for before the pictures.
    run("ffmpeg", *quiet, *source, *coded, root / "film.mp4")
    (root / "index.html").write_text(PAGE + '<video src="film.mp4" muted preload="metadata"></video>')
    log = tmp_path / "access"
    with serve(root, access_log=log) as url, browsing(tmp_path) as browser:
        browser.get(url)
        at, duration, error = describe_error(browser, SEEK)
    assert (at, error) == (17, None)
    assert 19 < duration < 21
    assert log.read_text().count('"GET /film.mp4 HTTP/1.1" 206 ') >= 2


def test_wasm_is_compiled_as_it_comes(serve: Serve, root: Path, tmp_path: Path) -> None:
    (root / "a.wasm").write_bytes(WASM)
    (root / "index.html").write_text(PAGE)
    with serve(root) as url, browsing(tmp_path) as browser:
        browser.get(url)
        script = "return String(await WebAssembly.compileStreaming(fetch('a.wasm')))"
        assert describe_error(browser, script) == "[object WebAssembly.Module]"


def test_a_service_worker_takes_over(serve: Serve, root: Path, tmp_path: Path) -> None:
    (root / "index.html").write_text(PAGE)
    (root / "worker.js").write_text(
        "self.addEventListener('activate', event => event.waitUntil(clients.claim()));"
        "self.addEventListener('fetch', event => {"
        "  if (event.request.url.endsWith('/made')) event.respondWith(new Response('by the worker'));"
        "});"
    )
    with serve(root) as url, browsing(tmp_path) as browser:
        browser.get(url)
        script = """
            const controlled = new Promise(done => navigator.serviceWorker.oncontrollerchange = done);
            await navigator.serviceWorker.register('worker.js');
            await controlled;
            const text = await (await fetch('/made')).text();
            for (const each of await navigator.serviceWorker.getRegistrations()) await each.unregister();
            return text;
        """
        assert describe_error(browser, script) == "by the worker"


def test_a_listing_leads_to_its_files(serve: Serve, root: Path, tmp_path: Path) -> None:
    names = ("file10.txt", "file2.txt", "<b>.txt", "a b#c?.txt")
    for name in names:
        (root / name).write_text(name)
    (root / "sub").mkdir()
    with serve(root, listing=True) as url, browsing(tmp_path) as browser:
        browser.get(url)
        find = "return [...document.querySelectorAll('a')].map(each => each.href)"
        links = [link for link in browser.execute_script(find) if link.endswith(".txt")]
        texts = []
        for link in links:
            browser.get(link)
            texts.append(browser.execute_script("return document.body.innerText"))
    # In the order in which a person counts.
    assert sorted(texts) == sorted(names)
    assert texts.index("file2.txt") < texts.index("file10.txt")


ROWS = "return [...document.querySelectorAll('#names tr')].filter(row => row.offsetHeight)"


def test_a_listing_filters_and_sorts(serve: Serve, root: Path, tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (root / f"img{number}.jpg").write_bytes(bytes(20 - number))
    (root / f"notes-{'long-' * 40}.txt").touch()
    with serve(root, listing=True) as url, browsing(tmp_path) as browser:

        def names() -> list[str]:
            texts: list[str] = browser.execute_script(
                f"{ROWS}.map(row => row.cells[0].textContent.slice(0, 8))"
            )
            return texts

        def type_in(keys: str) -> str:
            browser.switch_to.active_element.send_keys(keys)
            return str(browser.execute_script("return document.querySelector('output').textContent"))

        browser.get(url)
        assert type_in("/") == "4 files, 47 B"
        assert type_in("JPG 1") == "2 of 4"
        assert names() == ["img1.jpg", "img10.jp"]
        assert type_in(Keys.ESCAPE) == "4 files, 47 B"
        assert names() == ["img1.jpg", "img2.jpg", "img10.jp", "notes-lo"]
        for query, expected in (
            ("?sort=size", ["notes-lo", "img10.jp", "img2.jpg", "img1.jpg"]),
            ("?order=desc&sort=size", ["img1.jpg", "img2.jpg", "img10.jp", "notes-lo"]),
        ):
            browser.find_element(By.CSS_SELECTOR, "th:nth-child(2) button").click()
            whole = f"return document.readyState == 'complete' && location.href == '{url}/{query}'"
            # A script may run into the end of the page that is left.
            WebDriverWait(browser, 60, ignored_exceptions=(WebDriverException,)).until(
                lambda browser, whole=whole: browser.execute_script(whole)
            )
            assert names() == expected
        # On a telephone: nothing beside the screen, and a line for each.
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
        )
        heights = browser.execute_script(f"{ROWS}.map(row => row.offsetHeight)")
        assert len(heights) == 4
        assert max(heights) < 1.5 * min(heights)
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
        # The policy had nothing to hold back.
        assert [each for each in browser.get_log("browser") if "favicon" not in each["message"]] == []

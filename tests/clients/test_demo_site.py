"""The demo site in a browser: what it tells of its server, live."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from ..wire.servers import serving
from .played import DOCS
from .test_browser import browsing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from selenium import webdriver

    from ..wire.servers import Server

PATIENCE_S = 60


@pytest.fixture
def www(tmp_path: Path, noise: Callable[[int], bytes]) -> Path:
    """The site, with one file, smaller than its name."""
    site = shutil.copytree(DOCS.parent / "www", tmp_path / "www", ignore=shutil.ignore_patterns("*.bin"))
    content = noise(4 << 20)
    (site / "assets" / "10MiB.bin").write_bytes(content)
    asset = {"name": "10MiB.bin", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (site / "assets" / "manifest.json").write_text(json.dumps({"files": [asset]}))
    return site


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.address[1]}"


def tell(www: Path, *servers: Server) -> None:
    """Where the counters are, as `make serve` tells the pages."""
    admins = {str(server.address[1]): f"127.0.0.1:{server.admin[1]}" for server in servers}
    (www / "assets" / "admin.json").write_text(json.dumps(admins))


def text_of(browser: webdriver.Chrome, name: str) -> str:
    return browser.find_element(By.ID, name).text


def wait_for(browser: webdriver.Chrome, name: str, *texts: str) -> None:
    """Until an element says one of these."""
    WebDriverWait(browser, PATIENCE_S).until(
        lambda browser: any(text in text_of(browser, name) for text in texts), f"{name} says none of {texts}"
    )


def test_it_tells_what_left_without_a_copy(engine: str, www: Path, tmp_path: Path) -> None:
    with serving(www, engine=engine) as server, browsing(tmp_path) as browser:
        tell(www, server)
        browser.get(url_of(server))
        button = browser.find_element(By.ID, "now-fetch")
        WebDriverWait(browser, PATIENCE_S).until(lambda _: button.is_displayed())
        # More than send mode auto needs to decide.
        button.click()
        wait_for(browser, "now-note", "SHA-256 is right")
        wait_for(browser, "now-key", "by reference")
        assert "leases ended" in text_of(browser, "now-ledger")
        assert "The kernel copied each" in text_of(browser, "now-ledger")
        browser.get(f"{url_of(server)}/live.html")
        wait_for(browser, "stamp", "BY REFERENCE", "By reference")
        assert [each for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []


def test_two_modes_are_set_side_by_side(engine: str, www: Path, tmp_path: Path) -> None:
    with (
        serving(www, engine=engine, send_mode="zerocopy") as a,
        serving(www, engine=engine, send_mode="plain", admin_origin=url_of(a)) as b,
        browsing(tmp_path) as browser,
    ):
        tell(www, a, b)
        browser.get(f"{url_of(a)}/compare.html")
        filled = "return document.getElementById('admin-a').value"
        WebDriverWait(browser, PATIENCE_S).until(lambda browser: browser.execute_script(filled))
        for name, value in (("base-b", url_of(b)), ("admin-b", f"127.0.0.1:{b.admin[1]}")):
            browser.execute_script("document.getElementById(arguments[0]).value = arguments[1]", name, value)
        browser.find_element(By.ID, "go").click()
        wait_for(browser, "note", "runs overlap", "was faster")
        assert text_of(browser, "intact-a") == text_of(browser, "intact-b") == "5 of 5"
        assert text_of(browser, "usage-a").startswith("100 % of ")
        assert "plain" in text_of(browser, "sends-b")
        assert "zerocopy" not in text_of(browser, "sends-b")

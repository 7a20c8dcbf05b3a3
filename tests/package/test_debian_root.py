"""tools/debian_root.py: what of this machine reaches the machines that have nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .loading import load

if TYPE_CHECKING:
    from types import ModuleType

PATH = Path(__file__).resolve().parents[2] / "tools" / "debian_root.py"
CONFIG = """\
:env:.find-links='/wheels'
global.cache-dir='/cache'
global.extra-index-url='file:///index https://index.test/more'
global.find-links='/wheels'
global.index-url='https://index.test/simple'
install.cert='/etc/ssl/certs/ca-certificates.crt'
"""


@pytest.fixture
def debian_root() -> ModuleType:
    return load(PATH)


def test_only_the_way_to_the_index_goes_along(
    debian_root: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian_root, "output", lambda *_: CONFIG)
    monkeypatch.setattr(os, "environ", {"HTTPS_PROXY": "http://proxy.test", "PIP_FIND_LINKS": "/wheels"})
    env = debian_root.settings()
    assert env.pop("PATH")
    assert env == {
        "HTTPS_PROXY": "http://proxy.test",
        "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        "PIP_EXTRA_INDEX_URL": "https://index.test/more",
        "PIP_INDEX_URL": "https://index.test/simple",
        "PIP_NO_CACHE_DIR": "1",
    }


def test_who_is_not_root_is_told_what_to_type(
    debian_root: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert debian_root.alone("fresh") == 1
    assert "Type: sudo make fresh" in capsys.readouterr().err

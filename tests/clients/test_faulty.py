"""What real downloaders make of a server whose answers go wrong: docs/testing-downloads.md tells of it."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pooch
import pytest
import requests

from zchttpd.testing import Corrupt, Cut, IgnoreRange, Replace, Reset

if TYPE_CHECKING:
    from pathlib import Path

    from zchttpd.testing.plugin import StartServer

    from .conftest import Run

pytest_plugins = ("zchttpd.testing.plugin",)

OLD, NEW = (random.Random(seed).randbytes(1_000_000) for seed in (1, 2))
CUT = 400_000
CURL = ("curl", "-sS", "-f", "--retry", "5", "--retry-all-errors", "--retry-delay", "0", "-o", "got")
WGET = ("wget", "-q", "--tries=5", "--waitretry=0", "-O", "got")


@pytest.mark.parametrize("words", [CURL, (*CURL, "-C", "-"), WGET, (*WGET, "-c")], ids=" ".join)
def test_a_download_that_was_cut_goes_on(
    static_server: StartServer, run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    server = static_server({"file": OLD})
    server.fault("file", Cut(CUT), nth=1)
    server.fault("file", Reset(CUT), IgnoreRange(), nth=2)
    run(*words, server.url + "/file")
    assert (tmp_path / "got").read_bytes() == OLD
    assert len(server.requests) == 3


def test_curl_begins_anew_and_has_the_new_version(
    static_server: StartServer, run: Run, tmp_path: Path
) -> None:
    server = static_server({"file": OLD})
    server.fault("file", Cut(CUT), nth=1)
    server.fault("file", Replace(NEW), nth=2)
    run(*CURL, "-C", "-", server.url + "/file")
    assert (tmp_path / "got").read_bytes() == NEW


def test_wget_joins_two_versions(static_server: StartServer, run: Run, tmp_path: Path) -> None:
    """When this fails, wget has been mended: then the page is to say so."""
    server = static_server({"file": OLD})
    server.fault("file", Cut(CUT), nth=1)
    server.fault("file", Replace(NEW), nth=2)
    run(*WGET, server.url + "/file")
    assert (tmp_path / "got").read_bytes() == OLD[:CUT] + NEW[CUT:]


def test_pooch_takes_no_wrong_byte(static_server: StartServer, tmp_path: Path) -> None:
    server = static_server({"file": OLD})
    server.fault("file", Corrupt(), nth=1)
    server.fault("file", Cut(CUT), nth=2)

    def fetch() -> object:
        digest = "sha256:" + hashlib.sha256(OLD).hexdigest()
        return pooch.retrieve(server.url + "/file", digest, fname="got", path=tmp_path, progressbar=False)

    with pytest.raises(ValueError, match="hash"):
        fetch()
    with pytest.raises(requests.RequestException):
        fetch()
    assert not list(tmp_path.glob("*got*"))
    fetch()
    assert (tmp_path / "got").read_bytes() == OLD

"""X-Request-Id on each engine: whatever is answered, and whoever answers it."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from .client import eventually, request
from .servers import serving

if TYPE_CHECKING:
    from pathlib import Path

BIG = 4 << 20


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small file and a large one."""
    root = tmp_path / "www"
    root.mkdir()
    (root / "small").write_bytes(b"small\n")
    (root / "big").write_bytes(os.urandom(BIG))
    return root


def lines_of(log: Path, count: int) -> list[str]:
    eventually(f"{count} lines", lambda: log.exists() and log.read_bytes().count(b"\n") >= count)
    return log.read_text(encoding="ascii").splitlines()


def test_answers_tell_the_id_that_the_log_has(site: Path, tmp_path: Path, kind: tuple[str, str]) -> None:
    engine, send_mode = kind
    log = tmp_path / "log"
    options = {"access_log": log, "access_log_format": "json", "request_id": True}
    asked = [
        request("/small", "X-Request-Id: mine"),
        *[request("/small")] * 3,
        request("/big", "Range: bytes=0-99"),
        request("/big"),
        request("/nothing", "X-Request-Id: <a>"),
        request("/small", method="HEAD"),
        request("/small", method="POST"),
        b"nonsense\r\n\r\n",
    ]
    with serving(site, engine=engine, send_mode=send_mode, **options) as server:
        told = []
        for sent in asked:
            found = server.ask(sent).field(b"x-request-id")
            assert found is not None
            told.append(found.decode())
        logged = [json.loads(line)["request_id"] for line in lines_of(log, len(asked))]
    assert sorted(logged) == sorted(told)
    assert told[0] == "mine"
    assert len(set(told)) == len(told)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in told[1:])

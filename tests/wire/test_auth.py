"""--auth on each engine: nothing that is remembered gets past a password, and the log knows who it was."""

from __future__ import annotations

import base64
import json
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import bcrypt
import pytest

from .client import eventually, request
from .servers import serving

if TYPE_CHECKING:
    from pathlib import Path

BIG = 2 << 20


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Small and large files that everybody may have, and others that not everybody may."""
    root = tmp_path / "www"
    for folder in ("open", "private"):
        (root / folder).mkdir(parents=True)
        (root / folder / "small").write_bytes(folder.encode())
        (root / folder / "big").write_bytes(os.urandom(BIG))
    users = b"ann:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n"
    (tmp_path / "users").write_bytes(users)
    return root


def test_nothing_that_is_remembered_gets_past_a_password(
    site: Path, tmp_path: Path, kind: tuple[str, str]
) -> None:
    engine, send_mode = kind
    log, options = tmp_path / "log", {"access_log_format": "json", "auth": f"/private/*={tmp_path}/users"}
    expected = []
    with serving(site, engine=engine, send_mode=send_mode, access_log=log, **options) as server:
        for _ in range(3):
            for name in ("small", "big"):
                for field, user in ((basic("ann", "secret"), "ann"), ("X: y", ""), (basic("ann", "x"), "")):
                    content = (site / "private" / name).read_bytes()
                    reply = server.ask(request(f"/private/{name}", field))
                    assert reply.status == (200 if user else 401)
                    assert (reply.body == content) == bool(user)
                    expected.append((f"GET /private/{name} HTTP/1.1", user))
                    # Claiming to be somebody where nobody asks makes nobody of that name.
                    assert server.ask(request(f"/open/{name}", field)).status == 200
                    expected.append((f"GET /open/{name} HTTP/1.1", ""))
        eventually(
            "the log has them", lambda: log.exists() and log.read_bytes().count(b"\n") >= len(expected)
        )
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["request"], line.get("user", "")) for line in lines] == expected


def test_many_who_log_in_at_a_time_each_have_their_own_answer(
    site: Path, tmp_path: Path, kind: tuple[str, str]
) -> None:
    engine, send_mode = kind
    options = {"engine": engine, "send_mode": send_mode, "auth": f"/private/*={tmp_path}/users"}
    with serving(site, **options) as server, ExitStack() as stack:
        fields = [basic("ann", "secret" if number % 3 == 0 else f"wrong {number}") for number in range(24)]
        peers = [stack.enter_context(server.peer()) for _ in fields]
        for peer, field in zip(peers, fields, strict=True):
            peer.send(request("/private/small", field))
        # Who needs no password waits for none of them.
        assert server.ask(request("/open/small")).body == b"open"
        statuses = [peer.reply().status for peer in peers]
    assert statuses == [200 if number % 3 == 0 else 401 for number in range(24)]

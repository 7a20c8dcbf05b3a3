"""The files of --auth: what is taken from them, and what is said of wrong ones."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.auth import parse_auth_rules
from zchttpd.config.load import load
from zchttpd.config.options import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

HASH = b"$2b$04$" + b"a" * 53


def test_users_and_hashes(tmp_path: Path) -> None:
    path = tmp_path / "users"
    other = HASH.replace(b"$2b$04", b"$2y$11")
    path.write_bytes(b"# staff\r\nann:" + HASH + b"\r\n\nb b:" + other + b"\n")
    [rule, more] = parse_auth_rules(f"/private/* = {path}\n*.pdf={path}\n")
    assert (rule.pattern, more.pattern) == ("/private/*", "*.pdf")
    assert rule.accounts == ((b"ann", HASH), (b"b b", other))
    assert rule.cost == 11
    assert HASH.decode() not in repr(rule)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has no user"),
        (b"# nobody\n", "has no user"),
        (b"ann\n", ":1: is not USER:HASH"),
        (b":" + HASH, ":1: is not USER:HASH"),
        (b"a" * 129 + b":" + HASH, ":1: is not USER:HASH"),
        (b"ann:" + HASH + b"\nann:" + HASH, ":2: names a user twice"),
        (b"ann:secret", ":1: has no hash of bcrypt"),
        (b"ann:$apr1$a$b", ":1: has no hash of bcrypt"),
        (b"ann:" + HASH[:-1], ":1: has no hash of bcrypt"),
        (b"ann:" + HASH.replace(b"$04$", b"$15$"), ":1: has a hash of cost 15, not of 4 to 14"),
        (b"#" * (1 << 20) + b"#", "is larger than 1 MiB"),
    ],
)
def test_a_wrong_file_is_told_without_what_is_in_it(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "users"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(problem)) as raised:
        parse_auth_rules(f"/*={path}")
    assert str(raised.value).startswith(f"{path}:")
    assert "secret" not in str(raised.value)
    assert HASH.decode()[7:] not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/private/*", "is not PATTERN=FILE"),
        ("/private/*=", "is not PATTERN=FILE"),
        ("/private/={}", "Type '/private/*' for what is in it"),
        ("={}", "is not a pattern"),
        ("/*=/nowhere", "/nowhere: cannot be read"),
    ],
)
def test_a_wrong_rule_is_told(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "users"
    path.write_bytes(b"ann:" + HASH)
    with pytest.raises(SettingsError, match=re.escape(problem)):
        load({"root": str(tmp_path), "auth": text.format(path)}, {})


def test_without_bcrypt_it_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "users"
    path.write_bytes(b"ann:" + HASH)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"--auth: it needs another package\. Type: pip install bcrypt"):
        load({"root": str(tmp_path), "auth": f"/*={path}"}, {})

"""Who the server is, and that there is no way back. What needs root is in tests/wire/test_privileges.py."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import subprocess
import sys

import pytest

from zchttpd.config.options import StartError
from zchttpd.engine.limits import raise_limits
from zchttpd.process.privileges import Identity, become, resolve

NOBODY = pwd.getpwnam("nobody")
GROUP = grp.getgrgid(NOBODY.pw_gid).gr_name
UNKNOWN = 3_141_592_653


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("nobody", Identity("nobody", NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,))),
        (str(NOBODY.pw_uid), Identity("nobody", NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,))),
        (f"nobody:{GROUP}", Identity("nobody", NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,))),
        ("nobody:1234567", Identity("nobody", NOBODY.pw_uid, 1234567, (1234567,))),
        (f"{UNKNOWN}:{GROUP}", Identity(str(UNKNOWN), UNKNOWN, NOBODY.pw_gid, (NOBODY.pw_gid,))),
    ],
)
def test_who_it_is(text: str, identity: Identity) -> None:
    assert resolve(text) == identity


def test_a_user_has_all_its_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 7, 8])
    assert resolve("nobody").groups == (NOBODY.pw_gid, 7, 8)
    assert resolve("nobody:7").groups == (7,)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("no-such-user", ["no user 'no-such-user'", "getent passwd"]),
        ("nobody:no-such-group", ["no group 'no-such-group'", "getent group"]),
        (str(UNKNOWN), ["has no name", f"{UNKNOWN}:GROUP"]),
        ("root", ["root itself", "nobody"]),
        ("0:0", ["root itself"]),
        (str(2**32 - 1), ["no user"]),
    ],
)
def test_who_it_cannot_be(text: str, parts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"Type .") as refused:
        resolve(text)
    for part in parts:
        assert part in str(refused.value)


def test_only_root_may_become_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getresuid", lambda: (1000, 1000, 1000))
    with pytest.raises(StartError, match="only root may become another user, and this is uid 1000"):
        become(Identity("nobody", 65534, 65534, (65534,)))
    become(Identity("me", 1000, 1000, (1000,)))


def test_a_way_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, lambda *ids, name=name: tried.append((name, *ids)))
    with pytest.raises(StartError, match="way back"):
        become(Identity("me", 5, 6, (6, 7)))
    assert tried == [
        ("setgroups", (6, 7)),
        ("setresgid", 6, 6, 6),
        ("setresuid", 5, 5, 5),
        ("setresuid", 0, 0, 0),
    ]


def test_a_container_that_may_not_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "setgroups", refused)
    with pytest.raises(StartError, match="CAP_SETUID and CAP_SETGID"):
        become(Identity("me", 5, 6, (6,)))


def test_nothing_executed_gains_privileges() -> None:
    code = (
        "from zchttpd.process.privileges import confine; confine(); print(open('/proc/self/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "NoNewPrivs:\t1\n" in done.stdout


def test_what_is_needed_later_is_imported() -> None:
    code = (
        "import sys; from zchttpd.process import privileges; privileges.preload();"
        " print(*(set(privileges._LATE) - set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("before", "memory", "after"),
    [
        ((1, 2), 10, (10, 10)),
        ((1, 20), 10, (20, 20)),
        ((1, -1), 10, (-1, -1)),
        ((1, 2), 0, (2, 2)),
    ],
)
def test_locked_memory_is_raised_for_the_user_to_come(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], memory: int, after: tuple[int, int]
) -> None:
    limits = {resource.RLIMIT_NOFILE: (10, 10), resource.RLIMIT_MEMLOCK: before}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    raise_limits(10, memory)
    assert limits[resource.RLIMIT_MEMLOCK] == after


def test_a_limit_that_may_not_be_raised_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_NOFILE: (10, 10), resource.RLIMIT_MEMLOCK: (1, 2)}

    def set_soft(limit: int, wanted: tuple[int, int]) -> None:
        if wanted[1] > limits[limit][1]:
            raise PermissionError(1, "not allowed to raise maximum limit")
        limits[limit] = wanted

    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", set_soft)
    raise_limits(10, 10)
    assert limits[resource.RLIMIT_MEMLOCK] == (2, 2)

"""Sockets that are passed and news that are told, as systemd has it."""

from __future__ import annotations

import os
import socket

import pytest

from zchttpd.process.systemd import notify, passed_fds


@pytest.mark.parametrize(
    ("pid", "count", "fds"),
    [
        ("me", "1", [(3, "a")]),
        ("me", "3", [(3, "a"), (4, "proxy"), (5, "")]),
        ("me", "0", []),
        ("me", "-1", []),
        ("another", "1", []),
        ("", "1", []),
    ],
)
def test_only_what_is_meant_for_this_process(
    monkeypatch: pytest.MonkeyPatch, pid: str, count: str, fds: list[tuple[int, str]]
) -> None:
    pids = {"me": str(os.getpid()), "another": str(os.getpid() + 1)}
    closed: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "set_inheritable", lambda fd, inheritable: closed.append((fd, inheritable)))
    environment = {
        "LISTEN_PID": pids.get(pid, pid),
        "LISTEN_FDS": count,
        "LISTEN_FDNAMES": "a:proxy",
        "PATH": "/bin",
    }
    assert passed_fds(environment) == fds
    assert closed == [(fd, False) for fd, _ in fds]
    assert environment == {"PATH": "/bin"}


def test_nothing_passed() -> None:
    assert passed_fds({}) == []


def test_an_abstract_manager() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0zchttpd-test-{os.getpid()}")
        notify("READY=1", {"NOTIFY_SOCKET": f"@zchttpd-test-{os.getpid()}"})
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("name", ["", "relative", "/nowhere/at/all", "vsock:2:1234"])
def test_no_manager_is_no_trouble(name: str) -> None:
    notify("READY=1", {"NOTIFY_SOCKET": name})
    notify("READY=1", {})

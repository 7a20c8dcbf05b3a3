"""What a worker may still do, tried from inside one; and the lists behind it."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import zchttpd
from zchttpd.config.names import SANDBOX
from zchttpd.config.settings import Settings
from zchttpd.process import doctor, landlock, sandbox, seccomp
from zchttpd.process.findings import State
from zchttpd.process.inherited import inherited
from zchttpd.process.system_calls import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

STUB = Path(__file__).parents[1] / "stub_server.py"
CAP_SYS_CHROOT = 18
X86_64, AARCH64 = 0xC000003E, 0xC00000B7
CONFINED = {
    "read the root": "",
    "read a file": "EACCES",
    "read by a link of proc": "EACCES",
    "make a file": "EACCES",
    "make a process": "EPERM",
    "execute": "EPERM",
    "make a socket": "EPERM",
    "rename": "EPERM",
    "signal its parent": "EPERM",
    "leave its namespaces": "EPERM",
    "a call that nobody knows": "ENOSYS",
    "connect to a port": "EPERM",
    "use a capability": "EPERM",
    "a thread": "",
}


def inside(root: Path, *options: str) -> dict[str, str]:
    """What a worker of the real supervisor meets, by what it tries."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(zchttpd.__file__).parents[1]),
        "STUB_ROOT": str(root),
    }
    command = [sys.executable, str(STUB), "--root", str(root), "--port", "0", *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://([0-9.]+):([0-9]+)", server.stdout.readline())
            assert found
            with socket.create_connection((found[1], int(found[2])), 60) as client:
                client.sendall(b"GET /confined HTTP/1.1\r\n\r\n")
                told: dict[str, str] = json.loads(b"".join(iter(lambda: client.recv(65536), b"")))
                return told
        finally:
            server.terminate()


def test_inside_a_worker(tmp_path: Path) -> None:
    (tmp_path / "index.html").touch()
    assert inside(tmp_path) == CONFINED


def test_what_is_switched_off_does_not_confine(tmp_path: Path) -> None:
    """So the test above can fail."""
    (tmp_path / "index.html").touch()
    free = inside(tmp_path, "--without", "landlock")
    assert {name for name in CONFINED if free[name] != CONFINED[name]} == {
        "read a file",
        "read by a link of proc",
        "make a file",
    }
    free = inside(tmp_path, "--without", "seccomp")
    scoped = landlock.version() >= landlock.SCOPES
    assert (free["make a socket"], free["signal its parent"]) == ("", "EPERM" if scoped else "")
    # What else is in the way of these.
    known_ports = landlock.version() >= min(landlock.TCP_RIGHTS)
    assert free["connect to a port"] == ("EACCES" if known_ports else "ECONNREFUSED")
    assert free["use a capability"] == "EPERM"
    free = inside(tmp_path, "--without", "seccomp,capabilities")
    assert free["use a capability"] == ("" if has_capability(CAP_SYS_CHROOT) else "EPERM")


@pytest.mark.parametrize(
    ("version", "state"), [(1, State.LOW), (landlock.SCOPES - 1, State.LOW), (landlock.SCOPES, State.OK)]
)
def test_the_doctor_tells_what_an_older_landlock_lets_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int, state: State
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: version)
    [found] = [each for each in doctor.examine(Settings(root=tmp_path)) if each.subject == "landlock"]
    assert (found.state, "Linux 6.12" in found.fix) == (state, state is State.LOW)
    assert ("signal" in found.text) == (state is State.LOW)


def has_capability(number: int) -> bool:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [effective] = [line.split()[1] for line in lines if line.startswith("CapEff:")]
    return bool(int(effective, 16) >> number & 1)


def header(path: Path) -> dict[str, int]:
    text = path.read_text()
    return {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", text)}


@pytest.mark.parametrize(
    ("machine", "path"),
    [("x86_64", "x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")],
)
def test_numbers_are_those_of_the_kernel(machine: str, path: str) -> None:
    known = header(Path("/usr/include") / path)
    # The generic header has it by another name.
    known.setdefault("newfstatat", known.get("fstatat", -1))
    ours = NUMBERS[machine]
    assert {name: number for name, number in ours.items() if known.get(name) != number} == {}
    named = {
        name
        for table in (seccomp.CALLS, seccomp.STARTING)
        for each in table.values()
        for name in each.split()
    }
    assert named & set(known) <= set(ours)


def verdict(code: list[seccomp.Instruction], number: int, architecture: int, flags: int = 0) -> int:
    """What a filter says of a call: a small machine for what it is made of (linux/bpf_common.h)."""
    data: Mapping[int, int] = {0: number, 4: architecture, 16: flags}
    register, at = 0, 0
    while True:
        kind, if_true, if_false, operand = code[at]
        at += 1
        if kind == 0x20:
            register = data[operand]
        elif kind == 0x54:
            register &= operand
        elif kind == 0x15:
            at += if_true if register == operand else if_false
        elif kind == 0x25:
            at += if_true if register > operand else if_false
        else:
            assert kind == 0x06
            return operand


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", X86_64), ("aarch64", AARCH64)])
def test_the_filter_says_of_each_call(machine: str, architecture: int) -> None:
    code, numbers = seccomp.worker_filter(machine), NUMBERS[machine]
    allow, refuse, unknown = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    serving = {name for each in seccomp.CALLS.values() for name in each.split()} & set(numbers)
    for name in serving:
        assert verdict(code, numbers[name], architecture) == allow, name
    for name in {name for each in seccomp.STARTING.values() for name in each.split()} & set(numbers):
        assert verdict(code, numbers[name], architecture) == refuse, name
    assert verdict(code, numbers["clone3"], architecture) == unknown
    assert verdict(code, 1000, architecture) == unknown
    assert verdict(code, numbers["read"], 0x40000003) == refuse
    thread = 0x3D0F00
    assert verdict(code, numbers["clone"], architecture, thread) == allow
    assert verdict(code, numbers["clone"], architecture, 17) == refuse
    assert verdict(code, numbers["clone"], architecture, thread | 0x10000000) == refuse


def test_no_call_is_listed_twice() -> None:
    names = [
        name
        for table in (seccomp.CALLS, seccomp.STARTING)
        for each in table.values()
        for name in each.split()
    ]
    assert len(names) == len(set(names))


def granted(root: Path, **options: object) -> dict[str, int]:
    settings = Settings(root=root, **options)  # type: ignore[arg-type]
    return dict(sandbox.rules(settings))


def test_what_is_granted(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    rules = granted(tmp_path, links_into=(shared,))
    assert rules[str(tmp_path)] == rules[str(shared)] == sandbox.READ
    assert not {path for path, rights in rules.items() if rights != sandbox.READ} - {"/dev/null"}
    assert not {"/", "/etc", "/proc", "/home", os.getcwd()} & set(rules)


def test_only_the_folder_of_a_log_can_be_written_to(tmp_path: Path) -> None:
    for name in ("site", "logs", "elsewhere"):
        (tmp_path / name).mkdir()
    log = tmp_path / "logs" / "access.log"
    log.touch()
    root = tmp_path / "site"
    rules = granted(root, access_log=str(log))
    assert rules[str(log)] == landlock.WRITE_FILE
    assert rules[str(log.parent)] == sandbox.APPEND
    (tmp_path / "elsewhere" / "link").symlink_to(log)
    rules = granted(root, access_log=str(tmp_path / "elsewhere" / "link"))
    assert rules[str(log.parent)] == rules[str(tmp_path / "elsewhere")] == sandbox.APPEND
    os.mkfifo(tmp_path / "pipe")
    assert str(tmp_path) not in granted(root, access_log=str(tmp_path / "pipe"))
    assert "/dev" not in granted(root, access_log="/dev/null")


def test_where_the_kernel_has_nothing_a_worker_serves_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "not implemented")

    for module, name in ((landlock, "enter"), (seccomp, "enter"), (sandbox.privileges, "shed")):
        monkeypatch.setattr(module, name, refuse)
    settings = Settings(root=tmp_path)
    missing = [*sandbox.confine_files(settings), *sandbox.confine_calls(settings)]
    assert sorted(missing) == sorted(SANDBOX)


def test_what_was_left_open_is_found(tmp_path: Path) -> None:
    ours, theirs, named = (os.open(tmp_path, os.O_RDONLY) for _ in range(3))
    try:
        os.set_inheritable(theirs, True)
        os.set_inheritable(named, True)
        found = inherited([f"/dev/fd/{named}"])
        assert theirs in found
        assert not {0, 1, 2, ours, named} & set(found)
        assert named in inherited([f"/dev/fd/{named}x"])
    finally:
        for fd in (ours, theirs, named):
            os.close(fd)

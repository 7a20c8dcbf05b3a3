"""doctor --path: what is known of a way, what a send over it shows, and what a script is told."""

from __future__ import annotations

import errno
import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from zchttpd import cli
from zchttpd.config.options import SettingsError
from zchttpd.process import doctor_path, network
from zchttpd.process.doctor_path import COPYING, Outcome, Target, examine, read_target
from zchttpd.process.findings import Finding, State
from zchttpd.process.network import Device, Route, captured, device, route_to

if TYPE_CHECKING:
    from collections.abc import Iterator

CARD = Device("card0", "virtio_net", gathers=True, segments=True)


@pytest.fixture
def drain() -> Iterator[int]:
    """A port of this machine that takes connections, which its kernel acknowledges."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def stub_way(monkeypatch: pytest.MonkeyPatch, *found: Device, copied: bool | OSError = False) -> None:
    """The way to any address leads over the first of these devices."""
    table = {each.name: each for each in found}

    def send(target: Target) -> bool:
        if isinstance(copied, OSError):
            raise copied
        return copied

    route = Route(found[0].name, "192.0.2.1", local=False)
    monkeypatch.setattr(doctor_path, "route_to", lambda address: route)
    monkeypatch.setattr(doctor_path, "device", table.__getitem__)
    monkeypatch.setattr(doctor_path, "captured", lambda name: False)
    monkeypatch.setattr(doctor_path, "send", send)


def by_subject(found: list[Finding]) -> dict[str, Finding]:
    return {each.subject: each for each in found}


# The kernel asked


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3"])
def test_what_is_local_goes_over_loopback(address: str) -> None:
    assert route_to(address) == Route("lo", "", local=True)
    assert device("lo").driver == "loopback"


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(OSError, match="no interface with this name"):
        device("nosuchdevice")


def test_a_capture_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tcpdump has it open: every protocol, one device or all."""
    lo = socket.if_nametoindex("lo")
    heading = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode"
    for line, seen in {
        f"0000000000000000 3      3    0003   {lo}     1 0      0      29": True,
        "0000000000000000 3      3    0003   0     1 0      0      29": True,
        f"0000000000000000 3      3    0003   {lo + 1}     1 0      0      29": False,
        f"0000000000000000 3      3    88cc   {lo}     1 0      0      29": False,
    }.items():
        monkeypatch.setattr(network, "read", lambda path, line=line: f"{heading}\n{line}")
        assert captured("lo") is seen, line


# What was typed


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1", Target("127.0.0.1")),
        ("127.0.0.1:80", Target("127.0.0.1", 80)),
        ("::1", Target("::1")),
        ("[::1]:80", Target("::1", 80)),
        ("lo", Target("lo")),
        ("localhost:9", Target("127.0.0.1", 9)),
    ],
)
def test_targets(text: str, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    if text.startswith("localhost"):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert read_target(text) == target


@pytest.mark.parametrize(("text", "words"), [("127.0.0.1:http", "no port"), ("127.0.0.1:70000", "no port")])
def test_what_is_no_target(text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_target(text)
    assert words in caught.value.problem


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SettingsError) as caught:
        read_target("nosuchhost:80")
    assert "'nosuchhost' is no address, name or device here" in caught.value.problem
    assert "lo" in caught.value.problem


# What a send shows


def test_loopback_really_copies(drain: int) -> None:
    """Nothing is stubbed: the kernel says so of the bytes that it was given."""
    target = Target("127.0.0.1", drain)
    assert doctor_path.send(target) is True
    found, outcome = examine(target)
    assert outcome is Outcome.COPIED
    told = by_subject(found)
    assert "is this machine itself" in told["route"].text
    assert told["device"] == Finding(
        "device", State.MISSING, f"lo: loopback; {COPYING['loopback'][0]}", COPYING["loopback"][1]
    )
    assert "the kernel copied 32768 bytes" in told["zero copy"].text


def test_a_port_that_takes_nothing() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        found, outcome = examine(Target("127.0.0.1", port))
    assert outcome is Outcome.UNKNOWN
    assert "Connection refused" in found[-1].text
    assert f"nc -l {port}" in found[-1].fix


def test_left_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_way(monkeypatch, CARD)
    found, outcome = examine(Target("192.0.2.7", 9))
    assert outcome is Outcome.ZERO_COPIED
    assert [each.state for each in found] == [State.OK] * 3
    assert "192.0.2.7 over card0, by 192.0.2.1" in found[0].text
    assert found[-1].text == "32768 bytes to 192.0.2.7 left without a copy"


@pytest.mark.parametrize("driver", [driver for driver in COPYING if driver != "loopback"])
def test_devices_that_are_known_to_copy(monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    reason, fix = COPYING[driver]
    stub_way(monkeypatch, Device("dev0", driver, gathers=True, segments=True), copied=True)
    for target in (Target("192.0.2.7"), Target("192.0.2.7", 9)):
        found, outcome = examine(target)
        assert outcome is Outcome.COPIED
        assert by_subject(found)["device"] == Finding(
            "device", State.MISSING, f"dev0: {driver}; {reason}", fix
        )
    assert found[-1].fix == fix


def test_a_card_that_does_not_gather_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is made behind the socket, whose notification does not know of it."""
    stub_way(monkeypatch, Device("card0", "old", gathers=False, segments=False))
    found, outcome = examine(Target("192.0.2.7", 9))
    assert outcome is Outcome.COPIED
    assert "as far as the socket knows" in found[-1].text
    assert "ethtool -K card0 sg on" in found[-1].fix


def test_what_is_below_a_bridge_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = Device("br0", "bridge", gathers=True, segments=True, below=("card0", "old0"))
    stub_way(monkeypatch, bridge, CARD, Device("old0", "old", gathers=False, segments=False))
    found, outcome = examine(Target("192.0.2.7", 9))
    assert outcome is Outcome.COPIED
    assert [each.text.partition(":")[0] for each in found if each.subject == "device"] == [
        "br0",
        "card0",
        "old0 "[:-1],
    ]


def test_a_capture_makes_it_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_way(monkeypatch, CARD)
    monkeypatch.setattr(doctor_path, "captured", lambda name: name == "card0")
    found, outcome = examine(Target("192.0.2.7"))
    assert outcome is Outcome.COPIED
    assert "ss --packet" in by_subject(found)["capture"].fix


def test_without_a_port_nothing_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_way(monkeypatch, CARD, copied=OSError(errno.EIO, "must not be asked"))
    found, outcome = examine(Target("192.0.2.7"))
    assert outcome is Outcome.UNKNOWN
    assert found[-1].fix.startswith("zchttpd doctor --path 192.0.2.7:PORT")


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)), "optmem_max"),
        (OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)), "nc -l 9"),
        (TimeoutError(errno.ETIMEDOUT, "nothing was acknowledged in time"), "nc -l 9"),
    ],
)
def test_what_could_not_be_sent_is_not_called_copied(
    monkeypatch: pytest.MonkeyPatch, error: OSError, fix: str
) -> None:
    stub_way(monkeypatch, CARD, copied=error)
    found, outcome = examine(Target("192.0.2.7", 9))
    assert outcome is Outcome.UNKNOWN
    assert str(error.strerror) in found[-1].text
    assert fix in found[-1].fix


def test_no_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(address: str) -> Route:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(doctor_path, "route_to", unreachable)
    found, outcome = examine(Target("192.0.2.7", 9))
    assert outcome is Outcome.UNKNOWN
    assert "no way to 192.0.2.7: Network is unreachable" in found[0].text


# What a script is told


@pytest.mark.parametrize("as_json", [True, False])
def test_the_exit_status_is_the_outcome(
    drain: int, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    argv = ["doctor", "--path", f"127.0.0.1:{drain}", *(["--json"] if as_json else [])]
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert err == ""
    if as_json:
        told = json.loads(out)
        assert (told["outcome"], told["path"], told["well"]) == ("copied", f"127.0.0.1:{drain}", False)
        assert {each["subject"] for each in told["findings"]} == {"route", "device", "zero copy"}
        assert {each["state"] for each in told["findings"]} <= {state.value for state in State}
    else:
        assert "fix: " in out


def test_a_wrong_target_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--path", "127.0.0.1:x"]) == cli.EXIT_USAGE
    assert "Type such as --path 192.0.2.7:8080" in capsys.readouterr().err


def test_other_outcomes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stub_way(monkeypatch, CARD)
    assert cli.main(["doctor", "--path", "192.0.2.7:9"]) == 0
    assert cli.main(["doctor", "--path", "192.0.2.7"]) == 3
    assert "All is well." in capsys.readouterr().out

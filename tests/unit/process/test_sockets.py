"""Listening sockets on real addresses of this machine."""

from __future__ import annotations

import errno
import select
import socket
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.listen import parse_networks
from zchttpd.config.options import StartError
from zchttpd.config.settings import Settings
from zchttpd.process import sockets
from zchttpd.process.sockets import (
    open_for,
    open_listeners,
    open_unix,
    reaches_others,
    url_for_others,
    url_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STALL_MS = 12_345


@contextmanager
def listening(host: str, port: int, count: int = 1) -> Iterator[list[socket.socket]]:
    listeners = open_listeners(host, port, count, stall_ms=STALL_MS)
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def needs_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")


def test_an_accepted_socket_inherits_what_it_must_have() -> None:
    with listening("127.0.0.1", 0) as [listener], socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10 * STALL_MS


def test_listeners_share_one_port_and_each_is_given_connections() -> None:
    with listening("127.0.0.1", 0, 3) as listeners:
        [address] = {listener.getsockname() for listener in listeners}
        served: set[int] = set()
        for _ in range(200):
            with socket.create_connection(address):
                ready, _, _ = select.select(listeners, [], [], 30)
                assert len(ready) == 1
                ready[0].accept()[0].close()
                served.add(ready[0].fileno())
        assert served == {listener.fileno() for listener in listeners}


@pytest.mark.parametrize("others", [1, 2])
@pytest.mark.parametrize("ours", [1, 2])
def test_a_port_in_use_is_refused_even_where_it_is_shared(others: int, ours: int) -> None:
    with listening("127.0.0.1", 0, others) as listeners:
        port = listeners[0].getsockname()[1]
        with pytest.raises(StartError) as caught:
            open_listeners("127.0.0.1", port, ours, stall_ms=STALL_MS)
    text = str(caught.value)
    assert f"port {port} on 127.0.0.1 is already in use" in text
    assert "--port" in text
    assert f"'sport = :{port}'" in text
    assert "\n" not in text


def test_a_port_is_free_again_at_once() -> None:
    with listening("127.0.0.1", 0) as [listener]:
        address = listener.getsockname()
        with socket.create_connection(address):
            # Closed by the server first: its side stays in TIME_WAIT.
            listener.accept()[0].close()
    with listening(address[0], address[1], 2) as listeners:
        assert listeners[1].getsockname() == address


def test_ipv6_and_its_url() -> None:
    needs_ipv6()
    for host in ("::1", "[::1]"):
        with listening(host, 0, 2) as listeners:
            port = listeners[0].getsockname()[1]
            assert url_of(listeners[1]) == f"http://[::1]:{port}"


def test_all_addresses_of_ipv6_include_those_of_ipv4() -> None:
    needs_ipv6()
    with listening("::", 0) as [listener]:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()


@pytest.mark.parametrize(("only_ipv6", "host"), [(0, "127.0.0.1"), (1, "[::1]")])
def test_the_url_of_all_addresses_opens(only_ipv6: int, host: str) -> None:
    needs_ipv6()
    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
        listener.bind(("::", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://{host}:{port}"
        socket.create_connection((host.strip("[]"), port)).close()
        assert url_for_others(listener).endswith(f":{port}")


def test_without_a_way_to_others_it_is_the_name_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening("0.0.0.0", 0) as [listener], listening("127.0.0.1", 0) as [private]:
        monkeypatch.setattr(socket, "gethostname", lambda: "here")
        monkeypatch.setattr(sockets.socket, "socket", lambda *_: (_ for _ in ()).throw(OSError()))
        assert url_for_others(listener) == f"http://here:{listener.getsockname()[1]}"
        assert url_for_others(private) == ""


def test_a_unix_socket_and_its_url(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with closing(open_unix(path)) as listener:
        assert url_of(listener) == f"unix:{path}"
        assert not reaches_others(listener)
        assert Path(path).stat().st_mode & 0o777 == sockets.UNIX_MODE


def test_the_mode_of_a_unix_socket_is_never_given_to_what_a_link_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.touch(mode=0o600)
    path = tmp_path / "socket"
    bind = socket.socket.bind

    class Raced(socket.socket):
        def bind(self, address: object) -> None:
            bind(self, address)  # type: ignore[arg-type]
            path.unlink()
            path.symlink_to(private)

    monkeypatch.setattr(sockets.socket, "socket", Raced)
    with pytest.raises(StartError, match="in a directory that is yours alone"):
        open_unix(str(path))
    assert private.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("host", "others"), [("127.0.0.2", False), ("0.0.0.0", True)])
def test_who_can_connect(host: str, others: bool) -> None:
    with listening(host, 0) as [listener]:
        assert reaches_others(listener) is others


def test_what_is_passed_is_grouped_by_address() -> None:
    with listening("127.0.0.1", 0, 2) as shared, listening("127.0.0.1", 0) as [other]:
        passed = [(each.dup().detach(), each is other) for each in (shared[0], other, shared[1])]
        settings = Settings(root=Path(), proxy_from=parse_networks("10.0.0.0/8"))
        opened = open_for(settings, passed, 3)
        assert [{url_of(each) for each in address.sockets} for address in opened] == [
            {url_of(shared[0])},
            {url_of(other)},
        ]
        assert [(len(each.sockets), each.proxy, each.passed) for each in opened] == [
            (3, False, 2),
            (3, True, 1),
        ]
        for address in opened:
            for each in address.sockets:
                each.close()
        with pytest.raises(StartError, match="--proxy-from"):
            open_for(Settings(root=Path()), [(other.dup().detach(), True)], 1)


def test_every_address_is_opened_or_none(tmp_path: Path) -> None:
    with listening("127.0.0.1", 0) as [other]:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(StartError, match="--listen"):
            open_for(Settings(root=Path(), listen=(f"unix:{tmp_path}/socket", taken)), [], 1)
    listen = (f"unix:{tmp_path}/socket", f"{taken}")
    opened = open_for(Settings(root=Path(), listen=listen), [], 2)
    assert [address.name for address in opened] == [f"{tmp_path}/socket", ""]
    assert [url_of(address.sockets[1]) for address in opened] == [
        f"unix:{tmp_path}/socket",
        f"http://{taken}",
    ]
    for address in opened:
        for each in address.sockets:
            each.close()


def test_url_of_ipv4() -> None:
    with listening("127.0.0.1", 0) as [listener]:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid", "256.1.1.1"])
def test_a_host_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    def unknown(*_args: object, **_named: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    if len(host) < 64:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(StartError, match=r"cannot be resolved .*Type such as 127"):
        open_listeners(host, 0, 1, stall_ms=STALL_MS)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(StartError, match=r"192\.0\.2\.1 is not an address of this machine\. Type"):
        open_listeners("192.0.2.1", 0, 1, stall_ms=STALL_MS)


@pytest.mark.parametrize(
    ("number", "port", "text"),
    [
        (errno.EACCES, 80, "port 80 is for privileged users only. Type --admin"),
        (errno.EACCES, 8080, "Permission denied"),
        (errno.EMFILE, 80, "Too many open files"),
    ],
)
def test_other_refusals(monkeypatch: pytest.MonkeyPatch, number: int, port: int, text: str) -> None:
    def refuse(*_args: object, **_named: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(sockets, "_bind", refuse)
    with pytest.raises(StartError) as caught:
        open_listeners("127.0.0.1", port, 1, stall_ms=STALL_MS, flag="--admin")
    assert text in str(caught.value)

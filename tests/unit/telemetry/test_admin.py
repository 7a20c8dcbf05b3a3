"""The admin listener: who may ask, who may read, and who makes room; and when there is no descriptor left."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

import pytest

from zchttpd.config.options import StartError
from zchttpd.config.settings import Settings
from zchttpd.telemetry.admin import ACCEPT_PAUSE_S, CONNECTIONS_MAX, Admin, Routes
from zchttpd.telemetry.admin_access import Access, access_of

if TYPE_CHECKING:
    from pathlib import Path

    from zchttpd.telemetry.metrics import Family

OWN = Access("127.0.0.1", frozenset({8080}))
WELL = {b"/healthz": str}


class OutOfDescriptors(socket.socket):
    """A listener of a process that may open no more."""

    def accept(self) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_visitor_that_cannot_be_accepted_does_not_make_the_supervisor_spin() -> None:
    with OutOfDescriptors() as listener, selectors.DefaultSelector() as selector, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        admin = Admin(listener, selector, Routes(tuple, WELL), Access("127.0.0.1", frozenset()))
        client.connect(listener.getsockname())
        now = 1000.0
        [(key, _)] = selector.select()
        key.data(now)
        assert selector.select(0) == []
        assert admin.expire(now) == pytest.approx(now + ACCEPT_PAUSE_S)
        assert admin.expire(now + ACCEPT_PAUSE_S) is None
        assert len(selector.select(0)) == 1
        admin.close()


@pytest.mark.parametrize(
    ("bound", "host", "named"),
    [
        ("127.0.0.1", None, True),  # not a browser
        ("127.0.0.1", b"127.0.0.1:9100", True),
        ("127.0.0.1", b"LOCALHOST:9100", True),
        ("127.0.0.1", b"localhost", True),
        ("127.0.0.1", b"127.1.2.3:1", True),
        ("127.0.0.1", b"[::1]:9100", True),
        ("::1", b"[::1]", True),
        ("127.0.0.1", b"evil.example:9100", False),
        ("127.0.0.1", b"127.0.0.1.evil.example", False),
        ("127.0.0.1", b"10.0.0.1:9100", False),
        ("::1", b"evil.example", False),
        ("127.0.0.1", b"", False),
        ("10.0.0.1", b"evil.example:9100", False),
        ("10.0.0.1", b"10.0.0.1:9100", True),
        ("0.0.0.0", b"10.0.0.7:9100", True),
        ("::", b"[2001:db8::1]:9100", True),
        ("0.0.0.0", b"localhost:9100", True),
    ],
)
def test_it_answers_to_its_own_names_alone(bound: str, host: bytes | None, named: bool) -> None:
    assert Access(bound, 8080).names(host) is named


@pytest.mark.parametrize(
    ("origin", "host", "reads"),
    [
        (b"http://127.0.0.1:8080", b"127.0.0.1:9100", True),
        (b"http://localhost:8080", b"127.0.0.1:9100", True),
        (b"http://[::1]:8080", b"localhost:9100", True),
        (b"http://10.0.0.1:8080", b"10.0.0.1:9100", True),
        (b"http://127.0.0.1:8081", b"127.0.0.1:9100", False),
        (b"http://127.0.0.1", b"127.0.0.1:9100", False),
        (b"http://evil.example:8080", b"127.0.0.1:9100", False),
        (b"https://127.0.0.1:8080", b"127.0.0.1:9100", False),
        (b"null", b"127.0.0.1:9100", False),
        (None, b"127.0.0.1:9100", False),
        (b"http://127.0.0.1:8080", None, False),
    ],
)
def test_pages_of_this_server_alone_read_the_answers(
    origin: bytes | None, host: bytes | None, reads: bool
) -> None:
    assert Access("127.0.0.1", frozenset({8080})).reader(host, origin) == (origin if reads else None)


def test_without_a_port_of_its_own_no_page_reads_the_answers() -> None:
    assert Access("127.0.0.1", frozenset()).reader(b"127.0.0.1:9100", b"http://127.0.0.1:0x") is None
    assert (
        Access("127.0.0.1", frozenset({80})).reader(b"127.0.0.1:9100", b"http://127.0.0.1")
        == b"http://127.0.0.1"
    )


def test_names_and_origins_that_are_given(tmp_path: Path) -> None:
    origins = ("https://graphs.example", "http://10.0.0.9:3000")
    given = Settings(root=tmp_path, admin="web1:9100", admin_name=("Metrics.example",), admin_origin=origins)
    access = access_of(given, "10.0.0.1", ())
    for name in (b"metrics.example", b"web1:9100", socket.gethostname().encode()):
        assert access.names(name)
    assert not access_of(Settings(root=tmp_path, admin="127.0.0.1:1"), "127.0.0.1", ()).names(b"web1")
    assert access.reader(None, b"https://graphs.example") == b"https://graphs.example"
    assert access.reader(None, b"https://graphs.example.evil.example") is None
    assert access.reader(b"10.0.0.1:9100", b"http://10.0.0.9:3001") is None


def test_a_token_is_wanted_for_all_but_health(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    settings = Settings(
        root=tmp_path,
        admin="127.0.0.1:1",
        admin_token_file=str(path),
        admin_origin=("https://graphs.example",),
    )
    with ExitStack() as stack:
        served = Served(stack, access_of(settings, "127.0.0.1", [8080]))
        assert served.ask(b"Host: localhost").startswith(b"HTTP/1.1 200 ")
        for field in (
            b"X: y",
            b"Authorization: Bearer",
            b"Authorization: Bearer 0123456789abcdeF",
            b"Authorization: Basic 0123456789abcdef",
        ):
            answer = served.ask(b"Host: localhost", field, target=b"/metrics")
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer
        answer = served.ask(
            b"Host: localhost", b"Authorization: bearer 0123456789abcdef", target=b"/metrics.json"
        )
        assert answer.startswith(b"HTTP/1.1 200 ")
        asked = served.ask(b"Host: localhost", b"Origin: https://graphs.example", method=b"OPTIONS")
        assert asked.startswith(b"HTTP/1.1 204 ")
        assert b"\r\nAccess-Control-Allow-Headers: Authorization\r\n" in asked
        foreign = served.ask(b"Host: localhost", b"Origin: https://evil.example", method=b"OPTIONS")
        assert foreign.startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("content", [None, "", "short", "one two three four five", "\u00e9" * 20])
def test_a_file_without_a_token(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    settings = Settings(root=tmp_path, admin="127.0.0.1:1", admin_token_file=str(path))
    with pytest.raises(StartError, match=r"--admin-token-file: '.*' (?:cannot be read|has no token)"):
        access_of(settings, "127.0.0.1", ())


class Served:
    """An admin listener, and the turns of its loop."""

    def __init__(self, stack: ExitStack, access: Access = OWN, routes: Routes | None = None) -> None:
        self.stack = stack
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        self.selector = stack.enter_context(selectors.DefaultSelector())
        self.admin = Admin(self.listener, self.selector, routes or Routes(tuple, WELL), access)
        stack.callback(self.admin.close)

    def connect(self, sent: bytes = b"") -> socket.socket:
        client = self.stack.enter_context(socket.create_connection(self.listener.getsockname(), 10))
        client.sendall(sent)
        self.turn()
        return client

    def turn(self) -> None:
        """Until nothing is left to do."""
        while ready := self.selector.select(0):
            for key, _ in ready:
                key.data(0.0)

    def ask(self, *fields: bytes, target: bytes = b"/healthz", method: bytes = b"GET") -> bytes:
        lines = (b"%b %b HTTP/1.1" % (method, target), *fields, b"", b"")
        client = self.connect(b"\r\n".join(lines))
        return client.recv(65536)


def test_a_page_of_another_name_is_told_so_and_reads_nothing() -> None:
    with ExitStack() as stack:
        served = Served(stack)
        assert served.ask(b"Host: evil.example:9100").startswith(b"HTTP/1.1 421 ")
        answer = served.ask(b"Host: 127.0.0.1", b"Origin: http://evil.example:8080")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"access-control-allow-origin" not in answer.lower()
        own = served.ask(b"Host: 127.0.0.1", b"Origin: http://localhost:8080").lower()
        assert b"\r\naccess-control-allow-origin: http://localhost:8080\r\n" in own


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ids=["silent", "half", "asked"],
)
def test_those_that_only_hold_their_place_keep_no_probe_out(sent: bytes) -> None:
    with ExitStack() as stack:
        served = Served(stack)
        held = [served.connect(sent) for _ in range(CONNECTIONS_MAX)]
        assert served.ask(b"Host: localhost").startswith(b"HTTP/1.1 200 ")
        assert len(held) == CONNECTIONS_MAX


def test_the_oldest_makes_room_and_no_other() -> None:
    with ExitStack() as stack:
        served = Served(stack)
        first, second, *_ = [served.connect() for _ in range(CONNECTIONS_MAX)]
        served.connect()
        assert first.recv(1) == b""
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.recv(1)


def test_who_makes_room_may_ask_in_that_very_moment() -> None:
    with ExitStack() as stack:
        served = Served(stack)
        held = [served.connect() for _ in range(CONNECTIONS_MAX)]
        stack.enter_context(socket.create_connection(served.listener.getsockname(), 10))
        held[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        served.turn()
        held[1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        served.turn()
        assert held[1].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_who_has_begun_to_ask_stays_while_others_are_silent() -> None:
    with ExitStack() as stack:
        served = Served(stack)
        asking = served.connect(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(CONNECTIONS_MAX + 5):
            served.connect()
        asking.sendall(b"Host: localhost\r\n\r\n")
        served.turn()
        assert asking.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_check_says_why_not_and_needs_no_token() -> None:
    access = Access("127.0.0.1", 8080, token=b"0123456789abcdef")
    with ExitStack() as stack:
        served = Served(stack, access, Routes(tuple, {b"/livez": str, b"/readyz": lambda: "it drains"}))
        for target in (b"/livez", b"/livez?from=probe"):
            assert served.ask(b"Host: localhost", target=target).endswith(b"\r\n\r\nok\n")
        answer = served.ask(b"Host: localhost", target=b"/readyz")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert answer.endswith(b"\r\n\r\nit drains\n")
        assert served.ask(b"Host: localhost", target=b"/metrics").startswith(b"HTTP/1.1 401 ")


def test_what_cannot_be_told_ends_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def families() -> tuple[Family, ...]:
        raise OSError(errno.EMFILE, "Too many open files")

    with ExitStack() as stack:
        served = Served(stack, routes=Routes(families, WELL))
        assert served.ask(b"Host: localhost", target=b"/metrics").startswith(b"HTTP/1.1 500 ")
        assert served.ask(b"Host: localhost", target=b"/").startswith(b"HTTP/1.1 200 ")
    assert "Too many open files" in caplog.text


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (b"application/openmetrics-text; version=1.0.0", True),
        # As Prometheus asks.
        (b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", True),
        (b"text/plain, application/openmetrics-text;q=0.5", False),
        (b"application/openmetrics-text;q=0", False),
        (b"*/*", False),
    ],
)
def test_metrics_come_in_the_format_that_is_wished_for(accept: bytes, openmetrics: bool) -> None:
    with ExitStack() as stack:
        served = Served(stack)
        answer = served.ask(b"Host: localhost", b"Accept: " + accept, target=b"/metrics")
        wanted = b"application/openmetrics-text; version=1.0.0" if openmetrics else b"text/plain; version="
        assert b"\r\nContent-Type: " + wanted in answer
        assert answer.endswith(b"# EOF\n") == openmetrics
        assert b"\r\nVary: Accept, Origin\r\n" in answer

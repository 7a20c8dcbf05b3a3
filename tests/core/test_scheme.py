"""By which scheme a request was made, and that no answer to one of https is given to one of http."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zchttpd._core.testing_proxy import read_scheme

from .bench import DATE, Bench

if TYPE_CHECKING:
    from zchttpd._core.testing import ExecutedOp

KEY_SIZE_MAX = 2048
PROXIES = [(bytes([10, 0, 0, 0]), 8), (ipaddress.ip_address("fd00::").packed, 8)]
CLIENT, PROXY = "192.0.2.7", bytes([10, 1, 1, 1])


def read(*lines: str, forwarded: bool = False) -> str:
    head = "\r\n".join(["GET / HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")
    return read_scheme(head, forwarded, PROXIES)


@pytest.mark.parametrize(
    ("clients", "values", "scheme"),
    [
        ("", "https", "https"),
        ("", " HTTPS\t", "https"),
        ("", "http", "http"),
        ("", "http, https", "https"),
        ("", "https,http,", "http"),
        (CLIENT, "http, https", "https"),
        # The values of two proxies stand beside those of X-Forwarded-For, from the end.
        (f"{CLIENT}, 10.0.0.1", "http, https, http", "https"),
        (f"6.6.6.6, {CLIENT}, 10.0.0.1", "http, https, http", "https"),
        # The second of them has left what the first said.
        (f"{CLIENT}, 10.0.0.1", "https", "https"),
        (f"{CLIENT}, 10.0.0.1, 10.0.0.2", "https, http", "https"),
        ("10.0.0.1, 10.0.0.2", "https, http", "https"),
        (f"{CLIENT}, unknown, 10.0.0.1", "http, https, http", "https"),
        ("unknown", "http, https", "https"),
        ("", "", ""),
        ("", ",", ""),
        ("", "wss", ""),
        ("", "https:", ""),
        ("", "httpsx", ""),
        ("", "https http", ""),
        ("", '"https"', ""),
        ("", "https\0", ""),
        # What comes before is not read in its place.
        ("", "https, ftp", ""),
    ],
)
def test_x_forwarded_proto(clients: str, values: str, scheme: str) -> None:
    lines = [f"x-forwarded-PROTO:{values}", "Forwarded: proto=http"]
    if clients:
        lines.append(f"X-Forwarded-For: {clients}")
    assert read(*lines) == scheme
    assert read(*lines[:1], forwarded=True) == ""


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        (f"for={CLIENT};proto=https", "https"),
        (f'Proto="HTTPS" ; for="{CLIENT}:4711"', "https"),
        ("proto=http", "http"),
        ("for=unknown;proto=https", "https"),
        (f"for=6.6.6.6;proto=http, for={CLIENT};proto=https, for=10.0.0.1;proto=http", "https"),
        (f"for={CLIENT};proto=http, for=_hidden;proto=https, for=10.0.0.1", "https"),
        ("for=10.0.0.1;proto=https, for=10.0.0.2;proto=http", "https"),
        (f"for={CLIENT};proto=https, for=10.0.0.1", "https"),
        # Whoever says nothing of it lets nobody else speak.
        (f"for=6.6.6.6;proto=https, for={CLIENT}", ""),
        (f"for={CLIENT};proto=https, proto=ftp", ""),
        (f"for={CLIENT}", ""),
        (f"for={CLIENT};protocol=https", ""),
        (f"for={CLIENT};proto=https, =", ""),
        (f'for="{CLIENT};proto=https', ""),
        ("proto=", ""),
        ("", ""),
    ],
)
def test_forwarded(value: str, scheme: str) -> None:
    lines = [f"Forwarded: {value}", "X-Forwarded-Proto: ftp"]
    assert read(*lines, forwarded=True) == scheme
    assert read(*lines) == ""


def test_lines_are_one_list() -> None:
    assert read("X-Forwarded-Proto: http", "X-Other: 1", "X-Forwarded-Proto: https") == "https"
    lines = [f"Forwarded: for={CLIENT};proto=https", "Forwarded: for=10.0.0.1;proto=http"]
    assert read(*lines, forwarded=True) == "https"
    assert read(*lines[::-1], forwarded=True) == "https"
    assert read('Forwarded: for="', *lines, forwarded=True) == ""


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(value: bytes, forwarded: bool) -> None:
    for name in (b"Forwarded:", b"X-Forwarded-Proto:", b"X-Forwarded-Proto: https\r\nX-Forwarded-For:"):
        for end in (b"", b"\n", b"\r\n\r\n"):
            found = read_scheme(b"GET / HTTP/1.1\r\n" + name + value + end, forwarded, PROXIES)
            assert found in ("", "http", "https")


# What answers are: the ones to http and those to https differ in length.
IMAGES = {secure: b"Date: " + DATE + b"\r\n\r\n" + bytes(secure) for secure in (False, True)}
HTTP, HTTPS, NOTHING = "http", "https", ""


class Fronted(Bench):
    """Answers by the scheme, and has all answers remembered. `forwarded`: which field is read."""

    def __init__(self, *, forwarded: bool = False, secure: bool = False, proxy: str = "") -> None:
        super().__init__(proxy=proxy, head_size_max=2 * KEY_SIZE_MAX)
        self.forwarded = forwarded
        self.machine.believe(PROXIES, forwarded)
        self.machine.tell_schemes(secure)
        self.entry = self.machine.entry(1 << 40)

    def head(self, scheme: str, *, more: bytes = b"") -> bytes:
        line = f"Forwarded: for={CLIENT};proto={scheme}" if self.forwarded else f"X-Forwarded-Proto: {scheme}"
        return b"GET /a HTTP/1.1\r\n%b%b\r\n" % (f"{line}\r\n".encode() if scheme else b"", more)

    def connect_from(self, address: bytes) -> ExecutedOp:
        self.fds += 1
        assert self.accept(self.fds, 0, address=address)
        [recv] = self.ops()
        return recv

    def asks(self, recv: ExecutedOp, head: bytes) -> tuple[str, bool]:
        """The scheme that the answer is for, and whether it was remembered."""
        self.hear(recv, head)
        work = self.take_work()
        for _, ticket, _ in work:
            image = IMAGES[self.machine.is_secure(ticket)]
            plan = self.plan([("literal", 0, len(image))], image, entry=self.entry)
            self.machine.answer(ticket, plan, True)
            self.machine.release(plan)
        [send] = self.ops()
        self.step(send.token, send.length)
        return HTTPS if send.length == len(IMAGES[True]) else HTTP, not work


@pytest.mark.parametrize("forwarded", [False, True])
@pytest.mark.parametrize("secure", [False, True])
def test_what_is_remembered_is_for_one_scheme(forwarded: bool, secure: bool) -> None:
    own, other = (HTTPS, HTTP) if secure else (HTTP, HTTPS)
    bench = Fronted(forwarded=forwarded, secure=secure)
    proxy, client, again = (bench.connect_from(each) for each in (PROXY, bytes([192, 0, 2, 9]), PROXY))
    assert bench.asks(proxy, bench.head(other)) == (other, False)
    assert bench.asks(proxy, bench.head(other)) == (other, True)
    # It names none, or none that is known: that is the connection's.
    assert bench.asks(proxy, bench.head(NOTHING)) == (own, False)
    for scheme in (NOTHING, own, "ftp"):
        assert bench.asks(proxy, bench.head(scheme)) == (own, True)
    # Nobody believes the client itself, and it is not told what is remembered for others.
    for scheme in (other, own, NOTHING, other):
        assert bench.asks(client, bench.head(scheme)) == (own, True)
    for scheme in (other, own, NOTHING, other, other):
        told = own if scheme == NOTHING else scheme
        assert bench.asks(again, bench.head(scheme, more=b"X-Unread: 1\r\n")) == (told, True)


@pytest.mark.parametrize("forwarded", [False, True])
def test_the_bytes_of_a_key_are_no_way_around(forwarded: bool) -> None:
    """Who sends just that by which the other scheme is remembered gets it only if it is believed."""
    bench = Fronted(forwarded=forwarded)
    line = b"Forwarded: proto=https\r\n" if forwarded else b"X-Forwarded-Proto: https\r\n"
    key = b"GET /a HTTP/1.1\r\n%b\r\n" % line
    proxy, client = bench.connect_from(PROXY), bench.connect_from(bytes([192, 0, 2, 9]))
    assert bench.asks(proxy, bench.head(HTTPS)) == (HTTPS, False)
    assert bench.asks(proxy, key) == (HTTPS, True)
    assert bench.asks(client, key) == (HTTP, False)
    for _ in range(2):
        assert bench.asks(client, key) == (HTTP, True)
        assert bench.asks(proxy, key) == (HTTPS, True)


def test_heads_behind_each_other_are_each_of_their_own_scheme() -> None:
    bench = Fronted()
    proxy = bench.connect_from(PROXY)
    for scheme in (HTTPS, NOTHING):
        bench.asks(proxy, bench.head(scheme))
    bench.hear(proxy, b"".join(map(bench.head, (HTTPS, NOTHING, HTTPS, HTTP))))
    lengths = []
    for _ in range(4):
        [send] = bench.ops()
        lengths.append(send.length)
        bench.step(send.token, send.length)
    assert not bench.take_work()
    assert lengths == [len(IMAGES[secure]) for secure in (True, False, True, False)]


def test_a_key_that_gets_too_long_is_not_remembered() -> None:
    bench = Fronted()
    proxy = bench.connect_from(PROXY)
    size = (
        KEY_SIZE_MAX - len(b"Accept: \r\n") - len(bench.head(NOTHING)) - len(b"X-Forwarded-Proto: https\r\n")
    )
    for spare, remembered in ((0, True), (1, False)):
        accept = b"Accept: %b\r\n" % (b"a" * (size + spare))
        assert bench.asks(proxy, bench.head(HTTPS, more=accept)) == (HTTPS, False)
        assert bench.asks(proxy, bench.head(HTTPS, more=accept)) == (HTTPS, remembered)


def test_the_client_of_a_proxy_protocol_may_be_believed_too() -> None:
    bench = Fronted(proxy="any")
    for client, told in (("10.2.2.2", HTTPS), ("192.0.2.99", HTTP)):
        recv = bench.connect_from(b"")
        bench.hear(recv, f"PROXY TCP4 {client} 10.0.0.1 1 2\r\n".encode())
        assert bench.asks(recv, bench.head(HTTPS)) == (told, False)

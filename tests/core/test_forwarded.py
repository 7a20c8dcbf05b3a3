"""The client that proxies name in a request head, and which of them are believed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zchttpd._core.testing_proxy import read_forwarded

from zchttpd.engine.access_records import unpack_records

from .bench import Bench

PROXIES = [(bytes([10, 0, 0, 0]), 8), (ipaddress.ip_address("fd00::").packed, 8)]
CLIENT, OTHER, SIX = "192.0.2.7", "198.51.100.9", "2001:db8::7"
NODES_MAX = 16

Client = tuple[str, int] | None


def read(*lines: str, forwarded: bool = False) -> Client:
    head = "\r\n".join(["GET / HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")
    found = read_forwarded(head, forwarded, PROXIES)
    return found and (str(ipaddress.ip_address(found[0])), found[1])


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (CLIENT, (CLIENT, 0)),
        (f" {CLIENT} ", (CLIENT, 0)),
        (f"{CLIENT}:4711", (CLIENT, 4711)),
        (SIX, (SIX, 0)),
        (f"[{SIX}]", (SIX, 0)),
        (f"[{SIX}]:80", (SIX, 80)),
        ("::ffff:192.0.2.7", (CLIENT, 0)),
        (f"{OTHER}, {CLIENT}", (CLIENT, 0)),
        (f"{CLIENT}, 10.0.0.1, 10.9.9.9", (CLIENT, 0)),
        (f"{CLIENT},fd00::1,,", (CLIENT, 0)),
        ("10.0.0.1, 10.0.0.2", ("10.0.0.1", 0)),
        (f"invented, {CLIENT}", (CLIENT, 0)),
        (f"{CLIENT}, unknown, 10.0.0.1", ("10.0.0.1", 0)),
        (f"{CLIENT}, unknown", None),
        ("", None),
        (",", None),
        ("192.0.2.256", None),
        (f"{CLIENT}:65536", None),
        (f"{CLIENT}:", None),
        (f"[{SIX}", None),
        (f"[{SIX}]80", None),
        (f"[{CLIENT}]", None),
        (f"{CLIENT} {OTHER}", None),
        (f'"{CLIENT}"', None),
        (f"{CLIENT}\0", None),
        ("1" * 300, None),
    ],
)
def test_x_forwarded_for(value: str, client: Client) -> None:
    assert read(f"X-Forwarded-For: {value}") == client
    assert read(f"x-forwarded-FOR:{value}", "X-Forwarded: 1") == client
    assert read(f"X-Forwarded-For: {value}", forwarded=True) is None


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (f"for={CLIENT}", (CLIENT, 0)),
        (f"For={CLIENT};proto=https;by=10.0.0.1", (CLIENT, 0)),
        (f'proto=https; for="{CLIENT}:4711" ; host="a,b;c"', (CLIENT, 4711)),
        (f'for="[{SIX}]"', (SIX, 0)),
        (f'for="[{SIX}]:_hidden"', (SIX, 0)),
        (f'for={OTHER}, for="[{SIX}]:443", for=10.0.0.1', (SIX, 443)),
        (f"for={CLIENT},, for=10.0.0.1;", (CLIENT, 0)),
        (f"for={CLIENT}, for=_hidden, for=10.0.0.1", ("10.0.0.1", 0)),
        (f"for={CLIENT}, proto=http", None),
        ("for=unknown", None),
        ("for=_secret", None),
        (f'for="{CLIENT}', None),
        (f"for={CLIENT} proto=http", None),
        (f"for={CLIENT}, =", None),
        (f"for = {CLIENT}", None),
        (f"for={CLIENT}\x7f", None),
        (f'for="\\{CLIENT}"', None),
        ("for=", None),
        ("", None),
        # A quote that a client leaves open must not make a client of what the proxy appends.
        (f'for="{OTHER}, for={CLIENT}', None),
        (f'for={OTHER}, for="x, for={CLIENT}', None),
    ],
)
def test_forwarded(value: str, client: Client) -> None:
    assert read(f"Forwarded: {value}", forwarded=True) == client
    assert read(f"Forwarded: {value}") is None


def test_lines_are_one_list() -> None:
    lines = [f"X-Forwarded-For: {OTHER}", "X-Other: 1", f"X-Forwarded-For: {CLIENT}, 10.0.0.1"]
    assert read(*lines) == (CLIENT, 0)
    assert read(*lines[::-1]) == (OTHER, 0)
    lines = [f"Forwarded: for={OTHER}", f"Forwarded: for={CLIENT}", "Forwarded: for=10.0.0.1"]
    assert read(*lines, forwarded=True) == (CLIENT, 0)
    assert read('Forwarded: for="', *lines, forwarded=True) is None


@pytest.mark.parametrize("empty", [b"\r\n", b"\n"])
def test_what_follows_the_empty_line_is_of_another(empty: bytes) -> None:
    head = b"GET / HTTP/1.1\n" + NAMES_ONE + empty + b"GET / HTTP/1.1\r\n" + NAMES_OTHER + b"\r\n"
    found = read_forwarded(head, False, PROXIES)
    assert found
    assert str(ipaddress.ip_address(found[0])) == CLIENT
    assert read_forwarded(head.replace(NAMES_ONE, b""), False, PROXIES) is None


def test_a_long_list_is_read_from_its_end() -> None:
    assert read(f"X-Forwarded-For: {', '.join([OTHER] * 500 + [CLIENT])}") == (CLIENT, 0)
    # So many proxies stand in no row.
    row = [CLIENT, *(f"10.0.0.{number}" for number in range(20))]
    assert read(f"X-Forwarded-For: {', '.join(row)}") == (f"10.0.0.{20 - NODES_MAX}", 0)


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6))


@given(st.lists(st.one_of(ADDRESSES.map(str), st.sampled_from(("unknown", "")))), st.booleans())
def test_it_is_the_first_from_the_end_that_is_no_proxy(nodes: list[str], forwarded: bool) -> None:
    expected = None
    for node in [each for each in nodes if each or forwarded][::-1][:NODES_MAX]:
        try:
            address = ipaddress.ip_address(node)
        except ValueError:
            break
        mapped = getattr(address, "ipv4_mapped", None)
        expected = mapped or address
        if not any(
            len(network) == len(expected.packed)
            and expected
            in ipaddress.ip_network(
                (int.from_bytes(network, "big"), bits) if len(network) == 4 else (network, bits)
            )
            for network, bits in PROXIES
        ):
            break
    value = ", ".join(
        f'for="{f"[{node}]" if ":" in node else node}"' if forwarded else node for node in nodes
    )
    name = "Forwarded" if forwarded else "X-Forwarded-For"
    found = read(f"{name}: {value}", forwarded=forwarded)
    assert (found and found[0]) == (expected and str(expected))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(value: bytes, forwarded: bool) -> None:
    found = read_forwarded(b"GET / HTTP/1.1\r\nForwarded:" + value + b"\r\n", forwarded, PROXIES)
    assert found is None or len(found[0]) in (4, 16)
    found = read_forwarded(b"X-Forwarded-For:" + value + b"\n", forwarded, [])
    assert found is None or not forwarded or b"orwarded" in value


class Logged(Bench):
    def __init__(self, proxies: list[tuple[bytes, int]], **more: str) -> None:
        super().__init__(access_bytes=1 << 16, **more)  # type: ignore[arg-type]
        self.machine.believe(proxies, False)

    def addresses(self) -> list[str]:
        return [record.address for record in unpack_records(self.machine.take_records())]

    def answer(self, *tokens: bytes, address: bytes) -> None:
        """One connection from there, with these heads."""
        self.fds += 1
        assert self.accept(self.fds, 0, address=address)
        [recv] = [op for op in self.ops() if op.kind == "recv"]
        plan = self.small()
        for head in tokens:
            self.hear(recv, head)
            for _, ticket, _ in self.take_work():
                self.machine.answer(ticket, plan, True)
            for op in self.ops():
                if op.kind == "send":
                    self.step(op.token, op.length)
        self.machine.release(plan)


HEAD = b"GET /a HTTP/1.1\r\n%b\r\n"
NAMES_ONE, NAMES_OTHER = (b"X-Forwarded-For: %b\r\n" % each.encode() for each in (CLIENT, OTHER))


def test_each_request_names_its_own() -> None:
    """Also where the head is remembered: the field is no part of its key."""
    bench = Logged(PROXIES)
    heads = [HEAD % NAMES_ONE, HEAD % NAMES_OTHER, HEAD % b"", HEAD % NAMES_ONE]
    bench.answer(*heads, address=bytes([10, 1, 1, 1]))
    assert bench.addresses() == [CLIENT, OTHER, "10.1.1.1", CLIENT]


@pytest.mark.parametrize("proxies", [[], PROXIES])
def test_nobody_else_is_believed(proxies: list[tuple[bytes, int]]) -> None:
    bench = Logged(proxies)
    bench.answer(HEAD % NAMES_ONE, HEAD % NAMES_OTHER, address=bytes([192, 0, 2, 99]))
    bench.answer(HEAD % NAMES_ONE, address=b"")
    assert bench.addresses() == ["192.0.2.99", "192.0.2.99", ""]


def test_who_comes_by_a_unix_socket_may_be_believed() -> None:
    bench = Logged([(b"", 0)])
    bench.answer(HEAD % NAMES_ONE, address=b"")
    bench.answer(HEAD % NAMES_ONE, address=bytes([10, 1, 1, 1]))
    assert bench.addresses() == [CLIENT, "10.1.1.1"]


def test_the_client_of_a_proxy_protocol_may_be_a_proxy_too() -> None:
    bench = Logged(PROXIES, proxy="any")
    bench.answer(b"PROXY TCP4 10.2.2.2 10.0.0.1 1 2\r\n" + HEAD % NAMES_ONE, address=b"")
    bench.answer(b"PROXY TCP4 192.0.2.99 10.0.0.1 1 2\r\n" + HEAD % NAMES_ONE, address=b"")
    assert bench.addresses() == [CLIENT, "192.0.2.99"]

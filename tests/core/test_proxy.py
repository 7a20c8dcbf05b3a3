"""Headers of the PROXY protocol: what they say, who may send them, and when they have to be there."""

from __future__ import annotations

import ipaddress
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zchttpd._core.testing_proxy import read_proxy

from zchttpd._core import testing
from zchttpd.engine.access_records import unpack_records

from .bench import HEAD, Bench
from .proxying import (
    CRC32C,
    LOCAL,
    NOOP,
    PROXY,
    SIGNATURE,
    UDP4,
    UNIX,
    binary,
    crc32c,
    line,
    summed,
    tlv,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

FRONT = bytes([10, 0, 0, 9])
ELSEWHERE = bytes([10, 0, 1, 9])
FOUR, SIX = "192.0.2.7", "2001:db8::7"
LINE_MAX, SIZE_MAX = 107, 2048

GOOD = {
    "line of IPv4": (line(FOUR), FOUR),
    "line of IPv6": (line(SIX), SIX),
    "longest line": (
        b"PROXY TCP6 ffff:f:f:ffff:ffff:ffff:ffff:ffff ffff:f:f:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        "ffff:f:f:ffff:ffff:ffff:ffff:ffff",
    ),
    "line of nobody": (b"PROXY UNKNOWN\r\n", ""),
    "line of nobody, with more": (b"PROXY UNKNOWN ffff:f::1 whatever \0 1 2\r\n", ""),
    "longest line of nobody": (b"PROXY UNKNOWN".ljust(LINE_MAX - 2) + b"\r\n", ""),
    "binary of IPv4": (binary(FOUR), FOUR),
    "binary of IPv6": (binary(SIX), SIX),
    "with more": (binary(FOUR, added=tlv(NOOP, b"") + tlv(0x20, b"x" * 900)), FOUR),
    "longest": (binary(FOUR, added=tlv(NOOP, bytes(SIZE_MAX - 31))), FOUR),
    "summed": (summed(FOUR), FOUR),
    "the proxy itself": (binary(command=LOCAL), ""),
    "the proxy itself, with an address": (binary(FOUR, command=LOCAL), ""),
    "the proxy itself, with whatever": (binary(command=LOCAL, kind=0x21, added=b"\xff" * 9), ""),
    "unspecified": (binary(), ""),
    "no stream": (binary(FOUR, kind=UDP4), ""),
    "a unix socket": (binary(added=bytes(216), kind=UNIX), ""),
    "IPv4 in IPv6": (binary("::ffff:192.0.2.7"), FOUR),
}
WRONG = {
    "a request": HEAD,
    "another word": b"PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n",
    "in lower case": b"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
    "no CR": b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
    "nothing": b"PROXY \r\n",
    "no word": b"PROXY TCP4\r\n",
    "UNKNOWNS": b"PROXY UNKNOWNS\r\n",
    "two blanks": b"PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
    "a blank behind": b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
    "one port": b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
    "three ports": b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
    "a port too high": b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n",
    "a port of four billion": b"PROXY TCP4 192.0.2.7 10.0.0.1 4294967297 2\r\n",
    "a port with a zero": b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
    "a port with a sign": b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
    "no number": b"PROXY TCP4 192.0.2.7 10.0.0.1 a 2\r\n",
    "IPv6 where IPv4 is said": b"PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n",
    "IPv4 where IPv6 is said": b"PROXY TCP6 192.0.2.7 fd00::1 1 2\r\n",
    "a wrong destination": b"PROXY TCP4 192.0.2.7 10.0.0 1 2\r\n",
    "an octet too high": b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
    "a NUL": b"PROXY TCP4 192.0.2.7\0 10.0.0.1 1 2\r\n",
    "a line too long": b"PROXY UNKNOWN".ljust(LINE_MAX - 1) + b"\r\n",
    "version 1 in binary": binary(FOUR, command=0x11),
    "version 3": binary(FOUR, command=0x31),
    "no such command": binary(FOUR, command=0x22),
    "no such family": binary(FOUR, kind=0x41),
    "no such transport": binary(FOUR, kind=0x13),
    "no room for its address": binary(added=bytes(11), kind=0x11),
    "no room for IPv6": binary(added=bytes(35), kind=0x21),
    "no room for a path": binary(added=bytes(215), kind=UNIX),
    "too long": binary(FOUR, added=tlv(NOOP, bytes(SIZE_MAX - 30))),
    "as long as can be said": SIGNATURE + bytes((PROXY, 0x11, 0xFF, 0xFF)),
    "more than fits": binary(FOUR, added=b"\x04\0\5abc"),
    "half of more": binary(FOUR, added=b"\x04\0"),
    "a wrong sum": binary(FOUR, added=tlv(CRC32C, b"abcd")),
    "a short sum": binary(FOUR, added=tlv(CRC32C, b"abc")),
}


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed if address else b""


@pytest.mark.parametrize("name", GOOD)
def test_what_a_header_says(name: str) -> None:
    header, client = GOOD[name]
    for behind in (b"", b"GET / HTTP/1.1\r\n", b"\n\0"):
        found, size, address, port = read_proxy(header + behind)
        assert (found, size) == ("client" if client else "own", len(header))
        assert address == packed(client)
        assert not client or port == (65535 if b"65535" in header else 40000)


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_decided_before_the_last_byte(name: str) -> None:
    header, _ = GOOD[name]
    for length in range(1, len(header)):
        assert read_proxy(header[:length])[0] == "more"


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_header(name: str) -> None:
    assert read_proxy(WRONG[name])[0] == "wrong"


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_stays_wrong(name: str) -> None:
    """The first byte that decides is enough: nobody waits for the rest of it."""
    found = [read_proxy(WRONG[name][:length])[0] for length in range(1, len(WRONG[name]) + 1)]
    first = found.index("wrong")
    assert found == ["more"] * first + ["wrong"] * (len(found) - first)


@given(st.one_of(st.binary(min_size=1, max_size=200), st.binary(max_size=120).map(b"PROXY ".__add__)))
def test_any_bytes(received: bytes) -> None:
    found, size, address, _ = read_proxy(received)
    if found == "client":
        assert 0 < size <= len(received)
        assert len(address) in (4, 16)
    else:
        assert address == b""


@given(
    st.binary(max_size=300), st.sampled_from((LOCAL, PROXY)), st.sampled_from((0x00, 0x11, 0x12, 0x21, 0x31))
)
def test_any_content(content: bytes, command: int, kind: int) -> None:
    header = binary(command=command, kind=kind, added=content)
    found, size, _, _ = read_proxy(header)
    assert found in ("wrong", "own", "client")
    assert found == "wrong" or size == len(header)
    assert command == PROXY or found == "own"


def test_the_checksum_is_the_one_that_is_meant() -> None:
    # RFC 3720, appendix B.4.
    assert crc32c(bytes(32)) == 0x8A9136AA
    good = summed(FOUR)
    # Behind the type of the checksum, which is another without it.
    for at in range(good.index(bytes((CRC32C, 0, 4))) + 1, len(good)):
        assert read_proxy(good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :])[0] == "wrong"


class Front(Bench):
    """A worker that is told who its clients are."""

    def __init__(self, **limits: int) -> None:
        super().__init__(proxy="named", proxies=[(bytes([10, 0, 0, 0]), 24)], access_bytes=1 << 16, **limits)
        self.tokens: dict[int, int] = {}

    def come(self, address: bytes = FRONT) -> int:
        """The descriptor of a new connection from there, or -1 when it is closed at once."""
        self.fds += 1
        if not self.accept(self.fds, 0, address=address, port=7):
            return -1
        [recv] = [op for op in self.ops() if op.kind == "recv"]
        self.tokens[self.fds] = recv.token
        return self.fds

    def say(self, fd: int, *parts: bytes) -> None:
        for part in parts:
            if part:
                self.step(self.tokens[fd], len(part), True, received=part)

    def state(self, fd: int) -> str:
        conn = self.machine.conn(self.tokens[fd] >> 32 & 0xFFFFFF)
        assert conn["fd"] == fd
        return str(testing.STATES[conn["state"]])

    def closed(self) -> list[int]:
        """Descriptors that have been closed in order since the last call of `ops`."""
        return [op.fd for op in self.ops() if op.kind == "close"]

    def addresses(self) -> list[str]:
        """Of the records so far: from where, and the request line."""
        return [record.address for record in unpack_records(self.machine.take_records())]

    def serve(self) -> None:
        """Answer what waits, and have it leave."""
        plan = self.small()
        for _, ticket, _ in self.take_work():
            self.machine.answer(ticket, plan, False)
        self.machine.release(plan)
        for op in self.ops():
            if op.kind == "send":
                self.step(op.token, op.length)


@pytest.mark.parametrize("header", [line(FOUR), binary(FOUR), summed(FOUR)], ids=["line", "binary", "summed"])
def test_cut_at_every_byte_and_followed_at_once(header: bytes) -> None:
    stream = header + HEAD + HEAD
    for cut in range(len(stream) + 1):
        front = Front()
        fd = front.come()
        front.say(fd, stream[:cut], stream[cut:])
        front.serve()
        front.serve()
        assert front.addresses() == [FOUR, FOUR]
        assert front.state(fd) == "reading"


def test_byte_by_byte() -> None:
    front = Front()
    fd = front.come()
    header = binary(SIX)
    front.say(fd, *(header[at : at + 1] for at in range(len(header) - 1)))
    assert front.state(fd) == "greeting"
    front.say(fd, header[-1:])
    assert front.state(fd) == "reading"
    front.say(fd, HEAD)
    front.serve()
    assert front.addresses() == [SIX]


def test_the_connection_of_the_proxy_itself_is_its_own() -> None:
    front = Front(connections_per_address=1)
    for _ in range(3):
        front.say(front.come(), binary(command=LOCAL) + HEAD)
        front.serve()
    assert front.addresses() == ["10.0.0.9"] * 3
    assert front.machine.live()["addresses"] == 0


@pytest.mark.parametrize("address", [ELSEWHERE, b"", bytes(10) + b"\xff\xff" + FRONT, packed(SIX)])
def test_nobody_else_may_connect(address: bytes) -> None:
    front = Front()
    assert front.come(address) == -1
    assert front.machine.gauge("refused_proxy_peer") == 1
    assert front.machine.live()["conns"] == 0


@pytest.mark.parametrize("part", [HEAD, WRONG["a line too long"], WRONG["as long as can be said"], b"Q"])
def test_what_is_wrong_is_closed_at_once(part: bytes) -> None:
    front = Front()
    fd = front.come()
    front.say(fd, part)
    assert front.closed() == [fd]
    assert front.machine.gauge("refused_proxy_header") == 1
    assert front.take_work() == []


@pytest.mark.parametrize("begun", [b"", b"PROXY ", SIGNATURE])
def test_a_slow_header_falls_under_the_time_for_heads(begun: bytes) -> None:
    front = Front()
    fd = front.come()
    front.wait(6_000)
    front.say(fd, begun)
    front.wait(3_000)
    assert front.closed() == []
    front.wait(2_000)
    assert front.closed() == [fd]
    assert front.machine.gauge("timeouts_head") == 1


def test_behind_the_header_time_begins_anew() -> None:
    front = Front()
    fd = front.come()
    front.wait(9_000)
    front.say(fd, line(FOUR))
    front.wait(50_000)
    assert front.closed() == []
    front.say(fd, b"GET ")
    front.wait(9_000)
    front.say(fd, b"/a HTTP/1.1\r\n\r\n")
    front.serve()
    [record] = unpack_records(front.machine.take_records())
    assert 8_000_000 < record.duration_us < 10_000_000


def test_a_peer_that_goes_before_its_header_is_whole() -> None:
    front = Front()
    fd = front.come()
    front.say(fd, b"PROXY TCP4")
    front.step(front.tokens[fd], 0)
    assert front.closed() == [fd]
    assert front.machine.gauge("refused_proxy_header") == 0


def test_the_address_in_the_header_is_the_one_that_counts() -> None:
    front = Front(connections_per_address=2, connections_max=8)
    for _ in range(2):
        front.say(front.come(), line(FOUR))
    front.ops()
    refused = front.come()
    front.say(refused, line(FOUR) + HEAD)
    [(kind, ticket, status)] = front.take_work()
    assert (kind, status) == ("refuse", 503)
    assert front.machine.gauge("refused_address") == 1
    front.machine.answer(ticket, front.small(status=503, keep_alive=0, linger=1), False)
    front.say(front.come(), line(SIX))
    assert front.machine.live()["addresses"] == 2


def test_refusals_have_their_bound() -> None:
    front = Front(connections_per_address=1, connections_max=8, refusals_max=1)
    front.say(front.come(), line(FOUR))
    first, second = front.come(), front.come()
    front.say(first, line(FOUR))
    front.ops()
    front.say(second, line(FOUR))
    assert front.closed() == [second], "nobody who is told 503 waits yet, and there is room for one"


def test_who_has_not_greeted_is_shed_for_others() -> None:
    front = Front(connections_max=1)
    silent = front.come()
    front.wait(2_000)
    front.ops()
    front.fds += 1
    assert front.accept(front.fds, 0, address=FRONT)
    assert front.closed() == [silent]


def test_a_worker_that_drains_waits_for_no_header() -> None:
    front = Front()
    fd = front.come()
    front.say(fd, b"PROXY ")
    front.machine.drain()
    assert front.closed() == [fd]


def test_who_greets_a_worker_that_is_replaced_is_served() -> None:
    front = Front()
    fd = front.come()
    front.machine.drain(2_000)
    front.say(fd, line(FOUR) + HEAD)
    front.serve()
    assert front.addresses() == [FOUR]


def test_without_memory_nothing_is_lost() -> None:
    from zchttpd._core import testing_memory

    front = Front()
    fd = front.come()
    testing_memory.fail_after(0)
    front.say(fd, line(FOUR))
    testing_memory.fail_after(-1)
    assert {op.kind for op in front.ops()} >= {"reset", "close"}


def test_a_unix_socket_has_no_addresses_to_name() -> None:
    bench = Bench(proxy="any")
    assert bench.accept(20, 0)
    [recv] = bench.ops()
    bench.step(recv.token, len(line(FOUR)), True, received=line(FOUR))
    assert bench.machine.gauge("refused_proxy_peer") == 0
    assert bench.ask(recv)


def bound(networks: Sequence[str], address: str) -> bool:
    """Whether an address is of one of the networks, as the machine has it."""
    rows = [(each.network_address.packed, each.prefixlen) for each in map(ipaddress.ip_network, networks)]
    bench = Bench(proxy="named", proxies=rows)
    return bench.accept(20, 0, address=packed(address))


@pytest.mark.parametrize("seed", range(40))
def test_networks_are_those_of_python(seed: int) -> None:
    rng = random.Random(seed)
    four = rng.random() < 0.5
    kind = ipaddress.IPv4Address if four else ipaddress.IPv6Address
    width = 32 if four else 128
    address = kind(rng.getrandbits(width))
    bits = rng.choice((0, 1, 7, 8, 9, 31, width))
    near = kind(int(address) ^ (1 << rng.randrange(width)))
    network = ipaddress.ip_network((address, bits), strict=False)
    for each in (address, near):
        assert bound([str(network)], str(each)) is (each in network)
    assert not bound([str(network)], "2001:db8::1" if four else "192.0.2.1")
    assert not bound([], str(address))

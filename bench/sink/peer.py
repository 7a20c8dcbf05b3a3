"""Clients of which the kernel knows nothing: they make their packets, and learn of answers from the notes of
bpf.py alone.
"""

from __future__ import annotations

import functools
import itertools
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.namespaces import begin_network, run_ip
from bench.sink.bpf import PLACES, attach
from benchlib import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Sequence

# Addresses for documentation (RFC 5737), in a network namespace of our own.
SERVER, CLIENT = "192.0.2.1", "192.0.2.2"
OURS, THEIRS = "sink-client", "sink-server"
OUR_HARDWARE, THEIR_HARDWARE = "02:00:00:00:00:02", "02:00:00:00:00:01"
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
# MSS 1460, SACK permitted, window scale 14 (RFC 9293, 2018, 7323): the window never ends.
OPTIONS = struct.pack("=BBBBBBBBBB2x", 2, 4, 1460 >> 8, 1460 & 255, 4, 2, 1, 3, 3, 14)
WINDOW = 65535
ENDS = socket.inet_aton(CLIENT) + socket.inet_aton(SERVER)
MODULUS = 1 << 32
STUCK_S = 5.0
FIRST_PORT = 20_000


def checksum(data: bytes) -> int:
    """That of the Internet (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@functools.cache
def _ahead(size: int) -> bytes:
    """The headers of Ethernet and IPv4 before `size` bytes of TCP."""
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, socket.IPPROTO_TCP, 0) + ENDS
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return bytes.fromhex((THEIR_HARDWARE + OUR_HARDWARE).replace(":", "")) + b"\x08\x00" + header


def packet(ports: tuple[int, int], numbers: tuple[int, int], flags: int, rest: bytes = b"") -> bytes:
    """A frame from the client to the server. `ports`: of both; `numbers`: sequence and acknowledgement;
    `rest`: the options of a SYN, otherwise content.
    """
    words = (20 + (len(rest) if flags & SYN else 0)) // 4
    size = 20 + len(rest)
    tcp = struct.pack("!HHIIBBHI", *ports, *numbers, words << 4, flags, WINDOW, 0) + rest
    total = checksum(ENDS + struct.pack("!HH", socket.IPPROTO_TCP, size) + tcp)
    return _ahead(size) + tcp[:16] + struct.pack("!H", total) + tcp[18:]


class Link:
    """The link, and what becomes of the streams at its far end."""

    def __init__(self) -> None:
        """Make it, in this network namespace, which has no other. Raises CannotMeasure, or OSError."""
        begin_network()
        far = f"peer name {OURS} address {OUR_HARDWARE}"
        run_ip(f"link add {THEIRS} address {THEIR_HARDWARE} type veth {far}")
        run_ip(f"address add {SERVER}/24 dev {THEIRS}")
        for name in (THEIRS, OURS):
            run_ip(f"link set {name} up")
        run_ip(f"neighbour add {CLIENT} lladdr {OUR_HARDWARE} dev {THEIRS}")
        self.notes = attach(OURS)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((OURS, 0))
        self.send = self._socket.send
        self._port = FIRST_PORT

    def close(self) -> None:
        self._socket.close()

    def connect(self, port: int) -> Connection:
        """Raises CannotMeasure."""
        self._port += 1
        return Connection(self, self._port, port)


class Connection:
    """One, which asks for one thing after the other, and acknowledges what has come since it looked last."""

    def __init__(self, link: Link, ours: int, theirs: int) -> None:
        self._link = link
        self._ports = (ours, theirs)
        self._at = ours % PLACES * 2
        self._next = 1
        self._wanted = 0
        self.length = 0
        before = self.packets
        link.send(packet(self._ports, (0, 0), SYN, OPTIONS))
        until = time.monotonic() + STUCK_S
        while self.packets == before:
            if time.monotonic() > until:
                raise CannotMeasure(f"no connection to port {theirs} within {STUCK_S:.0f} s")
        self._known = link.notes[self._at]
        self._send(ACK)

    @property
    def packets(self) -> int:
        """How many came, of whatever stream had this place."""
        return self._link.notes[self._at + 1]

    def _send(self, flags: int, content: bytes = b"") -> None:
        self._link.send(packet(self._ports, (self._next, self._known), flags, content))
        self._next = (self._next + len(content)) % MODULUS

    def ask(self, request: bytes, length: int) -> None:
        """Of an answer of `length` bytes, head and all. Acknowledges the last one as well."""
        self.length = length
        self._wanted = (self._known + length) % MODULUS
        self._send(PSH | ACK, request)

    def look(self) -> bool:
        """Acknowledge what is new. Whether the answer is there as a whole, which the next request, or `end`,
        acknowledges.
        """
        now = self._link.notes[self._at]
        if now == self._known:
            return False
        self._known = now
        if now == self._wanted:
            return True
        self._send(ACK)
        return False

    def end(self) -> None:
        self._send(ACK)
        self._send(RST | ACK)


@dataclass(slots=True)
class Received:
    """Answers, their bytes on the wire, and the packets of the link that these came in."""

    answers: int = 0
    bytes: int = 0
    packets: int = 0


def drive(
    link: Link,
    port: int,
    wanted: Sequence[tuple[bytes, int]],
    connections: int,
    *,
    seconds: float = 0.0,
    least: int = 1,
) -> Received:
    """Ask for `wanted`, requests and lengths of their answers, in turn, on each connection for one at a time:
    for so many seconds, and so many answers at least. Raises CannotMeasure.
    """
    found = Received()
    opened = [link.connect(port) for _ in range(connections)]
    found.packets = -sum(each.packets for each in opened)
    queue = itertools.cycle(wanted)
    for each in opened:
        each.ask(*next(queue))
    busy = list(opened)
    moved = time.monotonic()
    end = moved + seconds
    while busy:
        now = time.monotonic()
        for each in tuple(busy):
            if each.look():
                moved = now
                found.answers += 1
                found.bytes += each.length
                if now < end or found.answers + len(busy) <= least:
                    each.ask(*next(queue))
                else:
                    busy.remove(each)
        if now > moved + STUCK_S:
            raise CannotMeasure(f"no whole answer from port {port} within {STUCK_S:.0f} s")
    for each in opened:
        each.end()
    found.packets += sum(each.packets for each in opened)
    return found

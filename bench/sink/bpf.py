"""What runs in the kernel at the far end of the link: it notes how far each stream of TCP has come, and drops
the packet.

Nothing of a packet but its headers is read, so nothing is copied. Loaded by libbpf, which ip(8) needs too;
see bpf(2).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from typing import TYPE_CHECKING

from benchlib import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of streams at a time: a stream's place is its port, modulo this.
PLACES = 64
PAGE = mmap.PAGESIZE
MAP_ARRAY, MAP_MMAPABLE, PROGRAM_OF_TRAFFIC_CONTROL, AT_INGRESS = 2, 1 << 10, 3, 46
DROP = 2
# Where things are: in struct __sk_buff, and in a packet of Ethernet, IPv4 without options, and TCP.
LENGTH, DATA, DATA_END = 0, 76, 80
AT_TCP = 34
ETHERTYPE, VERSION, PROTOCOL, TO_PORT, SEQUENCE, OFFSET, FLAGS, HEADERS = 12, 14, 23, 36, 38, 46, 47, 54
BYTE, HALF, WORD = 0x10, 0x08, 0x00
R0, R1, R2, R3, R4, R5, R6, R7, R8, R9 = range(10)
# Stands for the distance to the end of the program.
TO_END = 0x7FFF


class MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts, of which all but the flags stays 0."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("types", ctypes.c_uint32 * 5),
        ("flags", ctypes.c_uint32),
        ("extra", ctypes.c_uint64),
        ("places", ctypes.c_uint32 * 2),
    )


def _load(size: int, to: int, place: int, offset: int) -> bytes:
    return _do(0x61 | size, to, place, offset)


def _do(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, to | source << 4, offset, value)


def _unless(register: int, value: int) -> bytes:
    """Go to the end unless it is `value`."""
    return _do(0x55, register, 0, TO_END, value)


def _instructions(places: int) -> Iterator[bytes]:
    """`places`: the descriptor of the map, whose value has for each stream the number behind its last byte,
    and how many packets there were.
    """
    yield _do(0xBF, R6, R1)
    yield _load(WORD, R7, R6, DATA)
    yield _load(WORD, R8, R6, DATA_END)
    yield _load(WORD, R9, R6, LENGTH)
    # The verifier wants to see that all of the headers are there.
    yield _do(0xBF, R2, R7)
    yield _do(0x07, R2, 0, 0, HEADERS)
    yield _do(0x2D, R2, R8, TO_END)
    yield _load(HALF, R2, R7, ETHERTYPE)
    yield _unless(R2, socket.htons(0x0800))
    yield _load(BYTE, R2, R7, VERSION)
    yield _unless(R2, 0x45)
    yield _load(BYTE, R2, R7, PROTOCOL)
    yield _unless(R2, socket.IPPROTO_TCP)
    # r1 = the place of this stream
    yield _load(HALF, R3, R7, TO_PORT)
    yield _do(0xDC, R3, value=16)
    yield _do(0x57, R3, value=PLACES - 1)
    yield _do(0x67, R3, value=3)
    yield _do(0x18, R1, 2, 0, places) + _do(0)
    yield _do(0x0F, R1, R3)
    # r5 = sequence number + length of what follows the headers + SYN + FIN
    yield _load(BYTE, R4, R7, OFFSET)
    yield _do(0x77, R4, value=4)
    yield _do(0x67, R4, value=2)
    yield _do(0x1F, R9, R4)
    yield _do(0x07, R9, value=-AT_TCP)
    yield _load(WORD, R5, R7, SEQUENCE)
    yield _do(0xDC, R5, value=32)
    yield _do(0x0F, R5, R9)
    for bit in (0, 1):
        yield _load(BYTE, R2, R7, FLAGS)
        yield _do(0x77, R2, value=bit)
        yield _do(0x57, R2, value=1)
        yield _do(0x0F, R5, R2)
    yield _do(0x63, R1, R5, 0)
    yield _load(WORD, R3, R1, 4)
    yield _do(0x07, R3, value=1)
    yield _do(0x63, R1, R3, 4)
    yield _do(0xB7, R0, value=DROP)
    yield _do(0x95)


def program(places: int) -> bytes:
    """The program's instructions, 8 bytes each."""
    code = bytearray(b"".join(_instructions(places)))
    end = len(code) // 8 - 2
    for at in range(0, len(code), 8):
        [offset] = struct.unpack_from("=h", code, at + 2)
        if offset == TO_END:
            struct.pack_into("=h", code, at + 2, end - at // 8 - 1)
    return bytes(code)


def _library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise CannotMeasure(f"{error}; type: apt-get install libbpf1") from error


def _checked(what: str, result: int) -> int:
    if result < 0:
        cause = os.strerror(-result)
        needs = "needs root" if -result == errno.EPERM else "needs Linux 6.6 or later with CONFIG_NET_XGRESS"
        raise CannotMeasure(f"{what}: {cause}; it {needs}")
    return result


def attach(interface: str) -> memoryview:
    """Have what arrives at `interface` noted and dropped, for as long as this process lives.

    Returns the notes, shared with the kernel: of stream n the numbers 2n (sequence number behind the last
    byte) and 2n + 1 (packets). Raises CannotMeasure.
    """
    bpf = _library()
    options = MapOptions(size=ctypes.sizeof(MapOptions), flags=MAP_MMAPABLE)
    made = bpf.bpf_map_create(MAP_ARRAY, b"streams", 4, PAGE, 1, ctypes.byref(options))
    places = _checked("a map of BPF", made)
    code = program(places)
    count = ctypes.c_size_t(len(code) // 8)
    loaded = bpf.bpf_prog_load(PROGRAM_OF_TRAFFIC_CONTROL, b"sink", b"Dual MIT/GPL", code, count, None)
    _checked("a program of BPF", loaded)
    linked = bpf.bpf_link_create(loaded, socket.if_nametoindex(interface), AT_INGRESS, None)
    _checked("a program of BPF at an interface", linked)
    return memoryview(mmap.mmap(places, PAGE)).cast("I")

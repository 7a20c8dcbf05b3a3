"""MSG_ZEROCOPY on a stream socket, and what the kernel tells of such sends in the socket's error queue
(Documentation/networking/msg_zerocopy.rst, Linux 4.14).
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

# asm-generic/socket.h, linux/socket.h
SO_ZEROCOPY = 60
MSG_ZEROCOPY = 0x4000000
# linux/errqueue.h, struct sock_extended_err: errno, origin, type, code, info, data
_EXTENDED_ERROR = struct.Struct("=IBBBxII")
_ORIGIN_ZEROCOPY = 5
_CODE_COPIED = 1
_LEVELS = frozenset({(socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25)})  # IP_RECVERR, IPV6_RECVERR
_SIZE = socket.CMSG_SPACE(_EXTENDED_ERROR.size + 28)  # and the address behind it


class Notification(NamedTuple):
    """The kernel has let go of the sends of these numbers, which it counts from 0, modulo 2**32."""

    first: int
    last: int
    copied: bool


def enable(sock: socket.socket) -> None:
    """Raises OSError where there is no zero copy on such a socket."""
    sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)


def take(sock: socket.socket) -> list[Notification]:
    """What the next message in the error queue tells. Raises OSError: BlockingIOError when there is none."""
    _, ancillary, _, _ = sock.recvmsg(0, _SIZE, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    told = [_EXTENDED_ERROR.unpack_from(data) for level, kind, data in ancillary if (level, kind) in _LEVELS]
    return [
        Notification(first, last, code == _CODE_COPIED)
        for _, origin, _, code, first, last in told
        if origin == _ORIGIN_ZEROCOPY
    ]

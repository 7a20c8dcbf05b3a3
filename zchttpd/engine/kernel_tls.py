"""Has the kernel encrypt what a socket sends (Documentation/networking/tls.rst), after a TLS 1.3 handshake.

A library built without kernel TLS, as OpenSSL by default is, tells the secret of a handshake all the same, in
the key log of SSLContext: here that is a file in memory, empty again before anything else is done.
"""

from __future__ import annotations

import hmac
import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

# Of linux/tcp.h, linux/socket.h and linux/tls.h.
TCP_ULP = 31
SOL_TLS = 282
TLS_TX = 1
TLS_SET_RECORD_TYPE = 1
TLS_1_3_VERSION = 0x0304
RECORD_ALERT = 21
CLOSE_NOTIFY = bytes([1, 0])  # RFC 8446 section 6: warning, close_notify

# By cipher suite: its number there, the bytes of its key and of its salt, and the hash of its key schedule.
_CIPHERS = {
    "TLS_AES_128_GCM_SHA256": (51, 16, 4, "sha256"),
    "TLS_AES_256_GCM_SHA384": (52, 32, 4, "sha384"),
    "TLS_CHACHA20_POLY1305_SHA256": (54, 32, 0, "sha256"),
}
_LABEL = "SERVER_TRAFFIC_SECRET_0"
_KEYS_SIZE_MAX = 65536


def available() -> str:
    """Empty where the kernel has TLS; else the errno name that says why not. Asking loads the module, if this
    process may (CAP_NET_ADMIN). Only a connected socket can be asked with.
    """
    import errno  # Not by a server without TLS.

    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            with socket.create_connection(address), listener.accept()[0] as accepted:
                accepted.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


class KeyLog:
    """Where a context tells the secrets of its handshakes. Raises OSError where there is no /proc."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._fd = os.memfd_create("keys")
        context.keylog_filename = f"/proc/self/fd/{self._fd}"

    def __del__(self) -> None:
        os.close(self._fd)

    def take(self) -> str:
        """The secret, in hexadecimal, with which the server sends, of the handshake that has just gone on a
        step; empty when that step told none.
        """
        told = os.pread(self._fd, _KEYS_SIZE_MAX, 0)
        os.ftruncate(self._fd, 0)
        # A step that was broken off may have left one that is not of this handshake.
        for line in reversed(told.decode("ascii", "replace").splitlines()):
            label, _, rest = line.partition(" ")
            if label == _LABEL:
                return rest.rpartition(" ")[2]
        return ""


def expand_label(secret: bytes, label: bytes, length: int, digest: str) -> bytes:
    """HKDF-Expand-Label of RFC 8446 section 7.1 without a context, for `length` up to that of the hash."""
    full = b"tls13 " + label
    info = struct.pack("!HB", length, len(full)) + full + b"\0\x01"
    return hmac.digest(secret, info, digest)[:length]


def crypto_info(cipher: str, secret: bytes, sequence: int) -> bytes:
    """The `struct tls12_crypto_info_*` of linux/tls.h with which records from number `sequence` on are sent.

    Raises KeyError for a cipher suite that no kernel has.
    """
    number, key_size, salt_size, digest = _CIPHERS[cipher]
    key = expand_label(secret, b"key", key_size, digest)
    iv = expand_label(secret, b"iv", 12, digest)
    fixed = struct.pack("=HH", TLS_1_3_VERSION, number)
    return fixed + iv[salt_size:] + key + iv[:salt_size] + struct.pack("!Q", sequence)


def take_over(sock: socket.socket, cipher: str, secret: str, sent: bytes) -> bool:
    """Have the kernel encrypt from now on. `sent`: records that went out with the keys of the application
    (session tickets). False where it cannot, and then nothing has changed.
    """
    try:
        info = crypto_info(cipher, bytes.fromhex(secret), count_records(sent))
        sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        sock.setsockopt(SOL_TLS, TLS_TX, info)
    except (OSError, KeyError):
        return False
    return True


def count_records(sent: bytes) -> int:
    """How many records these bytes are: each has its length behind a type and a version of 3 bytes."""
    at = count = 0
    while at < len(sent):
        at += 5 + int.from_bytes(sent[at + 3 : at + 5], "big")
        count += 1
    return count


def close_notify(sock: socket.socket) -> None:
    """Say that nothing more is sent. Raises OSError."""
    sock.sendmsg([CLOSE_NOTIFY], [(SOL_TLS, TLS_SET_RECORD_TYPE, bytes([RECORD_ALERT]))])

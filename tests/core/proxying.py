"""Headers of the PROXY protocol, as those who stand before a server write them."""

from __future__ import annotations

import ipaddress

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, UDP4, TCP6, UNIX = 0x11, 0x12, 0x21, 0x31
CRC32C, NOOP = 0x03, 0x04


def line(source: str, port: int = 40000, destination: str = "") -> bytes:
    """Version 1."""
    four = ipaddress.ip_address(source).version == 4
    destination = destination or ("10.0.0.1" if four else "fd00::1")
    return f"PROXY TCP{4 if four else 6} {source} {destination} {port} 443\r\n".encode()


def binary(
    source: str = "", port: int = 40000, *, added: bytes = b"", command: int = PROXY, kind: int | None = None
) -> bytes:
    """Version 2, with an address where there is a source."""
    body = b""
    if source:
        packed = ipaddress.ip_address(source).packed
        kind = kind if kind is not None else TCP4 if len(packed) == 4 else TCP6
        body = packed + bytes(len(packed)) + port.to_bytes(2, "big") + (443).to_bytes(2, "big")
    body += added
    return SIGNATURE + bytes((command, kind or 0)) + len(body).to_bytes(2, "big") + body


def tlv(kind: int, content: bytes) -> bytes:
    """Something that version 2 adds."""
    return bytes((kind,)) + len(content).to_bytes(2, "big") + content


def crc32c(content: bytes) -> int:
    """Of RFC 9260, appendix A, by long division."""
    remainder = 0xFFFFFFFF
    for byte in content:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


def summed(source: str) -> bytes:
    """Version 2 with its checksum, and something behind that."""
    header = binary(source, added=tlv(CRC32C, bytes(4)) + tlv(NOOP, b"abc"))
    place = header.index(tlv(CRC32C, bytes(4))) + 3
    return header[:place] + crc32c(header).to_bytes(4, "big") + header[place + 4 :]

"""Large files for the wire suite, and clients that read them slowly, badly or not at all."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .client import eventually, request
from .tree import KIB, MIB, noise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .client import Peer, Reply
    from .servers import Server

# Bounds what the kernel takes for a reader that does not read, so that the server really has to wait for it.
# Several of loopback's 64 KiB segments must fit, or TCP itself creeps from one window probe to the next.
PAGE = 4096
SLOW_BUFFER = 256 * 1024
LARGE = 24 * MIB  # bytes of a file that is streamed
# What one send has at most: the default of --window-size.
SEND_MAX = 512 * KIB


@dataclass(slots=True)
class Digest:
    """A sink for `Peer.reply`: SHA-256 and length of what came."""

    hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    length: int = 0

    def __call__(self, piece: bytes) -> None:
        self.hash.update(piece)
        self.length += len(piece)

    @property
    def result(self) -> tuple[int, str]:
        """(length, SHA-256)"""
        return self.length, self.hash.hexdigest()


def pattern(size: int, seed: int = 0) -> bytes:
    """`size` bytes in which no two windows are equal: noise, with the MiB it is in written into each MiB."""
    block = noise(MIB + seed)[:MIB]
    pieces = [b"%08d" % number + block[8:] for number in range(-(-size // MIB))]
    return b"".join(pieces)[:size]


def write_patterns(root: Path, sizes: Mapping[str, int]) -> Path:
    """Put files of these names and sizes, in bytes, into `root`; each begins as the others do."""
    for name, size in sizes.items():
        (root / name).write_bytes(pattern(size))
    return root


def cached_and_streamed(root: Path, cached: int = 2 * MIB) -> Path:
    """Put a file that is cached and one that is streamed into `root`."""
    return write_patterns(root, {"cached": cached, "streamed": LARGE})


def publish(path: Path, content: bytes) -> None:
    """Put a file in place by rename, as a deployment should."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def digest_of(content: bytes) -> tuple[int, str]:
    """What `Digest.result` must be for this content."""
    return len(content), hashlib.sha256(content).hexdigest()


def is_of_either(got: bytes, one: bytes, other: bytes) -> bool:
    """Whether each byte is what one of the two has there."""
    for at in range(0, len(got), PAGE):
        piece = got[at : at + PAGE]
        ours, theirs = (each[at : at + len(piece)] for each in (one, other))
        if piece not in (ours, theirs) and any(
            byte not in pair for byte, *pair in zip(piece, ours, theirs, strict=True)
        ):
            return False
    return True


def is_old_but_for_sends(got: bytes, old: bytes, new: bytes, *, copied: bool) -> bool:
    """Whether what came of a response that was broken off is of the old version, but for bytes that the
    kernel was still to read for a send when the file was written to: one send at most, where it copies.
    """
    sent = max(0, len(got) - SEND_MAX) if copied else 0
    return got[:sent] == old[:sent] and is_of_either(got, old, new)


def download(server: Server, path: str, *lines: str) -> tuple[Reply, tuple[int, str]]:
    """GET a path at full speed on a connection of its own."""
    digest = Digest()
    with server.peer() as peer:
        reply = peer.ask(request(path, *lines), digest)
    return reply, digest.result


def cache(server: Server, path: str) -> None:
    """Have a large file in memory: it is, a while after the whole of it was asked for twice."""
    before, size = server.metric("fill_bytes_total"), 0
    for _ in range(2):
        _, (size, _) = download(server, path)
    eventually("it is in memory", lambda: server.metric("fill_bytes_total") >= before + size)


def begin(server: Server, path: str, head_start: int = 1) -> Peer:
    """A slow reader that has asked, has seen the response begin, and has left the rest where it is."""
    peer = server.peer(receive_buffer=SLOW_BUFFER)
    peer.send(request(path))
    seen = b""
    while b"\r\n\r\n" not in seen or len(seen.partition(b"\r\n\r\n")[2]) < head_start:
        piece = peer.receive()
        assert piece, f"the server ended after {len(seen)} bytes"
        seen += piece
    peer.rest = seen
    return peer

"""Connections that do nothing, beside those that are measured."""

from __future__ import annotations

import resource
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchlib import CannotMeasure
from benchlib.fetch import BadAnswer, fetch
from benchlib.server import HOST, NONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchlib.server import Server

SPARE_FILES = 256
CONNECT_S_MAX = 20.0
# A reset instead of TIME_WAIT: so many ports would be missing in the next round.
RESET = struct.pack("ii", 1, 0)


def allow_files(count: int) -> None:
    """Raise the limit of open files for `count` sockets, for this program and what it starts. Raises
    CannotMeasure.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_FILES
    if wanted > hard != resource.RLIM_INFINITY:
        raise CannotMeasure(
            f"{count} clients need {wanted} open files, the limit is {hard}; type: ulimit -Hn {wanted}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


@contextmanager
def idle_connections(server: Server, count: int) -> Iterator[None]:
    """Hold `count` accepted connections to `server` that never ask. Raises CannotMeasure."""
    held: list[socket.socket] = []
    try:
        try:
            for _ in range(count):
                held.append(socket.create_connection((HOST, server.port), CONNECT_S_MAX))
            # Connections are accepted in their order: once this one has its answer, all others are.
            fetch(HOST, server.port, f"{server.kind.prefix}/{NONCE}")
        except (OSError, BadAnswer) as error:
            raise CannotMeasure(f"{len(held)} of {count} idle connections, then: {error}") from error
        yield
    finally:
        for connection in held:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()

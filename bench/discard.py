"""A load client for large bodies that never copies them: closed loop, keep-alive, recv(2) with MSG_TRUNC.

wrk reads 8 KiB at a time, so at megabyte sizes wrk itself is the limit and every server looks the same. Here
the kernel drops the bytes (tcp(7), MSG_TRUNC), so one client core can outrun one server core. The caller has
compared an answer before and says how long it is, head and chunk sizes included; an answer of another length
or status counts as an error.

Prints one JSON line, the fields of `Load` in load.py.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import select
import socket
import time
from dataclasses import dataclass, field

HEAD_READ_BYTES = 2048
DROP_BYTES = 2**20
# HTTP/1.1 200
STATUS_BYTES = 13
WAIT_S_MAX = 60.0


@dataclass(slots=True)
class Connection:
    """One connection: what it still expects of the response under way."""

    socket: socket.socket
    head: bytes = b""
    rest: int = 0
    asked_s: float = 0.0


@dataclass(slots=True)
class Count:
    """What has happened; `seconds` from the first request to the end."""

    requests: int = 0
    bytes: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)


class Ended(Exception):
    """The server closed the connection or answered something else than before."""


def receive(connection: Connection, scratch: bytearray, length: int) -> tuple[int, bool]:
    """Take what has arrived of a response of `length` bytes: return (bytes, response complete). Raises Ended
    or OSError.
    """
    if connection.rest:
        got = connection.socket.recv_into(scratch, min(connection.rest, DROP_BYTES), socket.MSG_TRUNC)
        if not got:
            raise Ended(f"closed with {connection.rest} bytes missing")
        connection.rest -= got
        return got, connection.rest == 0
    piece = connection.socket.recv(HEAD_READ_BYTES)
    if not piece:
        raise Ended("closed before the response head")
    connection.head += piece
    if len(connection.head) < STATUS_BYTES:
        return len(piece), False
    if connection.head.split(None, 2)[1:2] != [b"200"]:
        raise Ended(f"unexpected answer {connection.head!r}")
    connection.rest = length - len(connection.head)
    connection.head = b""
    if connection.rest < 0:
        raise Ended(f"{-connection.rest} bytes more than the whole answer had before")
    return len(piece), connection.rest == 0


def drive(host: str, port: int, target: str, length: int, connections: int, seconds: float) -> Count:
    """Keep `connections` requests under way for `seconds`, each to be answered by `length` bytes in all. A
    connection that fails counts one error and
    stays closed.
    """
    request = f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode("ascii")
    count, scratch, poll = Count(), bytearray(DROP_BYTES), select.epoll()
    by_fd: dict[int, Connection] = {}
    for _ in range(connections):
        connection = Connection(socket.create_connection((host, port), WAIT_S_MAX))
        # With a timeout Python would poll before each recv.
        connection.socket.settimeout(None)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        by_fd[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    clock = time.perf_counter
    started = clock()
    until = started + seconds
    for connection in by_fd.values():
        connection.asked_s = clock()
        connection.socket.sendall(request)
    while by_fd and clock() < until:
        events = poll.poll(WAIT_S_MAX)
        if not events:
            raise SystemExit(f"no byte from {host}:{port} in {WAIT_S_MAX:.0f} s")
        for fd, _ in events:
            connection = by_fd[fd]
            try:
                got, complete = receive(connection, scratch, length)
            except (Ended, OSError):
                count.errors += 1
                poll.unregister(fd)
                by_fd.pop(fd).socket.close()
                continue
            count.bytes += got
            if complete:
                now = clock()
                count.requests += 1
                count.latencies_s.append(now - connection.asked_s)
                connection.asked_s = now
                connection.socket.sendall(request)
    count.seconds = clock() - started
    poll.close()
    for connection in by_fd.values():
        connection.socket.close()
    return count


def percentile(values: list[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted `values` (0 < share <= 1), 0.0 when there are none."""
    if not values:
        return 0.0
    return values[math.ceil(share * len(values)) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("target")
    parser.add_argument("length", type=int, help="bytes of one whole answer, head included")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF)
    count = drive(chosen.host, chosen.port, chosen.target, chosen.length, chosen.connections, chosen.seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    latencies = sorted(count.latencies_s)
    print(
        json.dumps(
            {
                "seconds": count.seconds,
                "requests": count.requests,
                "bytes": count.bytes,
                "errors": count.errors,
                "p50_us": percentile(latencies, 0.50) * 1e6,
                "p99_us": percentile(latencies, 0.99) * 1e6,
                "client_cpu_s": cpu_s,
            }
        )
    )


if __name__ == "__main__":
    main()

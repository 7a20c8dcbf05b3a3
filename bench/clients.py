"""Load clients that wrk is not, each a process of its own: `clients.py discard|paced PLAN`, PLAN being JSON.

discard: closed loop, keep-alive, for large bodies: recv(2) with MSG_TRUNC, so that the kernel drops the
bytes (tcp(7)). It never sleeps: waking it would be the server's work, and on a virtual machine the most
of it. wrk reads 8 KiB at a time, so at megabyte sizes wrk itself is the limit and every server looks the
same; here one client core can outrun one server core. An answer of another length or status than the one
that was compared before counts as an error.

paced: open loop at a fixed rate, latency from when a request was due; see lua/paced.lua.

Each prints one JSON line: the fields of `Load` in load.py, or of `Pace`.
"""

from __future__ import annotations

import array
import json
import math
import resource
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdrh.histogram import HdrHistogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCRIPT = Path(__file__).with_name("lua") / "paced.lua"
HOST = "127.0.0.1"
HEAD_READ_BYTES = 2048
DROP_BYTES = 2**20
# HTTP/1.1 200
STATUS_BYTES = 13
WAIT_S_MAX = 60.0
DRAIN_S = 2.0
# An hour, to three digits.
LONGEST_NS, DIGITS = 3600 * 10**9, 3


@dataclass(frozen=True, slots=True)
class Plan:
    """`request` over and over, each answered by `length` bytes in all, `rate` of them per second."""

    port: int
    request: str
    length: int
    connections: int
    seconds: float
    rate: float = 0.0


def percentiles_us(latencies_s: Iterable[float], shares: Iterable[float], total: int) -> list[float | None]:
    """The latency in us at each of `shares` (0 to 1) of `total` requests, of which those without a latency
    were slower than all others: None where it falls among them, or there are none at all.
    """
    histogram = HdrHistogram(1, LONGEST_NS, DIGITS)
    for latency_s in latencies_s:
        histogram.record_value(max(1, round(latency_s * 1e9)))
    count = histogram.total_count
    ranks = [math.ceil(share * total) for share in shares]
    held = [100 * rank / count if 0 < rank <= count else None for rank in ranks]
    return [None if each is None else histogram.get_value_at_percentile(each) / 1000 for each in held]


# Discarding


@dataclass(slots=True)
class Connection:
    """One connection: what it still expects of the response under way."""

    socket: socket.socket
    head: bytes = b""
    rest: int = 0
    asked_s: float = 0.0


@dataclass(slots=True)
class Count:
    """What has happened; `seconds` from the first request to the end, `idle_s` of them without a byte."""

    requests: int = 0
    bytes: int = 0
    errors: int = 0
    seconds: float = 0.0
    idle_s: float = 0.0
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


def drive(plan: Plan) -> Count:
    """Keep a request under way on each connection. One that fails counts one error and stays closed."""
    request = plan.request.encode("ascii")
    count, scratch, poll = Count(), bytearray(DROP_BYTES), select.epoll()
    by_fd: dict[int, Connection] = {}
    for _ in range(plan.connections):
        connection = Connection(socket.create_connection((HOST, plan.port), WAIT_S_MAX))
        # With a timeout Python would poll before each recv.
        connection.socket.settimeout(None)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        by_fd[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    clock = time.perf_counter
    started = clock()
    until = started + plan.seconds
    for connection in by_fd.values():
        connection.asked_s = clock()
        connection.socket.sendall(request)
    heard = started
    while by_fd and (now := clock()) < until:
        events = poll.poll(0)
        if not events:
            count.idle_s += clock() - now
            if now - heard > WAIT_S_MAX:
                raise SystemExit(f"no byte from port {plan.port} in {WAIT_S_MAX:.0f} s")
            continue
        heard = now
        for fd, _ in events:
            connection = by_fd[fd]
            try:
                got, complete = receive(connection, scratch, plan.length)
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


def discard(plan: Plan) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    count = asdict(drive(plan))
    after = resource.getrusage(resource.RUSAGE_SELF)
    p50, p99 = percentiles_us(count.pop("latencies_s"), (0.5, 0.99), count["requests"])
    # It takes all of its core; what it needs is what it takes while there are bytes.
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - count.pop("idle_s")
    return {**count, "p50_us": p50 or 0.0, "p99_us": p99 or 0.0, "client_cpu_s": cpu_s}


# At a fixed rate


@dataclass(frozen=True, slots=True)
class Pace:
    """What the client saw. Latencies in us, from when a request was due; `wait_*` from when it was sent.

    `asked`: requests that were due; `unanswered` of them had no answer at the end, and count as slower than
    all others; a percentile that falls among them is None. `busy_share`: how much of its core the client
    needed, the rest it spent spinning.
    """

    rate: float
    seconds: float
    asked: int
    answered: int
    unanswered: int
    bytes: int
    busy_share: float
    p50_us: float | None
    p99_us: float | None
    p999_us: float | None
    max_us: float | None
    wait_p99_us: float | None


def summarize(found: Mapping[bytes, Any], rate: float) -> Pace:
    """Turn the table that drive() of paced.lua returns into figures."""
    latencies, waits = array.array("d", found[b"latencies"]), array.array("d", found[b"waits"])
    asked, seconds = int(found[b"asked"]), float(found[b"seconds"])
    return Pace(
        *(rate, seconds, asked, len(latencies), asked - len(latencies), int(found[b"bytes"])),
        1 - found[b"rested"] / seconds if seconds else 0.0,
        *percentiles_us(latencies, (0.50, 0.99, 0.999, 1.0), asked),
        *percentiles_us(waits, (0.99,), asked),
    )


def load_script() -> tuple[Any, Any]:
    """Return a Lua runtime whose strings are bytes, and what paced.lua returns. Raises ImportError."""
    # LuaJIT, which only this client needs.
    from lupa.luajit21 import LuaRuntime

    lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
    return lua, lua.execute(SCRIPT.read_bytes())


def paced(plan: Plan) -> dict[str, Any]:
    lua, script = load_script()
    kernel = script[b"connect"](plan.port, plan.connections, plan.request.encode("ascii"), plan.length)
    told = {"rate": plan.rate, "seconds": plan.seconds, "connections": plan.connections, "drain": DRAIN_S}
    found = script[b"drive"](kernel, lua.table_from({name.encode(): value for name, value in told.items()}))
    return asdict(summarize(found, plan.rate))


if __name__ == "__main__":
    print(json.dumps({"discard": discard, "paced": paced}[sys.argv[1]](Plan(**json.loads(sys.argv[2])))))

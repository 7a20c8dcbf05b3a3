"""What the tests of the poller share: turns of its loop, and sockets that are full."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zchttpd._core.testing_poller import Done, Driver

Pair = tuple[socket.socket, socket.socket]

LONG_US = 10_000_000
MUCH = b"m" * (4 << 20)


def turn(driver: Driver, timeout_us: int = LONG_US) -> list[Done]:
    """Wait for completions; their buffers go back, as those of a batch do."""
    driver.wait(timeout_us)
    found = driver.reap()
    for done in found:
        if done.received is not None:
            driver.give_back(done.buffer)
    return found


def results(driver: Driver, timeout_us: int = LONG_US) -> list[tuple[int, int]]:
    return [(done.token, done.res) for done in turn(driver, timeout_us)]


def is_quiet(driver: Driver) -> bool:
    """Nothing to do, and nobody who watches the descriptor is woken."""
    found = turn(driver, 0)
    return not found and not driver.has_more and not select.select([driver], [], [], 0)[0]


def fill_up(sock: socket.socket) -> int:
    """Send until the socket takes no more. Returns how many bytes that was."""
    sent = 0
    try:
        while True:
            sent += sock.send(MUCH)
    except BlockingIOError:
        return sent


def take(sock: socket.socket, length: int) -> bytes:
    taken = bytearray()
    while len(taken) < length:
        taken += sock.recv(min(1 << 20, length - len(taken)))
    return bytes(taken)

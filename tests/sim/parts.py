"""What the simulated kernel is made of: sockets, completions, and the faults it may show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from zchttpd._core import testing

    from .client import Client

USUAL = (0.02, 0.2)
# How often, by turns. What ends a connection is rare, or nothing else would ever happen.
RARE = (0.002, 0.02)
FAULTS = {
    "short_send": USUAL,
    "short_link": USUAL,
    "no_room": RARE,
    "no_notification": USUAL,
    "stray_notification": USUAL,
    "zc_memory": USUAL,
    "zc_unsupported": RARE,
    "zc_invalid": RARE,
    "interrupted": USUAL,
    "recv_ends": USUAL,
    "no_buffers": USUAL,
    "short_read": USUAL,
    "send_error": RARE,
    "recv_error": RARE,
    "read_error": (0.05, 0.2),
    "read_shrinks": (0.05, 0.2),
    "changes_at_once": (0.1, 0.4),
    "check_error": USUAL,
    "tears": (0.1, 0.4),
    "abandon": (0.02, 0.1),
    "read_hangs": (0.2, 0.6),
    "fill_hangs": (0.3, 0.8),
    "fill_error": (0.2, 0.5),
    "not_at_hand": (0.6, 1.0),
    "fill_shrinks": (0.1, 0.4),
    "short_fill": (0.1, 0.6),
    "register_fails": (0.1, 1.0),
    "map_fails": (0.2, 1.0),
    "not_resident": (0.1, 0.8),
    "cut": (0.2, 0.8),
    "look_fails": (0.1, 0.6),
    "look_short": (0.4, 1.0),
    "no_descriptors": (0.1, 0.6),
    "root_left": (0.02, 0.3),
    "accept_fails": (0.05, 0.3),
    "accept_ends": USUAL,
}


EVENTS = (
    *("cancelled_link", "poll", "queued", "stalled", "link", "no_room", "clear", "late_notification"),
    *("read_hangs", "read_woken", "short_read", "read_error", "read_shrinks", "torn_read"),
    *("not_at_hand", "fill_hangs", "fill_woken", "short_fill", "fill_error", "fill_shrinks", "torn_fill"),
    *("check_same", "check_grown", "check_changed", "check_error", "changed_at_once"),
    *("kept_waiting", "hogged", "no_memory", "no_memory_end", "broken_off", "emfile"),
    *("sq_full", "cq_full", "in_worker", "late_receive", "auto_given_up", "auto_kept"),
    *("filled", "torn", "unregistered", "accepted", "one_accept", "rejected", "woken", "signal"),
    *(
        "live_zerocopy",
        "drop_pages",
        "coalesced",
        "close_waits",
        "stray",
        "splice",
        "route",
        "unread",
        "cpu_time",
    ),
    *("shutdown", "collapse", "handler_cut"),
    *("look_new", "look_again", "look_fails", "look_short", "no_descriptors", "root_left", "by_itself"),
    *("live", "frozen", "map_fails", "not_resident", "resident", "map_file", "unmap_file"),
    *("address_full", "device_full", "greeted", "turned_away", "paced", "asked_too_often"),
    *("named", "client_full"),
)


NETWORKS = 3
NO_LIMIT = 2**32 - 1
NO_RATE = 2**64 - 1
# More than the status of a refusal: of HEAD, and where the connection goes on.
REFUSED_HEAD, REFUSED_KEEPS = 1000, 2000


class Violation(AssertionError):
    """The machine broke a rule."""


@dataclass(slots=True)
class Cqe:
    token: int
    res: int
    more: bool = False
    notification: bool = False
    received: bytes = b""
    # The send that it ends, and what its memory must hold until then.
    reads: tuple[testing.ExecutedOp, bytes] | None = None
    address: bytes = b""  # of an accept
    stray: bool = False  # nobody waits for it any more
    sent: tuple[Socket, bytes] | None = None  # the bytes that have left


@dataclass(slots=True, eq=False)
class Held:
    """A zero-copy send whose last completion is still to come: the kernel reads its memory when it likes."""

    op: testing.ExecutedOp
    snapshot: bytes  # what the memory held when the op was submitted, and must hold to the end
    sent: int = 0  # bytes taken
    read: bool = False  # the peer's program has read them
    number: int = 0  # that its socket gave it


class Responses:
    """How many have left, as far as the machine has seen it."""

    def __init__(self) -> None:
        self.whole = 0
        self._head = b""
        self._left = 0  # bytes of the body under way

    def went(self, part: bytes) -> None:
        while part:
            taken = min(self._left, len(part))
            self._left -= taken
            part = part[taken:]
            if taken and not self._left:
                self.whole += 1
            if part:
                part = self._take_head(part)

    def _take_head(self, part: bytes) -> bytes:
        """What is behind the head under way."""
        head, end, rest = (self._head + part).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return b""
        self._head = b""
        self._left = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        self.whole += not self._left
        return rest


@dataclass(slots=True, eq=False)
class Socket:
    fd: int
    client: Client
    room: int  # bytes that fit between us and the peer's program
    inbound: bytearray = field(default_factory=bytearray)
    inbound_ended: bool = False
    hung_up: bool = False  # the peer has reset the connection
    recv: int | None = None  # token of the receive under way
    poll: int | None = None
    full: bool = False  # a send found no room, and no poll has told of any since
    chain: list[testing.ExecutedOp] = field(default_factory=list)
    snapshots: list[bytes] = field(default_factory=list)
    # Sends that a thread of the kernel has: nobody can cancel them, and closing the socket does not end them.
    in_worker: list[tuple[testing.ExecutedOp, bytes]] = field(default_factory=list)
    refuses_zerocopy: int = 0  # -errno
    outbound: list[tuple[Held | None, bytes]] = field(default_factory=list)
    unread: int = 0
    delivered: int = 0  # bytes whose receipt the machine has seen
    taken: int = 0  # bytes that sends took
    queued_last: int = 0  # unacknowledged bytes when the machine last asked
    queued_before: int = 0  # and the time before
    shut: bool = False  # our direction has ended
    more_unread: bool = False  # so the machine was told when it asked
    route: int = 0
    accepted: bool = False
    resets: bool = False  # SO_LINGER 0
    closed: bool = False
    closing: Cqe | None = None  # of a close that waits for notifications
    doomed: str = ""  # why the machine may reset it
    responses: Responses = field(default_factory=Responses)
    greeted: bool = False  # the machine has seen that
    greeting: str = ""  # what a proxy says first: "client", "own" or "wrong"

    @property
    def address(self) -> bytes:
        """IPv6: its own, of one of a few networks."""
        return (self.fd % NETWORKS).to_bytes(8, "big") + self.fd.to_bytes(8, "big")

    @property
    def network(self) -> bytes:
        """What counts as one address."""
        return self.address[:8]

    @property
    def writable(self) -> bool:
        return self.unread < self.room

    def lose(self) -> None:
        """What is on its way to the peer never arrives."""
        for held, _ in self.outbound:
            if held is not None:
                held.read = True
        self.outbound.clear()
        self.unread = 0


@dataclass(slots=True)
class Habits:
    """What this kernel and this network are like; each run has its own."""

    rates: dict[str, float]
    multishot: bool
    multishot_accept: bool
    ack_on_read: bool  # notifications come only when the peer's program has read
    memlock: bool  # windows cannot be registered
    no_zc_memory: bool  # every zero-copy send fails for want of memory, for ever
    recv_size: int
    send_room: int
    copies: tuple[
        float, float
    ]  # how much of what was to be sent without a copy is copied all the same, by route
    sq_room: int  # ops that are taken a batch, 0 for all
    cq_room: int  # completions that are delivered at a time, 0 for any number
    short_of_memory: bool  # now and then there is none
    by_socket: bool  # zero copy is MSG_ZEROCOPY: nothing is registered, and sockets notify


def random_limits(rng: random.Random, window: int) -> dict[str, int]:
    """Small ones, so that they are reached."""
    return {
        "head_size_max": 1024,
        "line_size_max": 512,
        "head_ms_max": 10_000,
        "idle_ms_max": 65_000,
        "stall_ms_max": 60_000,
        "linger_ms_max": 5_000,
        "zc_size_min": rng.choice((1, 300, 2000)),
        "window_size": window,
        "windows_per_connection": rng.randint(1, 5),
        "window_count": rng.choice((1, 2, 3, 4, 8, 24)),
        "connections_max": rng.choice((1, 3, 8, 16)),
        "refusals_max": rng.choice((1, 4, 256)),
        "connections_per_address": rng.choice((1, 2, 4, NO_LIMIT, NO_LIMIT)),
        "requests_per_second": rng.choice((1, 20, NO_LIMIT, NO_LIMIT, NO_LIMIT)),
        "requests_burst": rng.choice((1, 8)),
        "bytes_per_second": rng.choice((2000, 60_000, 1 << 20, NO_RATE, NO_RATE, NO_RATE)),
        "leases_per_connection": rng.choice((1, 3, 64)),
        "memory_files_max": rng.choice((1, 8, 256)),
        "part_bytes_max": rng.choice((1, 600, 100_000)),
        "held_bytes_max": 1 << 20,
        "turn_bytes_max": rng.choice((1, 20_000, 1 << 20)),
        "way_bytes": rng.choice((1, 3000, 100_000)),
    }


def random_habits(rng: random.Random) -> Habits:
    # Each run has its own few faults: all at once would hide one another.
    rates = {fault: rng.choice(often) for fault, often in FAULTS.items() if rng.random() < 0.35}
    if rng.random() < 0.3:
        rates = {}
    return Habits(
        rates=rates,
        multishot=rng.random() < 0.8,
        multishot_accept=rng.random() < 0.8,
        ack_on_read=rng.random() < 0.5,
        memlock=rng.random() < 0.1,
        no_zc_memory=rng.random() < 0.1,
        recv_size=rng.choice((64, 512, 2048)),
        send_room=rng.choice((1500, 6000, 40_000)),
        copies=(rng.choice((0.0, 0.3, 1.0, 1.0)), rng.choice((0.0, 0.3, 1.0, 1.0))),
        sq_room=rng.choice((0, 0, 0, 1, 3)),
        cq_room=rng.choice((0, 0, 0, 1, 5)),
        short_of_memory=rng.random() < 0.25,
        by_socket=rng.random() < 0.35,
    )

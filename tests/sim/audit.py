"""What must hold after every step: each connection and mapping counts what the simulated kernel counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from zchttpd._core import testing

from .parts import NO_LIMIT, Violation

if TYPE_CHECKING:
    from .kernel import Kernel
    from .parts import Cqe, Socket

Key = tuple[int, int]  # slot and generation of a connection

OPS_SPARE = 8
OPS_PER_COMPLETION = 6
HANDLER_ITEMS = 64
HANDLER_US = 1000
ROUTE_TRIAL = 32  # zero-copy sends before `auto` decides
GIVEN_UP = 2
RECEIVING, REJECTED = 1, 64  # flags of a connection
NO_OPS = ("reset", "shutdown", "queued", "unread")  # without a completion
NO_CONNS = ("accept", "fill", "tag", "wake")
NOBODY = 0
NO_SLOT = 0xFFFFFFFF  # no mapping: of a file


class Zerocopy(NamedTuple):
    socket: Socket
    key: Key
    mapping: int


class Ledger:
    """Ops and leases of each connection, as the kernel counts them."""

    def __init__(self) -> None:
        self.ops: Counter[Key] = Counter()
        self.leases: Counter[Key] = Counter()
        self.zerocopy: dict[int, Zerocopy] = {}  # by token: sends whose end the machine has not seen
        self.keys: dict[int, Key] = {}  # by descriptor of the socket
        self.asked: Counter[Key] = Counter()  # ops of this turn
        self.got: Counter[Key] = Counter()  # and completions
        self.copied: Counter[tuple[int, bool]] = Counter()  # notifications by route and by what they say

    def began(self, socket: Socket, op: testing.ExecutedOp) -> None:
        """The machine has asked for an op on a socket."""
        if op.kind in ("reject", "route"):
            return  # no connection's: of a socket alone
        _, slot, generation = testing.unpack(op.token)
        if op.kind == "send_zc":
            key = self.keys[socket.fd]
            self.zerocopy[op.token] = Zerocopy(socket, key, op.slot)
            self.leases[key] += 1
        else:
            key = self.keys[socket.fd] = (slot, generation)
        self.asked[key] += 1
        self.ops[key] += op.kind not in NO_OPS

    def reads(self, op: testing.ExecutedOp) -> None:
        """And for a window of a file."""
        _, slot, generation = testing.unpack(op.token)
        self.asked[slot, generation] += 1
        self.ops[slot, generation] += 1

    def seen(self, cqe: Cqe) -> None:
        """The machine is about to see a completion."""
        kind, slot, generation = testing.unpack(cqe.token)
        if kind == NOBODY or kind in {testing.TOKENS[name] for name in NO_CONNS}:
            return
        key: Key = (slot, generation)
        if kind == testing.TOKENS["send_zc"]:
            key = self.zerocopy[cqe.token].key
            if not cqe.more:
                del self.zerocopy[cqe.token]
                self.leases[key] -= 1
            self.ops[key] -= not cqe.notification
        else:
            self.ops[key] -= not cqe.more
        self.got[key] += 1


def check_conns(kernel: Kernel) -> None:
    """Every connection has as many ops and leases as the kernel knows of, and none has asked for too many."""
    ledger = kernel.ledger
    for fd, key in ledger.keys.items():
        conn = kernel.machine.conn(key[0])
        live = conn["fd"] == fd and conn["state"]
        ops, leases = (conn["ops_open"], conn["leases"]) if live else (0, ledger.leases[key])
        if (ops, leases) != (ledger.ops[key], ledger.leases[key]):
            raise Violation(f"{ledger.ops[key]} ops and {ledger.leases[key]} leases of {key}: {conn}")
        if ledger.asked[key] > OPS_SPARE + OPS_PER_COMPLETION * ledger.got[key]:
            raise Violation(f"{ledger.asked[key]} ops for {ledger.got[key]} completions of {key}: {conn}")
    ledger.asked.clear()
    ledger.got.clear()
    _check_addresses(kernel)


def _check_addresses(kernel: Kernel) -> None:
    """Each address has as many connections counted as there are, and requests over those of proxies; and no
    more than it may have.
    """
    counted: dict[bytes, list[int]] = {}
    for fd, (slot, _) in kernel.ledger.keys.items():
        conn = kernel.machine.conn(slot)
        state = testing.STATES.get(conn["state"], "closing")
        is_counted = state != "closing" or conn["stays"]
        socket = kernel.sockets[fd]
        if conn["fd"] == fd and kernel.fronts.brings(socket):
            if network := kernel.fronts.check(socket, conn):
                counted.setdefault(network, []).append(conn["of_address"])
            continue
        if not kernel.fronts.has_address(socket):
            if conn["fd"] == fd and conn["of_address"]:
                raise Violation(f"counted, and no client of an address: {conn}")
            continue
        if conn["fd"] == fd and is_counted and not conn["flags"] & REJECTED:
            counted.setdefault(kernel.sockets[fd].network, []).append(conn["of_address"])
    most = kernel.limits["connections_per_address"]
    if most == NO_LIMIT:
        counted = {}
    if kernel.machine.live()["addresses"] != len(counted):
        raise Violation(f"{kernel.machine.live()['addresses']} addresses counted, there are {counted}")
    for network, counts in counted.items():
        if set(counts) != {len(counts)} or len(counts) > most:
            raise Violation(f"{network!r} has {len(counts)} connections of {most}: {counts}")


def check_parked(conns: list[dict[str, int]], known: set[int]) -> None:
    """Nobody is forgotten: who is parked stands in a queue, or the desk has him (`known`, by slot). Who is
    sent a response waits for an op, in a queue, or until nothing reads its file any more.
    """
    for slot, conn in enumerate(conns):
        parked = testing.STATES.get(conn["state"]) == "parked"
        if parked and not conn["queued"] and slot not in known:
            raise Violation(f"forgotten: {conn}")
        if conn["queued"] and not parked:
            raise Violation(f"queued, and not parked: {conn}")
        sending = testing.STATES.get(conn["state"]) == "sending"
        waits = conn["waits"] or conn["live_leases"] or conn["paced"]
        if sending and not waits and conn["ops_open"] <= conn["flags"] & RECEIVING:
            raise Violation(f"forgotten with a response under way: {conn}")


class Share:
    """What the handler may be given in one turn, which began at `now_us`."""

    def __init__(self, now_us: int) -> None:
        self.began_us = now_us
        self.items = self.heads = 0

    def is_over(self, now_us: int) -> bool:
        """Whether its time is."""
        return now_us - self.began_us >= HANDLER_US

    def takes(self, kind: str, now_us: int) -> None:
        """It has been given one more, with so much time gone. There is always time for one head."""
        self.items += 1
        self.heads += kind == "head"
        if kind == "head" and self.heads == 1:
            return
        if self.items > HANDLER_ITEMS + 1 or self.is_over(now_us):
            raise Violation(f"the {self.items}th of a turn after {now_us - self.began_us} us")


def check_leases(kernel: Kernel) -> None:
    """The machine's ledger and the kernel agree about who reads what."""
    counted, open_ = kernel.machine.gauge("leases_open"), kernel.machine.live()["leases"]
    if not counted == open_ == len(kernel.ledger.zerocopy):
        raise Violation(
            f"{open_} leases, {counted} counted, for {len(kernel.ledger.zerocopy)} zero-copy sends"
        )
    if kernel.held:
        held = kernel.rng.choice(kernel.held)
        kernel.must_be(held.op, held.snapshot)
    for socket in kernel.sockets.values():
        for op, snapshot in (*zip(socket.chain, socket.snapshots, strict=True), *socket.in_worker):
            kernel.must_be(op, snapshot)


def check_mappings(kernel: Kernel, owned: Counter[int]) -> None:
    """Each mapping is held by who has it, and by nobody else. `owned`: references of the handler, by slot."""
    leases = Counter(send.mapping for send in kernel.ledger.zerocopy.values() if send.mapping != NO_SLOT)
    for slot, (owed, its_leases) in kernel.machine.owed().items():
        if (owed, its_leases) != (owned[slot], leases[slot]):
            raise Violation(
                f"mapping {slot}: {owed} references of the handler and {its_leases} leases, "
                f"there are {owned[slot]} and {leases[slot]}"
            )


def check_gauges(machine: testing.SimWorker, window_count: int, window: int, stale: int) -> None:
    """What is counted for the metrics is what there is. `stale`: completions that came too late."""
    live = machine.live()
    gauge = machine.gauge
    if gauge("stale_completions") != stale:
        raise Violation(f"{gauge('stale_completions')} stale completions, {stale} sent")
    if gauge("held_bytes") != machine.held():
        raise Violation(f"{gauge('held_bytes')} bytes counted as held, there are {machine.held()}")
    if gauge("connections_open") != live["conns"]:
        raise Violation("connections_open is wrong")
    # Windows count as mappings while they are out; those that nobody has are the pool's.
    trimmed = live["mappings"] - live["windows"] - (gauge("mappings_open") - gauge("windows_open"))
    if trimmed < 0 or gauge("pool_bytes") != (live["windows"] + trimmed) * window:
        raise Violation(f"{trimmed} windows being unmapped, {gauge('pool_bytes')} bytes in the pool: {live}")
    if gauge("windows_open") != window_count - live["windows_left"]:
        raise Violation(f"windows_open {gauge('windows_open')}: {live}")
    if live["windows"] > window_count:
        raise Violation("more windows than the pool may have")


def check_routes(kernel: Kernel) -> None:
    """`auto` has given up the routes on which the kernel always copies, and none on which it never does."""
    for route, copies in enumerate(kernel.habits.copies):
        given_up = kernel.machine.gauge("zerocopy_active", route) == GIVEN_UP
        if copies == 1.0 and kernel.ledger.copied[route, True] >= ROUTE_TRIAL:
            kernel.events["auto_given_up"] += 1
            if not given_up:
                raise Violation(f"route {route} copies, and is not given up: {kernel.ledger.copied}")
        elif given_up and not copies:
            raise Violation(f"route {route} is given up: {kernel.ledger.copied}")
        kernel.events["auto_kept"] += kernel.ledger.copied[route, False] >= ROUTE_TRIAL

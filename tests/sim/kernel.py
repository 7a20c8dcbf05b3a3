"""A kernel that answers ops in any way the real one may: late, short, out of order, failing, after the close.

What it may do is what the man pages allow, not what loopback happens to do: io_uring_enter(2),
io_uring_prep_send_zc(3), io_uring_prep_recv(3), io_uring_prep_cancel(3).
"""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING

from zchttpd._core import testing, testing_memory

from .audit import GIVEN_UP, REJECTED, Ledger
from .buffers import Buffers
from .files import Files
from .fronts import Fronts, network_of
from .greeting import Greetings
from .listener import Listener
from .looks import Looks
from .notifications import FIRST_FD, Notifications
from .parts import EVENTS, Cqe, Habits, Held, Socket, Violation
from .rates import Rates
from .submission import SENDS, SubmissionQueue
from .transfers import Transfers

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from .client import Client

ON_THE_SPOT = ("shutdown", "reset", "queued", "unread", "route", "reject")
LOOPBACK = 0


class Kernel(Transfers):
    """Takes ops, and posts completions to `cq` when told to go on."""

    def __init__(self, rng: random.Random, habits: Habits, limits: dict[str, int]) -> None:
        self.limits = limits
        self.rng = rng
        self.habits = habits
        self.calm = False
        self.cq: list[Cqe] = []
        self.sockets: dict[int, Socket] = {}
        self.linked: Socket | None = None  # whose next send must come next
        self.asked: list[Socket] = []  # whose unacknowledged bytes were asked for in this batch
        self.op_count = 0  # since somebody looked
        self.files = Files(self)
        self.looks = Looks(self)
        self.listener = Listener(self)
        self.greetings = Greetings(self)
        self.fronts = Fronts(self)
        self.later: list[Cqe] = []  # of cancels and closes: any order
        self.held: list[Held] = []
        self.sq = SubmissionQueue(self)
        self.loopback_given_up = False  # before this batch
        self.conns_most = 0  # that there were at a time in it
        self.ledger = Ledger()
        self.allocations_failed = testing_memory.failures()  # and have been made out in what the machine did
        self.buffers = Buffers(self)
        self.notifications = Notifications(self)
        self.rates = Rates(self)
        # What is no socket's.
        self.calls: dict[str, Callable[[testing.ExecutedOp], int | None]] = {
            "accept": self.listener.submit,
            "cancel_listener": self.listener.cancel,
            "reject_listener": self.listener.close,
            "read": self._read,
            "fill": self._read,
            "collapse": self._collapse,
            "take_version": self.files.take_version,
            "check_version": self.files.check_version,
            "close_file": self.files.close_file,
            "map_file": self.files.map_file,
            "unmap_file": self.files.unmap_file,
            "resident": self.files.resident,
            "look": self.looks.look,
            "check_root": self.looks.check_root,
            "drop_pages": self.files.drop_pages,
            "register": self.buffers.register,
            "clear": self.buffers.clear,
            "watch": self.listener.watch_wake,
            "signal": lambda _: 0,
            "cpu_time": lambda _: self.rng.randrange(-(2**31), 2**31),
        }
        self.bytes_taken = self.leases_held = 0
        self.next_fd = FIRST_FD
        # What happened, for those who ask whether anything did.
        self.events = Counter(dict.fromkeys(EVENTS, 0))

    # ---- what the world does ----

    def connect(self, client: Client) -> Socket:
        self.next_fd += 1
        socket = Socket(self.next_fd, client, self.habits.send_room)
        self.sockets[socket.fd] = socket
        self.listener.backlog.append(socket)
        return socket

    def conn_of(self, op: testing.ExecutedOp) -> dict[str, int]:
        """The connection that an op is of, by its token."""
        conn: dict[str, int] = self.machine.conn(testing.unpack(op.token)[1])
        return conn

    def conn_at(self, socket: Socket) -> dict[str, int]:
        """The connection that a socket has, or last had."""
        conn: dict[str, int] = self.machine.conn(self.ledger.keys[socket.fd][0])
        return conn

    def pays(self, socket: Socket) -> bytes:
        """The network whose rates count, as the machine has it; empty where nobody's do."""
        number = self.conn_at(socket)["pays"]
        return b"" if number < 0 else network_of(number)

    def comes_late(self) -> bool:
        """Whether what is to be cancelled is under way already."""
        return not self.calm and self.rng.random() < 0.5

    # ---- submission ----

    def execute(self, op: testing.ExecutedOp) -> int:
        """Take an op. The result of what is done on the spot, else 0."""
        self.op_count += 1
        self.events[op.kind] += 1
        self.events["link"] += bool(op.flags & testing.LINK)
        kind = f"{op.kind}_listener" if op.fd == testing.LISTENER and op.kind != "accept" else op.kind
        if kind in self.calls:
            return int(self.calls[kind](op) or 0)
        socket = self.sockets.get(op.fd)
        if socket is None or socket.closed or not socket.accepted:
            raise Violation(f"op on a socket that is not open: {op}")
        if self.linked is not None and (op.kind not in SENDS or socket is not self.linked):
            raise Violation(f"a linked send must be followed by its own next send, not by {op}")
        self.linked = socket if op.flags & testing.LINK else None
        self.ledger.began(socket, op)
        if op.kind == "recv" and not socket.client.admitted:
            self._admit(socket, op)
        act = getattr(self, f"_{op.kind}")
        if op.kind in ON_THE_SPOT:
            return int(act(socket, op) or 0)
        self.sq.push(op, self._snapshot(socket, op), lambda: act(socket, op))
        return 0

    def _snapshot(self, socket: Socket, op: testing.ExecutedOp) -> bytes:
        """What the memory of a send holds, and must hold to the end."""
        if op.kind not in SENDS:
            return b""
        before = socket.chain + self.sq.sends(socket)
        if before and not before[-1].flags & testing.LINK:
            raise Violation(f"two sends at a time: {op}")
        if op.kind == "splice":
            self.files.must_be_frozen(op)
        if op.kind == "send_zc":
            if op.buffer >= 0:
                self.buffers.must_hold(op)
            elif not self.habits.by_socket and self.files.mapped(op.address) is None:
                raise Violation(f"sent from memory that is neither registered nor a file's: {op}")
            if self.loopback_given_up and socket.route == LOOPBACK:
                raise Violation(f"zero copy on a route that was given up: {op}")
        return self.must_be_memory(op)

    def _read(self, op: testing.ExecutedOp) -> None:
        if op.kind == "read":
            self.ledger.reads(op)
        self.files.must_be_open(op)
        self.sq.push(op, b"", lambda: self.files.submit(op))

    def _collapse(self, op: testing.ExecutedOp) -> None:
        res = self.rng.choice((0, 0, -errno.ENOMEM, -errno.EINVAL))
        self.must_be_memory(op)
        self.sq.push(op, b"", lambda: self.later.append(Cqe(op.token, res)))

    def end_of_batch(self) -> None:
        """The worker has nothing more to submit."""
        if self.linked is not None:
            raise Violation("a chain without its end")
        self.asked.clear()
        self.conns_most = 0
        self.loopback_given_up = self.machine.gauge("zerocopy_active", LOOPBACK) == GIVEN_UP
        if self.sq.entries:
            self.sq.submit()

    def must_not_send_from(self, base: int, size: int) -> None:
        """Memory that is about to go."""
        self.sq.must_not_send_from(base, size)
        sends = [held.op for held in self.held]
        for socket in self.sockets.values():
            sends += (*socket.chain, *(op for op, _ in socket.in_worker))
        for op in sends:
            if op.address < base + size and base < op.address + op.length:
                raise Violation(f"about to go, and it is being sent: {op}")

    def must_be_memory(self, op: testing.ExecutedOp) -> bytes:
        now = self.machine.peek(op.address, op.length)
        if not op.length or now is None:
            raise Violation(f"op without memory: {op}")
        return now

    def _recv(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.recv is not None:
            raise Violation(f"two receives at a time: {op}")
        socket.recv = op.token

    def _admit(self, socket: Socket, op: testing.ExecutedOp) -> None:
        """The machine has a new connection: above a limit it may be told 503."""
        slots = range(self.machine.live()["conns"] + self.limits["connections_max"])
        # Their sockets are open until their last notifications are in.
        staying = {conn["fd"] for conn in map(self.machine.conn, slots) if conn["stays"]}
        others = sum(
            each.client.admitted and not each.client.rejected and (not each.closed or each.fd in staying)
            for each in self.sockets.values()
            if each.network == socket.network and not self.fronts.brings(each)
        )
        others += self.fronts.brought(socket.network)
        address_full = others >= self.limits["connections_per_address"] and not self.fronts.brings(socket)
        socket.client.admitted = True
        socket.client.rejected = bool(self.conn_of(op)["flags"] & REJECTED)
        self.events["address_full"] += socket.client.rejected and address_full
        # When it came: some may have gone since.
        full = max(self.conns_most, self.machine.live()["conns"]) > self.limits["connections_max"]
        if socket.client.rejected and not (address_full or full):
            raise Violation(f"rejected without need: {op}")

    def _send(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.full:
            raise Violation(f"sent again though nobody has told of room: {op}")
        self.rates.sends(socket, op.length)
        socket.chain.append(op)
        socket.snapshots.append(self.must_be_memory(op))

    _splice = _send_zc = _send

    def _reject(self, socket: Socket, _op: testing.ExecutedOp) -> None:
        """It became no connection."""
        socket.closed = True
        socket.client.gone = True
        self.events["rejected"] += 1

    def _poll(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.poll is not None:
            raise Violation(f"two polls at a time: {op}")
        socket.poll = op.token

    def _shutdown(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.chain or self.sq.sends(socket):
            raise Violation(f"shut down with a send under way: {op}")
        socket.shut = True
        socket.client.ended_at = socket.delivered

    def _unread(self, socket: Socket, op: testing.ExecutedOp) -> int:
        if socket.chain:
            raise Violation(f"about to close with a send under way: {op}")
        socket.more_unread = bool(socket.inbound)
        return len(socket.inbound)

    def _route(self, socket: Socket, _op: testing.ExecutedOp) -> int:
        return socket.route

    def _cancel(self, socket: Socket, op: testing.ExecutedOp) -> None:
        found = socket.recv is not None and socket.recv == op.offset
        if found and socket.inbound and self.comes_late():
            # Too late: it is receiving already.
            received = bytes(socket.inbound[: self.habits.recv_size])
            del socket.inbound[: len(received)]
            self.later.append(Cqe(op.offset, len(received), received=received))
            self.events["late_receive"] += 1
        elif found:
            self.later.append(Cqe(op.offset, -errno.ECANCELED))
        if found:
            socket.recv = None
        self.later.append(Cqe(op.token, 0 if found else -errno.ENOENT))

    def _cancel_all(self, socket: Socket, op: testing.ExecutedOp) -> None:
        for token in (socket.recv, socket.poll):
            if token is not None:
                self.later.append(Cqe(token, -errno.ECANCELED))
        socket.recv = socket.poll = None
        sends = list(zip(socket.chain, socket.snapshots, strict=True))
        if sends and not self.habits.by_socket and self.comes_late():
            socket.in_worker.append(sends.pop(0))
            self.events["in_worker"] += 1
        for send, snapshot in sends:
            self.later.append(self._failed(socket, send, snapshot, -errno.ECANCELED))
        socket.chain.clear()
        socket.snapshots.clear()
        self.later.append(Cqe(op.token, 0))

    def is_doomed(self, socket: Socket) -> bool:
        """Whether there is a reason for it to end before all is answered."""
        if not socket.doomed and testing_memory.failures() > self.allocations_failed:
            # One that failed ends one connection at most.
            self.allocations_failed += 1
            socket.doomed = "no memory"
            self.events["no_memory_end"] += 1
        return bool(socket.doomed)

    def breaks_off(self, socket: Socket) -> bool:
        """Whether there is a reason for an end in order before that."""
        self.events["broken_off"] += self.is_doomed(socket)
        return bool(socket.doomed)

    def _reset(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if not socket.doomed and socket in self.asked:
            if socket.unread < socket.queued_before:
                raise Violation(f"called stalled at {socket.unread} bytes, {socket.queued_before} before")
            socket.doomed = "stalled"
            self.events["stalled"] += 1
        if not self.is_doomed(socket):
            raise Violation(f"reset for no reason: {op} {self.conn_of(op)}")
        socket.resets = True

    def _close(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.recv is not None or socket.poll is not None or socket.chain:
            raise Violation(f"closed with ops under way that nobody cancels: {op}")
        if socket.more_unread and not socket.shut and not socket.resets:
            raise Violation(f"closed with bytes unread, of which it was told: {op}")
        socket.closed = True
        client = socket.client
        client.ended_at = socket.delivered if client.ended_at is None else client.ended_at
        client.server_closed = True
        if socket.resets or socket.inbound:
            # TCP answers unread bytes with RST, and that may overtake what was sent.
            client.lost = True
            socket.lose()
        if self.notifications.are_out(socket):
            self.events["close_waits"] += 1
            socket.closing = Cqe(op.token, 0)
        else:
            self.later.append(Cqe(op.token, 0))

    def _queued(self, socket: Socket, _op: testing.ExecutedOp) -> int:
        self.asked.append(socket)
        socket.queued_before, socket.queued_last = socket.queued_last, socket.unread
        return socket.unread

    # ---- going on ----

    def go_on(self) -> bool:
        """Let one thing happen. False when nothing can."""
        options: list[tuple[Callable[..., None], object]] = []
        for socket in self.sockets.values():
            if socket.recv is not None and (socket.inbound or socket.inbound_ended or socket.hung_up):
                options.append((self._receive, socket))
            if socket.chain:
                options.append((self._take, socket))
            if socket.poll is not None and (socket.writable or socket.hung_up):
                options.append((self._writable, socket))
        if self.listener.can_go_on():
            options.append((self.listener.go_on, self.listener.accept))
        options.extend((self.files.go_on, op) for op in self.files.reads)
        options.extend((self._end_in_worker, socket) for socket in self.sockets.values() if socket.in_worker)
        if self.sq.entries:
            options.append((SubmissionQueue.submit, self.sq))
        options.extend((self._post_later, cqe) for cqe in self.later)
        coming = (held for held in self.held if self.notifications.may_come(held))
        options.extend((self.notifications.go_on, held) for held in coming)
        options.extend((self.buffers.go_on, slot) for slot in self.buffers.cleared)
        if not options:
            return False
        act, subject = self.rng.choice(options)
        act(subject)
        return True

    def _post_later(self, cqe: Cqe) -> None:
        # By identity: two of them may look alike. Those of one token come in order.
        place = next(i for i, each in enumerate(self.later) if each.token == cqe.token)
        cqe = self.later.pop(place)
        if cqe.reads is not None:
            self.must_be(*cqe.reads)
        self.cq.append(cqe)

    def seen(self, cqe: Cqe) -> None:
        """The machine is about to see it."""
        kind, slot, _ = testing.unpack(cqe.token)
        if kind == testing.TOKENS["recv"] and cqe.res > 0:
            conn = self.machine.conn(slot)
            # What comes when the end has been decided upon counts no more.
            if testing.STATES[conn["state"]] not in ("lingering", "closing"):
                self.sockets[conn["fd"]].delivered += cqe.res
        if cqe.sent is not None:
            cqe.sent[0].responses.went(cqe.sent[1])
        self.ledger.seen(cqe)

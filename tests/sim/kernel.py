"""A kernel that answers ops in any way the real one may: late, short, out of order, failing, after the close.

What it may do is what the man pages allow, not what loopback happens to do: io_uring_enter(2),
io_uring_prep_send_zc(3), io_uring_prep_recv(3), io_uring_prep_cancel(3).
"""

from __future__ import annotations

import errno
import select
from collections import Counter
from typing import TYPE_CHECKING

from zchttpd._core import testing

from .buffers import Buffers
from .files import Files
from .listener import Listener
from .parts import EVENTS, Cqe, Habits, Held, Socket, Violation

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from .client import Client

COPIED = -(1 << 31)  # IORING_NOTIF_USAGE_ZC_COPIED, as the signed number that arrives

SENDS = ("send", "splice", "send_zc")


class Kernel:
    """Takes ops, and posts completions to `cq` when told to go on."""

    machine: testing.SimWorker

    def __init__(self, rng: random.Random, habits: Habits, connections_max: int) -> None:
        self.connections_max = connections_max
        self.rng = rng
        self.habits = habits
        self.calm = False
        self.cq: list[Cqe] = []
        self.sockets: dict[int, Socket] = {}
        self.linked: Socket | None = None  # whose next send must come next
        self.asked: list[Socket] = []  # whose unacknowledged bytes were asked for in this batch
        self.op_count = 0  # since somebody looked
        self.files = Files(self)
        self.listener = Listener(self)
        self.later: list[Cqe] = []  # of cancels and closes: any order
        self.held: list[Held] = []
        self.leases: set[int] = set()  # tokens of zero-copy sends whose end the machine has not seen
        self.buffers = Buffers(self)
        # What is no socket's.
        self.calls: dict[str, Callable[[testing.ExecutedOp], int | None]] = {
            "accept": self.listener.submit,
            "cancel_accept": self.listener.cancel,
            "read": self.files.submit,
            "fill": self.files.submit,
            "take_version": self.files.take_version,
            "check_version": self.files.check_version,
            "close_file": self.files.close_file,
            "register": self.buffers.register,
            "clear": self.buffers.clear,
            "watch": self.listener.watch_wake,
            "signal": lambda _: 0,
        }
        self.bytes_taken = self.leases_begun = 0
        self.next_fd = 100_000
        # What happened, for those who ask whether anything did.
        self.events = Counter(dict.fromkeys(EVENTS, 0))

    # ---- what the world does ----

    def connect(self, client: Client) -> Socket:
        self.next_fd += 1
        socket = Socket(self.next_fd, client, self.habits.send_room)
        self.sockets[socket.fd] = socket
        self.listener.backlog.append(socket)
        return socket

    def client_reads(self, socket: Socket, most: int) -> bytes:
        """Up to `most` bytes of what was sent, as they are on the wire now."""
        got = bytearray()
        while socket.outbound and len(got) < most:
            held, known = socket.outbound[0]
            part = known[: most - len(got)]
            if held is not None:
                self.must_be(held.op, held.snapshot)
            got += part
            if len(part) < len(known):
                socket.outbound[0] = (held, known[len(part) :])
            else:
                del socket.outbound[0]
                if held is not None:
                    held.read = True
        socket.unread -= len(got)
        return bytes(got)

    def hang_up(self, socket: Socket, why: str) -> None:
        """The peer resets: what is on its way is lost."""
        socket.hung_up = True
        socket.doomed = socket.doomed or why
        socket.inbound.clear()
        socket.lose()

    def conn_of(self, op: testing.ExecutedOp) -> dict[str, int]:
        """The connection that an op is of, by its token."""
        conn: dict[str, int] = self.machine.conn(testing.unpack(op.token)[1])
        return conn

    def must_be(self, op: testing.ExecutedOp, snapshot: bytes) -> None:
        """What the kernel reads now must be what it was asked to send."""
        now = self.machine.peek(op.address, op.length)
        if now is None:
            raise Violation(f"memory unmapped while {op.kind} reads it: {op}")
        if now != snapshot:
            raise Violation(f"memory changed while {op.kind} reads it: {op}")

    def chance(self, fault: str) -> bool:
        return not self.calm and self.rng.random() < self.habits.rates.get(fault, 0.0)

    # ---- submission ----

    def execute(self, op: testing.ExecutedOp) -> int:
        """Take an op. The result of what is done on the spot, else 0."""
        self.op_count += 1
        self.events[op.kind] += 1
        self.events["link"] += bool(op.flags & testing.LINK)
        self.events["nowait"] += bool(op.flags & testing.NOWAIT)
        kind = "cancel_accept" if op.kind == "cancel" and op.fd == testing.LISTENER else op.kind
        if kind in self.calls:
            return int(self.calls[kind](op) or 0)
        socket = self.sockets.get(op.fd)
        if socket is None or socket.closed or not socket.accepted:
            raise Violation(f"op on a socket that is not open: {op}")
        if self.linked is not None and (op.kind not in SENDS or socket is not self.linked):
            raise Violation(f"a linked send must be followed by its own next send, not by {op}")
        result = getattr(self, f"_{op.kind}")(socket, op)
        self.linked = socket if op.flags & testing.LINK else None
        return int(result or 0)

    def end_of_batch(self) -> None:
        """The worker has nothing more to submit."""
        if self.linked is not None:
            raise Violation("a chain without its end")
        self.asked.clear()

    def must_be_memory(self, op: testing.ExecutedOp) -> bytes:
        now = self.machine.peek(op.address, op.length)
        if not op.length or now is None:
            raise Violation(f"op without memory: {op}")
        return now

    def _recv(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.recv is not None:
            raise Violation(f"two receives at a time: {op}")
        socket.recv = op.token
        if not socket.client.admitted:
            # Above the limit it may be told 503.
            socket.client.admitted = True
            socket.client.rejected = self.machine.live()["conns"] > self.connections_max

    def _send(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.chain and not socket.chain[-1].flags & testing.LINK:
            raise Violation(f"two sends at a time: {op}")
        socket.chain.append(op)
        socket.snapshots.append(self.must_be_memory(op))

    _splice = _send

    def _send_zc(self, socket: Socket, op: testing.ExecutedOp) -> None:
        self.buffers.must_hold(op)
        self._send(socket, op)
        self.leases.add(op.token)
        self.leases_begun += 1

    def _reject(self, socket: Socket, _op: testing.ExecutedOp) -> None:
        """It became no connection."""
        socket.closed = True
        socket.client.gone = True
        self.events["rejected"] += 1

    def _poll(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.poll is not None:
            raise Violation(f"two polls at a time: {op}")
        if socket.polled_at_us == self.machine.now_us:
            raise Violation(f"polled again though it ended for nothing, and no time has passed: {op}")
        socket.poll = op.token

    def _shutdown(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.chain:
            raise Violation(f"shut down with a send under way: {op}")
        socket.client.ended_at = socket.delivered

    def _cancel(self, socket: Socket, op: testing.ExecutedOp) -> None:
        found = socket.recv is not None and socket.recv == op.offset
        if found:
            self.later.append(Cqe(op.offset, -errno.ECANCELED))
            socket.recv = None
        self.later.append(Cqe(op.token, 0 if found else -errno.ENOENT))

    def _cancel_all(self, socket: Socket, op: testing.ExecutedOp) -> None:
        for token in (socket.recv, socket.poll):
            if token is not None:
                self.later.append(Cqe(token, -errno.ECANCELED))
        socket.recv = socket.poll = None
        for send, snapshot in zip(socket.chain, socket.snapshots, strict=True):
            self.later.append(self._failed(send, snapshot, -errno.ECANCELED))
        socket.chain.clear()
        socket.snapshots.clear()
        self.later.append(Cqe(op.token, 0))

    def _reset(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if not socket.doomed and socket in self.asked:
            if socket.unread < socket.queued_before:
                raise Violation(f"called stalled at {socket.unread} bytes, {socket.queued_before} before")
            socket.doomed = "stalled"
            self.events["stalled"] += 1
        if self.files.is_lost(self.conn_of(op)["source_fd"]):
            socket.doomed = socket.doomed or "its file has changed"
        if not socket.doomed:
            raise Violation(f"reset for no reason: {op} {self.conn_of(op)}")
        socket.resets = True

    def _close(self, socket: Socket, op: testing.ExecutedOp) -> None:
        if socket.recv is not None or socket.poll is not None or socket.chain:
            raise Violation(f"closed with ops under way that nobody cancels: {op}")
        socket.closed = True
        client = socket.client
        client.ended_at = socket.delivered if client.ended_at is None else client.ended_at
        client.server_closed = True
        if socket.resets or socket.inbound:
            # TCP answers unread bytes with RST, and that may overtake what was sent.
            client.lost = True
            socket.lose()
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
            if socket.chain and socket.can_send:
                options.append((self._take, socket))
            if socket.poll is not None and socket.ends_polls:
                options.append((self._writable, socket))
        if self.listener.can_go_on():
            options.append((self.listener.go_on, self.listener.accept))
        options.extend((self.files.go_on, op) for op in self.files.reads)
        options.extend((self._post_later, cqe) for cqe in self.later)
        options.extend((self._notify, held) for held in self.held if self._may_notify(held))
        options.extend((self.buffers.go_on, slot) for slot in self.buffers.cleared)
        if not options:
            return False
        act, subject = self.rng.choice(options)
        act(subject)
        return True

    def _receive(self, socket: Socket) -> None:
        token = socket.recv
        assert token is not None
        if self.chance("no_buffers"):
            socket.recv = None
            self.cq.append(Cqe(token, -errno.ENOBUFS))
        elif socket.hung_up or self.chance("recv_error"):
            if not socket.hung_up:
                self.hang_up(socket, "receive failed")
            socket.recv = None
            self.cq.append(Cqe(token, -self.rng.choice((errno.ECONNRESET, errno.ETIMEDOUT))))
        elif socket.inbound:
            most = min(len(socket.inbound), self.habits.recv_size)
            size = most if self.calm else self.rng.randint(1, most)
            received = bytes(socket.inbound[:size])
            del socket.inbound[:size]
            more = self.habits.multishot and not self.chance("recv_ends")
            if not more:
                socket.recv = None
            self.cq.append(Cqe(token, size, more, received=received))
        else:
            socket.recv = None
            self.cq.append(Cqe(token, 0))

    def _take(self, socket: Socket) -> None:
        op, snapshot = socket.chain.pop(0), socket.snapshots.pop(0)
        self.must_be(op, snapshot)
        res = self._verdict(socket, op)
        if res <= 0:
            self.cq.append(self._failed(op, snapshot, res))
        else:
            self._accept_bytes(socket, op, snapshot, res)
        if op.flags & testing.LINK and res != op.length:
            after, its_snapshot = socket.chain.pop(0), socket.snapshots.pop(0)
            self.events["cancelled_link"] += 1
            cancelled = self._failed(after, its_snapshot, -errno.ECANCELED)
            # Always behind the completion of the first; other completions may come between.
            (self.cq if self.rng.random() < 0.5 else self.later).append(cancelled)

    def _verdict(self, socket: Socket, op: testing.ExecutedOp) -> int:
        """What becomes of a send: bytes taken, or -errno."""
        if not socket.hung_up and self.chance("send_error"):
            self.hang_up(socket, "send failed")
        if socket.hung_up:
            return -self.rng.choice((errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT))
        if op.kind == "send_zc":
            if self.chance("zc_unsupported"):
                socket.refuses_zerocopy = -errno.EOPNOTSUPP
            elif self.chance("zc_invalid"):
                socket.refuses_zerocopy = -errno.EINVAL
            if socket.refuses_zerocopy:
                return socket.refuses_zerocopy
            if self.habits.no_zc_memory or self.chance("zc_memory"):
                return -self.rng.choice((errno.ENOMEM, errno.ENOBUFS))
        if self.chance("interrupted"):
            return -errno.EINTR
        if op.flags & testing.LINK:
            # MSG_WAITALL: short only if something went wrong on the way.
            return self.rng.randint(1, op.length) if self.chance("short_link") else op.length
        size = min(op.length, socket.room - socket.unread)
        if size <= 0:
            return -errno.EAGAIN
        return self.rng.randint(1, size) if self.chance("short_send") else size

    def _failed(self, op: testing.ExecutedOp, snapshot: bytes, res: int) -> Cqe:
        """The completion of a send that sent nothing; of a zero-copy one a notification may follow."""
        more = op.kind == "send_zc" and self.rng.random() < 0.5
        if more:
            self.held.append(Held(op, snapshot, read=True))
        return Cqe(op.token, res, more, reads=(op, snapshot))

    def _accept_bytes(self, socket: Socket, op: testing.ExecutedOp, snapshot: bytes, size: int) -> None:
        held = None
        if op.kind == "send_zc" and self.chance("stray_notification"):
            # Seen of cancelled sends: the result says that none follows, and one does. It must touch nothing.
            self.later.append(Cqe(op.token, 0, notification=True, stray=True))
            self.events["stray"] += 1
        elif op.kind == "send_zc" and not self.chance("no_notification"):
            held = Held(op, snapshot, size)
            self.held.append(held)
        socket.outbound.append((held, snapshot[:size]))
        socket.unread += size
        self.bytes_taken += size
        self.cq.append(Cqe(op.token, size, held is not None))

    def _writable(self, socket: Socket) -> None:
        token, socket.poll = socket.poll, None
        assert token is not None
        if not socket.writable and not socket.hung_up:
            self.events["half_closed_poll"] += 1
            socket.polled_at_us = self.machine.now_us
        mask = select.POLLOUT * socket.writable | select.POLLHUP * socket.hung_up
        self.cq.append(Cqe(token, mask | select.POLLRDHUP * socket.inbound_ended))

    def _post_later(self, cqe: Cqe) -> None:
        # By identity: two of them may look alike. Those of one token come in order.
        place = next(i for i, each in enumerate(self.later) if each.token == cqe.token)
        cqe = self.later.pop(place)
        if cqe.reads is not None:
            self.must_be(*cqe.reads)
        self.cq.append(cqe)

    def _may_notify(self, held: Held) -> bool:
        # A notification never overtakes its result.
        if any(cqe.token == held.op.token for cqe in self.later):
            return False
        return held.read or not self.habits.ack_on_read

    def _notify(self, held: Held) -> None:
        self.must_be(held.op, held.snapshot)
        self.held = [each for each in self.held if each is not held]
        self.events["late_notification"] += self.sockets[held.op.fd].closed
        copied = not held.sent or self.rng.random() < self.habits.copies
        for socket in self.sockets.values():
            # From here on the bytes are the network's.
            socket.outbound = [(None if owner is held else owner, known) for owner, known in socket.outbound]
        self.cq.append(Cqe(held.op.token, COPIED if copied else 0, notification=True))

    def seen(self, cqe: Cqe) -> None:
        """The machine is about to see it."""
        kind, slot, _ = testing.unpack(cqe.token)
        if kind == testing.TOKENS["recv"] and cqe.res > 0:
            conn = self.machine.conn(slot)
            # What comes when the end has been decided upon counts no more.
            if testing.STATES[conn["state"]] not in ("lingering", "closing"):
                self.sockets[conn["fd"]].delivered += cqe.res
        if not cqe.more:
            self.leases.discard(cqe.token)

"""What becomes of bytes in the simulated kernel: late, short, refused, cancelled, or with a thread of it."""

from __future__ import annotations

import errno
import select
from typing import TYPE_CHECKING

from zchttpd._core import testing

from .parts import Cqe, Habits, Held, Socket, Violation

if TYPE_CHECKING:
    import random
    from collections import Counter

    from .files import Files
    from .notifications import Notifications


class Transfers:
    """The half of the kernel that moves bytes."""

    machine: testing.SimWorker
    rng: random.Random
    habits: Habits
    calm: bool
    cq: list[Cqe]
    later: list[Cqe]
    held: list[Held]
    events: Counter[str]
    files: Files
    notifications: Notifications
    bytes_taken: int
    leases_held: int

    def client_reads(self, socket: Socket, most: int) -> bytes:
        """Up to `most` bytes of what was sent, as they are on the wire now."""
        got = bytearray()
        while socket.outbound and len(got) < most:
            held, known = socket.outbound[0]
            part = known[: most - len(got)]
            if held is not None:
                self.must_be(held.op, held.snapshot)
                part = self.files.on_the_wire(held.op, part, held.sent - len(known))
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

    def must_be(self, op: testing.ExecutedOp, snapshot: bytes) -> None:
        """What the kernel reads now must be what it was asked to send, but for a mapped file."""
        now = self.machine.peek(op.address, op.length)
        if now is None:
            raise Violation(f"memory unmapped while {op.kind} reads it: {op}")
        if now != snapshot and self.files.mapped(op.address) is None:
            raise Violation(f"memory changed while {op.kind} reads it: {op}")

    def chance(self, fault: str) -> bool:
        return not self.calm and self.rng.random() < self.habits.rates.get(fault, 0.0)

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
        if self.files.mapped(op.address) is not None:
            snapshot = self.machine.peek(op.address, op.length)
        res = self._verdict(socket, op)
        if res <= 0:
            self.cq.append(self._failed(socket, op, snapshot, res))
        else:
            self._accept_bytes(socket, op, snapshot, res)
        if op.flags & testing.LINK and res != op.length:
            after, its_snapshot = socket.chain.pop(0), socket.snapshots.pop(0)
            self.events["cancelled_link"] += 1
            cancelled = self._failed(socket, after, its_snapshot, -errno.ECANCELED)
            # Always behind the completion of the first; other completions may come between.
            (self.cq if self.rng.random() < 0.5 else self.later).append(cancelled)

    def _end_in_worker(self, socket: Socket) -> None:
        """A thread of the kernel comes to the end of a send, whatever has become of the socket."""
        op, snapshot = socket.in_worker.pop(0)
        self.must_be(op, snapshot)
        errors = (-errno.ECANCELED, -errno.EINTR, -errno.EPIPE, -errno.ECONNRESET)
        res = self.rng.choice((*errors, op.length, self.rng.randint(1, op.length)))
        if res <= 0:
            self.cq.append(self._failed(socket, op, snapshot, res))
            return
        more = op.kind == "send_zc" and self.rng.random() < 0.5
        if more:
            self.notifications.taken(Held(op, snapshot, res, read=True))
        else:
            self.files.send_is_over(op, res)
        self._taken(socket, op, res)
        self.cq.append(Cqe(op.token, res, more, sent=(socket, snapshot[:res])))

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
        there = self.files.copied(op)
        if there < 0:
            socket.doomed = socket.doomed or "its file was cut"
            return there
        size = min(there, socket.room - socket.unread)
        if size <= 0 or self.chance("no_room"):
            self.events["no_room"] += 1
            socket.full = True
            return -errno.EAGAIN
        # What is linked to is short only where there is no room, or something went wrong.
        short = self.chance("short_link" if op.flags & testing.LINK else "short_send")
        sent = self.rng.randint(1, size) if short else size
        # The machine takes a short send for a full socket, unless another waited for it to go whole.
        socket.full = sent < op.length and not op.flags & testing.LINK
        return sent

    def _failed(self, socket: Socket, op: testing.ExecutedOp, snapshot: bytes, res: int) -> Cqe:
        """The completion of a send that sent nothing; of a zero-copy one a notification may follow."""
        self.rates.sent(socket, op.length)
        more = op.kind == "send_zc" and not self.habits.by_socket and self.rng.random() < 0.5
        if more:
            self.notifications.taken(Held(op, snapshot, read=True))
        return Cqe(op.token, res, more, reads=(op, snapshot))

    def _accept_bytes(self, socket: Socket, op: testing.ExecutedOp, snapshot: bytes, size: int) -> None:
        held = None
        notifies = self.habits.by_socket
        if op.kind == "send_zc" and not notifies and self.chance("stray_notification"):
            # Seen of cancelled sends: the result says that none follows, and one does. It must touch nothing.
            self.later.append(Cqe(op.token, 0, notification=True, stray=True))
            self.events["stray"] += 1
        elif op.kind == "send_zc" and (notifies or not self.chance("no_notification")):
            held = Held(op, snapshot, size)
            self.notifications.taken(held)
        if held is None:
            self.files.send_is_over(op, size)
        socket.outbound.append((held, snapshot[:size]))
        socket.unread += size
        self._taken(socket, op, size)
        self.cq.append(Cqe(op.token, size, held is not None, sent=(socket, snapshot[:size])))

    def _taken(self, socket: Socket, op: testing.ExecutedOp, size: int) -> None:
        socket.taken += size
        self.rates.sent(socket, op.length - size)
        self.bytes_taken += size
        self.leases_held += op.kind == "send_zc"

    def _writable(self, socket: Socket) -> None:
        token, socket.poll = socket.poll, None
        assert token is not None
        socket.full = False
        self.cq.append(Cqe(token, select.POLLOUT * socket.writable | select.POLLHUP * socket.hung_up))

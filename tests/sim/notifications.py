"""How the simulated kernel ends zero-copy sends: one by one, in any order, as a ring is told; or by sockets.

A socket numbers its sends that have succeeded, and tells ranges of numbers. The driver's own books turn those
into tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zchttpd._core.testing_poller import Books

from .parts import Cqe, Violation

if TYPE_CHECKING:
    from .kernel import Kernel
    from .parts import Held, Socket

COPIED = -(1 << 31)  # IORING_NOTIF_USAGE_ZC_COPIED, as the signed number that arrives
NUMBERS = 1 << 32
FIRST_FD = 100_000


class Notifications:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.by_socket = kernel.habits.by_socket
        # Numbers start again where some are out.
        self.books = Books(NUMBERS - kernel.rng.randint(1, 40)) if self.by_socket else None

    def taken(self, held: Held) -> None:
        """A send has taken bytes, and holds its memory."""
        self.kernel.held.append(held)
        if self.books is not None:
            held.number = self.books.sent(held.op.fd - FIRST_FD, held.op.token)

    def may_come(self, held: Held) -> bool:
        # A notification never overtakes its result.
        if any(cqe.token == held.op.token for cqe in self.kernel.later):
            return False
        return held.read or not self.kernel.habits.ack_on_read

    def go_on(self, held: Held) -> None:
        """The kernel lets go of a send, or of several."""
        kernel = self.kernel
        socket = kernel.sockets[held.op.fd]
        copied = kernel.rng.random() < kernel.habits.copies[socket.route]
        if self.books is None:
            self._end(held, socket, COPIED if copied or not held.sent else 0)
            return
        together = self._behind(held)
        kernel.events["coalesced"] += len(together) > 1
        last = together[-1].number
        told = self.books.notified(held.op.fd - FIRST_FD, held.number, last, copied)
        if told != [(each.op.token, copied) for each in together]:
            raise Violation(f"numbers {held.number} to {last} end {told}, and are of {together}")
        for each in together:
            self._end(each, socket, -copied)

    def _behind(self, held: Held) -> list[Held]:
        """It, and some of those that were sent behind it, as far as one follows the other."""
        together = [held]
        by_number = {each.number: each for each in self.kernel.held if each.op.fd == held.op.fd}
        while self.kernel.rng.random() < 0.7:
            after = by_number.get((together[-1].number + 1) % NUMBERS)
            if after is None or not self.may_come(after):
                break
            together.append(after)
        return together

    def _end(self, held: Held, socket: Socket, usage: int) -> None:
        kernel = self.kernel
        kernel.must_be(held.op, held.snapshot)
        kernel.held = [each for each in kernel.held if each is not held]
        kernel.events["late_notification"] += socket.closed
        kernel.ledger.copied[socket.route, usage < 0] += held.sent > 0
        if held.sent:
            kernel.files.send_is_over(held.op, held.sent)
        # From here on the bytes are the network's.
        for place, (owner, known) in enumerate(socket.outbound):
            if owner is held:
                fixed = kernel.files.on_the_wire(held.op, known, held.sent - len(known))
                socket.outbound[place] = (None, fixed)
        kernel.cq.append(Cqe(held.op.token, usage, notification=True))
        if socket.closing is not None and not self.are_out(socket):
            kernel.later.append(socket.closing)
            socket.closing = None

    def are_out(self, socket: Socket) -> bool:
        """Whether a close has to wait: nobody is told of the sends of a closed socket."""
        return self.by_socket and any(held.op.fd == socket.fd for held in self.kernel.held)

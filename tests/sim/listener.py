"""The simulated kernel's listener: connections wait in its backlog, and accepting may fail.

And what else comes from outside: somebody writes to the wake descriptor.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from zchttpd._core import testing

from .greeting import PROXY
from .parts import Cqe, Socket, Violation

if TYPE_CHECKING:
    from .kernel import Kernel

ACCEPT_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.ENOMEM)


class Listener:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.backlog: list[Socket] = []
        self.accept: testing.ExecutedOp | None = None
        self.closed = False
        self.watch: int | None = None  # token of what waits for the wake descriptor

    def submit(self, op: testing.ExecutedOp) -> None:
        if self.accept is not None:
            raise Violation(f"two accepts at a time: {op}")
        if self.closed:
            raise Violation(f"the listener has been closed: {op}")
        self.accept = op
        self.kernel.events["one_accept"] += not op.flags & testing.MULTISHOT

    def cancel(self, op: testing.ExecutedOp) -> None:
        if self.accept is not None:
            self.kernel.later.append(Cqe(self.accept.token, -errno.ECANCELED))
        self.accept = None
        self.kernel.later.append(Cqe(op.token, 0))

    def close(self, op: testing.ExecutedOp) -> None:
        if self.accept is not None or self.closed:
            raise Violation(f"an accept is under way, or it has been closed before: {op}")
        self.closed = True

    def watch_wake(self, op: testing.ExecutedOp) -> None:
        if self.watch is not None:
            raise Violation(f"watched twice: {op}")
        self.watch = op.token

    def wake(self) -> None:
        """Somebody writes to the wake descriptor."""
        if self.watch is not None:
            self.kernel.cq.append(Cqe(self.watch, 1))
            self.watch = None
            self.kernel.events["woken"] += 1

    def can_go_on(self) -> bool:
        return self.accept is not None and bool(self.backlog or self._knows_no_multishot())

    def _knows_no_multishot(self) -> bool:
        multishot = self.accept is not None and self.accept.flags & testing.MULTISHOT
        return bool(multishot and not self.kernel.habits.multishot_accept)

    def go_on(self, op: testing.ExecutedOp) -> None:
        """The next connection is accepted, or none is."""
        if self._knows_no_multishot() or self.kernel.chance("accept_fails"):
            error = errno.EINVAL if self._knows_no_multishot() else self.kernel.rng.choice(ACCEPT_ERRORS)
            self.accept = None
            self.kernel.events["emfile"] += error == errno.EMFILE
            self.kernel.cq.append(Cqe(op.token, -error))
            return
        more = bool(op.flags & testing.MULTISHOT) and not self.kernel.chance("accept_ends")
        socket = self.backlog.pop(0)
        socket.accepted = True
        self.kernel.events["accepted"] += 1
        self.kernel.cq.append(
            Cqe(
                op.token, socket.fd, more, address=PROXY if self.kernel.greetings.expected else socket.address
            )
        )
        if not more:
            self.accept = None

"""A listening socket, as a worker has it."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listener:
    """`proxy`: connections begin with a header of the PROXY protocol. `shared`: other workers accept from its
    queue too.
    """

    socket: socket.socket
    proxy: bool = False
    shared: bool = False

    @property
    def who(self) -> str:
        """Who connects, in the words of the compiled worker. Who may connect to a unix socket is decided by
        its directory, and to any other by --proxy-from.
        """
        if not self.proxy:
            return ""
        return "any" if self.socket.family == socket.AF_UNIX else "named"

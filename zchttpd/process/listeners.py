"""The listening sockets of the workers: kept open for as long as anybody may be waiting in their queues."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from typing import TYPE_CHECKING

from zchttpd.process.sockets import open_for, set_stall, url_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.config.settings import Settings

# Of linux/socket.h, linux/filter.h and linux/bpf_common.h: socket(7), "SO_ATTACH_REUSEPORT_CBPF".
_SO_ATTACH_REUSEPORT_CBPF = 51
_LOAD_RANDOM = (0x20, 0, 0, 0xFFFFF000 + 56)
_MODULO = 0x94
_RETURN_A = (0x16, 0, 0, 0)


class Listeners:
    """Opened when made, `count` of them or as many as were passed. Raises StartError.

    A worker that ends leaves its socket to the next one: a connection that waits in the queue of a socket
    which the last process closes is reset.
    """

    def __init__(self, settings: Settings, passed: Sequence[int], count: int) -> None:
        self._sockets = open_for(settings, passed, count)
        # Who passed several may have chosen some.
        self._chosen = len(passed) > 1
        self.url = url_of(self._sockets[0])
        # The name of a socket that was passed is not ours to remove.
        self._name = settings.unix if not passed else ""
        self._identity = _identity(self._name) if self._name else None

    def __len__(self) -> int:
        return len(self._sockets)

    def __getitem__(self, worker: int) -> socket.socket:
        return self._sockets[worker]

    @property
    def first(self) -> socket.socket:
        """Whose address is that of all."""
        return self._sockets[0]

    def grow(self, count: int) -> None:
        """See that there are `count` at least. Who is added shares the queue of another.

        A queue of its own would be given connections before its worker can accept them.
        """
        queues = len({*self._queues()})
        while len(self) < count:
            self._sockets.append(self._sockets[len(self) % queues].dup())

    def choose(self, count: int) -> None:
        """From now on the kernel gives new connections to the first `count` alone; the rest is emptied.

        Raises OSError where the kernel cannot.
        """
        queues = self._queues()
        if len({*queues}) == 1 or (count == len(self) and not self._chosen):
            return
        self._chosen = True
        count = len({*queues[:count]})
        program = b"".join(
            struct.pack("=HBBI", *each) for each in (_LOAD_RANDOM, (_MODULO, 0, 0, count), _RETURN_A)
        )
        code = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog: the number of instructions, and where they are.
        option = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
        self.first.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)

    def set_stall(self, stall_ms: int) -> None:
        """Have what is accepted from now on give up as `sockets.open_listeners` says."""
        for listener in self._sockets:
            set_stall(listener, stall_ms)

    def drop(self, count: int) -> None:
        """Close all but the first `count`, whose queues are empty."""
        while len(self) > count:
            self._sockets.pop().close()

    def _queues(self) -> list[int]:
        """The number of the socket behind each: a copy has that of the first."""
        return [os.fstat(listener.fileno()).st_ino for listener in self._sockets]

    def close(self, *, keep: socket.socket | None = None) -> None:
        """Close all but `keep`: while one copy is open the kernel goes on accepting for it."""
        for listener in self._sockets:
            if listener is not keep:
                listener.close()

    def disown(self) -> None:
        """The name of the unix socket is another process's to remove."""
        self._name = ""

    def unlink(self) -> None:
        """Remove the name of our unix socket, if it still is ours. The next start replaces what is left."""
        with contextlib.suppress(OSError):
            if self._name and _identity(self._name) == self._identity:
                os.unlink(self._name)


def _identity(path: str) -> tuple[int, int]:
    facts = os.lstat(path)
    return facts.st_dev, facts.st_ino
